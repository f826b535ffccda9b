//! Which node runs on which host: a pure function of the lab, of the room on its hosts, and of where nodes are already.
//!
//! The rules, in this order: a node that is pinned is on its host; a node that was placed stays; the GTM and its standby
//! are never together; no host gets more memory than it has; datanodes, then coordinators, are spread evenly; what is
//! left to choose goes where the least part of the memory is taken.

use super::{Lab, Node, NodeName, Role, Size};
use std::{cmp::Reverse, collections::BTreeMap, fmt};

/// The host of every node.
pub type Placement = BTreeMap<NodeName, NodeName>;

/// Where the nodes of a lab of several hosts are; the lab's record keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Spread {
    /// The host of every node.
    pub placement: Placement,
    /// How often nodes were taken from a host that did not answer.
    #[serde(default)]
    pub fence: u32,
}

/// What the lab may have of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The host.
    pub host: NodeName,
    /// Memory for guests.
    pub memory: Size,
    /// Its processors: they decide between hosts that are equal otherwise.
    pub cpus: u32,
    /// Who may be there.
    pub open: Open,
}

/// Who may be on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Any node.
    ToAll,
    /// Those that are there already, or are pinned to it: it does not answer.
    ToOld,
}

/// Why a node has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No host, or not the one that it is pinned to, has the memory.
    Memory {
        /// The node.
        node: NodeName,
        /// What it wants.
        wants: Size,
        /// What is free on each host that it may be on.
        free: Vec<(NodeName, Size)>,
    },
    /// The GTM or its standby has only the other one's host.
    Together {
        /// It.
        node: NodeName,
        /// The other one.
        other: NodeName,
        /// The host.
        host: NodeName,
    },
    /// A node would leave a host that does not answer, and could not be cut off the network there.
    Uncut {
        /// It.
        node: NodeName,
        /// The host.
        host: NodeName,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Memory { node, wants, free } => {
                let mib = |size: &Size| format!("{} MiB", size.as_mib());
                let free: Vec<String> = free.iter().map(|(host, size)| format!("`{host}` {}", mib(size))).collect();
                let free = if free.is_empty() { "no host that answers".to_owned() } else { free.join(", ") };
                write!(f, "no host has memory for `{node}`: it wants {}, free are: {free}", mib(wants))
            }
            Refusal::Uncut { node, host } => {
                write!(
                    f,
                    "`{node}` cannot leave `{host}`, which does not answer: if it still runs there, nothing cuts it off the bridge"
                )
            }
            Refusal::Together { node, other, host } => {
                write!(
                    f,
                    "`{node}` cannot be on `{host}` with `{other}`: the GTM and its standby are never on one host"
                )
            }
        }
    }
}

/// What is on a host so far.
struct Load<'a> {
    room: &'a Room,
    memory: u64,
    cpus: u64,
    datanodes: usize,
    coordinators: usize,
}

impl Load<'_> {
    fn free(&self) -> Size {
        Size::bytes(self.room.memory.as_bytes().saturating_sub(self.memory))
    }

    fn add(&mut self, node: &Node) {
        self.memory += node.memory.as_bytes();
        self.cpus += u64::from(node.cpus);
        self.datanodes += usize::from(node.roles.contains_key(&Role::Datanode));
        self.coordinators += usize::from(node.roles.contains_key(&Role::Coordinator));
    }

    /// The smaller, the better for this node.
    fn rank(&self, node: &Node) -> (usize, usize, u64, u64) {
        let counted = |role: Role, count: usize| if node.roles.contains_key(&role) { count } else { 0 };
        let part = |taken: u64, all: u64| taken.saturating_mul(1000) / all.max(1);
        (
            counted(Role::Datanode, self.datanodes),
            counted(Role::Coordinator, self.coordinators),
            part(self.memory + node.memory.as_bytes(), self.room.memory.as_bytes()),
            part(self.cpus + u64::from(node.cpus), u64::from(self.room.cpus)),
        )
    }
}

struct Board<'a> {
    loads: Vec<Load<'a>>,
    placement: Placement,
}

