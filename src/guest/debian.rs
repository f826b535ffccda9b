//! Guests of Debian 12, and of Ubuntu, which differs in nothing that is said here.

use super::{
    GuestFile, GuestSystem, MARK, hosts, systemd,
    tune::{self, Dialect},
};
use crate::lab::{Lab, Node};

/// Debian with systemd, chrony, iptables and nfs-common, as `images/debian-12` makes it.
pub struct Debian;

const SYSCTL_FILE: &str = "/etc/sysctl.d/60-pgxc-lab.conf";
const LIMITS_FILE: &str = "/etc/security/limits.d/60-pgxc-lab.conf";
const CHRONY_FILE: &str = "/etc/chrony/chrony.conf";
/// File with the firewall's rules, which pgxc-firewall.service loads.
pub(super) const RULES_FILE: &str = "/etc/iptables/rules.v4";

impl GuestSystem for Debian {
    fn files(&self, lab: &Lab, node: &Node) -> Vec<GuestFile> {
        let guest = &lab.guest;
        let sysctl: String = guest.sysctl.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let mut files = vec![
            GuestFile::text("/etc/hostname", format!("{}\n", node.name)),
            GuestFile::text("/etc/hosts", hosts::file(lab)),
            // `-`: a key that this kernel lacks is no error of the boot (spec 1.7); the tune script reports it.
            GuestFile::text(
                SYSCTL_FILE,
                format!("{MARK}{}", sysctl.lines().map(|line| format!("-{line}\n")).collect::<String>()),
            ),
            GuestFile::text(LIMITS_FILE, systemd::limits(guest)),
            GuestFile::text(CHRONY_FILE, systemd::chrony(lab)),
            GuestFile::link("/etc/localtime", format!("/usr/share/zoneinfo/{}", guest.timezone)),
            GuestFile::text("/etc/timezone", format!("{}\n", guest.timezone)),
            GuestFile::text("/etc/default/locale", format!("LANG={}\n", guest.locale)),
            GuestFile::text("/etc/fstab", systemd::fstab(lab, node)),
            GuestFile::directory(&lab.nfs.mount, 0o755),
        ];
        if !guest.iptables.trim().is_empty() {
            files.push(GuestFile::text(RULES_FILE, format!("{}\n", guest.iptables.trim_end())));
        }
        files
    }

    fn tune_script(&self, lab: &Lab, _: &Node, files: &[GuestFile]) -> String {
        let dialect = Dialect {
            functions: "",
            kinds: &[
                (LIMITS_FILE, "limit"),
                (CHRONY_FILE, "time"),
                ("/etc/localtime", "time"),
                ("/etc/timezone", "time"),
                ("/etc/default/locale", "locale"),
            ],
            superseded: &systemd::SUPERSEDED,
            rules_file: RULES_FILE,
            units: systemd::units,
            after: systemd::after(CHRONY_FILE, "chrony.service"),
        };
        tune::script(&dialect, lab, files)
    }

    fn power_off(&self) -> &'static str {
        "systemctl poweroff"
    }

    fn time_service(&self) -> &'static str {
        "chrony.service"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::fixture::document, guest::Content};

    fn text(path: &str) -> String {
        let lab = document();
        let file = Debian.files(&lab, &lab.nodes[3]).into_iter().find(|file| file.path == path).unwrap();
        match file.content {
            Content::Text(text) => text,
            Content::Link(target) => target,
            Content::Directory => String::new(),
        }
    }

    #[test]
    fn files_of_a_node() {
        for (path, line) in [
            ("/etc/hostname", "db-192-168-122-174"),
            ("/etc/hosts", "192.168.122.178 db-192-168-122-178.sky-mobi.com db-192-168-122-178"),
            ("/etc/hosts", "192.168.122.1 lab-gateway"),
            ("/etc/sysctl.d/60-pgxc-lab.conf", "-kernel.sem = 50100 64128000 50100 1280"),
            ("/etc/security/limits.d/60-pgxc-lab.conf", "* hard memlock 50000000"),
            ("/etc/chrony/chrony.conf", "server 192.168.122.1 iburst minpoll 0 maxpoll 1 maxsamples 2"),
            ("/etc/localtime", "/usr/share/zoneinfo/Asia/Shanghai"),
            ("/etc/default/locale", "LANG=en_US.UTF-8"),
            ("/etc/fstab", "192.168.122.1:/data03/174 /data02 nfs tcp,_netdev,nofail,x-systemd.mount-timeout=600 0 0"),
            ("/etc/iptables/rules.v4", "-A FORWARD -j RH-Firewall-1-INPUT "),
        ] {
            assert!(text(path).lines().any(|known| known == line), "{path}: {line} is missing in\n{}", text(path));
        }
    }

    #[test]
    fn no_rules_no_file() {
        let mut lab = document();
        lab.guest.iptables.clear();
        assert!(Debian.files(&lab, &lab.nodes[0]).iter().all(|file| file.path != "/etc/iptables/rules.v4"));
    }
}
