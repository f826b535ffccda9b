//! A lab of several hosts: each is asked what it has, side by side, and every node gets its place.

use crate::{
    context::Record,
    error::{Class, Error, Result, ResultExt},
    event::Events,
    fit,
    host::capacity,
    hypervisor::Libvirt,
    lab::{
        Hosts, Lab, LabHost, Lost, NodeName, Other, Size, Spread,
        placement::{self, Open, Room},
    },
};
use futures_util::future::join_all;
use std::{collections::BTreeMap, thread::available_parallelism, time::Duration};

/// How long a host may take to let us in and to say what it has: beyond that it is as good as gone.
const KNOCK: Duration = Duration::from_secs(8);

/// What a host that answers has.
type Machine = (Size, u32);

/// Places the nodes of a lab of several hosts, as far as they are not placed yet; nothing for a lab of one. The lab then
/// says of each node where it is, and has no host any more that neither answers nor has a node.
///
/// # Errors
/// When a node has no place, with the rule.
pub(super) async fn spread(lab: &mut Lab, old: Option<&Record>, events: &Events) -> Result<Option<Spread>> {
    let before = old.and_then(|record| record.spread.clone()).unwrap_or_default();
    let Some(hosts) = lab.hosts.clone() else { return Ok(None) };
    let machines = ask(&hosts, events).await;
    let rooms = rooms(&hosts, &machines)?;
    let placement = placement::place(lab, &rooms, &before.placement).map_err(|refusal| {
        Error::new(Class::Host, refusal.to_string())
            .hint("give a host more `memory`, add one to `hosts`, or take `on` from nodes; `pgxc-lab plan` shows who is where")
    })?;
    // Whatever a host that does not answer still runs must not be mistaken for a node that is elsewhere now.
    let silent = |host: &NodeName| machines.get(host).is_some_and(Option::is_none);
    let moved = placement
        .iter()
        .filter(|(node, host)| before.placement.get(*node).is_some_and(|old| old != *host && silent(old)));
    let fence = before.fence + u32::from(moved.count() > 0);
    let spread = Spread { placement, fence };
    lab.spread(&spread);
    if let Some(hosts) = &mut lab.hosts {
        let used = |name: &NodeName| spread.placement.values().any(|host| host == name);
        hosts.others.retain(|other| !silent(&other.host.name) || used(&other.host.name));
    }
    Ok(Some(spread))
}

/// Knocks at all of them; nothing for one that does not answer.
async fn ask(hosts: &Hosts, events: &Events) -> BTreeMap<NodeName, Option<Machine>> {
    let asked = hosts.others.iter().map(async |Other { connection, host }| {
        let uri = connection.libvirt_uri();
        let call = tokio::task::spawn_blocking(move || Libvirt::open(&uri)?.machine());
        let answer = match tokio::time::timeout(KNOCK, call).await {
            Ok(ended) => ended.or_error(Class::Internal, || "a call to libvirt ended".into()).flatten(),
            Err(_) => Err(Error::new(Class::Infrastructure, format!("no answer within {} s", KNOCK.as_secs()))),
        };
        if let Err(error) = &answer {
            events.note(format!("host `{}` does not answer: {error}", host.name));
        }
        (host.name.clone(), answer.ok())
    });
    join_all(asked).await.into_iter().collect()
}

fn rooms(hosts: &Hosts, machines: &BTreeMap<NodeName, Option<Machine>>) -> Result<Vec<Room>> {
    let cpus = available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX));
    let mut rooms = vec![room(&hosts.here, (capacity::memory()?.total, cpus))];
    for Other { host, .. } in &hosts.others {
        match (machines.get(&host.name).copied().flatten(), hosts.lost) {
            (Some(machine), _) => rooms.push(room(host, machine)),
            (None, Lost::Wait) => rooms.push(Room { open: Open::ToOld, ..room(host, (Size::bytes(0), 1)) }),
            (None, Lost::Replace) => {}
        }
    }
    Ok(rooms)
}

fn room(host: &LabHost, (total, cpus): Machine) -> Room {
    let memory = host.memory.unwrap_or_else(|| fit::share(total));
    Room { host: host.name.clone(), memory, cpus, open: Open::ToAll }
}
