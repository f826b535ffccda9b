//! Can a lab live on this machine, beside what others have there? Looking touches nothing; judging is pure.

use super::{LIBVIRT, Lease, NETWORK, Server, clashes, firewall, hosts_text, leases};
use crate::{
    error::Error,
    host::{LabDir, program},
    hypervisor::{Libvirt, Reservation, SeenNetwork, reservations},
    lab::{HostKind, HostsFile, Lab},
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What libvirt says, or why it says nothing.
    pub libvirt: Result<SeenLibvirt, String>,
    /// Reservations that this lab made before.
    pub ours: Vec<Reservation>,
    /// Who serves NFS.
    pub server: Server,
    /// Whether it does already.
    pub serves: bool,
    /// Exported directories that have something in them which is not ours.
    pub occupied: Vec<PathBuf>,
    /// Whether programs for it are missing.
    pub missing: Vec<&'static str>,
    /// Directories on the way to the lab's disks that qemu's user cannot pass.
    pub closed: Vec<PathBuf>,
    /// Whether AppArmor confines guests.
    pub apparmor: bool,
    /// What the firewall says.
    pub firewall: Firewall,
    /// What is in its file of names, or why that cannot be read.
    pub names: Result<String, String>,
    /// Whether the clock is before this program was made.
    pub clock_is_behind: bool,
}

/// What libvirt says.
#[derive(Clone, Debug)]
pub struct SeenLibvirt {
    /// The network that guests are plugged into.
    pub network: Option<SeenNetwork>,
    /// Domains that are not of this lab.
    pub others: Vec<String>,
    /// Addresses that machines have from DHCP.
    pub leases: Vec<Lease>,
}

/// Firewalls that iptables cannot speak for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// None, or iptables.
    Iptables,
    /// firewalld, and its zone of libvirt's bridges lets in what guests want.
    FirewalldOpen,
    /// firewalld, and it does not.
    FirewalldShut,
    /// A table of nftables that drops by default.
    Nftables,
}

/// Whether a lab can live with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Fits,
    /// It cannot.
    Blocks,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub item: &'static str,
    /// Whether it is well.
    pub verdict: Verdict,
    /// What was seen; with a block, what to do.
    pub detail: String,
}

/// Looks. Blocks for as long as libvirt takes to answer.
pub fn look(lab: &Lab, dir: &LabDir, ours: Vec<Reservation>) -> Facts {
    let server = Server::of_this_machine();
    let programs: &[&str] = match server {
        Server::Kernel => &["exportfs", "rpcinfo", "chronyd"],
        Server::Ganesha => &["ganesha.nfsd", "rpcbind", "chronyd"],
    };
    let occupied = match server {
        Server::Kernel => {
            lab.nodes.iter().map(|node| PathBuf::from(&node.export)).filter(|path| is_occupied(path)).collect()
        }
        Server::Ganesha => Vec::new(),
    };
    Facts {
        libvirt: look_at_libvirt(lab),
        ours,
        server,
        serves: server.serves(),
        occupied,
        missing: programs.iter().copied().filter(|name| program(name).is_none()).collect(),
        closed: closed(dir.path()),
        apparmor: fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|on| on.trim() == "Y"),
        firewall: look_at_firewall(),
        names: hosts_text().map_err(|error| error.line()),
        clock_is_behind: clock_is_behind(),
    }
}

fn look_at_libvirt(lab: &Lab) -> Result<SeenLibvirt, String> {
    let look = || {
        let libvirt = Libvirt::open(LIBVIRT)?;
        let network = libvirt.seen_network(NETWORK)?;
        let bridge = network.as_ref().and_then(|network| network.bridge.as_deref());
        let leases = bridge.map(leases).transpose()?.unwrap_or_default();
        Ok(SeenLibvirt { others: libvirt.others(lab.name.as_str())?, leases, network })
    };
    look().map_err(|error: Error| error.line())
}

