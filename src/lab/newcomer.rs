//! A node that is not in lab.yaml yet: what is not said about it follows from the node that stands last.

use super::{Lab, Node, NodeName, Role};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// What lab.yaml is to say of a new node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Its name.
    pub name: NodeName,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its export; `None` where the last node's is the default for its address.
    pub export: Option<String>,
    /// Its roles, in start order.
    pub roles: BTreeSet<Role>,
}

/// What a person says of a new node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its roles; none: those of the last node.
    pub roles: Vec<Role>,
    /// Its name.
    pub name: Option<NodeName>,
    /// Its address.
    pub address: Option<Ipv4Addr>,
}

impl Newcomer {
    /// The node that is asked for, beside those of a lab; `None` when no address is free after that of the last node, or
    /// no name can be made.
    pub fn of(lab: &Lab, asked: Asked) -> Option<Newcomer> {
        let last = lab.nodes.last()?;
        let address = asked.address.or_else(|| next_address(lab, last))?;
        let name = asked.name.or_else(|| next_name(lab, last, address))?;
        let mut roles: BTreeSet<Role> = asked.roles.into_iter().collect();
        if roles.is_empty() {
            roles = last.roles.keys().copied().collect();
        }
        // Components reach the GTM through the proxy of their node.
        if roles.contains(&Role::Datanode) || roles.contains(&Role::Coordinator) {
            roles.insert(Role::GtmProxy);
        }
        Some(Newcomer { name, address, export: next_export(last, address), roles })
    }
}

/// The first address after the last node's that nobody has.
fn next_address(lab: &Lab, last: &Node) -> Option<Ipv4Addr> {
    let free =
        |address: &Ipv4Addr| *address != lab.network.gateway && lab.nodes.iter().all(|node| node.address != *address);
    let after = last.address.to_bits().checked_add(1)?..=lab.network.subnet.broadcast().to_bits();
    after.map(Ipv4Addr::from_bits).take_while(|address| lab.network.subnet.holds(*address)).find(free)
}

/// Named by its address where the last node is, else counted on: `db2` after `db1`.
fn next_name(lab: &Lab, last: &Node, address: Ipv4Addr) -> Option<NodeName> {
    let dashed = |address: Ipv4Addr| address.to_string().replace('.', "-");
    let text = last.name.as_str();
    if let Some(start) = text.strip_suffix(dashed(last.address).as_str()) {
        return format!("{start}{}", dashed(address)).parse().ok();
    }
    let stem = text.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let digits = &text[stem.len()..];
    let number: u64 = if digits.is_empty() { 1 } else { digits.parse().ok()? };
    (1..=lab.nodes.len() as u64 + 1)
        .filter_map(|more| format!("{stem}{:0width$}", number.checked_add(more)?, width = digits.len()).parse().ok())
        .find(|name: &NodeName| lab.node(name.as_str()).is_none())
}

/// The last node's export with the last number of the new address, where it ends with its own; the default needs no word.
fn next_export(last: &Node, address: Ipv4Addr) -> Option<String> {
    let [.., own] = last.address.octets();
    let [.., new] = address.octets();
    let start = last.export.strip_suffix(&format!("/{own}"))?;
    (start != "/data03").then(|| format!("{start}/{new}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn lab(nodes: &str) -> Lab {
        crate::config::parse(&format!("name: a\nnodes:\n{nodes}"), Path::new("lab.yaml")).expect("a lab")
    }

    const FIRST: &str = "  - {name: db1, address: 192.168.122.171, roles: [gtm]}\n";
    const DATA: &str = "[gtm_proxy, coordinator, datanode]";

    #[test]
    fn what_is_not_said_follows_from_the_last_node() {
        for (last, name, address, export) in [
            (format!("{{name: db2, address: 192.168.122.172, roles: {DATA}}}"), "db3", 173, None),
            (format!("{{name: db09, address: 192.168.122.172, roles: {DATA}}}"), "db10", 173, None),
            (format!("{{name: data, address: 192.168.122.172, roles: {DATA}}}"), "data2", 173, None),
            // db1 and its address are taken.
            (format!("{{name: db0, address: 192.168.122.170, roles: {DATA}}}"), "db2", 172, None),
            (format!("{{name: x-192-168-122-9, address: 192.168.122.9, roles: {DATA}}}"), "x-192-168-122-10", 10, None),
            (
                format!("{{name: db2, address: 192.168.122.172, export: /srv/172, roles: {DATA}}}"),
                "db3",
                173,
                Some("/srv/173"),
            ),
        ] {
            let newcomer = Newcomer::of(&lab(&format!("{FIRST}  - {last}\n")), Asked::default()).expect("room");
            assert_eq!((newcomer.name.as_str(), newcomer.address.octets()[3]), (name, address), "{last}");
            assert_eq!(newcomer.export.as_deref(), export, "{last}");
            assert_eq!(newcomer.roles, [Role::GtmProxy, Role::Datanode, Role::Coordinator].into(), "{last}");
        }
    }

    #[test]
    fn what_is_said_counts_and_data_brings_its_proxy() {
        let lab = lab(&format!("{FIRST}  - {{name: db2, address: 192.168.122.172, roles: {DATA}}}\n"));
        let asked = Asked {
            roles: vec![Role::Datanode],
            name: "big".parse().ok(),
            address: Some(Ipv4Addr::new(192, 168, 122, 200)),
        };
        let newcomer = Newcomer::of(&lab, asked).expect("room");
        assert_eq!((newcomer.name.as_str(), newcomer.address.octets()[3]), ("big", 200));
        assert_eq!(newcomer.roles, [Role::GtmProxy, Role::Datanode].into());
    }

    #[test]
    fn a_full_subnet_has_no_room() {
        let full = lab(&format!("{FIRST}  - {{name: db2, address: 192.168.122.254, roles: {DATA}}}\n"));
        assert_eq!(Newcomer::of(&full, Asked::default()), None);
    }
}
