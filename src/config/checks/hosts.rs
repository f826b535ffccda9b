//! The section `hosts`: each by itself, what must differ between them, and the pins of nodes.

use super::{checker::Checker, nodes::Draft, scalars};
use crate::{
    config::{
        defaults,
        problem::Place,
        shape::{HostFile, LabFile},
        typed::{Field, Placed},
    },
    lab::{Connection, Device, HostKind, Hosts, LabHost, Lost, Network, NodeName, Other, Role, Size, Uplink},
};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// Checks all of them; nothing when lab.yaml has no such section, or it cannot be read.
pub(super) fn hosts(
    check: &mut Checker,
    file: &LabFile,
    kind: Option<HostKind>,
    network: Option<&Network>,
) -> Option<Hosts> {
    let lost = check.value(&file.lost, defaults::LOST, scalars::choice::<Lost>);
    let Some(Placed { place, value: list }) = &file.hosts.0 else {
        if let Some(place) = file.lost.place() {
            check.report(place, "`lost` is said of no host", "write `hosts` too, or take it out");
        }
        return None;
    };
    if kind == Some(HostKind::System) {
        let hint = "write `host: private`: the lab's network reaches other hosts only if it is the lab's own";
        check.report(*place, "`hosts` with `host: system`", hint);
    }
    check.unique("host", list.iter().filter_map(|host| host.value.name.0.clone()));
    check.unique("address", list.iter().filter_map(|host| host.value.address.0.clone()));
    let [here, others @ ..] = list.as_slice() else {
        check.report(*place, "`hosts` names no host", "name this machine first, then the others, or take it out");
        return None;
    };
    if others.is_empty() {
        check.report(*place, "`hosts` names no other host", "a lab on this machine alone needs no `hosts`");
    }
    if let Some(place) = here.value.connection.place() {
        let hint = "put this machine first: its name and address, without `connection`";
        check.report(place, "the first host is this machine, and has no `connection`", hint);
    }
    alike(check, list);
    if let (Some(bridge), Some(Lost::Replace)) = (here.value.bridge.place(), lost) {
        let hint = "write `lost: wait`, or an `address` for each host in place of its `bridge`";
        let message = "`lost: replace` with `bridge`: guests of a host that is lost could not be cut off a bridge that is \
                       not ours, and would write to the data of those that take their places";
        check.report(file.lost.place().unwrap_or(bridge), message, hint);
    }
    let here = host(check, here, network);
    let others: Vec<Option<Other>> = others.iter().map(|item| other(check, item, network)).collect();
    Some(Hosts {
        here: here?,
        others: others.into_iter().collect::<Option<_>>()?,
        lost: lost?,
        fence: 0,
        silent: BTreeSet::new(),
    })
}

/// One network has no two ways: all hosts have a bridge, or all have a wire.
fn alike(check: &mut Checker, hosts: &[Placed<HostFile>]) {
    let bridged = |host: &&Placed<HostFile>| host.value.bridge.value().is_some();
    if let (Some(with), Some(without)) = (hosts.iter().find(bridged), hosts.iter().find(|host| !bridged(host))) {
        let (with, title) = (title(&with.value.name), title(&without.value.name));
        let hint = "name a bridge on every host, or on none";
        check.report(without.place, format!("{with} has a `bridge`, and {title} has none"), hint);
    }
}

fn other(check: &mut Checker, file: &Placed<HostFile>, network: Option<&Network>) -> Option<Other> {
    let connection: Option<Connection> = check.required(
        &file.value.connection,
        file.place,
        &title(&file.value.name),
        "connection",
        "write one such as `qemu+ssh://root@10.0.0.2/system`; only the first host, this machine, has none",
    );
    let host = host(check, file, network);
    Some(Other { connection: connection?, host: host? })
}

fn host(check: &mut Checker, file: &Placed<HostFile>, network: Option<&Network>) -> Option<LabHost> {
    let Placed { place, value: file } = file;
    let title = title(&file.name);
    let name: Option<NodeName> =
        check.required(&file.name, *place, "a host", "name", "write `name: ` and a short name, such as `alpha`");
    let uplink = match (file.address.value(), file.bridge.value()) {
        (Some(_), None) => check.value(&file.address, "", scalars::address).map(Uplink::Address),
        (None, Some(_)) => check.value(&file.bridge, "", str::parse::<Device>).map(Uplink::Bridge),
        (None, None) => {
            let hint = "write the address at which the other hosts reach it, or `bridge` on all hosts";
            check.report(*place, format!("{title} has no `address`"), hint);
            None
        }
        (Some(_), Some(_)) => {
            let hint = "take one out: the address is the end of a tunnel, which a lab on bridges does not have";
            let place = file.bridge.place().unwrap_or(*place);
            check.report(place, format!("{title} has an `address` and a `bridge`"), hint);
            None
        }
    };
    if let (Some(Uplink::Address(address)), Some(network)) = (&uplink, network) {
        outside(check, file.address.place().unwrap_or(*place), *address, network);
    }
    let memory = match file.memory.value() {
        Some(_) => Some(check.value(&file.memory, "", str::parse::<Size>)?),
        None => None,
    };
    Some(LabHost { name: name?, uplink: uplink?, memory })
}

fn title(name: &Field<String>) -> String {
    name.value().map_or("a host".to_owned(), |name| format!("host `{name}`"))
}

/// The wire runs between addresses of the machines, beside the lab's own network.
fn outside(check: &mut Checker, place: Place, address: Ipv4Addr, network: &Network) {
    if network.subnet.holds(address) {
        let message = format!("address `{address}` of a host lies in the lab's own `{}`", network.subnet);
        check.report(place, message, "write the machine's address outside the lab, or take another `network.subnet`");
    }
}

/// Pins of nodes to hosts.
pub(super) fn pins(check: &mut Checker, hosts: &Field<Vec<Placed<HostFile>>>, nodes: &[Draft]) {
    let named = |name: &str| {
        let all = hosts.value().into_iter().flatten();
        all.filter_map(|host| host.value.name.value()).any(|known| known == name)
    };
    for (node, pin) in nodes.iter().filter_map(|node| Some((node, node.on.as_ref()?))) {
        if !named(pin.value.as_str()) {
            let message = format!("`{}` is to be on `{}`, which is none of `hosts`", node.title(), pin.value);
            check.report(pin.place, message, "write the name of a host, or leave the choice to `pgxc-lab`");
        }
    }
    let pin = |role: Role| {
        let node = nodes.iter().find(|node| node.roles.contains_key(&role))?;
        Some((node, node.on.as_ref()?))
    };
    if let (Some((gtm, first)), Some((standby, second))) = (pin(Role::Gtm), pin(Role::GtmStandby))
        && first.value == second.value
        && gtm.title() != standby.title()
    {
        let message =
            format!("the GTM `{}` and its standby `{}` are both on `{}`", gtm.title(), standby.title(), first.value);
        check.report(second.place, message, "put them on two hosts: one that is lost must not take both");
    }
}
