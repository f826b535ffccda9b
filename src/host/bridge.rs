//! A bridge that other people made, on each host of a lab: what it must be, and this machine's way onto it.
//!
//! Guests of other hosts are plugged into their host's bridge by libvirt, as any other guest there. On this machine they are
//! plugged into the bridge of the lab's own network, as ever, in the lab's namespaces; a pair of devices joins that to the
//! machine's bridge. Of the bridge itself nothing is changed: our port has the highest address that a port may have, since a
//! bridge without an address of its own takes the lowest, and the MTU of the bridge, since it takes the smallest.

use super::{Wire, network_namespace, private::run};
use crate::{
    digest,
    error::{Class, Error, Result, ResultExt},
    lab::{Device, Lab, Mac},
};
use std::{net::Ipv4Addr, process::Stdio, time::Duration};

/// What guests send at the most, since their cards are as every card.
const LEAST_MTU: u32 = 1500;
/// How long a bridge may take to let frames of a new port pass: with STP its default is twice 15 s.
const FORWARDS: Duration = Duration::from_secs(35);
/// The kernel asks for an address three times, once a second.
const ANSWERS: Duration = Duration::from_secs(3);
/// A DHCP server may look first whether anybody has the address that it wants to offer: dnsmasq takes 3 s.
const OFFERS: Duration = Duration::from_secs(5);
/// What holds the namespace that we look from, however this program ends.
const HOLDS: Duration = Duration::from_secs(60);

/// A bridge of this machine and a lab's way onto it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    lab: String,
    name: Device,
}

/// A script that fails on a host where this is no bridge that a lab can use.
pub fn bridge_needs(name: &Device) -> String {
    format!(
        "[ -d /sys/class/net/{name}/bridge ] || {{ echo 'no bridge of this host is called {name}' >&2; exit 1; }}\n\
         [ $(($(cat /sys/class/net/{name}/flags) & 1)) = 1 ] || {{ echo 'the bridge {name} is down' >&2; exit 1; }}\n\
         mtu=$(cat /sys/class/net/{name}/mtu)\n\
         [ \"$mtu\" -ge {LEAST_MTU} ] || {{ echo \"the MTU of {name} is $mtu, {LEAST_MTU} is needed\" >&2; exit 1; }}\n"
    )
}

/// A script for another host: it prints `whole` when its guests can be plugged in, and no end of a wire is left of before.
pub fn bridge_look(lab: &str, name: &Device) -> String {
    format!("if ({}) 2>/dev/null && ! {}; then echo whole; fi\n", bridge_needs(name), there(&Wire::tunnel(lab)))
}

/// A script for another host that makes it so.
pub fn bridge_make(lab: &str, name: &Device) -> String {
    format!("{}{}", bridge_needs(name), Wire::remove(lab))
}

fn there(device: &str) -> String {
    format!("ip link show dev {device} >/dev/null 2>&1")
}

impl Bridge {
    /// That of a lab.
    pub fn new(lab: &str, name: &Device) -> Bridge {
        Bridge { lab: lab.to_owned(), name: name.clone() }
    }

    /// Name of our port on it.
    pub fn port(lab: &str) -> String {
        format!("pgxcp-{}", &digest::of_text(lab)[..8])
    }

    /// A script that takes our port away, and with it its other end; it may be going by itself.
    pub fn remove(port: &str) -> String {
        format!("if {0}; then ip link del {port} 2>/dev/null || ! {0}; fi\n", there(port))
    }

    /// What a way that was made to its end is known by.
    fn mark(&self, inner: &str) -> String {
        format!("pgxc-lab {} {inner}", self.lab)
    }

    /// Prints `whole` when the bridge `inner` in the network namespace of a process is on this bridge.
    pub fn look(&self, pid: i32, inner: &str) -> String {
        let (port, tunnel) = (Bridge::port(&self.lab), Wire::tunnel(&self.lab));
        format!(
            "seen=$(ip link show dev {port} 2>/dev/null || true)\n\
             other=$(nsenter --target={pid} --net ip link show dev {tunnel} 2>/dev/null || true)\n\
             if grep -q ' master {} ' <<<\"$seen\" && grep -qx ' *alias {}' <<<\"$seen\" \
             && grep -q ' master {inner} ' <<<\"$other\"; then echo whole; fi\n",
            self.name,
            self.mark(inner)
        )
    }

    /// Joins them, in place of whatever joined that namespace to other hosts.
    pub fn make(&self, pid: i32, inner: &str) -> String {
        let (port, tunnel, name) = (Bridge::port(&self.lab), Wire::tunnel(&self.lab), &self.name);
        let inside = format!("nsenter --target={pid} --net");
        format!(
            "{}{}{inside} sh -c 'if {}; then ip link del {tunnel}; fi'\n{}\
             {inside} ip link set {tunnel} master {inner} up\nip link set {port} master {name} up\n\
             ip link set {port} alias '{}'\n",
            bridge_needs(name),
            Bridge::remove(&port),
            there(&tunnel),
            self.pair(&port, &tunnel, pid),
            self.mark(inner)
        )
    }

    /// Two joined devices, the second in the network namespace of a process.
    fn pair(&self, port: &str, other: &str, pid: i32) -> String {
        let mac = Mac::derived(&self.lab, port).to_string();
        format!(
            "mtu=$(cat /sys/class/net/{}/mtu)\n\
             ip link add {port} address fe{} mtu \"$mtu\" type veth peer name {other} mtu \"$mtu\" netns {pid}\n",
            self.name,
            &mac[2..]
        )
    }

