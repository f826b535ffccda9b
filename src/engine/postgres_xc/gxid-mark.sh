#!/bin/bash
# Usage: gxid-mark run PREFIX DIRECTORY     start the GTM
#        gxid-mark watch PORT DIRECTORY     note its next GXID every few seconds
#
# GTM 1.0.2 writes gtm.control only when it is stopped in an orderly way. After a crash of its guest it would go on from
# the last orderly stop, or from 10000: GXIDs that databases already used would be given again, and committed rows would
# become invisible. So `watch` keeps a mark of the next GXID beside gtm.control, and `run` starts beyond the mark when
# gtm.control is older than it, or has not been written since the last start: a crash may come before the first mark that
# is beyond it. Sequence values since the last orderly stop are lost all the same.
set -u
export LC_ALL=C

seconds=10       # between two marks
margin=1000000   # more than GTM can give out between two marks

mark() { # mark DIRECTORY: the highest mark, 0 without any; two files, because a crash may come while one is written
  local file value highest=0
  for file in "$1/gxid-mark.0" "$1/gxid-mark.1"; do
    value=
    [ -r "$file" ] && read -r value <"$file"
    case $value in '' | *[!0-9]*) continue ;; esac
    [ "$value" -gt "$highest" ] && highest=$value
  done
  echo "$highest"
}

is_before() { # is_before GXID OTHER: they wrap around, so that it is a matter of the shorter way
  [ $((($2 - $1) & 0xffffffff)) -gt 0 ] && [ $((($2 - $1) & 0xffffffff)) -lt $((0x80000000)) ]
}

run() { # run PREFIX DIRECTORY
  local last control=0 written=never started="" next
  last=$(mark "$2")
  if [ -s "$2/gtm.control" ]; then
    control=$(($(od -An -tu4 -N4 "$2/gtm.control")))
    written=$(stat -c '%y %i' "$2/gtm.control")
  fi
  [ -r "$2/gxid-mark.start" ] && read -r started <"$2/gxid-mark.start"
  # After a crash it says so already, and stays untouched: a power cut while it is written must not make that an orderly end.
  [ "$started" = "$written" ] || echo "$written" >"$2/gxid-mark.start" || exit 1
  if [ "$control" -eq 0 ] && [ "$last" -gt 0 ] || is_before "$control" "$last" || [ "$started" = "$written" ]; then
    if [ "$last" -eq 0 ] || { [ "$control" -gt 0 ] && is_before "$last" "$control"; }; then last=$control; fi
    next=$(((last + margin) & 0xffffffff))
    [ "$next" -lt 10000 ] && next=10000
    echo "pgxc-lab: GTM was not stopped in an orderly way (gtm.control says $control, it was at $last): going on at $next"
    exec "$1/bin/gtm" -D "$2" -x "$next"
  fi
  exec "$1/bin/gtm" -D "$2"
}

number() { # number COUNT: reads COUNT bytes from file descriptor 3 as a big-endian number into $value
  local byte code i
  value=0
  for ((i = 0; i < $1; i++)); do
    IFS= read -r -t 30 -d '' -n 1 -u 3 byte || [ -n "$byte" ] || return 1
    code=0
    [ -n "$byte" ] && printf -v code %d "'$byte"
    value=$(((value << 8) | (code & 255)))
  done
}

watch() { # watch PORT DIRECTORY
  local zeros turn=0 value
  exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
  # The handshake: 'A', length 76, a name of 64 bytes, type 6 (host byte order), flag 0 (spec 2.8).
  zeros='\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
  # shellcheck disable=SC2059
  printf 'A\0\0\0\114gxid_mark'"$zeros"'\6\0\0\0\0\0\0\0' >&3
  number 1 && [ "$value" = 82 ] && number 4 || exit 1
  # A descriptor that nobody writes to: waiting on it sleeps without starting a process.
  exec 4<> <(:)
  while :; do
    # 'C', length 8, type 34: the next GXID, without taking it. Answer: 'S', length, result, GXID.
    printf 'C\0\0\0\10\0\0\0\42' >&3 || exit 1
    number 1 && [ "$value" = 83 ] && number 4 && number 4 && [ "$value" = 20 ] && number 4 || exit 1
    echo "$value" >"$2/gxid-mark.$turn" || exit 1
    turn=$((1 - turn))
    read -r -t "$seconds" -u 4
  done
}

case ${1-} in
  run | watch) "$@" ;;
  *) echo "usage: $0 run PREFIX DIRECTORY | watch PORT DIRECTORY" >&2; exit 2 ;;
esac
