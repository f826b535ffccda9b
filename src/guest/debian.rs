//! Debian 12 guests.

use super::{
    GuestFile, GuestSystem, MARK, hosts,
    tune::{self, Dialect, Superseded},
};
use crate::lab::{Guest, Lab, Node};

/// Debian with systemd, chrony, iptables and nfs-common, as `images/debian-12` makes it.
pub struct Debian;

const SYSCTL_FILE: &str = "/etc/sysctl.d/60-pgxc-lab.conf";
const LIMITS_FILE: &str = "/etc/security/limits.d/60-pgxc-lab.conf";
const CHRONY_FILE: &str = "/etc/chrony/chrony.conf";
const RULES_FILE: &str = "/etc/iptables/rules.v4";

/// Kernel parameters of the document that newer kernels do not have.
const SUPERSEDED: [Superseded; 3] = [
    Superseded {
        key: "net.ipv4.tcp_tw_recycle",
        successor: "",
        reason: "removed in Linux 4.12: it broke clients behind NAT",
    },
    Superseded {
        key: "net.ipv4.ip_conntrack_max",
        successor: "net/netfilter/nf_conntrack_max",
        reason: "by net.netfilter.nf_conntrack_max once connections are tracked",
    },
    Superseded {
        key: "net.ipv4.netfilter.ip_conntrack_max",
        successor: "net/netfilter/nf_conntrack_max",
        reason: "by net.netfilter.nf_conntrack_max once connections are tracked",
    },
];

impl GuestSystem for Debian {
    fn files(&self, lab: &Lab, node: &Node) -> Vec<GuestFile> {
        let guest = &lab.guest;
        let sysctl: String = guest.sysctl.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let limits: String = guest
            .limits
            .iter()
            .map(|limit| format!("{} {} {} {}\n", limit.domain, limit.kind, limit.item, limit.value))
            .collect();
        let mut files = vec![
            GuestFile::text("/etc/hostname", format!("{}\n", node.name)),
            GuestFile::text("/etc/hosts", hosts::file(lab)),
            // `-`: a key that this kernel lacks is no error of the boot (spec 1.7); the tune script reports it.
            GuestFile::text(
                SYSCTL_FILE,
                format!("{MARK}{}", sysctl.lines().map(|line| format!("-{line}\n")).collect::<String>()),
            ),
            GuestFile::text(LIMITS_FILE, format!("{MARK}{limits}")),
            GuestFile::text(CHRONY_FILE, chrony(lab)),
            GuestFile::link("/etc/localtime", format!("/usr/share/zoneinfo/{}", guest.timezone)),
            GuestFile::text("/etc/timezone", format!("{}\n", guest.timezone)),
            GuestFile::text("/etc/default/locale", format!("LANG={}\n", guest.locale)),
            GuestFile::text("/etc/fstab", fstab(lab, node)),
            GuestFile::directory(&lab.nfs.mount, 0o755),
        ];
        if !guest.iptables.trim().is_empty() {
            files.push(GuestFile::text(RULES_FILE, format!("{}\n", guest.iptables.trim_end())));
        }
        files
    }

    fn tune_script(&self, lab: &Lab, _: &Node, files: &[GuestFile]) -> String {
        let mut after = tune::line("again", &[CHRONY_FILE, "systemctl", "try-restart", "chrony.service"]);
        after.push_str("again /etc/hostname hostname -F /etc/hostname\n");
        after.push_str(
            "case $touched in *' /etc/systemd/'* | *' /etc/fstab '*) systemctl daemon-reload >/dev/null 2>&1 ;; esac\n",
        );
        let dialect = Dialect {
            functions: "",
            kinds: &[
                (LIMITS_FILE, "limit"),
                (CHRONY_FILE, "time"),
                ("/etc/localtime", "time"),
                ("/etc/timezone", "time"),
                ("/etc/default/locale", "locale"),
            ],
            superseded: &SUPERSEDED,
            rules_file: RULES_FILE,
            units,
            after,
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

fn units(guest: &Guest) -> String {
    let unit = |name: &String| if name.contains('.') { name.clone() } else { format!("{name}.service") };
    let names = guest.services_off.iter().chain(&guest.services_on).map(unit);
    let names: String = names.map(|name| format!(" {}", tune::quoted(&name))).collect();
    if names.is_empty() {
        return "units=\n".to_owned();
    }
    format!("units=$(systemctl list-unit-files --no-legend --plain --no-pager{names} 2>/dev/null)\n")
}

/// The lab's gateway serves time. A guest that comes back from memory is far behind: stepping is always allowed, and it
/// looks often, since a look costs a packet each way and everybody waits for it after a restore. With more than two samples
/// it would believe the old ones for up to five looks; two are good for a tenth of a millisecond. The gateway may ask how far
/// off the clock is, which costs an emulated guest a thousandth of an ssh login.
fn chrony(lab: &Lab) -> String {
    format!(
        "{MARK}server {0} iburst minpoll 0 maxpoll 1 maxsamples 2\nmakestep 1 -1\ndriftfile /var/lib/chrony/drift\nrtcsync\n\
         bindcmdaddress 0.0.0.0\ncmdallow {0}\n",
        lab.network.gateway
    )
}

/// The export survives a reboot (spec 1.14.18). `nofail`: a guest without its export still boots and can be looked at,
/// while the units of the cluster require the mount.
fn fstab(lab: &Lab, node: &Node) -> String {
    let mut options = lab.nfs.options.clone();
    for option in ["_netdev", "nofail", "x-systemd.mount-timeout=600"] {
        if !options.iter().any(|known| known == option) {
            options.push(option.to_owned());
        }
    }
    format!(
        "{MARK}LABEL=pgxc-root / ext4 defaults,noatime 0 1\n{}:{} {} nfs {} 0 0\n",
        lab.network.gateway,
        node.export,
        lab.nfs.mount,
        options.join(",")
    )
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
