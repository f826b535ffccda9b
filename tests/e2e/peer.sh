# shellcheck shell=bash
# A host that a lab reaches over ssh, with the key whose public half is the third argument. Read by host.sh.
: "${directory:?host.sh sets it}"
mkdir -p /run/sshd
[ -e "$directory/host-key" ] || ssh-keygen -q -t ed25519 -N '' -f "$directory/host-key"
/usr/sbin/sshd -f /dev/null -o HostKey="$directory/host-key" -o AuthorizedKeysFile="$3" -o StrictModes=no -o UsePAM=no \
  -o PermitRootLogin=yes -o PidFile=/run/sshd.pid </dev/null >/dev/null 2>&1
# Nothing of other hosts is written to a home directory, which is the machine's.
printf '%s\n' 'UserKnownHostsFile /dev/null' 'LogLevel ERROR' >>/etc/ssh/ssh_config
