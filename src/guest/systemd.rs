//! What guests with systemd and chrony share, whatever distribution they are.

use super::{
    MARK,
    tune::{self, Superseded},
};
use crate::lab::{Guest, Lab, Node};

/// Kernel parameters of the document that newer kernels do not have.
pub(super) const SUPERSEDED: [Superseded; 3] = [
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

/// The lines of limits.conf.
pub(super) fn limits(guest: &Guest) -> String {
    let lines = guest.limits.iter();
    let lines: String =
        lines.map(|limit| format!("{} {} {} {}\n", limit.domain, limit.kind, limit.item, limit.value)).collect();
    format!("{MARK}{lines}")
}

/// One call tells the states of all units.
pub(super) fn units(guest: &Guest) -> String {
    let unit = |name: &String| if name.contains('.') { name.clone() } else { format!("{name}.service") };
    let names = guest.services_off.iter().chain(&guest.services_on).map(unit);
    let names: String = names.map(|name| format!(" {}", tune::quoted(&name))).collect();
    if names.is_empty() {
        return "units=\n".to_owned();
    }
    format!("units=$(systemctl list-unit-files --no-legend --plain --no-pager{names} 2>/dev/null)\n")
}

/// What must be told of files that were changed.
pub(super) fn after(chrony_file: &str, chrony_unit: &str) -> String {
    let mut after = tune::line("again", &[chrony_file, "systemctl", "try-restart", chrony_unit]);
    after.push_str("again /etc/hostname hostname -F /etc/hostname\n");
    after.push_str(
        "case $touched in *' /etc/systemd/'* | *' /etc/fstab '*) systemctl daemon-reload >/dev/null 2>&1 ;; esac\n",
    );
    after
}

/// The lab's gateway serves time. A guest that comes back from memory is far behind: stepping is always allowed, and it
/// looks often, since a look costs a packet each way and everybody waits for it after a restore. With more than two samples
/// it would believe the old ones for up to five looks; two are good for a tenth of a millisecond. The gateway may ask how far
/// off the clock is, which costs an emulated guest a thousandth of an ssh login.
pub(super) fn chrony(lab: &Lab) -> String {
    format!(
        "{MARK}server {0} iburst minpoll 0 maxpoll 1 maxsamples 2\nmakestep 1 -1\ndriftfile /var/lib/chrony/drift\nrtcsync\n\
         bindcmdaddress 0.0.0.0\ncmdallow {0}\n",
        lab.network.gateway
    )
}

/// The export survives a reboot (spec 1.14.18). `nofail`: a guest without its export still boots and can be looked at,
/// while the units of the cluster require the mount.
pub(super) fn fstab(lab: &Lab, node: &Node) -> String {
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
