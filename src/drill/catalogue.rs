//! The drills.

use super::load::{Client, Reach};
use crate::lab::{EngineKind, Fault, Lab, NodeName, Placed, Role};
use std::{collections::BTreeSet, time::Duration};

/// A drill.
pub struct Drill {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it proves, a sentence.
    pub proves: &'static str,
    /// Engines that it is for.
    pub engines: &'static [EngineKind],
    /// What the lab must have.
    pub needs: Needs,
    /// What is broken.
    pub faults: fn(&Lab) -> Vec<Fault>,
    /// What clients must see while it is broken.
    pub prospects: Prospects,
    /// What the cluster must refuse while it is broken.
    pub refuses: Option<Refusal>,
    /// What is done about it before it is mended.
    pub repair: Repair,
    /// What becomes of sequences.
    pub sequences: Sequences,
    /// What becomes of transfers that a coordinator was committing.
    pub commits: Commits,
}

/// What a lab must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A cluster.
    Cluster,
    /// A standby of the GTM.
    Standby,
    /// A second node with a coordinator and a datanode: something must go on.
    Peer,
    /// The same, and exports that are mounted with `sync`: else a guest tells its servers that pages are written, finds out
    /// later that there is no room for them, and drops them. No database survives that.
    SynchronousPeer,
}

/// What clients must see, by what they have to do with the nodes that the fault is on. Of several, `Halts` counts before
/// `Unsaid` before `Unpooled` before `Goes`.
#[derive(Clone, Copy, Debug)]
pub struct Prospects {
    /// Those whose coordinator is on such a node.
    pub through: Prospect,
    /// Those that write to the datanode of such a node only.
    pub into: Prospect,
    /// Those that write to all datanodes.
    pub everywhere: Prospect,
    /// Everybody.
    pub all: Prospect,
}

/// What a client must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prospect {
    /// Transfers are acknowledged.
    Goes,
    /// The same, but for Postgres-XC, of which both is right: the pooler of a coordinator is one process, which connects to
    /// nodes (`PQconnectdb`) and hands settings over and takes them back (`PGXCNodeSendSetQuery`) one after the other, and
    /// waits for each without limit. When one is gone that cannot say so, whoever needs the pooler may wait as long as that
    /// lasts, and whoever has his connections goes on.
    Unpooled,
    /// Both is right.
    Unsaid,
    /// None is, but for postgres_fdw, of which both is right: with the document's `synchronous_commit = off` its datanodes
    /// acknowledge what they have not written yet.
    Unwritten,
    /// None is.
    Halts,
}

/// What the cluster must refuse, and why.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// What is tried.
    pub what: Attempted,
    /// Words of the reason, one of which must be in what the server says.
    pub says: &'static [&'static str],
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// A new table.
    Table,
    /// More data than there is room for, again and again.
    Data,
}

/// What is done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing: it is waited for.
    Nothing,
    /// `failover gtm`.
    FailOver,
}

/// What becomes of sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequences {
    /// No value is given twice.
    Kept,
    /// The GTM forgets what it gave since it last ended in an orderly way, a defect of 1.0: none is drawn.
    Forgotten,
}

/// What becomes of transfers that a coordinator was committing when something that takes part was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// Each is there as a whole or not at all.
    Whole,
    /// One whose commit no client was told of may be there by half, a defect of 1.0: the GTM forgets its GXID while a datanode
    /// still has it prepared. It does so when a proxy is lost, with all its sessions (`GTM_RemoveAllTransInfos`), and when a
    /// datanode is lost between its prepare and its commit, as the coordinator then takes the whole for aborted, though
    /// others have committed (`RollbackTranGTM` in xact.c's AtEOXact_GlobalTxn). Snapshots then begin after it, so datanodes
    /// hold it for ended (`RecentXmin` in procarray.c), and as it is not committed, for aborted; whoever reads its rows
    /// writes that down in them (`HEAP_XMIN_INVALID` in tqual.c), for good. To commit it later does not bring these rows
    /// back.
    MayBeHalved,
}

