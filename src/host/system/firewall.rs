//! What guests want of the host beside libvirt's own DHCP and DNS, and whether its firewall keeps them from it.
//!
//! Rules are put before others in iptables, where ufw keeps its own, too. Other firewalls drop what iptables lets in: they
//! are only looked at, and `survey` says what to tell them.

use crate::host::NFS_PORT;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::Ipv4Addr,
    process::{Command, Stdio},
};

/// rpcbind, which tells where other servers are.
pub const PORTMAP_PORT: u16 = 111;
/// The time.
pub const NTP_PORT: u16 = 123;

/// One thing to let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The bridge that it comes from.
    pub bridge: String,
    /// The host's address.
    pub gateway: Ipv4Addr,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
}

/// For iptables, behind the name of a chain.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { bridge, gateway, protocol, port } = self;
        write!(f, "-d {gateway}/32 -i {bridge} -p {protocol} -m {protocol} --dport {port} -j ACCEPT")
    }
}

impl Rule {
    /// Arguments of iptables for it.
    pub fn arguments(&self, command: &str) -> Vec<String> {
        let rule = self.to_string();
        [command, "INPUT"].into_iter().chain(rule.split(' ')).map(str::to_owned).collect()
    }

    /// Whether it is among the rules of this machine.
    pub fn is_there(&self) -> bool {
        let mut check = Command::new("iptables");
        check.args(self.arguments("-C")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        check.status().is_ok_and(|status| status.success())
    }
}

/// What the guests of a lab want: files, the two servers that a mount of version 3 asks first, and the time.
pub fn rules(bridge: &str, gateway: Ipv4Addr, mount_port: u16) -> Vec<Rule> {
    [("tcp", NFS_PORT), ("tcp", PORTMAP_PORT), ("tcp", mount_port), ("udp", NTP_PORT)]
        .map(|(protocol, port)| Rule { bridge: bridge.into(), gateway, protocol: protocol.into(), port })
        .into()
}

/// Whether everything is let in already, by `iptables -S INPUT`: nothing there but libvirt's own, which drops nothing.
pub fn is_let_in(input: &str) -> bool {
    input.lines().all(|line| matches!(line.trim(), "" | "-P INPUT ACCEPT" | "-A INPUT -j LIBVIRT_INP"))
}

/// Whether `nft list ruleset` has a chain that drops what comes to this machine, beside those of iptables: what one accepts,
/// another may still drop.
pub fn drops_beside_iptables(ruleset: &str) -> bool {
    let mut ours = false;
    for line in ruleset.lines().map(str::trim) {
        if line.starts_with("table ") {
            ours = matches!(line.split_whitespace().collect::<Vec<_>>()[..], ["table", "ip" | "ip6", "filter", ..]);
        }
        if !ours && line.contains("hook input") && line.contains("policy drop") {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_nftables_is_not_one_of_iptables() {
        let chain = "\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n";
        assert!(!drops_beside_iptables(&format!("table ip filter {{\n{chain}")));
        assert!(drops_beside_iptables(&format!("table ip filter {{\n}}\ntable inet filter {{\n{chain}")));
        assert!(!drops_beside_iptables(""));
    }

    #[test]
    fn only_an_empty_chain_that_accepts_needs_no_rule() {
        for (open, input) in [
            (true, "-P INPUT ACCEPT\n"),
            (true, "-P INPUT ACCEPT\n-A INPUT -j LIBVIRT_INP\n"),
            (false, "-P INPUT DROP\n-A INPUT -j LIBVIRT_INP\n"),
            (false, "-P INPUT ACCEPT\n-A INPUT -j REJECT\n"),
            (false, "-P INPUT DROP\n-A INPUT -j ufw-before-input\n"),
        ] {
            assert_eq!(is_let_in(input), open, "{input}");
        }
    }

    #[test]
    fn a_rule_is_as_iptables_shows_it() {
        let rule = &rules("virbr0", Ipv4Addr::new(192, 168, 122, 1), 20048)[0];
        assert_eq!(rule.to_string(), "-d 192.168.122.1/32 -i virbr0 -p tcp -m tcp --dport 2049 -j ACCEPT");
        assert_eq!(rule.arguments("-C")[..3], ["-C", "INPUT", "-d"]);
    }
}
