//! The wire: one L2 network for guests of several hosts, as VXLAN between the hosts' addresses.
//!
//! Each host has a bridge for its guests and a tunnel on it, which knows every other host (unicast; no multicast is asked of
//! anybody's network). On this machine the bridge is that of the lab's network, in the lab's namespaces: the tunnel is made
//! there too, while its packets leave through the machine's own network. So it vanishes with the namespaces.
//!
//! The number of the network (VNI) changes with each host that is given up: whatever still runs on that host is in another
//! network from then on, and can neither answer for a node that runs elsewhere nor write to its export.

use crate::digest;
use std::{collections::BTreeMap, fmt::Write, net::Ipv4Addr};

/// What the hosts' links must let through, at the least: Ethernet's own.
const UNDERLAY: u32 = 1500;
/// What is left for guests: VXLAN takes 50 bytes (IPv4 20, UDP 8, VXLAN 8, the frame's own header 14).
pub const MTU: u32 = UNDERLAY - 50;
/// The port that IANA gave to VXLAN.
const PORT: u16 = 4789;

/// The wire of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    lab: String,
    fence: u32,
    ends: BTreeMap<String, Ipv4Addr>,
}

impl Wire {
    /// Between these hosts; `fence` counts how often a host was given up.
    pub fn new(lab: &str, fence: u32, ends: BTreeMap<String, Ipv4Addr>) -> Wire {
        Wire { lab: lab.to_owned(), fence, ends }
    }

    /// A number of 24 bits that no other lab is likely to have, and this one had never before.
    fn number(&self) -> u32 {
        let digest = digest::of_text(&format!("{}/{}", self.lab, self.fence));
        u32::from_str_radix(&digest[..6], 16).expect("a digest is hexadecimal digits").max(1)
    }

    /// Name of the bridge that guests of other hosts are plugged into.
    pub fn bridge(lab: &str) -> String {
        // IFNAMSIZ is 16, with a NUL.
        format!("pgxcb-{}", &digest::of_text(lab)[..8])
    }

    /// Name of a host's end of the wire.
    pub fn tunnel(lab: &str) -> String {
        format!("pgxct-{}", &digest::of_text(lab)[..8])
    }

    /// What a whole end is known by: a digest of all that it was made from.
    fn mark(&self, host: &str) -> String {
        format!("pgxc-lab {} {}", self.lab, digest::short(&digest::of_text(&self.tunnel_script(host, ""))))
    }

    /// Prints `whole` when the end of this host is there, on its bridge and as it must be.
    pub fn look(&self, host: &str, bridge: &str) -> String {
        format!(
            "seen=$(ip link show dev {} 2>/dev/null || true)\n\
             if grep -q ' master {bridge} ' <<<\"$seen\" && grep -qx ' *alias {}' <<<\"$seen\"; then echo whole; fi\n",
            Wire::tunnel(&self.lab),
            self.mark(host)
        )
    }

    /// Makes the end of a host that is not this machine, in place of an older one.
    pub fn make(&self, host: &str) -> String {
        let (bridge, tunnel) = (Wire::bridge(&self.lab), Wire::tunnel(&self.lab));
        format!(
            "{}ip link show dev {bridge} >/dev/null 2>&1 || ip link add {bridge} type bridge mcast_snooping 0\n\
             ip link set {bridge} up\n\
             if ip link show dev {tunnel} >/dev/null 2>&1; then ip link del {tunnel}; fi\n{}{}",
            Wire::needs(self.ends[host]),
            self.tunnel_script(host, ""),
            self.plug(host, &bridge)
        )
    }

    /// Makes the end of this machine in the network namespace of a process: the first part is for the machine, the second
    /// for that namespace.
    pub fn make_here(&self, host: &str, pid: i32, bridge: &str) -> (String, String) {
        let tunnel = Wire::tunnel(&self.lab);
        let remove = format!(
            "nsenter --target={pid} --net sh -c 'if ip link show dev {tunnel} >/dev/null 2>&1; then ip link del {tunnel}; fi'\n"
        );
        let add = self.tunnel_script(host, &format!("netns {pid} "));
        (format!("{}{remove}{add}", Wire::needs(self.ends[host])), self.plug(host, bridge))
    }

