//! A lab of several hosts: each is asked what it has, side by side, and every node gets its place.

use crate::{
    context::Record,
    error::{Class, Error, Result, ResultExt},
    event::Events,
    fit,
    host::{LabDir, Peer, capacity},
    hypervisor::Libvirt,
    journal::Journal,
    lab::{
        Hosts, Lab, LabHost, Lost, NodeName, Other, Size, Spread,
        placement::{self, Open, Refusal, Room},
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
    let Some(hosts) = &lab.hosts else { return Ok(None) };
    let cpus = available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX));
    let here = (capacity::memory()?.total, cpus);
    let others = ask(hosts, events).await;
    let spread = decide(lab, hosts, here, &others, &before).map_err(|refusal| {
        Error::new(Class::Host, refusal.to_string()).hint(match refusal {
            Refusal::Uncut { .. } => {
                "leave the node there, or wait until the host answers: then its guest is ended first"
            }
            _ => "give hosts more `memory`, name another host, or pin fewer nodes",
        })
    })?;
    lab.spread(&spread);
    if let Some(hosts) = &mut lab.hosts {
        let used = |name: &NodeName| spread.placement.values().any(|host| host == name);
        hosts.others.retain(|other| !is_silent(&others, &other.host.name) || used(&other.host.name));
        hosts.silent = others.into_iter().filter(|(_, machine)| machine.is_none()).map(|(host, _)| host).collect();
    }
    Ok(Some(spread))
}

/// What every other host has; nothing for one that does not answer.
type Machines = BTreeMap<NodeName, Option<Machine>>;

fn is_silent(others: &Machines, host: &NodeName) -> bool {
    others.get(host).is_some_and(Option::is_none)
}

fn decide(
    lab: &Lab,
    hosts: &Hosts,
    here: Machine,
    others: &Machines,
    before: &Spread,
) -> std::result::Result<Spread, Refusal> {
    let mut rooms = vec![room(&hosts.here, here)];
    for Other { host, .. } in &hosts.others {
        match (others.get(&host.name).copied().flatten(), hosts.lost) {
            (Some(machine), _) => rooms.push(room(host, machine)),
            (None, Lost::Wait) => rooms.push(Room { open: Open::ToOld, ..room(host, (Size::bytes(0), 1)) }),
            (None, Lost::Replace) => {}
        }
    }
    let placement = placement::place(lab, &rooms, &before.placement)?;
    // What a host that does not answer may still run must not be taken for a node that is elsewhere now.
    let is_cut_off = |(node, host): (&NodeName, &NodeName)| {
        before.placement.get(node).is_some_and(|old| old != host && is_silent(others, old))
    };
    let moved = placement.iter().find(|place| is_cut_off(*place)).map(|(node, _)| node);
    if let Some((node, host)) =
        moved.filter(|_| hosts.are_bridged()).and_then(|node| before.placement.get_key_value(node))
    {
        return Err(Refusal::Uncut { node: node.clone(), host: host.clone() });
    }
    let fence = before.fence + u32::from(moved.is_some());
    Ok(Spread { placement, fence })
}

/// A host stays in lab.yaml as long as the lab has something there: nobody else would remove it.
///
/// # Errors
/// When lab.yaml names one no longer, or elsewhere.
pub(super) fn check_joined(lab: &Lab, dir: &LabDir) -> Result<()> {
    let named = |peer: &Peer| lab.hosts.iter().flat_map(|hosts| &hosts.others).any(|other| Peer::of(other) == *peer);
    match Journal::read(&dir.journal())?.joined().iter().find(|peer| !named(peer)) {
        Some(peer) => Err(Error::new(
            Class::LabFile,
            format!("lab `{}` has something on {peer}, which lab.yaml does not name any more", lab.name),
        )
        .hint("write it back as it was; `pgxc-lab destroy` takes the lab off all hosts")),
        None => Ok(()),
    }
}

/// Knocks at all of them; nothing for one that does not answer.
async fn ask(hosts: &Hosts, events: &Events) -> Machines {
    let asked = hosts.others.iter().map(async |Other { connection, host }| {
        let uri = connection.libvirt_uri();
        let call = tokio::task::spawn_blocking(move || Libvirt::open(&uri)?.machine());
        let answer = match tokio::time::timeout(KNOCK, call).await {
            Ok(ended) => ended.or_error(Class::Internal, || "a call to libvirt ended".into()).flatten(),
            Err(_) => Err(Error::new(Class::Infrastructure, format!("no answer within {} s", KNOCK.as_secs()))),
        };
        if let Err(error) = &answer {
            events.note(format!("host `{}` does not answer: {}", host.name, error.line()));
        }
        (host.name.clone(), answer.ok())
    });
    join_all(asked).await.into_iter().collect()
}

