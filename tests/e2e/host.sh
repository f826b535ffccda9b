#!/usr/bin/env bash
# Plays a host with a libvirt of its own, on which other people work already: a network, a reservation, a domain, an export
# and a line in /etc/hosts are theirs. Pid 1 of namespaces that `unshare` made; ends when its standard input does.
#   unshare --net --mount --pid --ipc --uts --fork --kill-child host.sh DIRECTORY
set -euo pipefail
directory=$1

mount --make-rprivate /
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
hostname someones-host

printf '%s\n' 'cgroup_controllers = []' 'max_queued = 0' >>/etc/libvirt/qemu.conf
echo '10.9.9.9 someones.example.org' >>/etc/hosts
mkdir -p /run/libvirt /run/lock /etc/exports.d
virtlogd -d -f /etc/libvirt/virtlogd.conf -p /run/virtlogd.pid </dev/null >/dev/null 2>&1
libvirtd -d -f /etc/libvirt/libvirtd.conf -p /run/libvirtd.pid </dev/null >/dev/null 2>&1
until [ -S /run/libvirt/libvirt-sock ]; do sleep 0.05; done

virsh -q net-define /dev/stdin <<'XML'
<network><name>someones</name><bridge name="virbr9"/><forward mode="nat"/>
<ip address="10.9.9.1" netmask="255.255.255.0"/></network>
XML
virsh -q net-start someones
virsh net-info default >/dev/null 2>&1 || virsh -q net-define /usr/share/libvirt/networks/default.xml
virsh net-info default | grep '^Active: *yes' >/dev/null || virsh -q net-start default
virsh -q net-update default add ip-dhcp-host --live --config "<host mac='52:54:00:99:99:99' name='someones' ip='192.168.122.99'/>"
virsh -q define /dev/stdin <<'XML'
<domain type="qemu"><name>someones</name><memory unit="MiB">64</memory><os><type arch="x86_64" machine="q35">hvm</type></os></domain>
XML
if command -v exportfs >/dev/null; then
  touch /var/lib/nfs/etab
  mkdir -p "$directory/theirs"
  exportfs -o ro "10.9.9.0/24:$directory/theirs"
fi
# Lets in what libvirt asks for, and nobody to the host's own services.
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -P INPUT DROP

echo ready
# Adopts and reaps what daemons leave, until nobody listens any more.
read -r _ || true
