//! `Libvirt` on libvirt's own test driver, and the rendered definitions under libvirt's own schemas.
//!
//! A connection to `test:///` and the path of a file has a state of its own, so every test has its own libvirt. The
//! driver lives in this process and is gone with the connection.

use askama::Template;
use pgxc_lab::{
    error::Class,
    hypervisor::{
        Boot, Card, Clock, Disk, DomainDefinition, DomainState, Libvirt, NetworkDefinition, Plug, Reservation,
        SeenDomain, Slot, uuid_of,
    },
    image::Machine,
    lab::Mac,
};
use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// The smallest machine that the driver accepts.
const NODE: &str = "<cpu><mhz>2000</mhz><model>x86_64</model><active>2</active><nodes>1</nodes><sockets>1</sockets>\
<cores>2</cores><threads>1</threads></cpu><memory>8388608</memory>";

pub(crate) struct Host {
    // In this order: the connection goes before the file of its machine.
    libvirt: Libvirt,
    _directory: TempDir,
}

impl std::ops::Deref for Host {
    type Target = Libvirt;

    fn deref(&self) -> &Libvirt {
        &self.libvirt
    }
}

/// A libvirt with nothing in it but these domains.
pub(crate) fn host(domains: &str) -> Host {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let node = directory.path().join("node.xml");
    fs::write(&node, format!("<node>{NODE}{domains}</node>")).expect("it writes");
    let uri = format!("test://{}", node.display());
    Host { libvirt: Libvirt::open(&uri).unwrap_or_else(|error| panic!("{error}")), _directory: directory }
}

fn reservation(node: u8, address: u8) -> Reservation {
    let name = format!("db{node}");
    Reservation { mac: Mac::derived("lab", &name), name, address: Ipv4Addr::new(192, 168, 122, address) }
}

fn network(hosts: Vec<Reservation>) -> NetworkDefinition {
    let subnet = "192.168.122.0/24".parse().expect("a subnet");
    NetworkDefinition::new("lab", subnet, Ipv4Addr::new(192, 168, 122, 1), "sky-mobi.com", hosts)
}

pub(crate) fn domain(lab: &str, name: &str) -> DomainDefinition {
    DomainDefinition {
        kind: "test",
        name: name.into(),
        uuid: uuid_of(&[lab, name]),
        lab: lab.into(),
        digest: String::new(),
        nonce: String::new(),
        memory_kib: 262_144,
        cpus: 1,
        machine: Machine::Q35,
        boot: None,
        cpu: None,
        cpu_mode: "maximum",
        clock: Clock::Utc,
        disks: Vec::new(),
        card: Some(Card {
            mac: Mac::derived(lab, name),
            plug: Plug::Network("default".into()),
            mtu: None,
            machine: Machine::Q35,
        }),
        network_frame: String::new(),
        console: "/tmp/console.log".into(),
        incoming: None,
    }
}

/// A definition with everything that a real one has.
fn full() -> DomainDefinition {
    let disk = |target: &'static str, slot: Slot, serial: &'static str| Disk {
        file: format!("/var/lib/pgxc-lab/{serial}"),
        format: "raw",
        cache: "writeback",
        backing: None,
        target,
        slot,
        serial,
        readonly: true,
        shared: false,
    };
    DomainDefinition {
        boot: Some(Boot { kernel: "/k".into(), initrd: "/i".into(), cmdline: "a=<b> c=\"d\" & e".into() }),
        disks: vec![
            Disk {
                format: "qcow2",
                cache: "unsafe",
                backing: Some("/var/lib/pgxc-lab/image.raw".into()),
                readonly: false,
                ..disk("vda", Slot::Root, "root")
            },
            disk("vdb", Slot::Seed, "seed"),
            Disk { shared: true, ..disk("vdc", Slot::Engine, "pgxc-engine") },
        ],
        ..domain("lab", "db1")
    }
}

fn define(libvirt: &Libvirt, definition: DomainDefinition) -> String {
    let name = definition.name.clone();
    let (xml, digest) = definition.sealed().expect("it renders");
    libvirt.define(&name, &xml).unwrap_or_else(|error| panic!("{error}"));
    digest
}

/// Ensures the network, looks at it with the other function, and does both again.
#[track_caller]
fn assert_changes_once(libvirt: &Libvirt, wanted: &NetworkDefinition) {
    assert!(!libvirt.network_holds(wanted).expect("it answers"), "the change is not seen");
    assert!(libvirt.ensure_network(wanted).unwrap_or_else(|error| panic!("{error}")), "nothing changed");
    assert!(libvirt.network_holds(wanted).expect("it answers"), "it does not hold after it was ensured");
    assert!(!libvirt.ensure_network(wanted).unwrap_or_else(|error| panic!("{error}")), "it changed again");
}

