# The fixed part of the tune script. Few processes: in an emulated guest each one costs 10 to 20 ms.
# Environment: APPLY=1 sets right what differs, else it is only reported; ROOT: another root, for tests.
set -u
export LC_ALL=C
APPLY=${APPLY:-0}
ROOT=${ROOT-}
nl='
'
touched=' '

say() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4"; }
wrong() { # wrong KIND ITEM DETAIL: says drift; true when it is to be set right
  [ "$APPLY" = 1 ] && return 0
  say "$1" "$2" drift "$3"
  return 1
}
settled() { # settled STATUS KIND ITEM DETAIL: what came of setting it right
  if [ "$1" = 0 ]; then say "$2" "$3" applied "$4"; else say "$2" "$3" failed "$4"; fi
}
reachable() { # reachable PATH: never write below the mount point while the export is not there
  case $1 in "$mount"/*) [ -e "$ROOT$mount/$guard" ] ;; esac
}
known() { # known LIST LINE
  case "$nl$1$nl" in *"$nl$2$nl"*) return 0 ;; esac
  return 1
}
content_is() { # content_is PATH SHA256 CONTENT
  known "$sums" "$2  $ROOT$1"
}
owned() { # owned OWNER:GROUP PATH: tests may not give files away
  [ -n "$ROOT" ] && [ "$(id -u)" != 0 ] && return 0
  chown -h "$1" "$2"
}

text_file() { # text_file KIND PATH MODE OWNER SHA256 CONTENT
  if ! reachable "$2"; then say "$1" "$2" failed "$mount is not mounted"; return; fi
  detail=
  content_is "$2" "$5" "$6" || detail=content
  known "$stats" "f:$3:$4:$4:$ROOT$2>" || detail="${detail:+$detail and }owner or mode"
  if [ -z "$detail" ]; then say "$1" "$2" ok ''; return; fi
  wrong "$1" "$2" "$detail" || return 0
  new=$ROOT$2.pgxc-lab-new
  [ -d "$ROOT${2%/*}" ] || mkdir -p "$ROOT${2%/*}"
  rm -f "$new"
  (umask 077 && printf %s "$6" >"$new") && chmod "$3" "$new" && owned "$4:$4" "$new" && mv -fT "$new" "$ROOT$2"
  settled $? "$1" "$2" "$detail"
  touched="$touched$2 "
}

link_file() { # link_file KIND PATH TARGET
  if known "$stats" "l:777:0:0:$ROOT$2>$3"; then say "$1" "$2" ok ''; return; fi
  [ -n "$ROOT" ] && case "$nl$stats$nl" in *":$ROOT$2>$3$nl"*) say "$1" "$2" ok ''; return ;; esac
  wrong "$1" "$2" target || return 0
  [ -d "$ROOT${2%/*}" ] || mkdir -p "$ROOT${2%/*}"
  ln -sfnT "$3" "$ROOT$2"
  settled $? "$1" "$2" target
  touched="$touched$2 "
}

directory() { # directory KIND PATH MODE OWNER
  # What is mounted there has an owner and a mode of its own.
  if [ "$2" = "$mount" ] && [ -d "$ROOT$2" ]; then say "$1" "$2" ok ''; return; fi
  if known "$stats" "d:$3:$4:$4:$ROOT$2>"; then say "$1" "$2" ok ''; return; fi
  wrong "$1" "$2" 'directory, owner or mode' || return 0
  mkdir -p "$ROOT$2" && chmod "$3" "$ROOT$2" && owned "$4:$4" "$ROOT$2"
  settled $? "$1" "$2" 'directory, owner or mode'
}

value_of() { # value_of KEYPATH: sets $have, normalised; false when this kernel has no such key
  case "$nl$values" in *"$nl$ROOT/proc/sys/$1:"*) ;; *) return 1 ;; esac
  have=${values#*"$ROOT/proc/sys/$1:"}
  have=${have%%"$nl"*}
  # shellcheck disable=SC2086
  set -- $have
  have="$*"
}

sysctl_key() { # sysctl_key NAME KEYPATH VALUE SUCCESSOR REASON
  name=$1 path=$2 note=
  if ! value_of "$path"; then
    if [ -z "$4$5" ]; then say sysctl "$name" unsupported 'this kernel has no such key'; return; fi
    if [ -z "$4" ]; then say sysctl "$name" superseded "$5"; return; fi
    path=$4 note="as $4"
    if ! value_of "$path"; then say sysctl "$name" superseded "$5"; return; fi
    if [ "$have" = "$3" ]; then say sysctl "$name" superseded "$note = $have"; return; fi
  elif [ "$have" = "$3" ]; then
    say sysctl "$name" ok "$have"
    return
  fi
  old=$have
  wrong sysctl "$name" "${note:+$note }is $old, must be $3" || return 0
  if { printf '%s\n' "$3" >"$ROOT/proc/sys/$path"; } 2>/dev/null && values=$(grep -s '' "$ROOT/proc/sys/$path" /dev/null) && value_of "$path" && [ "$have" = "$3" ]; then
    say sysctl "$name" applied "${note:+$note }was $old"
  else
    say sysctl "$name" failed "${note:+$note }is $old, the kernel does not take $3"
  fi
  values=$all_values
}

service() { # service NAME off|on
  unit=$1.service
  case $1 in *.*) unit=$1 ;; esac
  state=
  case "$nl$units" in *"$nl$unit "*) state=${units#*"$unit "}; state=${state%%[ "$nl"]*} ;; esac
  case $2:$state in
    *:) say service "$1" absent "$unit is not installed" ;;
    off:enabled | off:enabled-runtime | off:linked)
      wrong service "$1" "$state" || return 0
      systemctl --quiet disable --now "$unit" >/dev/null 2>&1
      settled $? service "$1" "was $state"
      ;;
    on:disabled | on:masked)
      wrong service "$1" "$state" || return 0
      { [ "$state" != masked ] || systemctl --quiet unmask "$unit" >/dev/null 2>&1; } && systemctl --quiet enable --now "$unit" >/dev/null 2>&1
      settled $? service "$1" "was $state"
      ;;
    *) say service "$1" ok "$state" ;;
  esac
}

plain_rules() { sed -e '/^#/d' -e 's/ \[[0-9:]*\]$//'; }
iptables_rules() { # iptables_rules FILE TABLE...: the live rules against what the kernel makes of the file
  file=$ROOT$1
  shift
  live=$(for table in "$@"; do iptables-save -t "$table"; done 2>/dev/null | plain_rules)
  # An empty network namespace gives the rules of the file in the kernel's own spelling.
  # shellcheck disable=SC2016
  meant=$(unshare -n sh -c 'iptables-restore "$1" && shift && for table in "$@"; do iptables-save -t "$table"; done' sh "$file" "$@" 2>/dev/null | plain_rules)
  if [ -z "$meant" ]; then say iptables rules failed 'iptables-restore refuses the rules'; return; fi
  if [ "$live" = "$meant" ]; then say iptables rules ok ''; return; fi
  wrong iptables rules 'the loaded rules are not those of lab.yaml' || return 0
  iptables-restore -w 30 "$file" 2>/dev/null
  settled $? iptables rules 'loaded'
}

cluster_user() { # cluster_user NAME UID
  entry=$(getent passwd "$1")
  case $entry in
    "$1:"*":$2:$2:"*) say user "$1" ok "uid $2" ;;
    '') say user "$1" failed "there is no such user" ;;
    *) say user "$1" failed "must have uid and gid $2: $entry" ;;
  esac
}

selinux() { # selinux MODE
  if [ ! -e "$ROOT/sys/fs/selinux/enforce" ]; then say selinux mode absent 'this system has no SELinux'; else say selinux mode drift "must be $1: set it in /etc/selinux/config"; fi
}

export_mounted() {
  if [ -e "$ROOT$mount/$guard" ]; then say mount "$mount" ok ''; return; fi
  wrong mount "$mount" 'the export is not mounted' || return 0
  mount "$mount" 2>/dev/null
  [ -e "$ROOT$mount/$guard" ]
  settled $? mount "$mount" 'the export was not mounted'
}

locale_exists() { # locale_exists NAME
  if answer=$(LC_ALL=$1 locale charmap 2>&1) && case $answer in *annot*) false ;; esac; then say locale "$1" ok "$answer"; else say locale "$1" failed 'this locale is not installed'; fi
}

clock() {
  tracking=$(chronyc -n -c tracking 2>/dev/null)
  case $tracking in
    '') say time chrony drift 'chronyd does not answer' ;;
    *,Normal | *,Insert* | *,Delete*) say time chrony ok "${tracking%%,*}" ;;
    *) say time chrony drift 'not synchronised yet' ;;
  esac
}

again() { # again PATH COMMAND...: runs the command when the file was changed
  case $touched in *" $1 "*) shift; "$@" >/dev/null 2>&1 || say file "$1" failed "after the change: $*" ;; esac
}
