//! What of the lab's network is cut or slow on purpose. All of it lies in the lab's network namespace, and ends with it.

use super::place::Host;
use crate::{
    digest,
    error::{Class, Result},
    lab::{Mac, Node},
};

/// Bytes that a slow link lets through at once: a few packets.
const BURST: &str = "16kb";
/// How long a packet waits for a slow link before it is dropped.
const QUEUE: &str = "400ms";

/// A guest's link: its card, by which its frames and its tap device are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    mac: Mac,
}

impl Link {
    /// That of a node.
    pub fn of(node: &Node) -> Link {
        Link { mac: node.mac }
    }

    /// bash text that sets `tap`, empty while the guest does not run, and `ifb`, a device for what comes from the guest:
    /// only what a device sends can be held back. libvirt gives a tap the MAC of its guest, with another first byte.
    fn devices(&self) -> String {
        let mac = self.mac.to_string();
        format!(
            "tap=$(ip -br link show type tun | awk '$3 == \"fe{tail}\" {{print $1}}')\nifb=slow-{name}\n",
            tail = &mac[2..],
            name = mac[3..].replace(':', "")
        )
    }
}

/// The lab's links.
#[derive(Clone, Debug)]
pub struct Links {
    host: Host,
}

impl Links {
    /// Those of this lab.
    pub fn new(host: &Host) -> Links {
        Links { host: host.clone() }
    }

    /// Lets no frame pass between two groups.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn part(&self, one: &[Link], other: &[Link]) -> Result<()> {
        self.run("part the network", &part(one, other)).await
    }

    /// Lets frames pass again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn join(&self, one: &[Link], other: &[Link]) -> Result<()> {
        self.run("join the network", &join(&chain(one, other))).await
    }

    /// Makes a link slow, in both directions.
    ///
    /// # Errors
    /// When the guest does not run, or the kernel refuses.
    pub async fn slow(&self, link: &Link, kbit: u32) -> Result<()> {
        self.run("make a link slow", &slow(link, kbit)).await
    }

    /// Makes it fast again. One of a guest that was started anew is.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn quicken(&self, link: &Link) -> Result<()> {
        self.run("make a link fast again", &quicken(link)).await
    }

    async fn run(&self, what: &str, script: &str) -> Result<()> {
        self.host.script(what, Class::Host, script).await.map(drop).map_err(|error| {
            error.hint("it needs `ebtables` and `tc`, and a kernel with bridge filters, TBF, IFB and mirred")
        })
    }
}

/// The chain of rules that parts these groups, so that several partitions do not know of each other.
fn chain(one: &[Link], other: &[Link]) -> String {
    let macs = |links: &[Link]| links.iter().map(|link| link.mac.to_string()).collect::<Vec<_>>().join(",");
    format!("pgxc-{}", digest::short(&digest::of_text(&format!("{}/{}", macs(one), macs(other)))))
}

/// Frames and not packets are dropped: ARP answers must not pass either.
fn part(one: &[Link], other: &[Link]) -> String {
    let chain = chain(one, other);
    let mut script = format!("{}ebtables -N {chain} -P RETURN\n", join(&chain));
    for (from, to) in one.iter().flat_map(|one| other.iter().flat_map(move |other| [(one, other), (other, one)])) {
        script.push_str(&format!("ebtables -A {chain} -s {} -d {} -j DROP\n", from.mac, to.mac));
    }
    // Last: all rules begin to hold at once.
    script + &format!("ebtables -I FORWARD -j {chain}\n")
}

fn join(chain: &str) -> String {
    format!(
        "if ebtables -L {chain} >/dev/null 2>&1; then\n  \
         while ebtables -D FORWARD -j {chain} 2>/dev/null; do :; done\n  ebtables -F {chain}\n  ebtables -X {chain}\nfi\n"
    )
}

fn slow(link: &Link, kbit: u32) -> String {
    let limit = format!("root tbf rate {kbit}kbit burst {BURST} latency {QUEUE}");
    format!(
        "{}{}[ -n \"$tap\" ] || {{ echo 'the guest has no link' >&2; exit 1; }}\n\
         ip link add \"$ifb\" type ifb\nip link set \"$ifb\" up\ntc qdisc add dev \"$ifb\" {limit}\n\
         tc qdisc add dev \"$tap\" {limit}\ntc qdisc add dev \"$tap\" ingress\n\
         tc filter add dev \"$tap\" parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev \"$ifb\"\n",
        link.devices(),
        remove()
    )
}

fn quicken(link: &Link) -> String {
    link.devices() + &remove()
}

/// Whatever is there of it goes; what is not there is no failure.
fn remove() -> String {
    "if [ -n \"$tap\" ]; then\n  tc qdisc del dev \"$tap\" root 2>/dev/null || true\n  \
     tc qdisc del dev \"$tap\" ingress 2>/dev/null || true\nfi\n\
     if ip link show \"$ifb\" >/dev/null 2>&1; then ip link del \"$ifb\"; fi\n"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    fn links() -> Vec<Link> {
        document().nodes.iter().map(Link::of).collect()
    }

    #[test]
    fn every_pair_is_parted_in_both_directions() {
        let links = links();
        let script = part(&links[..2], &links[2..5]);
        assert_eq!(script.matches(" -j DROP\n").count(), 12);
        assert!(!script.contains(&format!("-s {} -d {}", links[0].mac, links[1].mac)), "a group holds together");
        assert!(script.ends_with(&format!("ebtables -I FORWARD -j {}\n", chain(&links[..2], &links[2..5]))));
        // ebtables takes 31 characters.
        assert!(chain(&links, &links).len() <= 31);
        assert_ne!(chain(&links[..1], &links[1..]), chain(&links[..2], &links[2..]));
    }

    #[test]
    fn names_of_devices_are_short_enough() {
        for link in links() {
            let devices = link.devices();
            let ifb = devices.lines().find_map(|line| line.strip_prefix("ifb=")).expect("a device");
            // IFNAMSIZ is 16, with a NUL.
            assert!(ifb.len() <= 15, "{ifb}");
        }
    }
}