#[test]
fn a_network_is_made_once() {
    assert_changes_once(&host(""), &network(vec![reservation(1, 171), reservation(2, 172)]));
}

#[test]
fn a_network_without_reservations_is_made_once() {
    assert_changes_once(&host(""), &network(Vec::new()));
}

#[test]
fn reservations_are_added_changed_and_removed_in_a_running_network() {
    let libvirt = host("");
    assert_changes_once(&libvirt, &network(vec![reservation(1, 171), reservation(2, 172)]));
    let added = vec![reservation(1, 171), reservation(2, 172), reservation(3, 173)];
    assert_changes_once(&libvirt, &network(added));
    let removed = vec![reservation(2, 172), reservation(3, 173)];
    assert_changes_once(&libvirt, &network(removed));
    let changed = vec![reservation(2, 172), reservation(3, 183)];
    assert_changes_once(&libvirt, &network(changed));
    let mac = Reservation { mac: Mac::derived("other", "db3"), ..reservation(3, 183) };
    assert_changes_once(&libvirt, &network(vec![reservation(2, 172), mac.clone()]));
    let renamed = Reservation { name: "db4".into(), ..mac };
    assert_changes_once(&libvirt, &network(vec![reservation(2, 172), renamed]));
    assert_changes_once(&libvirt, &network(Vec::new()));
    assert_changes_once(&libvirt, &network(vec![reservation(1, 171)]));
}

/// Each takes an address that another one still has.
#[test]
fn nodes_can_change_addresses_with_each_other() {
    let libvirt = host("");
    assert_changes_once(&libvirt, &network(vec![reservation(1, 171), reservation(2, 172)]));
    assert_changes_once(&libvirt, &network(vec![reservation(1, 172), reservation(2, 171)]));
}

/// libvirt keeps its own order: what is added stands last, wherever the node stands in lab.yaml.
#[test]
fn the_order_of_reservations_does_not_matter() {
    let libvirt = host("");
    libvirt.ensure_network(&network(vec![reservation(1, 171), reservation(3, 173)])).expect("it is made");
    let wanted = network(vec![reservation(1, 171), reservation(2, 172), reservation(3, 173)]);
    assert_changes_once(&libvirt, &wanted);
}

#[test]
fn another_gateway_or_domain_is_another_network() {
    let libvirt = host("");
    let wanted = network(vec![reservation(1, 171)]);
    libvirt.ensure_network(&wanted).expect("it is made");
    let domain = NetworkDefinition { domain: "example.org".into(), ..wanted.clone() };
    assert_changes_once(&libvirt, &domain);
    let gateway = NetworkDefinition { gateway: Ipv4Addr::new(192, 168, 122, 254), ..wanted };
    assert_changes_once(&libvirt, &gateway);
}

#[test]
fn a_domain_lives_from_definition_to_removal() {
    let libvirt = host("");
    libvirt.ensure_network(&network(vec![reservation(1, 171)])).expect("the network");
    let digest = define(&libvirt, domain("lab", "db1"));
    let seen = |state, run| SeenDomain { name: "db1".into(), state, run, digest: digest.clone(), nonce: String::new() };
    let now = || libvirt.domains("lab").unwrap_or_else(|error| panic!("{error}"));

    assert_eq!(now(), [seen(DomainState::Off, None)]);
    libvirt.power_off("db1").expect("it is off already");
    libvirt.start("db1").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(libvirt.state("db1").expect("it answers"), DomainState::Running);
    let first = now()[0].run.expect("a running domain has a number");
    assert_eq!(now(), [seen(DomainState::Running, Some(first))]);

    libvirt.power_off("db1").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(libvirt.state("db1").expect("it answers"), DomainState::Off);
    libvirt.start("db1").expect("it starts again");
    assert_ne!(now()[0].run, Some(first), "a new run has a new number");

    libvirt.remove("db1").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(now(), []);
    libvirt.remove("db1").expect("it is removed already");
    libvirt.power_off("db1").expect("it is removed already");
}

#[test]
fn a_definition_can_be_replaced() {
    let libvirt = host("");
    let old = define(&libvirt, domain("lab", "db1"));
    let new = define(&libvirt, DomainDefinition { memory_kib: 524_288, ..domain("lab", "db1") });
    assert_ne!(old, new);
    let seen = libvirt.domains("lab").expect("it answers");
    assert_eq!(seen.iter().map(|domain| &domain.digest).collect::<Vec<_>>(), [&new]);
}

