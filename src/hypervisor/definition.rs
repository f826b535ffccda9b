//! Domain and network definitions, rendered as libvirt's XML.

use crate::{
    image::Machine,
    lab::{Lab, Mac, Node, Subnet},
};
use askama::Template;
use sha2::{Digest, Sha256};
use std::{fmt, net::Ipv4Addr};

/// A domain as we define it.
#[derive(Clone, Debug, Template)]
#[template(path = "domain.xml")]
pub struct DomainDefinition {
    /// libvirt's domain type: `kvm`, `qemu` or, in tests, `test`.
    pub kind: &'static str,
    /// Name of the domain and of the node.
    pub name: String,
    /// UUID, derived from lab and node: see [`uuid_of`].
    pub uuid: String,
    /// Name of the lab that owns it.
    pub lab: String,
    /// A text of its own for this power-on; no part of the digest. Empty where the host can tell power-ons apart.
    pub nonce: String,
    /// Digest of everything else here, set by [`DomainDefinition::sealed`]; tells a changed definition.
    pub digest: String,
    /// Memory in KiB.
    pub memory_kib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Machine type.
    pub machine: Machine,
    /// Direct kernel boot.
    pub boot: Option<Boot>,
    /// Named CPU model; otherwise `cpu_mode` counts.
    pub cpu: Option<String>,
    /// libvirt's CPU mode, e.g. `maximum` or `host-passthrough`.
    pub cpu_mode: &'static str,
    /// What the hardware clock shows.
    pub clock: Clock,
    /// Disks in the order of their targets.
    pub disks: Vec<Disk>,
    /// Its network card; a template has none, and its clones get theirs while they run.
    pub card: Option<Card>,
    /// Subnet and gateway of that network: on another one the guest must be started again.
    pub network_frame: String,
    /// File that gets the serial console.
    pub console: String,
    /// File that the guest's memory is read from instead of booting; no part of the digest, since the next start of the
    /// same domain is a boot.
    pub incoming: Option<String>,
}

/// Direct kernel boot.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Kernel file on the host.
    pub kernel: String,
    /// Initial RAM disk on the host.
    pub initrd: String,
    /// Kernel command line.
    pub cmdline: String,
}

/// What a hardware clock shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Universal time.
    Utc,
    /// The time of a zone of the tz database, for guests that are told so.
    Zone(String),
}

impl fmt::Display for Clock {
    /// As attributes in XML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clock::Utc => f.write_str("offset=\"utc\""),
            // Names of zones have nothing that XML would take for its own.
            Clock::Zone(zone) => write!(f, "offset=\"timezone\" timezone=\"{zone}\""),
        }
    }
}

/// The root ports of a machine, a device in each. All of them are always there, and a device is always in the same one:
/// memory can be read back only by a machine with the same places, and a card can be plugged in later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The root disk.
    Root = 1,
    /// The seed.
    Seed,
    /// The engine's disk.
    Engine,
    /// The source of random numbers.
    Random,
    /// The network card.
    Card,
}

impl Slot {
    /// All of them.
    pub const ALL: [Slot; 5] = [Slot::Root, Slot::Seed, Slot::Engine, Slot::Random, Slot::Card];

    /// Number of its bus.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl Machine {
    /// The place of a slot, as attributes of an address: a bus of its own behind a root port, or on the one bus of a machine
    /// without them, behind what is built in.
    fn place(self, slot: impl std::borrow::Borrow<Slot>) -> String {
        let slot = slot.borrow();
        match self {
            Machine::Q35 => format!("bus=\"{slot}\" slot=\"0x00\""),
            Machine::Pc => format!("bus=\"0x00\" slot=\"{:#04x}\"", slot.number() + 2),
        }
    }

    /// What the model of a virtio device is called: in its first form, where a guest knows no other.
    fn virtio(self) -> &'static str {
        match self {
            Machine::Q35 => "virtio",
            Machine::Pc => "virtio-transitional",
        }
    }
}

/// As a bus in an address, e.g. `0x05`.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.number())
    }
}

/// A network card.
#[derive(Clone, Debug, Template)]
#[template(path = "card.xml")]
pub struct Card {
    /// Its MAC address.
    pub mac: Mac,
    /// What it is plugged into.
    pub plug: Plug,
    /// The largest packet that the wire between hosts lets through; nothing: Ethernet's own.
    pub mtu: Option<u32>,
    /// The machine that it is for.
    pub machine: Machine,
}

