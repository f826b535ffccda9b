#!/usr/bin/env bash
# Plays a host with a libvirt of its own, and then what a second script makes of it. Pid 1 of namespaces that `unshare` made;
# ends when its standard input does. Started again in the same directory it is the same host after a crash.
#   unshare --net --mount --pid --ipc --uts --fork --kill-child host.sh DIRECTORY SCRIPT [ARGUMENT]
set -euo pipefail
directory=$1

mount --make-rprivate /
rm -rf "$directory/run"
for own in etc run var/lib/libvirt var/log/libvirt var/cache/libvirt var/lib/nfs; do
  mkdir -p "$directory/$own"
  case $own in
    run) chmod 755 "$directory/run" ;;
    *) cp -a "/$own/." "$directory/$own" ;;
  esac
  mount --bind "$directory/$own" "/$own"
done
mount -t proc proc /proc
# A fresh sysfs shows this host's network devices, and no cgroups, in which libvirt would make groups that stay.
umount --lazy /sys
mount -t sysfs sysfs /sys
ip link set lo up

printf '%s\n' 'cgroup_controllers = []' 'max_queued = 0' >>/etc/libvirt/qemu.conf
mkdir -p /run/libvirt /run/lock
virtlogd -d -f /etc/libvirt/virtlogd.conf -p /run/virtlogd.pid </dev/null >/dev/null 2>&1
libvirtd -d -f /etc/libvirt/libvirtd.conf -p /run/libvirtd.pid </dev/null >/dev/null 2>&1
until [ -S /run/libvirt/libvirt-sock ]; do sleep 0.05; done

# shellcheck disable=SC1090
. "$2"

echo ready
# Adopts and reaps what daemons leave, until nobody listens any more.
read -r _ || true