/// The driver takes the states of its first domains from its file (3: paused, 6: crashed).
#[test]
fn states_are_told_apart_and_a_paused_domain_can_go_on() {
    let with_state = |name: &str, state: u8| {
        let xml = domain("lab", name).sealed().expect("it renders").0;
        let space = "xmlns:test=\"http://libvirt.org/schemas/domain/test/1.0\"";
        xml.replace("<domain type=\"test\">", &format!("<domain type=\"test\" {space}>"))
            .replace("</domain>", &format!("<test:runstate>{state}</test:runstate></domain>"))
    };
    let libvirt = host(&format!("{}{}{}", with_state("paused", 3), with_state("off", 5), with_state("crashed", 6)));
    let seen = libvirt.domains("lab").expect("it answers");
    let states: BTreeMap<_, _> = seen.iter().map(|domain| (domain.name.as_str(), domain.state)).collect();
    let expected = [("crashed", DomainState::Crashed), ("off", DomainState::Off), ("paused", DomainState::Paused)];
    assert_eq!(states, expected.into());
    libvirt.resume("paused").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(libvirt.state("paused").expect("it answers"), DomainState::Running);
}

#[test]
fn only_domains_of_this_lab_are_shown() {
    let libvirt = host("");
    for (lab, name) in [("lab", "db2"), ("lab", "db1"), ("lab2", "db1-of-lab2"), ("la", "db1-of-la")] {
        define(&libvirt, domain(lab, name));
    }
    let foreign = |name: &str, metadata: &str| {
        let memory = "<memory unit=\"KiB\">1024</memory><vcpu>1</vcpu><os><type>hvm</type></os>";
        let xml = format!("<domain type=\"test\"><name>{name}</name>{metadata}{memory}</domain>");
        libvirt.define(name, &xml).unwrap_or_else(|error| panic!("{error}"));
    };
    foreign("untagged", "");
    foreign("other-tag", "<metadata><x:lab xmlns:x=\"https://example.org/1\" name=\"lab\" digest=\"d\"/></metadata>");
    let ours = "xmlns:x=\"https://pgxc-lab.invalid/domain/1\"";
    foreign("half-a-tag", &format!("<metadata><x:lab {ours} name=\"lab\"/></metadata>"));
    let names = |lab: &str| {
        let seen = libvirt.domains(lab).expect("it answers");
        seen.into_iter().map(|domain| domain.name).collect::<Vec<_>>()
    };
    assert_eq!(names("lab"), ["db1", "db2"]);
    assert_eq!(names("lab2"), ["db1-of-lab2"]);
    assert_eq!(names("nothing"), Vec::<String>::new());
}

#[test]
fn unknown_names_and_refusals_are_infrastructure() {
    let libvirt = host("");
    let no_such = [libvirt.start("nobody"), libvirt.state("nobody").map(drop), libvirt.resume("nobody")];
    for result in no_such {
        let error = result.expect_err("there is no such domain");
        assert_eq!((error.class(), error.message()), (Class::Infrastructure, "libvirt has no domain `nobody`"));
        assert!(!error.causes().is_empty(), "libvirt's own words are missing: {error}");
    }
    let error = libvirt.define("db1", "<domain/>").expect_err("no definition");
    let message = "libvirt refuses the definition of `db1`";
    assert_eq!((error.class(), error.message()), (Class::Infrastructure, message));

    define(&libvirt, domain("lab", "db1"));
    libvirt.start("db1").expect("it starts");
    let error = libvirt.start("db1").expect_err("it runs already");
    assert_eq!((error.class(), error.message()), (Class::Infrastructure, "cannot start `db1`"));

    let slash = NetworkDefinition { name: "a/b".into(), ..network(Vec::new()) };
    let error = libvirt.ensure_network(&slash).expect_err("a name with a slash");
    assert_eq!((error.class(), error.message()), (Class::Infrastructure, "libvirt refuses the lab's network"));
    assert!(error.causes().iter().any(|cause| cause.contains('/')), "libvirt's own words are missing: {error}");

    libvirt.ensure_network(&network(vec![reservation(1, 171)])).expect("the network");
    let twin = Reservation { name: "twin".into(), address: Ipv4Addr::new(192, 168, 122, 172), ..reservation(1, 171) };
    let error =
        libvirt.ensure_network(&network(vec![reservation(1, 171), twin.clone()])).expect_err("the same MAC twice");
    let message = format!("cannot change the reservation of 192.168.122.172 ({})", twin.mac);
    assert_eq!((error.class(), error.message()), (Class::Infrastructure, message.as_str()));
}