/// What a card is plugged into.
#[derive(Clone, Debug)]
pub enum Plug {
    /// A network of libvirt.
    Network(String),
    /// A bridge that libvirt knows nothing of.
    Bridge(String),
}

/// One disk of a domain.
#[derive(Clone, Debug)]
pub struct Disk {
    /// File on the host.
    pub file: String,
    /// `qcow2` or `raw`.
    pub format: &'static str,
    /// qemu's cache mode.
    pub cache: &'static str,
    /// The read-only file below an overlay.
    pub backing: Option<String>,
    /// Target, e.g. `vda`.
    pub target: &'static str,
    /// Where it is plugged in.
    pub slot: Slot,
    /// Serial number: the guest finds the disk by it.
    pub serial: &'static str,
    /// Whether guests may only read it.
    pub readonly: bool,
    /// Whether several guests have it.
    pub shared: bool,
}

/// The lab's network.
#[derive(Clone, Debug, Template)]
#[template(path = "network.xml")]
pub struct NetworkDefinition {
    /// Name in libvirt.
    pub name: String,
    /// UUID, derived from the lab.
    pub uuid: String,
    /// Bridge interface.
    pub bridge: String,
    /// The gateway's MAC address: always the same, since a guest that comes back from a snapshot still knows the old one.
    pub mac: Mac,
    /// DNS domain.
    pub domain: String,
    /// The host's address.
    pub gateway: Ipv4Addr,
    /// Mask of the subnet.
    pub netmask: Ipv4Addr,
    /// One reservation per node; there is no range: an unknown guest gets no address.
    pub hosts: Vec<Reservation>,
    /// Whether machines that are not the lab's are on the network, too: our DHCP server is deaf to them then, where it would
    /// tell them otherwise that their addresses are wrong.
    pub shared: bool,
}

/// A DHCP reservation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reservation {
    /// MAC address.
    pub mac: Mac,
    /// Host name.
    pub name: String,
    /// Address.
    pub address: Ipv4Addr,
}

/// The reservations that a lab wants, in the order of its nodes.
pub fn reservations(lab: &Lab) -> Vec<Reservation> {
    let of = |node: &Node| Reservation { mac: node.mac, name: node.name.to_string(), address: node.address };
    lab.nodes.iter().map(of).collect()
}

/// A UUID that is the same every time for the same words (version 8: our own hash).
pub fn uuid_of(words: &[&str]) -> String {
    let digest = Sha256::digest(words.join("/"));
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

impl DomainDefinition {
    /// The XML, with the digest of its own content as the owner's tag.
    ///
    /// # Errors
    /// None that the template itself could cause; askama's type asks for it.
    pub fn sealed(mut self) -> Result<(String, String), askama::Error> {
        let (incoming, nonce) = (self.incoming.take(), std::mem::take(&mut self.nonce));
        self.digest = String::new();
        let digest = crate::digest::of_text(&self.render()?);
        self.digest.clone_from(&digest);
        self.incoming = incoming;
        self.nonce = nonce;
        Ok((self.render()?, digest))
    }
}

impl NetworkDefinition {
    /// The network of a lab. The bridge is named as in libvirt's default network: the lab has its own namespace.
    pub fn new(
        lab: &str,
        subnet: Subnet,
        gateway: Ipv4Addr,
        domain: &str,
        hosts: Vec<Reservation>,
    ) -> NetworkDefinition {
        NetworkDefinition {
            name: "default".into(),
            uuid: uuid_of(&[lab, "network"]),
            bridge: "virbr0".into(),
            mac: Mac::derived(lab, "(gateway)"),
            domain: domain.into(),
            gateway,
            netmask: subnet.netmask(),
            hosts,
            shared: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_stable_and_distinct() {
        assert_eq!(uuid_of(&["pgxc", "db1"]), uuid_of(&["pgxc", "db1"]));
        assert_ne!(uuid_of(&["pgxc", "db1"]), uuid_of(&["pgxc", "db2"]));
        assert_eq!(uuid_of(&["pgxc"]).len(), 36);
    }

    #[test]
    fn text_is_escaped() {
        let hosts =
            vec![Reservation { mac: Mac::derived("a", "b"), name: "<&\"".into(), address: Ipv4Addr::LOCALHOST }];
        let subnet = "192.168.122.0/24".parse().expect("a subnet");
        let xml = NetworkDefinition::new("a", subnet, Ipv4Addr::LOCALHOST, "x", hosts).render().expect("it renders");
        assert!(xml.contains("name=\"&#60;&#38;&#34;\""), "{xml}");
    }
}
