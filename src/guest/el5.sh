# What Enterprise Linux 5 does in another way than tune.sh: no systemctl, sha256sum, unshare or chronyc.
[ -n "$ROOT" ] || PATH=$PATH:/sbin:/usr/sbin # sshd gives root neither
content_is() { # content_is PATH SHA256 CONTENT: read and compared, as there is no sha256sum
  [ "$(cat "$ROOT$1" 2>/dev/null && printf x)" = "$3x" ]
}

service() { # service NAME off|on
  # A line of chkconfig: name, and for each runlevel whether it is on; runlevel 3 is that of servers.
  state=
  while read -r listed levels; do
    if [ "$listed" = "$1" ]; then state=$levels; fi
  done <<LIST
$units
LIST
  case $2:$state in
    *:) say service "$1" absent "there is no init script $1" ;;
    off:*3:on*)
      wrong service "$1" 'on in runlevel 3' || return 0
      chkconfig "$1" off >/dev/null 2>&1
      settled $? service "$1" 'was on'
      env service "$1" stop >/dev/null 2>&1
      ;;
    on:*3:off*)
      wrong service "$1" 'off in runlevel 3' || return 0
      chkconfig "$1" on >/dev/null 2>&1 && env service "$1" start >/dev/null 2>&1
      settled $? service "$1" 'was off'
      ;;
    *) say service "$1" ok "$2" ;;
  esac
}

plain_rules() { sed -e '/^#/d' -e 's/[[:blank:]]*\[[0-9:]*\]$//' -e 's/[[:blank:]]*$//'; }
iptables_rules() { # iptables_rules FILE TABLE...: the live rules against the file
  # The document's rules are in the spelling of this very iptables (1.3.5). There is no network namespace that could tell
  # how it would spell others, so those are loaded again each time.
  file=$ROOT$1
  shift
  live=$(for table in "$@"; do iptables-save -t "$table"; done 2>/dev/null | plain_rules)
  if [ "$live" = "$(cat "$file" 2>/dev/null | plain_rules)" ]; then say iptables rules ok ''; return; fi
  wrong iptables rules 'the loaded rules are not those of lab.yaml, or spelled otherwise' || return 0
  iptables-restore <"$file" 2>/dev/null
  settled $? iptables rules 'loaded'
}

selinux() { # selinux MODE: /etc/selinux/config has it, and counts from the next boot on
  if [ ! -e "$ROOT/selinux/enforce" ]; then now=disabled
  elif [ "$(cat "$ROOT/selinux/enforce")" = 1 ]; then now=enforcing
  else now=permissive; fi
  if [ "$now" = "$1" ]; then say selinux mode ok "$now"; else say selinux mode drift "is $now, from the next boot on $1"; fi
}

clock() { # clock GATEWAY: ntpdate tells how far off the clock is, and steps it when that is a second or more
  answer=$(ntpdate -q "$1" 2>/dev/null) || { say time ntpdate drift "$1 tells no time"; return; }
  offset=${answer##*offset }
  offset=${offset%% *}
  case $offset in 0.* | -0.*) say time ntpdate ok "$offset s"; return ;; esac
  wrong time ntpdate "$offset s off" || return 0
  ntpdate -s -b "$1" && hwclock --systohc
  settled $? time ntpdate "was $offset s off"
}