/// Places all nodes; `before` is where they are.
///
/// # Errors
/// The first node that has no place, and why.
pub fn place(lab: &Lab, rooms: &[Room], before: &Placement) -> Result<Placement, Refusal> {
    let empty = |room| Load { room, memory: 0, cpus: 0, datanodes: 0, coordinators: 0 };
    let mut board = Board { loads: rooms.iter().map(empty).collect(), placement: Placement::new() };
    let mut open = Vec::new();
    for node in &lab.nodes {
        match &node.on {
            Some(host) => board.pin(lab, node, host)?,
            None => open.push(node),
        }
    }
    open.retain(|node| !before.get(&node.name).is_some_and(|host| board.keep(lab, node, host)));
    // What is the hardest to place comes first; nodes that are equal, in the order of the file.
    open.sort_by_key(|node| {
        let alone = node.roles.contains_key(&Role::Gtm) || node.roles.contains_key(&Role::GtmStandby);
        let spread = [Role::Datanode, Role::Coordinator].map(|role| node.roles.contains_key(&role));
        let parts = spread.iter().filter(|part| **part).count();
        (Reverse(alone), Reverse(parts), Reverse(spread), Reverse(node.memory))
    });
    for node in open {
        board.choose(lab, node)?;
    }
    Ok(board.placement)
}

