# --- Enterprise Linux: yum, dracut, and systemd or init scripts ---
# What cloud-init may do under SELinux is less than what is done here.
setenforce 0 2>/dev/null || echo 'SELinux is off'

package_sources() { # package_sources FILE
    rm -f /etc/yum.repos.d/*.repo
    cp "$1" /etc/yum.repos.d/pgxc-lab.repo
}

install_packages() { # install_packages PACKAGE...
    yum -y install "$@"
    # Older ones are content with those packages that there are.
    rpm -q "$@"
}

make_locale() { # make_locale NAME: the packages have all that there are
    LC_ALL=$1 locale charmap | grep -qx UTF-8
}

make_initrd() { # make_initrd VERSION FILE
    case $(dracut --help 2>&1) in
        *--no-hostonly-cmdline*) dracut --force --no-hostonly-cmdline --add-drivers 'virtio_pci virtio_blk ext4' "$2" "$1" ;;
        *) dracut --force --add-drivers 'virtio_pci virtio_blk ext4' "$2" "$1" ;;
    esac
}

choose_services() { # choose_services: of the copy, which is the working directory
    rm -f etc/sysconfig/network-scripts/ifcfg-e* etc/NetworkManager/system-connections/*
    if [ ! -d etc/systemd/system ]; then
        for name in cloud-init-local cloud-init cloud-config cloud-final postfix; do
            chroot . /sbin/chkconfig "$name" off 2>/dev/null || echo "no service $name"
        done
        for name in sshd ntpd iptables rpcbind netfs; do chroot . /sbin/chkconfig "$name" on; done
        return
    fi
    mask firewalld.service kdump.service dnf-makecache.timer postfix.service tuned.service rpcbind.service rpcbind.socket \
        sshd-keygen.service sshd-keygen.target
    systemctl --quiet --root="$PWD" enable pgxc-firewall.service chronyd.service sshd.service NetworkManager.service
}
