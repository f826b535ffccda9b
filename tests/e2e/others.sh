# shellcheck shell=bash
# A host on which other people work already: a network, a reservation, a domain, an export and a line in /etc/hosts are theirs.
# Read by host.sh.
: "${directory:?host.sh sets it}"
hostname someones-host
echo '10.9.9.9 someones.example.org' >>/etc/hosts
mkdir -p /etc/exports.d

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
