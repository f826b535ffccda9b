# What Enterprise Linux 7 and later do in another way than tune.sh.
selinux() { # selinux MODE: /etc/selinux/config has it, and counts from the next boot on
  if [ ! -e "$ROOT/sys/fs/selinux/enforce" ]; then now=disabled
  elif [ "$(cat "$ROOT/sys/fs/selinux/enforce")" = 1 ]; then now=enforcing
  else now=permissive; fi
  if [ "$now" = "$1" ]; then say selinux mode ok "$now"; else say selinux mode drift "is $now, from the next boot on $1"; fi
}