/// Something is in it, and it is not where an export of a lab is mounted.
fn is_occupied(directory: &Path) -> bool {
    let ours = directory.join(crate::engine::GUARD).exists();
    !ours && fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// qemu runs as a user of its own unless its configuration says that it is root.
fn closed(path: &Path) -> Vec<PathBuf> {
    let configuration = fs::read_to_string("/etc/libvirt/qemu.conf").unwrap_or_default();
    let is_root = configuration.lines().any(|line| {
        line.split_once('=').is_some_and(|(key, user)| key.trim() == "user" && user.trim().trim_matches('"') == "root")
    });
    if is_root {
        return Vec::new();
    }
    const OTHERS_MAY_PASS: u32 = 0o001;
    let shut = |path: &&Path| fs::metadata(path).is_ok_and(|data| data.mode() & OTHERS_MAY_PASS == 0);
    path.ancestors().filter(shut).map(Path::to_owned).collect()
}

fn look_at_firewall() -> Firewall {
    let succeeds = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if succeeds("firewall-cmd", &["--state"]) {
        let is_open =
            |service: &str| succeeds("firewall-cmd", &["--zone=libvirt", &format!("--query-service={service}")]);
        return if is_open("nfs") && is_open("ntp") { Firewall::FirewalldOpen } else { Firewall::FirewalldShut };
    }
    let rules = Command::new("nft").args(["list", "ruleset"]).stdin(Stdio::null()).output();
    let rules = rules.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if firewall::drops_beside_iptables(&rules) { Firewall::Nftables } else { Firewall::Iptables }
}

fn clock_is_behind() -> bool {
    let made = std::env::current_exe().and_then(fs::metadata).and_then(|data| data.modified());
    made.is_ok_and(|made| SystemTime::now() < made)
}

/// Judges.
pub fn survey(lab: &Lab, facts: &Facts) -> Vec<Finding> {
    debug_assert_eq!(lab.host, HostKind::System, "others have namespaces of their own");
    let mut findings = Vec::new();
    let mut find = |item, verdict, detail: String| findings.push(Finding { item, verdict, detail });
    match &facts.libvirt {
        Err(error) => find(
            "libvirt",
            Verdict::Blocks,
            format!(
                "{error}; start it with `systemctl start libvirtd`, and run this as root or in the group `libvirt`"
            ),
        ),
        Ok(seen) => {
            find("libvirt", Verdict::Fits, format!("answers at {LIBVIRT}"));
            judge_network(lab, facts, seen, &mut find);
        }
    }
    match (facts.missing.as_slice(), facts.serves) {
        ([], true) => find("NFS", Verdict::Fits, format!("{} serves", facts.server.as_str())),
        ([], false) => {
            find("NFS", Verdict::Blocks, "the kernel's NFS server does not run: `systemctl start nfs-server`".into())
        }
        (missing, _) => {
            find("NFS", Verdict::Blocks, format!("{} not installed: `./scripts/setup` brings it", missing.join(", ")))
        }
    }
    for directory in &facts.occupied {
        find(
            "export",
            Verdict::Blocks,
            format!(
                "`{}` is not empty: somebody's files would be hidden; name another directory with `export`",
                directory.display()
            ),
        );
    }
    match facts.closed.as_slice() {
        [] => find("disks", Verdict::Fits, "qemu's user can pass to them".into()),
        closed => {
            let closed: Vec<String> = closed.iter().map(|path| format!("`{}`", path.display())).collect();
            find(
                "disks",
                Verdict::Blocks,
                format!("qemu's user cannot pass {}: `chmod o+x`, or another `--home`", closed.join(", ")),
            );
        }
    }
    if facts.apparmor {
        find(
            "AppArmor",
            Verdict::Fits,
            "on; libvirt makes a profile for each guest from the files that its definition names".into(),
        );
    }
    match facts.firewall {
        Firewall::Iptables => {}
        Firewall::FirewalldOpen => find("firewall", Verdict::Fits, "firewalld lets guests in".into()),
        Firewall::FirewalldShut => find(
            "firewall",
            Verdict::Blocks,
            "firewalld keeps guests from files and time: `firewall-cmd --zone=libvirt --add-service=nfs --add-service=ntp`".into(),
        ),
        Firewall::Nftables => find(
            "firewall",
            Verdict::Blocks,
            "a table of nftables drops what it does not know: have its input chain accept tcp 2049 and udp 123 from the bridge, \
             and drop by a last rule instead of by policy"
                .into(),
        ),
    }
    if lab.network.hosts_file == HostsFile::Block {
        match &facts.names {
            Ok(names) => clashes(names, lab).into_iter().for_each(|clash| {
                find("names", Verdict::Blocks, format!("{clash}: take that line out, or give the node another name"));
            }),
            Err(why) => find("names", Verdict::Blocks, why.clone()),
        }
    }
    if facts.clock_is_behind {
        find(
            "clock",
            Verdict::Blocks,
            "this machine's clock is before the day on which this program was made: set it, the guests follow".into(),
        );
    }
    findings
}

fn judge_network(lab: &Lab, facts: &Facts, seen: &SeenLibvirt, find: &mut impl FnMut(&'static str, Verdict, String)) {
    for node in lab.nodes.iter().filter(|node| seen.others.iter().any(|other| *other == node.name.as_str())) {
        find(
            "domain",
            Verdict::Blocks,
            format!("libvirt has a domain `{}` that is not of this lab: give the node another name", node.name),
        );
    }
    let Some(network) = &seen.network else {
        let define = "`virsh net-define /usr/share/libvirt/networks/default.xml` and `virsh net-start default`";
        return find("network", Verdict::Blocks, format!("libvirt has no network `{NETWORK}`: {define} make it"));
    };
    if !network.active {
        return find(
            "network",
            Verdict::Blocks,
            format!("the network `{NETWORK}` does not run: `virsh net-start {NETWORK}`"),
        );
    }
    let wanted = (lab.network.gateway, lab.network.subnet.netmask());
    match (network.gateway, &network.bridge) {
        (Some(there), Some(bridge)) if there == wanted => {
            find("network", Verdict::Fits, format!("`{NETWORK}` is {} on {bridge}", lab.network.subnet));
        }
        (there, _) => {
            let there =
                there.map_or("has no address".to_owned(), |(gateway, mask)| format!("is {gateway} with mask {mask}"));
            let text = format!(
                "`{NETWORK}` {there}, lab.yaml wants {} in {}: change `network` and the addresses there",
                wanted.0, lab.network.subnet
            );
            return find("network", Verdict::Blocks, text);
        }
    }
    let reservations = reservations(lab);
    let difference = network.compare(&facts.ours, &reservations);
    for clash in difference.clashes {
        find("reservation", Verdict::Blocks, format!("{clash}; take another one in lab.yaml"));
    }
    for reservation in &reservations {
        let foreign = |lease: &&Lease| lease.address == reservation.address && lease.mac != reservation.mac.to_string();
        if let Some(lease) = seen.leases.iter().find(foreign) {
            let text = format!(
                "{} of `{}` is leased to {}: end that machine, or take another address",
                lease.address, reservation.name, lease.mac
            );
            find("lease", Verdict::Blocks, text);
        }
    }
    if let Some((first, last)) = network.range {
        let inside = reservations.iter().filter(|reservation| (first..=last).contains(&reservation.address)).count();
        if inside > 0 {
            let text = format!(
                "{inside} addresses lie in {first} to {last}, which DHCP gives to anybody: reserved ones it does not"
            );
            find("range", Verdict::Fits, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::fixture::document, hypervisor::SeenReservation};

    fn lab() -> Lab {
        Lab { host: HostKind::System, ..document() }
    }

    /// A machine on which the lab of the document can live.
    fn facts() -> Facts {
        let network = SeenNetwork {
            active: true,
            bridge: Some("virbr0".into()),
            gateway: Some(([192, 168, 122, 1].into(), [255, 255, 255, 0].into())),
            range: Some(([192, 168, 122, 2].into(), [192, 168, 122, 254].into())),
            reservations: Vec::new(),
        };
        Facts {
            libvirt: Ok(SeenLibvirt { network: Some(network), others: vec!["mail".into()], leases: Vec::new() }),
            ours: Vec::new(),
            server: Server::Kernel,
            serves: true,
            occupied: Vec::new(),
            missing: Vec::new(),
            closed: Vec::new(),
            apparmor: true,
            firewall: Firewall::Iptables,
            names: Ok("127.0.0.1 localhost\n".into()),
            clock_is_behind: false,
        }
    }

    fn blocks(facts: &Facts) -> Vec<Finding> {
        survey(&lab(), facts).into_iter().filter(|finding| finding.verdict == Verdict::Blocks).collect()
    }

    fn seen(facts: &mut Facts) -> &mut SeenLibvirt {
        facts.libvirt.as_mut().expect("it answers")
    }

    fn network(facts: &mut Facts) -> &mut SeenNetwork {
        seen(facts).network.as_mut().expect("it is there")
    }

    #[test]
    fn a_machine_that_has_everything_is_fit() {
        assert_eq!(blocks(&facts()), []);
        let range = survey(&lab(), &facts()).into_iter().find(|finding| finding.item == "range");
        assert!(range.is_some_and(|range| range.detail.starts_with("8 addresses lie in 192.168.122.2")));
    }

    #[test]
    fn each_thing_that_is_in_the_way_is_told_with_what_to_do() {
        type Break = fn(&mut Facts);
        let breaks: [(&str, &str, Break); 16] = [
            ("libvirt", "systemctl start libvirtd", |facts| facts.libvirt = Err("no socket".into())),
            ("network", "net-define", |facts| seen(facts).network = None),
            ("network", "virsh net-start default", |facts| network(facts).active = false),
            ("network", "10.0.0.1", |facts| {
                network(facts).gateway = Some(([10, 0, 0, 1].into(), [255, 0, 0, 0].into()))
            }),
            ("network", "has no address", |facts| network(facts).gateway = None),
            ("reservation", "address 192.168.122.171", |facts| {
                let theirs = SeenReservation { mac: None, name: None, address: Some([192, 168, 122, 171].into()) };
                network(facts).reservations.push(theirs);
            }),
            ("lease", "192.168.122.178", |facts| {
                let lease = r#"{"ip-address":"192.168.122.178","mac-address":"52:54:00:aa:aa:aa","expiry-time":1}"#;
                seen(facts).leases.push(serde_json::from_str(lease).expect("a lease"));
            }),
            ("domain", "another name", |facts| seen(facts).others.push(document().nodes[0].name.to_string())),
            ("NFS", "systemctl start nfs-server", |facts| facts.serves = false),
            ("NFS", "exportfs not installed", |facts| facts.missing.push("exportfs")),
            ("export", "`/data03/171` is not empty", |facts| facts.occupied.push("/data03/171".into())),
            ("disks", "chmod o+x", |facts| facts.closed.push("/root".into())),
            ("firewall", "firewall-cmd", |facts| facts.firewall = Firewall::FirewalldShut),
            ("firewall", "nftables", |facts| facts.firewall = Firewall::Nftables),
            ("clock", "set it", |facts| facts.clock_is_behind = true),
            ("network", "has no address", |facts| {
                *network(facts) = SeenNetwork { bridge: None, gateway: None, ..network(facts).clone() }
            }),
        ];
        for (item, text, alter) in breaks {
            let mut facts = facts();
            alter(&mut facts);
            let blocks = blocks(&facts);
            assert!(
                blocks.len() == 1 && blocks[0].item == item && blocks[0].detail.contains(text),
                "{item}, {text}: {blocks:?}"
            );
        }
    }

    #[test]
    fn a_directory_that_only_its_owner_may_pass_is_closed() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let open = directory.path().join("open");
        fs::create_dir(&open).expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
        assert_eq!(closed(&open.join("not/yet/there")), [directory.path()]);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).expect("it is ours");
        assert_eq!(closed(&open), Vec::<PathBuf>::new());
    }
}