    /// What on this bridge is in the lab's way: somebody else with the gateway's address or a node's, another DHCP server.
    ///
    /// # Errors
    /// When nobody can be asked.
    pub async fn others(&self, lab: &Lab) -> Result<Vec<String>> {
        // From a namespace with no address at all: what is asked from there tells nobody anything about an address.
        let mut holder = tokio::process::Command::new("unshare");
        holder.args(["--net", "sleep", &HOLDS.as_secs().to_string()]).stdin(Stdio::null()).kill_on_drop(true);
        let mut holder = holder.spawn().or_error(Class::Host, || "cannot run `unshare`".into())?;
        let pid = holder.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| Error::new(Class::Host, "a process that was just started is gone"))?;
        let found = self.ask(lab, pid).await;
        // The namespace ends with it, and our port on the bridge with that, but some time later.
        let _ = holder.kill().await;
        run(bash(&Bridge::remove(&self.probe())), "take a port off the bridge", Class::Host).await?;
        found
    }

    /// Name of the port that we ask from.
    fn probe(&self) -> String {
        format!("pgxcq-{}", &digest::of_text(&self.lab)[..8])
    }

    async fn ask(&self, lab: &Lab, pid: i32) -> Result<Vec<String>> {
        let (port, probe) = (self.probe(), "probe");
        let ready = format!(
            "{}until [ \"$(readlink /proc/{pid}/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.01; done\n\
             {}{}nsenter --target={pid} --net sh -c 'ip link set lo up; ip link set {probe} up'\n\
             ip link set {port} master {} up\n\
             for try in $(seq {}); do [ \"$(cat /sys/class/net/{port}/brport/state)\" != 3 ] || exit 0; sleep 0.1; done\n\
             echo 'the bridge lets nothing pass' >&2; exit 1\n",
            bridge_needs(&self.name),
            Bridge::remove(&port),
            self.pair(&port, probe, pid),
            self.name,
            FORWARDS.as_secs() * 10
        );
        let what = format!("look who is on the bridge `{}`", self.name);
        run(bash(&ready), &what, Class::Host).await?;
        let mut ours = vec![("the gateway".to_owned(), lab.network.gateway, Mac::derived(&self.lab, "(gateway)"))];
        ours.extend(lab.nodes.iter().map(|node| (format!("`{}`", node.name), node.address, node.mac)));
        let addresses: Vec<String> = ours.iter().map(|(_, address, _)| address.to_string()).collect();
        let asks = format!(
            "for address in {}; do nsenter --target={pid} --net ip neigh replace \"$address\" dev {probe} use; done\n\
             sleep {}\nnsenter --target={pid} --net ip -4 neigh show dev {probe} nud reachable\n",
            addresses.join(" "),
            ANSWERS.as_secs()
        );
        let (answers, offer) = tokio::join!(
            run(bash(&asks), &what, Class::Host),
            network_namespace::dhcp_offer(pid, probe, Mac::derived(&self.lab, probe), OFFERS)
        );
        let mut found = strangers(&answers?, &ours);
        if let Some(server) = offer.or_error(Class::Host, || format!("cannot {what}"))? {
            found.push(format!("{server} is a DHCP server: guests could get addresses from it"));
        }
        Ok(found)
    }
}

/// A script for this machine.
pub fn bash(script: &str) -> tokio::process::Command {
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["-ceu", "-o", "pipefail", script]).stdin(Stdio::null());
    bash
}

/// Who answered at an address of ours, and is not ours: a guest may run already that this machine has lost its way to.
fn strangers(answers: &str, ours: &[(String, Ipv4Addr, Mac)]) -> Vec<String> {
    let seen = answers.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mac = words.iter().position(|word| *word == "lladdr").and_then(|place| words.get(place + 1))?;
        Some((words.first()?.parse::<Ipv4Addr>().ok()?, (*mac).to_owned()))
    });
    seen.filter_map(|(address, mac)| {
        let (whose, _, own) = ours.iter().find(|(_, known, _)| *known == address)?;
        (own.to_string() != mac).then(|| format!("{address}, which is to be {whose}, is taken by {mac}"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Device {
        name.parse().expect("a device")
    }

    #[test]
    fn who_answers_with_a_card_of_ours_is_ours() {
        let own: Mac = "52:54:00:00:00:01".parse().expect("a MAC");
        let ours = [("`db1`".to_owned(), Ipv4Addr::new(10, 0, 0, 1), own)];
        let answers = |mac: &str| format!("10.0.0.1 lladdr {mac} REACHABLE \n10.0.0.9 lladdr {mac} REACHABLE \n");
        assert!(strangers(&answers("52:54:00:00:00:01"), &ours).is_empty());
        assert_eq!(
            strangers(&answers("02:00:00:00:00:02"), &ours),
            ["10.0.0.1, which is to be `db1`, is taken by 02:00:00:00:00:02"]
        );
    }

    #[test]
    fn our_port_changes_nothing_of_the_bridge() {
        let script = Bridge::new("lab", &device("br0")).make(7, "virbr0");
        let pair = script.lines().find(|line| line.contains("type veth")).expect("a pair");
        assert!(pair.contains(" address fe:54:00:") && pair.contains(" mtu \"$mtu\" type veth "), "{pair}");
        assert!(script.lines().last().is_some_and(|line| line.contains(" alias ")), "whole at the end only: {script}");
        assert!(!script.contains("set br0"), "{script}");
        assert!(Bridge::port("a-lab-with-a-very-long-name").len() <= 15);
    }
}