impl Drill {
    /// Why it does not apply to a lab.
    pub fn lacking(&self, engine: EngineKind, lab: &Lab) -> Option<&'static str> {
        let peers = lab.placed(Role::Datanode);
        let peers = peers.iter().filter(|placed| placed.node.roles.contains_key(&Role::Coordinator)).count();
        match self.needs {
            _ if !self.engines.contains(&engine) => Some("it is about what this engine does not have"),
            _ if lab.placed(Role::Coordinator).is_empty() => Some("the lab has no cluster"),
            Needs::Standby if lab.placed(Role::GtmStandby).is_empty() => Some("the lab has no standby of the GTM"),
            Needs::Peer | Needs::SynchronousPeer if peers < 2 => {
                Some("the lab has no second node with a coordinator and a datanode")
            }
            Needs::SynchronousPeer if lab.nfs.options.iter().all(|option| option != "sync") => {
                Some("without `sync` in `nfs.options` a full disk loses what was written")
            }
            _ => None,
        }
    }

    /// What a client must see while these faults are in force.
    pub fn prospect(&self, engine: EngineKind, faults: &[Fault], client: &Client) -> Prospect {
        let touched: BTreeSet<&NodeName> = faults.iter().flat_map(touched).collect();
        let Prospects { through, into, everywhere, all } = self.prospects;
        let reach = match &client.reach {
            Reach::Datanode(node) if touched.contains(node) => into,
            Reach::Datanode(_) => all,
            Reach::Everywhere => everywhere,
        };
        let coordinator = if touched.contains(&client.node) { through } else { all };
        match all.max(reach).max(coordinator) {
            Prospect::Unpooled if engine == EngineKind::PostgresXc => Prospect::Unsaid,
            Prospect::Unpooled => Prospect::Goes,
            Prospect::Unwritten if engine == EngineKind::PostgresFdw => Prospect::Unsaid,
            Prospect::Unwritten => Prospect::Halts,
            other => other,
        }
    }
}

/// Nodes that a fault is on; of a partition, those that are cut off.
fn touched(fault: &Fault) -> Vec<&NodeName> {
    match fault {
        Fault::Partition { one, .. } => one.iter().collect(),
        other => other.node().into_iter().collect(),
    }
}

const BOTH: &[EngineKind] = &[EngineKind::PostgresXc, EngineKind::PostgresFdw];
/// Also whatever crashes a datanode: those of postgres_fdw commit as lab.yaml says, with the document's `synchronous_commit =
/// off`, whatever a session at a coordinator asks for, and lose what they acknowledged last.
const XC: &[EngineKind] = &[EngineKind::PostgresXc];

const NOBODY_WRITES: Prospects =
    Prospects { through: Prospect::Halts, into: Prospect::Halts, everywhere: Prospect::Halts, all: Prospect::Halts };
const EVERYBODY_WRITES: Prospects =
    Prospects { through: Prospect::Goes, into: Prospect::Goes, everywhere: Prospect::Goes, all: Prospect::Goes };
/// The others go on, and what needs the node does not.
const OTHERS_WRITE: Prospects =
    Prospects { through: Prospect::Halts, into: Prospect::Halts, everywhere: Prospect::Unsaid, all: Prospect::Goes };

