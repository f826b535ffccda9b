//! The list of nodes: each by itself, and what must differ between them.

use super::{checker::Checker, scalars};
use crate::{
    config::{
        defaults,
        problem::Place,
        shape::{LabFile, NodeFile, VmFile},
        typed::{Field, Placed},
    },
    lab::{Identifier, Mac, Network, Node, NodeName, Role, Size},
};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// Memory below which no guest boots.
const LEAST_MEMORY: Size = Size::mib(256);

/// A node whose good values are known.
pub(super) struct Draft {
    pub name: Option<NodeName>,
    address: Option<Placed<Ipv4Addr>>,
    mac: Option<Placed<Mac>>,
    cpus: Option<u32>,
    pub memory: Option<Size>,
    disk: Option<Size>,
    export: Option<Placed<String>>,
    /// The host that it is pinned to.
    pub on: Option<Placed<NodeName>>,
    /// Roles with their places, in start order.
    pub roles: BTreeMap<Role, Place>,
    /// Whether every role could be read.
    pub all_roles_known: bool,
    /// Whether the file says in so many words that it has no role.
    pub plain: bool,
}

/// Checks all nodes.
pub(super) fn drafts(
    check: &mut Checker,
    file: &LabFile,
    lab: Option<&NodeName>,
    network: Option<&Network>,
) -> Vec<Draft> {
    let vm = file.vm.section();
    // A bad value of `vm` is reported once, not for each node: nodes see the default instead.
    let good = |field: &Field<String>, good: bool| if good { field.clone() } else { Field::default() };
    let cpus = check.value(&vm.cpus, defaults::CPUS, cpus).is_some();
    let memory = check.value(&vm.memory, defaults::MEMORY, scalars::at_least(LEAST_MEMORY)).is_some();
    let disk = check.value(&vm.disk, defaults::DISK, scalars::at_least(LEAST_MEMORY)).is_some();
    let vm = VmFile { cpus: good(&vm.cpus, cpus), memory: good(&vm.memory, memory), disk: good(&vm.disk, disk) };

    let list = file.nodes.value().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        let place = file.nodes.place().unwrap_or(Place::START);
        check.report(place, "`nodes` names no node", "write one item per VM, with `name`, `address` and `roles`");
    }
    let drafts: Vec<Draft> = list.iter().map(|node| draft(check, node, &vm, lab, network)).collect();
    let names = list.iter().filter_map(|node| node.value.name.0.clone());
    check.unique("node name", names);
    check.unique("address", drafts.iter().filter_map(|node| node.address.clone()));
    check.unique("MAC address", drafts.iter().filter_map(|node| node.mac.clone()));
    check.unique("export", drafts.iter().filter_map(|node| node.export.clone()));
    nested_exports(check, &drafts);
    drafts
}

fn cpus(text: &str) -> Result<u32, String> {
    scalars::number("a number of CPUs", 1, 255)(text)
}

fn draft(
    check: &mut Checker,
    file: &Placed<NodeFile>,
    vm: &VmFile,
    lab: Option<&NodeName>,
    network: Option<&Network>,
) -> Draft {
    let Placed { place, value: file } = file;
    let title = file.name.value().map_or("a node".to_owned(), |name| format!("node `{name}`"));
    let name: Option<NodeName> =
        check.required(&file.name, *place, &title, "name", "write a short host name, such as `db1`");
    let address = match file.address.value() {
        Some(_) => check.placed(&file.address, "", scalars::address),
        None => {
            check.report(*place, format!("{title} has no `address`"), "write an address inside `network.subnet`");
            None
        }
    };
    if let (Some(address), Some(network)) = (&address, network) {
        inside(check, address, network);
    }
    let mac = match file.mac.value() {
        Some(_) => check.placed(&file.mac, "", str::parse),
        None => name
            .as_ref()
            .zip(lab)
            .map(|(name, lab)| Placed { place: *place, value: Mac::derived(lab.as_str(), name.as_str()) }),
    };
    let export = match (file.export.value(), &address) {
        (Some(_), _) => check.placed(&file.export, "", scalars::absolute),
        (None, Some(address)) => {
            let value = format!("{}/{}", defaults::EXPORTS, address.value.octets()[3]);
            Some(Placed { place: *place, value })
        }
        (None, None) => None,
    };
    let own = |own: &Field<String>, all: &Field<String>| if own.0.is_some() { own.clone() } else { all.clone() };
    let mut roles = BTreeMap::new();
    let mut all_roles_known = true;
    check.unique("role", file.roles.value().into_iter().flatten().cloned());
    for role in file.roles.value().into_iter().flatten() {
        match scalars::choice::<Role>(&role.value) {
            Ok(known) => {
                roles.entry(known).or_insert(role.place);
            }
            Err(error) => {
                all_roles_known = false;
                check.refuse(role.place, &error);
            }
        }
    }
    Draft {
        name,
        address,
        mac,
        cpus: check.value(&own(&file.cpus, &vm.cpus), defaults::CPUS, cpus),
        memory: check.value(&own(&file.memory, &vm.memory), defaults::MEMORY, scalars::at_least(LEAST_MEMORY)),
        disk: check.value(&own(&file.disk, &vm.disk), defaults::DISK, scalars::at_least(LEAST_MEMORY)),
        export,
        on: file.on.value().and_then(|_| check.placed(&file.on, "", str::parse)),
        roles,
        all_roles_known,
        plain: file.roles.value().is_some_and(Vec::is_empty),
    }
}

fn inside(check: &mut Checker, address: &Placed<Ipv4Addr>, network: &Network) {
    let Network { subnet, gateway, .. } = network;
    let Placed { place, value } = address;
    let wrong = if value == gateway {
        format!("address `{value}` is the gateway's")
    } else if *value == subnet.network() {
        format!("address `{value}` is the network address of `{subnet}`")
    } else if *value == subnet.broadcast() {
        format!("address `{value}` is the broadcast address of `{subnet}`")
    } else if !subnet.holds(*value) {
        format!("address `{value}` is outside `{subnet}`")
    } else {
        return;
    };
    let first = Ipv4Addr::from_bits(subnet.network().to_bits() + 1);
    let last = Ipv4Addr::from_bits(subnet.broadcast().to_bits() - 1);
    check.report(*place, wrong, format!("take one from {first} to {last}, without the gateway {gateway}"));
}

/// An export inside another would let one node see the other's data.
fn nested_exports(check: &mut Checker, drafts: &[Draft]) {
    let exports: Vec<&Placed<String>> = drafts.iter().filter_map(|node| node.export.as_ref()).collect();
    for inner in &exports {
        if let Some(outer) = exports.iter().find(|outer| inner.value.starts_with(&format!("{}/", outer.value))) {
            let message = format!("export `{}` lies inside the export `{}` of another node", inner.value, outer.value);
            check.report(inner.place, message, "put exports side by side");
        }
    }
}

impl Draft {
    /// How messages call it.
    pub fn title(&self) -> &str {
        self.name.as_ref().map_or("?", NodeName::as_str)
    }

    /// The finished node.
    pub fn finish(self, roles: BTreeMap<Role, Identifier>) -> Option<Node> {
        Some(Node {
            name: self.name?,
            address: self.address?.value,
            mac: self.mac?.value,
            cpus: self.cpus?,
            memory: self.memory?,
            disk: self.disk?,
            export: self.export?.value,
            on: self.on.map(|on| on.value),
            roles,
        })
    }
}