impl Board<'_> {
    fn put(&mut self, node: &Node, index: usize) {
        self.loads[index].add(node);
        self.placement.insert(node.name.clone(), self.loads[index].room.host.clone());
    }

    fn index(&self, host: &NodeName) -> Option<usize> {
        self.loads.iter().position(|load| load.room.host == *host)
    }

    /// The GTM, for its standby, or the standby for the GTM, when it has this host.
    fn opposite<'lab>(&self, lab: &'lab Lab, node: &Node, host: &NodeName) -> Option<&'lab Node> {
        let opposite = [(Role::Gtm, Role::GtmStandby), (Role::GtmStandby, Role::Gtm)]
            .into_iter()
            .find_map(|(own, other)| node.roles.contains_key(&own).then_some(other))?;
        let other = lab.nodes.iter().find(|node| node.roles.contains_key(&opposite))?;
        (self.placement.get(&other.name) == Some(host)).then_some(other)
    }

    fn pin(&mut self, lab: &Lab, node: &Node, host: &NodeName) -> Result<(), Refusal> {
        if let Some(other) = self.opposite(lab, node, host) {
            let (node, other) = (node.name.clone(), other.name.clone());
            return Err(Refusal::Together { node, other, host: host.clone() });
        }
        // A host that does not answer keeps the pin: the node waits for it.
        let Some(index) = self.index(host) else {
            self.placement.insert(node.name.clone(), host.clone());
            return Ok(());
        };
        let load = &self.loads[index];
        if load.room.open == Open::ToAll && load.free() < node.memory {
            let free = vec![(host.clone(), load.free())];
            return Err(Refusal::Memory { node: node.name.clone(), wants: node.memory, free });
        }
        self.put(node, index);
        Ok(())
    }

    /// Leaves a node where it is, if it may be there.
    fn keep(&mut self, lab: &Lab, node: &Node, host: &NodeName) -> bool {
        let Some(index) = self.index(host) else { return false };
        let load = &self.loads[index];
        let fits = load.room.open == Open::ToOld || load.free() >= node.memory;
        let may = fits && self.opposite(lab, node, host).is_none();
        if may {
            self.put(node, index);
        }
        may
    }

    fn choose(&mut self, lab: &Lab, node: &Node) -> Result<(), Refusal> {
        let open = || self.loads.iter().enumerate().filter(|(_, load)| load.room.open == Open::ToAll);
        let roomy: Vec<usize> = open().filter(|(_, load)| load.free() >= node.memory).map(|(index, _)| index).collect();
        if roomy.is_empty() {
            let free = open().map(|(_, load)| (load.room.host.clone(), load.free())).collect();
            return Err(Refusal::Memory { node: node.name.clone(), wants: node.memory, free });
        }
        let apart =
            roomy.iter().copied().filter(|index| self.opposite(lab, node, &self.loads[*index].room.host).is_none());
        match apart.min_by_key(|index| (self.loads[*index].rank(node), *index)) {
            Some(index) => {
                self.put(node, index);
                Ok(())
            }
            None => {
                let host = self.loads[roomy[0]].room.host.clone();
                let other = self.opposite(lab, node, &host).map(|other| other.name.clone());
                Err(Refusal::Together { node: node.name.clone(), other: other.unwrap_or(node.name.clone()), host })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;
    use proptest::prelude::*;

    fn name(text: &str) -> NodeName {
        text.parse().expect("a name")
    }

    fn room(host: &str, gib: u64) -> Room {
        Room { host: name(host), memory: Size::mib(gib * 1024), cpus: 8, open: Open::ToAll }
    }

    /// A lab of nodes of 1 GiB with these roles.
    fn lab(roles: &[&[Role]]) -> Lab {
        let mut lab = document();
        let first = lab.nodes[0].clone();
        lab.nodes = roles
            .iter()
            .enumerate()
            .map(|(number, roles)| Node {
                name: name(&format!("db{number}")),
                memory: Size::mib(1024),
                roles: roles.iter().map(|role| (*role, "x".parse().expect("a name"))).collect(),
                ..first.clone()
            })
            .collect();
        lab
    }

    fn count(lab: &Lab, placement: &Placement, host: &NodeName, role: Role) -> usize {
        let there = |node: &&Node| placement[&node.name] == *host && node.roles.contains_key(&role);
        lab.nodes.iter().filter(there).count()
    }

    fn uneven(lab: &Lab, placement: &Placement, rooms: &[Room], role: Role) -> usize {
        let counts: Vec<usize> = rooms.iter().map(|room| count(lab, placement, &room.host, role)).collect();
        counts.iter().max().expect("a host") - counts.iter().min().expect("a host")
    }

    #[test]
    fn the_documents_lab_on_three_hosts() {
        let placement = place(&document(), &["a", "b", "c"].map(|host| room(host, 64)), &Placement::new());
        let placement = placement.expect("room for all");
        let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (node, host) in &placement {
            of.entry(host.as_str()).or_default().push(&node.as_str()[node.as_str().len() - 3..]);
        }
        assert_eq!(of.values().map(Vec::len).collect::<Vec<_>>(), [3, 3, 2], "{of:?}");
        assert_eq!(of["a"], ["171", "174", "177"]);
        assert_eq!(of["b"], ["172", "175", "178"]);
    }

    #[test]
    fn refusals_tell_the_rule_and_the_node() {
        let mut lab = lab(&[&[Role::Gtm], &[Role::GtmStandby], &[Role::Datanode]]);
        let none = Placement::new();
        let told = |lab: &Lab, rooms: &[Room]| place(lab, rooms, &none).expect_err("no place").to_string();
        assert_eq!(
            told(&lab, &[room("a", 8)]),
            "`db1` cannot be on `a` with `db0`: the GTM and its standby are never on one host"
        );
        assert_eq!(
            told(&lab, &[room("a", 1), room("b", 1)]),
            "no host has memory for `db2`: it wants 1024 MiB, free are: `a` 0 MiB, `b` 0 MiB"
        );
        lab.nodes[2].on = Some(name("b"));
        lab.nodes[2].memory = Size::mib(9 * 1024);
        assert_eq!(
            told(&lab, &[room("a", 64), room("b", 8)]),
            "no host has memory for `db2`: it wants 9216 MiB, free are: `b` 8192 MiB"
        );
    }

    #[test]
    fn a_host_that_does_not_answer_keeps_its_nodes_and_gets_no_others() {
        let lab = lab(&[&[Role::Gtm], &[Role::Datanode], &[Role::Datanode]]);
        let rooms = [room("a", 8), Room { open: Open::ToOld, memory: Size::mib(0), ..room("b", 8) }];
        let before = Placement::from([(name("db1"), name("b"))]);
        let placement = place(&lab, &rooms, &before).expect("room");
        assert_eq!(placement[&name("db1")], name("b"), "it waits");
        assert_eq!(placement[&name("db2")], name("a"));
        // Without the host in the list its nodes are placed anew.
        let placement = place(&lab, &rooms[..1], &before).expect("room");
        assert_eq!(placement[&name("db1")], name("a"));
    }

    fn roles() -> impl Strategy<Value = Vec<Role>> {
        prop_oneof![
            Just(vec![Role::Datanode, Role::Coordinator]),
            Just(vec![Role::Datanode]),
            Just(vec![Role::Coordinator]),
            Just(vec![]),
        ]
    }

    fn labs() -> impl Strategy<Value = (Lab, Vec<Room>)> {
        let nodes = prop::collection::vec((roles(), 1u64..4, 1u32..4), 0..40);
        (nodes, 2usize..7, 0usize..3).prop_map(|(nodes, hosts, cpus)| {
            let mut all: Vec<Vec<Role>> = vec![vec![Role::Gtm], vec![Role::GtmStandby]];
            all.extend(nodes.iter().map(|(roles, _, _)| roles.clone()));
            let mut lab = lab(&all.iter().map(Vec::as_slice).collect::<Vec<_>>());
            for (node, (_, gib, cpus)) in lab.nodes.iter_mut().skip(2).zip(&nodes) {
                node.memory = Size::mib(gib * 1024);
                node.cpus = *cpus;
            }
            let rooms = (0..hosts).map(|host| Room { cpus: 4 << cpus, ..room(&format!("h{host}"), 256) }).collect();
            (lab, rooms)
        })
    }

    proptest! {
        #[test]
        fn rules_hold_where_there_is_room((lab, rooms) in labs()) {
            let placement = place(&lab, &rooms, &Placement::new()).expect("there is room");
            prop_assert_eq!(placement.len(), lab.nodes.len());
            prop_assert_ne!(&placement[&lab.nodes[0].name], &placement[&lab.nodes[1].name]);
            for role in [Role::Datanode, Role::Coordinator] {
                prop_assert!(uneven(&lab, &placement, &rooms, role) <= 1, "{:?} {:?}", role, placement);
            }
        }

        #[test]
        fn what_is_placed_stays((lab, rooms) in labs(), more in roles()) {
            let placement = place(&lab, &rooms, &Placement::new()).expect("there is room");
            prop_assert_eq!(&place(&lab, &rooms, &placement).expect("there is room"), &placement);
            let mut larger = lab.clone();
            let mut node = lab.nodes[0].clone();
            node.name = name("more");
            node.roles = more.into_iter().map(|role| (role, "y".parse().expect("a name"))).collect();
            larger.nodes.insert(0, node);
            let mut grown = place(&larger, &rooms, &placement).expect("there is room");
            grown.remove(&name("more"));
            prop_assert_eq!(grown, placement);
        }

        #[test]
        fn no_host_gets_more_than_it_has((lab, rooms) in labs(), gib in prop::collection::vec(0u64..40, 6)) {
            let rooms: Vec<Room> =
                rooms.into_iter().zip(gib).map(|(room, gib)| Room { memory: Size::mib(gib * 1024), ..room }).collect();
            let taken = |placement: &Placement, room: &Room| -> u64 {
                let there = |node: &&Node| placement[&node.name] == room.host;
                lab.nodes.iter().filter(there).map(|node| node.memory.as_bytes()).sum()
            };
            if let Ok(placement) = place(&lab, &rooms, &Placement::new()) {
                for room in &rooms {
                    prop_assert!(taken(&placement, room) <= room.memory.as_bytes(), "{}", room.host);
                }
                prop_assert_ne!(&placement[&lab.nodes[0].name], &placement[&lab.nodes[1].name]);
            }
        }

        #[test]
        fn pins_are_respected((mut lab, rooms) in labs(), pinned in prop::collection::vec(0usize..6, 40)) {
            for (node, host) in lab.nodes.iter_mut().skip(2).step_by(2).zip(pinned) {
                node.on = rooms.get(host).map(|room| room.host.clone());
            }
            // Wherever they were before.
            let before = lab.nodes.iter().map(|node| (node.name.clone(), rooms[0].host.clone())).collect();
            let placement = place(&lab, &rooms, &before).expect("there is room");
            for node in &lab.nodes {
                prop_assert!(node.on.as_ref().is_none_or(|host| *host == placement[&node.name]));
            }
            prop_assert_ne!(&placement[&lab.nodes[0].name], &placement[&lab.nodes[1].name]);
        }
    }
}
