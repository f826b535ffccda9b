# --- The bake: cloud-init runs this once, as root, in the publisher's system ---
# It brings the system to what every guest of the image has, and copies it to a new filesystem, cleaned of whose it was.
set -eu
exec </dev/null >/dev/ttyS0 2>&1
volume=$(cd "$(dirname "$0")" && pwd)
out=/var/tmp/pgxc-out
root=/mnt/pgxc-root

stage=start
begin() { # begin STAGE
    stage=$1
    echo "pgxc-lab: bake: $stage"
}
ended() {
    status=$?
    trap - EXIT
    if [ "$status" = 0 ]; then echo 'pgxc-lab: baked'; else echo "pgxc-lab: bake failed: $stage (status $status)"; fi
    sync
    poweroff -f
}
trap ended EXIT

disk() { # disk SERIAL: the device with this serial number
    for file in /sys/block/vd*/serial; do
        if [ "$(cat "$file")" = "$1" ]; then
            file=${file%/serial}
            echo "/dev/${file##*/}"
            return
        fi
    done
    echo "no disk has the serial number $1" >&2
    return 1
}
mask() { # mask UNIT...: in the copy
    for unit in "$@"; do ln -sf /dev/null "etc/systemd/system/$unit"; done
}

begin files
tar -xpf "$volume/files.tar" -C /

begin 'package sources'
if [ -s "$volume/repositories" ]; then package_sources "$volume/repositories"; fi

begin packages
# shellcheck disable=SC2086 # several words are meant
install_packages $PACKAGES

begin 'user and locale'
groupadd --gid "$GUEST_UID" "$GUEST_USER"
useradd --uid "$GUEST_UID" --gid "$GUEST_UID" --home-dir "/home/$GUEST_USER" --create-home --shell /bin/bash \
    --comment 'pgxc-lab databases' "$GUEST_USER"
make_locale "$GUEST_LOCALE"

begin 'kernel and initrd'
kernel=$(uname -r)
mkdir -p "$out"
cp "/boot/vmlinuz-$kernel" "$out/vmlinuz"
make_initrd "$kernel" "$out/initrd.img"
tar -cf "$(disk pgxc-out)" -C "$out" vmlinuz initrd.img
rm -rf "$out"

begin 'root filesystem'
mkdir -p "$root"
modprobe ext4 2>/dev/null || echo 'ext4 is in the kernel'
mount -t ext4 "$(disk pgxc-root)" "$root"
cp -ax /. "$root/"

begin 'clean up'
cd "$root"
rm -rf lost+found/* root/pgxc-lab mnt/pgxc-root root/.ssh var/lib/cloud/* var/lib/dhclient/* var/lib/dhcp/* var/lib/systemd/random-seed
rm -f etc/ssh/ssh_host_* etc/udev/rules.d/70-persistent-net.rules var/lib/dbus/machine-id etc/hostname
find tmp var/tmp var/cache/apt var/cache/yum var/cache/dnf var/lib/apt/lists -mindepth 1 -delete 2>/dev/null || echo 'not all of them are there'
find var/log -type f -exec sh -c 'for file; do : >"$file"; done' sh {} +
[ ! -e etc/machine-id ] || : >etc/machine-id
echo pgxc-guest >etc/hostname
# The seed brings the guest's own.
: >etc/fstab
mkdir -p etc/cloud var/lib/pgxc-lab
chmod 700 var/lib/pgxc-lab
: >etc/cloud/cloud-init.disabled
if [ -d etc/systemd/system ]; then
    mask cloud-init-local.service cloud-init.service cloud-init-main.service cloud-init-network.service cloud-config.service \
        cloud-final.service cloud-init-hotplugd.socket
fi
choose_services
cd /
umount "$root"