#[test]
fn no_libvirt_is_infrastructure_and_names_the_uri() {
    let uri = "test:///nowhere/at/all.xml";
    let error = Libvirt::open(uri).err().expect("there is no such file");
    assert_eq!(error.class(), Class::Infrastructure);
    assert!(error.message().contains(uri), "{error}");
}

#[test]
fn the_digest_changes_with_every_field() {
    type Change = fn(&mut DomainDefinition);
    let changes: &[(&str, Change)] = &[
        ("nothing", |_| {}),
        ("kind", |it| it.kind = "qemu"),
        ("name", |it| it.name.push('x')),
        ("uuid", |it| it.uuid = uuid_of(&["other"])),
        ("lab", |it| it.lab.push('x')),
        ("memory_kib", |it| it.memory_kib += 1),
        ("cpus", |it| it.cpus += 1),
        ("machine", |it| it.machine = Machine::Pc),
        ("clock", |it| it.clock = Clock::Zone("Asia/Shanghai".into())),
        ("boot", |it| it.boot = None),
        ("boot.kernel", |it| it.boot.as_mut().expect("a boot").kernel.push('x')),
        ("boot.initrd", |it| it.boot.as_mut().expect("a boot").initrd.push('x')),
        ("boot.cmdline", |it| it.boot.as_mut().expect("a boot").cmdline.push('x')),
        ("cpu", |it| it.cpu = Some("Nehalem".into())),
        ("cpu_mode", |it| it.cpu_mode = "host-passthrough"),
        ("disks: one less", |it| drop(it.disks.pop())),
        ("disks: order", |it| it.disks.swap(1, 2)),
        ("disk.file", |it| it.disks[0].file.push('x')),
        ("disk.format", |it| it.disks[0].format = "raw"),
        ("disk.cache", |it| it.disks[0].cache = "none"),
        ("disk.backing", |it| it.disks[0].backing = None),
        ("disk.backing's file", |it| it.disks[0].backing.as_mut().expect("a file").push('x')),
        ("disk.target", |it| it.disks[0].target = "vdz"),
        ("disk.slot", |it| it.disks[0].slot = Slot::Card),
        ("disk.serial", |it| it.disks[0].serial = "other"),
        ("disk.readonly", |it| it.disks[0].readonly = true),
        ("disk.shared", |it| it.disks[1].shared = true),
        ("mac", |it| it.card.iter_mut().for_each(|card| card.mac = Mac::derived("other", "db1"))),
        ("network", |it| it.card.iter_mut().for_each(|card| card.plug = Plug::Network("other".into()))),
        ("bridge", |it| it.card.iter_mut().for_each(|card| card.plug = Plug::Bridge("default".into()))),
        ("mtu", |it| it.card.iter_mut().for_each(|card| card.mtu = Some(1450))),
        ("no card", |it| it.card = None),
        ("console", |it| it.console.push('x')),
    ];
    let mut seen = BTreeMap::new();
    for (what, change) in changes {
        let mut definition = full();
        change(&mut definition);
        let (xml, digest) = definition.sealed().expect("it renders");
        assert!(xml.contains(&format!("digest=\"{digest}\"")), "{what}: {xml}");
        if let Some(other) = seen.insert(digest, what) {
            panic!("`{what}` has the digest of `{other}`");
        }
    }
    let twice = DomainDefinition { digest: "an old one".into(), ..full() }.sealed().expect("it renders");
    assert_eq!(twice, full().sealed().expect("it renders"), "a digest does not decide about itself");
    let (xml, digest) = DomainDefinition { nonce: "only-this-time".into(), ..full() }.sealed().expect("it renders");
    assert_eq!(digest, twice.1, "every power-on has another nonce");
    assert!(xml.contains("nonce=\"only-this-time\""), "{xml}");
}

/// A domain of a host that is not this machine.
fn away() -> DomainDefinition {
    let card = Card {
        mac: Mac::derived("lab", "db1"),
        plug: Plug::Bridge("pgxcb-12345678".into()),
        mtu: Some(1450),
        machine: Machine::Q35,
    };
    DomainDefinition { nonce: "1".into(), card: Some(card), ..full() }
}

