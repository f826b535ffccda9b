# shellcheck shell=bash
# shellcheck disable=SC2154 # the script says them
# The common part of the init scripts of components, sourced at their end. Bash 3.2, of EL5, is enough for it.
#
# The script says: name; user; directory (of its data); signal (that ends its server); restart (always, or on-failure);
# stale (files that go when the server ended); environment and command (of the server); beside (a command that runs while
# the server does, or nothing); ready, a function that is run in a shell of its own before each start of the server and
# fails while it may not start.
#
# A `keeper` runs per component: it starts the server, waits for its end, and starts it again, as init's own respawn would,
# if that did not give up for five minutes after ten quick ends. A server that waits for its GTM ends often.
: "${name:?}" "${user:?}" "${directory:?}" "${signal:?}" "${restart:?}" "${command:?}" "${beside-}"
ROOT=${ROOT-} # another root, for tests
run=$ROOT/var/run/pgxc-lab
log=$ROOT/var/log/pgxc-lab/$name.log
lock=$ROOT/var/lock/subsys/$name # without it rc does not run `stop` at a shutdown
seconds=${PGXC_LAB_PAUSE:-3}     # between two starts
patience=120                     # seconds that a server may take to end
export LC_ALL=C

say() { echo "$(date '+%b %e %H:%M:%S') pgxc-lab: $*"; }

# alive keeper|server: it runs; its process is in $pid. A number that now belongs to another process does not count.
alive() {
  pid=
  [ -s "$run/$name.$1" ] && read -r pid <"$run/$name.$1" || return 1
  case $1 in
    keeper) case $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") in *"/$name keep "*) return 0 ;; esac; return 1 ;;
    server) [ "/proc/$pid/cwd" -ef "$directory" ] || { [ "/proc/$pid/cwd" -ef / ] && kill -0 "$pid" 2>/dev/null; } ;;
  esac
}

# servers: processes of servers that work in the data directory, also those that somebody started by hand
servers() {
  local process line
  for process in /proc/[0-9]*; do
    [ "$process/cwd" -ef "$directory" ] || continue
    read -r line 2>/dev/null <"$process/stat" || continue
    case $line in *' (gtm) '* | *' (gtm_proxy) '* | *' (postgres) '*) echo "${process#/proc/}" ;; esac
  done
}

# as_user WHAT COMMAND: becomes the cluster's user, with its limits, and the command, whose process is noted as WHAT
as_user() {
  local variables
  variables=$(printf ' %q' "${environment[@]}")
  exec runuser -s /bin/bash "$user" -c "umask 077; cd /; echo \$\$ >$run/$name.$1; exec env$variables $2"
}

# end_server: ends the server, once it is there to be told, and waits for it
end_server() {
  local told=
  while kill -0 "$waiter" 2>/dev/null; do
    if [ -z "$told" ] && alive server; then kill -s "$signal" "$pid" && told=yes; fi
    sleep 0.2
  done
}

# attempt: one life of the server
attempt() {
  (ready) &
  waiter=$!
  wait "$waiter"
  local status=$?
  if [ -n "$stopping" ]; then kill "$waiter" 2>/dev/null; return 0; fi
  [ "$status" = 0 ] || return "$status"
  rm -f "$run/$name.server"
  (as_user server "$command") &
  waiter=$!
  if [ -n "$beside" ]; then
    (while sleep 1 && kill -0 "$waiter" 2>/dev/null; do (as_user beside "$beside"); sleep 4; done) &
  fi
  wait "$waiter"
  status=$?
  [ -z "$stopping" ] || end_server
  return "$status"
}

keep() {
  local status
  cd /
  echo $$ >"$run/$name.keeper"
  stopping=
  trap 'stopping=yes' TERM
  while :; do
    attempt
    status=$?
    [ "${#stale[@]}" = 0 ] || rm -f "${stale[@]}"
    if [ -n "$stopping" ] || { [ "$restart" = on-failure ] && [ "$status" = 0 ]; }; then break; fi
    say "$name ended with status $status, it starts again in $seconds s"
    sleep "$seconds" &
    wait $!
    [ -z "$stopping" ] || break
  done
  rm -f "$run/$name.keeper" "$run/$name.server" "$run/$name.beside"
}

start() {
  ! alive keeper || return 0
  mkdir -p "$run" "${log%/*}" "${lock%/*}" && chown "$user" "$run" && : >"$lock" || return 1
  setsid "$ROOT/etc/rc.d/init.d/$name" keep </dev/null >>"$log" 2>&1 &
  echo $! >"$run/$name.keeper"
  local waited=0
  until alive keeper || [ "$waited" = 50 ]; do
    sleep 0.1
    waited=$((waited + 1))
  done
}

stop() {
  local waited=0
  if alive keeper; then
    kill -TERM "$pid"
  else
    for pid in $(servers); do kill -s "$signal" "$pid"; done
  fi
  while alive keeper || [ -n "$(servers)" ]; do
    if [ "$waited" -ge $((patience * 2)) ]; then
      echo "$name does not end within $patience s: it is killed" >&2
      slay
      break
    fi
    sleep 0.5
    waited=$((waited + 1))
  done
  rm -f "$lock"
}

# slay: kills everything of it; the keeper first, which would start the server again
slay() {
  ! alive keeper || kill -KILL "$pid"
  for pid in $(servers); do kill -KILL "$pid" 2>/dev/null; done
  while [ -n "$(servers)" ]; do sleep 0.1; done
  [ "${#stale[@]}" = 0 ] || rm -f "${stale[@]}"
  rm -f "$run/$name.keeper" "$run/$name.server" "$run/$name.beside"
}

status() {
  if alive keeper; then echo running; else echo stopped; return 3; fi
}

case ${1-} in
  start | stop | status | keep) "$1" ;;
  restart) stop && start ;;
  reload) alive server && kill -HUP "$pid" ;;
  kill) slay ;;
  *) echo "usage: $0 start|stop|restart|reload|status|kill" >&2; exit 2 ;;
esac