fn room(host: &LabHost, (total, cpus): Machine) -> Room {
    let memory = host.memory.unwrap_or_else(|| fit::share(total));
    Room { host: host.name.clone(), memory, cpus, open: Open::ToAll }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const LAB: &str = include_str!("../../tests/labs/hosts.yaml");

    fn lab(change: impl Fn(String) -> String) -> Lab {
        crate::config::parse(&change(LAB.to_owned()), Path::new("lab.yaml"))
            .unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The decision when these hosts do not answer.
    fn decided(lab: &Lab, silent: &[&str], before: &Spread) -> Spread {
        decision(lab, silent, before).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    fn decision(lab: &Lab, silent: &[&str], before: &Spread) -> std::result::Result<Spread, Refusal> {
        let hosts = lab.hosts.as_ref().expect("hosts");
        let machine = |name: &NodeName| (!silent.contains(&name.as_str())).then_some((Size::mib(64 * 1024), 8));
        let others = hosts.others.iter().map(|other| (other.host.name.clone(), machine(&other.host.name))).collect();
        decide(lab, hosts, (Size::mib(64 * 1024), 8), &others, before)
    }

    fn on<'a>(spread: &'a Spread, host: &str) -> Vec<&'a str> {
        spread.placement.iter().filter(|(_, on)| on.as_str() == host).map(|(node, _)| node.as_str()).collect()
    }

    #[test]
    fn nodes_of_a_host_that_is_lost_wait_or_move_and_moving_cuts_the_host_off() {
        let (waits, moves) = (lab(|text| text), lab(|text| text.replace("lost: wait", "lost: replace")));
        let first = decided(&waits, &[], &Spread::default());
        let there = on(&first, "alpha");
        assert!(!there.is_empty());
        assert_eq!(decided(&waits, &["alpha"], &first), first, "they wait");
        let moved = decided(&moves, &["alpha"], &first);
        assert_eq!((on(&moved, "alpha").len(), moved.fence), (0, 1));
        for (node, host) in &first.placement {
            assert!(there.contains(&node.as_str()) || moved.placement[node] == *host, "{node} had no reason to move");
        }
        assert_eq!(decided(&moves, &[], &moved), moved, "and stay where they are when it is back");
        assert_eq!(decided(&moves, &["beta"], &Spread::default()).fence, 0, "nothing of the lab was there");
    }

    #[test]
    fn a_pin_that_takes_a_node_from_a_host_that_is_lost_cuts_it_off_too() {
        let first = decided(&lab(|text| text), &[], &Spread::default());
        let node = on(&first, "alpha")[0].to_owned();
        let pinned = lab(|text| text.replace(&format!("name: {node},"), &format!("name: {node}, on: beta,")));
        assert_eq!(decided(&pinned, &["alpha"], &first).fence, 1);
        assert_eq!(decided(&pinned, &[], &first).fence, 0, "a host that answers ends its guest");
    }

    #[test]
    fn nothing_moves_from_a_host_that_is_lost_on_a_bridge() {
        let bridged = |text: String| {
            let hosts = [("address: 10.0.0.1,", "bridge: br0,"), ("address: 10.0.0.2,", "bridge: br0,")];
            let hosts = hosts.into_iter().chain([("address: 10.0.0.3,", "bridge: br1,")]);
            hosts.fold(text, |text, (from, to)| text.replacen(from, to, 1))
        };
        let first = decided(&lab(bridged), &[], &Spread::default());
        assert_eq!(decided(&lab(bridged), &["alpha"], &first), first, "they wait");
        let node = on(&first, "alpha")[0].to_owned();
        let pinned = lab(|text| bridged(text).replace(&format!("name: {node},"), &format!("name: {node}, on: beta,")));
        let refused = decision(&pinned, &["alpha"], &first).expect_err("two guests could have its address");
        assert!(matches!(refused, Refusal::Uncut { .. }) && refused.to_string().contains("`alpha`"), "{refused}");
        assert_eq!(on(&decided(&pinned, &[], &first), "beta").len(), on(&first, "beta").len() + 1, "it is ended first");
    }

    #[test]
    fn memory_that_is_not_said_is_a_part_of_what_there_is() {
        let lab = lab(|text| text.replace("memory: 64GiB, ", ""));
        let hosts = lab.hosts.expect("hosts");
        let there = room(&hosts.others[0].host, (Size::mib(10_000), 4));
        assert_eq!((there.memory.as_mib(), there.cpus), (6000, 4));
    }
}