    /// Takes away what [`Wire::make`] makes; what is not there is no failure.
    pub fn remove(lab: &str) -> String {
        let mut script = String::new();
        for device in [Wire::tunnel(lab), Wire::bridge(lab)] {
            writeln!(script, "if ip link show dev {device} >/dev/null 2>&1; then ip link del {device}; fi")
                .expect("a string takes everything");
        }
        script
    }

    /// Fails on a host that cannot have an end of the wire at this address: it must be the host's, on a link that is wide
    /// enough, and ours the right to make devices.
    pub fn needs(address: Ipv4Addr) -> String {
        format!(
            "[ \"$(id -u)\" = 0 ] || {{ echo 'only root may make network devices: log in as root' >&2; exit 1; }}\n\
             link=$(ip -o -4 addr show | awk '$4 ~ /^{}\\// {{print $2; exit}}')\n\
             [ -n \"$link\" ] || {{ echo 'no link of this host has the address {address}' >&2; exit 1; }}\n\
             mtu=$(cat \"/sys/class/net/$link/mtu\")\n\
             [ \"$mtu\" -ge {UNDERLAY} ] || {{ echo \"the MTU of $link is $mtu, {UNDERLAY} is needed\" >&2; exit 1; }}\n",
            address.to_string().replace('.', "\\.")
        )
    }

    fn tunnel_script(&self, host: &str, place: &str) -> String {
        let peers: Vec<String> =
            self.ends.iter().filter(|(name, _)| *name != host).map(|(_, address)| address.to_string()).collect();
        format!(
            "# {}\nip link add {} {place}type vxlan id {} local {} dstport {PORT}\n",
            peers.join(" "),
            Wire::tunnel(&self.lab),
            self.number(),
            self.ends[host]
        )
    }

    fn plug(&self, host: &str, bridge: &str) -> String {
        let tunnel = Wire::tunnel(&self.lab);
        let mut script = String::new();
        for address in self.ends.iter().filter(|(name, _)| *name != host).map(|(_, address)| address) {
            // To all others what nobody is known for yet: broadcasts, and the first frame to a guest.
            writeln!(script, "bridge fdb append 00:00:00:00:00:00 dev {tunnel} dst {address}")
                .expect("a string takes everything");
        }
        // Last what tells that it is whole.
        script
            + &format!(
                "ip link set {tunnel} mtu {MTU} master {bridge} up\nip link set {tunnel} alias '{}'\n",
                self.mark(host)
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(fence: u32) -> Wire {
        let ends = [("here", 1), ("alpha", 2), ("beta", 3)];
        let ends = ends.map(|(name, last)| (name.to_owned(), Ipv4Addr::new(10, 77, 0, last)));
        Wire::new("lab", fence, ends.into())
    }

    #[test]
    fn every_end_knows_all_others_and_not_itself() {
        let script = wire(0).make("alpha");
        assert!(script.contains(" local 10.77.0.2 dstport 4789\n"), "{script}");
        let known: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("bridge fdb append ")).collect();
        assert_eq!(known.len(), 2);
        assert!(known.iter().all(|line| !line.contains("10.77.0.2")), "{script}");
        assert!(script.lines().last().is_some_and(|line| line.contains(" alias ")), "whole at the end only: {script}");
    }

    #[test]
    fn a_host_that_is_given_up_is_in_another_network() {
        let numbers: std::collections::BTreeSet<u32> = (0..50).map(|fence| wire(fence).number()).collect();
        assert_eq!(numbers.len(), 50);
        assert!(numbers.iter().all(|number| (1..1 << 24).contains(number)));
        assert_ne!(wire(0).mark("alpha"), wire(1).mark("alpha"));
        let mut fewer = wire(0);
        fewer.ends.remove("beta");
        assert_ne!(wire(0).mark("alpha"), fewer.mark("alpha"), "another peer is another end");
    }

    #[test]
    fn names_of_devices_are_short_enough() {
        for name in [Wire::bridge("a-lab-with-a-very-long-name"), Wire::tunnel("lab")] {
            assert!(name.len() <= 15, "{name}");
        }
        assert_ne!(Wire::bridge("a"), Wire::bridge("b"));
    }
}