/// A pool is made once and goes with all that is in it, also when it was never started.
#[test]
fn a_pool_of_the_labs_own_comes_and_goes() {
    let libvirt = host("");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("pool");
    libvirt.remove_pool("pgxc-lab-x", &path).expect("it is not there");
    assert_eq!(libvirt.volumes("pgxc-lab-x").expect("it answers").len(), 0);
    for _ in 0..2 {
        libvirt.ensure_pool("pgxc-lab-x", &path).unwrap_or_else(|error| panic!("{error}"));
    }
    let size = pgxc_lab::lab::Size::mib(64);
    for _ in 0..2 {
        let made = libvirt.make_overlay("pgxc-lab-x", "db1.qcow2", &path.join("root.ext4"), size);
        made.unwrap_or_else(|error| panic!("{error}"));
    }
    let there = libvirt.volumes("pgxc-lab-x").expect("it answers");
    assert_eq!(there.iter().collect::<Vec<_>>(), ["db1.qcow2"]);
    assert!(!Libvirt::is_whole(&there, "db1.qcow2"), "nothing tells that it is");
    libvirt.remove_pool("pgxc-lab-x", &path).unwrap_or_else(|error| panic!("{error}"));
    libvirt.remove_pool("pgxc-lab-x", &path).expect("it is removed already");
    let missing = libvirt.make_overlay("pgxc-lab-x", "db1.qcow2", &path, size).expect_err("there is no pool");
    assert_eq!(missing.class(), Class::Infrastructure);
}

/// The machine of a guest that knows neither PCI Express nor virtio's present form.
fn old() -> DomainDefinition {
    let card = Card {
        mac: Mac::derived("lab", "db1"),
        plug: Plug::Network("default".into()),
        mtu: None,
        machine: Machine::Pc,
    };
    let clock = Clock::Zone("Asia/Shanghai".into());
    DomainDefinition {
        kind: "qemu",
        machine: Machine::Pc,
        clock,
        card: Some(card),
        cpu: Some("qemu64".into()),
        ..full()
    }
}

#[test]
fn an_old_guest_gets_a_machine_that_it_has_drivers_for() {
    let (xml, _) = old().sealed().expect("it renders");
    for part in [
        "machine=\"pc\"",
        "<clock offset=\"timezone\" timezone=\"Asia/Shanghai\"/>",
        "<controller type=\"pci\" index=\"0\" model=\"pci-root\"/>",
        "<model type=\"virtio-transitional\"/>",
        "<model fallback=\"allow\">qemu64</model>",
    ] {
        assert!(xml.contains(part), "{part} is missing in\n{xml}");
    }
    assert_eq!(xml.matches("<disk type=\"file\" device=\"disk\" model=\"virtio-transitional\">").count(), 3);
    assert!(!xml.contains("pcie"), "{xml}");
    // One bus for all, a slot of its own for each.
    let places: std::collections::BTreeSet<&str> = xml.lines().filter(|line| line.contains("<address ")).collect();
    assert_eq!(places.len(), 5, "{places:?}");
    assert!(places.iter().all(|place| place.contains("bus=\"0x00\"")), "{places:?}");
}

/// libvirt's schemas are stricter than its parser, which drops what it does not know.
#[test]
fn definitions_hold_libvirts_schemas() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cpu = || DomainDefinition { cpu: Some("Nehalem".into()), boot: None, disks: Vec::new(), ..full() };
    let cases = [
        ("domain", full().sealed().expect("it renders").0),
        (
            "domain",
            DomainDefinition { kind: "kvm", cpu_mode: "host-passthrough", ..full() }.sealed().expect("it renders").0,
        ),
        ("domain", away().sealed().expect("it renders").0),
        ("domain", DomainDefinition { kind: "qemu", ..cpu() }.sealed().expect("it renders").0),
        ("domain", old().sealed().expect("it renders").0),
        ("network", network(vec![reservation(1, 171), reservation(2, 172)]).render().expect("it renders")),
        ("network", network(Vec::new()).render().expect("it renders")),
    ];
    for (schema, xml) in &cases {
        let file = directory.path().join("definition.xml");
        fs::write(&file, xml).expect("it writes");
        let mut command = Command::new("virt-xml-validate");
        let Ok(output) = command.arg(&file).arg(schema).stdin(Stdio::null()).output() else {
            eprintln!("skipped: virt-xml-validate is missing (Debian: libvirt-clients)");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{schema}: {said}\n{xml}");
    }
    // Otherwise the schemas could be anything.
    let file = directory.path().join("definition.xml");
    fs::write(&file, cases[0].1.replace("<memory ", "<memroy ").replace("</memory>", "</memroy>")).expect("it writes");
    let status = Command::new("virt-xml-validate").arg(&file).arg("domain").output().expect("it ran before").status;
    assert!(!status.success(), "the schema takes anything");
}