/// All of them, in the order in which they are run: what is mended fast first, the GTM late, the whole lab last.
pub static CATALOGUE: &[Drill] = &[
    Drill {
        name: "clock-skewed",
        proves: "a node whose clock is an hour ahead goes on, and so does everybody",
        engines: BOTH,
        needs: Needs::Cluster,
        faults: |lab| last(lab, Role::Datanode, |node| Fault::ClockSkew { node, seconds: 3600 }),
        prospects: EVERYBODY_WRITES,
        refuses: None,
        repair: Repair::Nothing,
        sequences: Sequences::Kept,
        commits: Commits::Whole,
    },
    Drill {
        name: "link-slow",
        proves: "a node with a link of 256 kbit/s holds nobody up who does not need it",
        engines: BOTH,
        needs: Needs::Peer,
        faults: |lab| last(lab, Role::Datanode, |node| Fault::SlowLink { node, kbit: 256 }),
        prospects: Prospects {
            through: Prospect::Unsaid,
            into: Prospect::Unsaid,
            everywhere: Prospect::Unsaid,
            all: Prospect::Goes,
        },
        refuses: None,
        repair: Repair::Nothing,
        sequences: Sequences::Kept,
        commits: Commits::Whole,
    },
    Drill {
        name: "nfs-stalled",
        proves: "while the NFS server stands still no commit is acknowledged that waits for it; then everything goes on by itself",
        engines: BOTH,
        needs: Needs::Cluster,
        faults: |_| vec![Fault::StallNfs],
        prospects: Prospects { all: Prospect::Unwritten, ..EVERYBODY_WRITES },
        refuses: None,
        repair: Repair::Nothing,
        sequences: Sequences::Kept,
        commits: Commits::Whole,
    },
    Drill {
        name: "datanode-killed",
        proves: "when a datanode is killed, transfers on the others go on, and it comes back with what was committed",
        engines: XC,
        needs: Needs::Cluster,
        faults: |lab| last(lab, Role::Datanode, |node| Fault::KillComponent { node, role: Role::Datanode }),
        prospects: Prospects {
            through: Prospect::Goes,
            into: Prospect::Halts,
            everywhere: Prospect::Unsaid,
            all: Prospect::Goes,
        },
        refuses: None,
        repair: Repair::Nothing,
        sequences: Sequences::Kept,
        commits: Commits::MayBeHalved,
    },
    Drill {
        name: "coordinator-lost",
        proves: "when a coordinator is lost, transfers through the others go on, and DDL is refused with the reason",
        engines: BOTH,
        needs: Needs::Peer,
        faults: |lab| last(lab, Role::Coordinator, |node| Fault::KillComponent { node, role: Role::Coordinator }),
        prospects: Prospects {
            through: Prospect::Halts,
            into: Prospect::Goes,
            everywhere: Prospect::Goes,
            all: Prospect::Goes,
        },
        refuses: Some(Refusal { what: Attempted::Table, says: DDL_REFUSED }),
        repair: Repair::Nothing,
        sequences: Sequences::Kept,
        commits: Commits::Whole,
    },
    Drill {
        name: "proxy-killed",
        proves: "when a GTM proxy is killed, whoever is behind it stops, the others go on, and it comes back",
        engines: XC,
        needs: Needs::Peer,
        faults: |lab| last(lab, Role::GtmProxy, |node| Fault::KillComponent { node, role: Role::GtmProxy }),
        prospects: Prospects { into: Prospect::Unsaid, ..OTHERS_WRITE },
        refuses: None,
        repair: Repair::Nothing,
        sequences: Sequences::Kept,
        commits: Commits::MayBeHalved,
    },
    Drill {
        name: "disk-full",
        proves: "a node whose disk is full refuses data and says why, and loses none",
        engines: XC,
        needs: Needs::SynchronousPeer,
        faults: |lab| last(lab, Role::Datanode, |node| Fault::DiskFull { node }),
        prospects: Prospects {
            through: Prospect::Unsaid,
            into: Prospect::Unsaid,
            everywhere: Prospect::Unsaid,
            all: Prospect::Goes,
        },
        refuses: Some(Refusal { what: Attempted::Data, says: &["No space left on device"] }),
        repair: Repair::Nothing,
        sequences: Sequences::Kept,
        commits: Commits::MayBeHalved,
    },
    Drill {
        name: "network-parted",
        proves: "a node that is cut off from all others halts, whoever does not wait for it goes on, and it joins them again",
        engines: BOTH,
        needs: Needs::Peer,
        faults: |lab| {
            let cut: BTreeSet<NodeName> =
                lab.placed(Role::Datanode).last().map(|placed| placed.node.name.clone()).into_iter().collect();
            let others = lab.nodes.iter().map(|node| node.name.clone()).filter(|name| !cut.contains(name)).collect();
            vec![Fault::Partition { one: cut, other: others }]
        },
        prospects: Prospects { all: Prospect::Unpooled, ..OTHERS_WRITE },
        refuses: None,
        repair: Repair::Nothing,
        sequences: Sequences::Kept,
        commits: Commits::MayBeHalved,
    },
    Drill {
        name: "node-powered-off",
        proves: "when a node loses its power, it comes back with what was committed, and everybody goes on",
        engines: XC,
        needs: Needs::Peer,
        faults: |lab| last(lab, Role::Datanode, |node| Fault::PowerOff { node }),
        prospects: Prospects { all: Prospect::Unpooled, ..OTHERS_WRITE },
        refuses: None,
        repair: Repair::Nothing,
        sequences: Sequences::Kept,
        commits: Commits::MayBeHalved,
    },
    Drill {
        name: "gtm-killed",
        proves: "when the GTM is killed, its standby takes over: sessions go on, no GXID and no sequence value comes twice",
        engines: XC,
        needs: Needs::Standby,
        faults: |lab| last(lab, Role::Gtm, |node| Fault::KillComponent { node, role: Role::Gtm }),
        prospects: NOBODY_WRITES,
        refuses: None,
        repair: Repair::FailOver,
        sequences: Sequences::Kept,
        commits: Commits::Whole,
    },
    Drill {
        name: "lab-power-cycled",
        proves: "when all nodes lose their power at once, everything that was committed is there when it is back",
        engines: XC,
        needs: Needs::Cluster,
        faults: |lab| lab.nodes.iter().map(|node| Fault::PowerOff { node: node.name.clone() }).collect(),
        prospects: NOBODY_WRITES,
        refuses: None,
        repair: Repair::Nothing,
        sequences: Sequences::Forgotten,
        commits: Commits::MayBeHalved,
    },
];

