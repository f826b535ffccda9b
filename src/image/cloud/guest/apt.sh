# --- Debian and Ubuntu: apt, initramfs-tools, systemd ---
export DEBIAN_FRONTEND=noninteractive

package_sources() { # package_sources FILE
    rm -f /etc/apt/sources.list.d/*
    cp "$1" /etc/apt/sources.list
}

install_packages() { # install_packages PACKAGE...
    # Packages start no services: this machine is nobody's.
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    apt-get -q -o APT::Update::Error-Mode=any update
    apt-get -q -y --no-install-recommends -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io install "$@"
    rm -f /usr/sbin/policy-rc.d
}

make_locale() { # make_locale NAME
    echo "$1 UTF-8" >/etc/locale.gen
    locale-gen
}

make_initrd() { # make_initrd VERSION FILE
    # Only what reaches the root disk: an emulated guest unpacks all of it at every boot.
    printf 'MODULES=list\nCOMPRESS=gzip\n' >/etc/initramfs-tools/conf.d/pgxc-lab
    printf '%s\n' virtio_pci virtio_blk crc32c_generic ext4 >/etc/initramfs-tools/modules
    mkinitramfs -o "$2" "$1"
}

choose_services() { # choose_services: of the copy, which is the working directory
    # Ubuntu's sshd is started by a connection, which an emulated guest feels each time.
    mask ssh.socket apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service man-db.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer logrotate.timer motd-news.timer systemd-timesyncd.service \
        networking.service rpcbind.service rpcbind.socket snapd.service snapd.socket snapd.seeded.service postgresql.service
    systemctl --quiet --root="$PWD" enable systemd-networkd.service pgxc-firewall.service chrony.service ssh.service
    # A lab's network has no IPv6, and its names are in /etc/hosts.
    rm -f etc/netplan/*.yaml etc/network/interfaces.d/*
}