/// What coordinators of both engines say when they do not reach another one.
const DDL_REFUSED: &[&str] =
    &["Failed to get pooled connections", "Could not begin transaction on coordinators", "could not connect to server"];

/// How long something is broken at the least: long enough to see that transfers halt, and not one that was slow.
pub const BROKEN: Duration = Duration::from_secs(8);

/// The fault on the last node with a role: the first one is whom the books are read through.
fn last(lab: &Lab, role: Role, fault: fn(NodeName) -> Fault) -> Vec<Fault> {
    let placed = lab.placed(role);
    placed.last().map(|placed: &Placed<'_>| fault(placed.node.name.clone())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::smaller;

    #[test]
    fn names_and_sentences_have_a_form() {
        let mut names: Vec<&str> = CATALOGUE.iter().map(|drill| drill.name).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')), "{names:?}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len());
        assert!(CATALOGUE.iter().all(|drill| !drill.proves.ends_with('.')));
    }

    #[test]
    fn every_drill_breaks_something() {
        for drill in CATALOGUE {
            assert!(!(drill.faults)(&smaller(2)).is_empty(), "{}", drill.name);
        }
    }

    /// Where neither a datanode nor a proxy is lost, a half is a mistake.
    #[test]
    fn commits_are_whole_where_whoever_takes_part_lives() {
        let halved = |drill: &&Drill| drill.commits == Commits::MayBeHalved;
        let halved: Vec<&str> = CATALOGUE.iter().filter(halved).map(|drill| drill.name).collect();
        let lost =
            ["datanode-killed", "proxy-killed", "disk-full", "network-parted", "node-powered-off", "lab-power-cycled"];
        assert_eq!(halved, lost);
    }

    #[test]
    fn who_needs_the_node_halts() {
        let lab = smaller(2);
        let node = |place: usize| lab.nodes[place].name.clone();
        let client = |through: usize, reach| Client::fixture(node(through), reach);
        let drill = |name: &str| CATALOGUE.iter().find(|drill| drill.name == name).expect(name);
        for (name, client, prospect) in [
            ("datanode-killed", client(2, Reach::Datanode(node(2))), Prospect::Goes),
            ("datanode-killed", client(3, Reach::Datanode(node(2))), Prospect::Goes),
            ("datanode-killed", client(2, Reach::Datanode(node(3))), Prospect::Halts),
            ("datanode-killed", client(2, Reach::Everywhere), Prospect::Unsaid),
            ("coordinator-lost", client(3, Reach::Datanode(node(2))), Prospect::Halts),
            ("coordinator-lost", client(2, Reach::Everywhere), Prospect::Goes),
            ("network-parted", client(3, Reach::Datanode(node(3))), Prospect::Halts),
            ("network-parted", client(2, Reach::Datanode(node(2))), Prospect::Unsaid),
            ("network-parted", client(2, Reach::Datanode(node(3))), Prospect::Halts),
            ("gtm-killed", client(2, Reach::Datanode(node(2))), Prospect::Halts),
            ("clock-skewed", client(3, Reach::Everywhere), Prospect::Goes),
        ] {
            let drill = drill(name);
            let seen = drill.prospect(EngineKind::PostgresXc, &(drill.faults)(&lab), &client);
            assert_eq!(seen, prospect, "{name}: {client:?}");
        }
        // Without a pooler nobody waits for it.
        let parted = drill("network-parted");
        let goes =
            parted.prospect(EngineKind::PostgresFdw, &(parted.faults)(&lab), &client(2, Reach::Datanode(node(2))));
        assert_eq!(goes, Prospect::Goes);
        // What is acknowledged before it is written does not wait for the server.
        let stalled = drill("nfs-stalled");
        let seen = |engine| {
            let client = client(2, Reach::Datanode(node(2)));
            stalled.prospect(engine, &(stalled.faults)(&lab), &client)
        };
        let expected = (Prospect::Halts, Prospect::Unsaid);
        assert_eq!((seen(EngineKind::PostgresXc), seen(EngineKind::PostgresFdw)), expected);
    }
}
