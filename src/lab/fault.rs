//! Something that is broken in a lab on purpose.
//!
//! A fault is data and says everything that breaking and mending it need, so that whoever finds one in the journal can
//! mend it, also when the run that made it was killed.

use super::{HostKind, Lab, NodeName, Role};
use crate::error::{Class, Error, Result};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// A component's processes are killed, and it stays down.
    KillComponent {
        /// Its node.
        node: NodeName,
        /// Its kind. What was the GTM may have become the standby since, and the other way round.
        role: Role,
    },
    /// A guest's CPUs stand still.
    Pause {
        /// Its node.
        node: NodeName,
    },
    /// A guest has no power.
    PowerOff {
        /// Its node.
        node: NodeName,
    },
    /// No frame passes between two groups of guests. The gateway, with its NFS server, is reached by both.
    Partition {
        /// One group.
        one: BTreeSet<NodeName>,
        /// The other group.
        other: BTreeSet<NodeName>,
    },
    /// A node's export takes no more data; those of other nodes do.
    DiskFull {
        /// The node.
        node: NodeName,
    },
    /// A guest's clock is wrong, and nobody sets it.
    ClockSkew {
        /// Its node.
        node: NodeName,
        /// By how many seconds; below zero: it is behind.
        seconds: i64,
    },
    /// A guest's link is slow, in both directions.
    SlowLink {
        /// Its node.
        node: NodeName,
        /// Thousands of bits a second.
        kbit: u32,
    },
    /// The NFS server stands still: nobody gets an answer.
    StallNfs,
}

impl Fault {
    /// The node that it is about, if it is about a single one.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Fault::KillComponent { node, .. }
            | Fault::Pause { node }
            | Fault::PowerOff { node }
            | Fault::DiskFull { node }
            | Fault::ClockSkew { node, .. }
            | Fault::SlowLink { node, .. } => Some(node),
            Fault::Partition { .. } | Fault::StallNfs => None,
        }
    }

    /// Refuses a lab in which nothing is broken on purpose.
    ///
    /// # Errors
    /// When it shares its machine with others, or is on several hosts.
    pub fn check_host(lab: &Lab) -> Result<()> {
        match (lab.host, &lab.hosts) {
            (HostKind::Private, None) => Ok(()),
            (HostKind::Private, Some(_)) => {
                Err(Error::new(Class::Usage, "nothing is broken on purpose in a lab of several hosts")
                    .hint("labs without `hosts` in lab.yaml have faults and drills"))
            }
            (HostKind::System, _) => {
                Err(Error::new(Class::Usage, "nothing is broken on purpose in a lab of `host: system`")
                    .hint("its network and its NFS server may be others', too; `host: private` has its own"))
            }
        }
    }

    /// A name for a step that has to do with it.
    pub fn id(&self) -> String {
        match self {
            Fault::KillComponent { node, role } => format!("{node}/kill-{}", role.as_str()),
            Fault::Pause { node } => format!("{node}/pause"),
            Fault::PowerOff { node } => format!("{node}/power-off"),
            Fault::Partition { one, other } => format!("partition/{}/{}", group(one), group(other)),
            Fault::DiskFull { node } => format!("{node}/disk-full"),
            Fault::ClockSkew { node, .. } => format!("{node}/clock-skew"),
            Fault::SlowLink { node, .. } => format!("{node}/slow-link"),
            Fault::StallNfs => "stall-nfs".to_owned(),
        }
    }
}

/// As `pgxc-lab fault` takes it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::KillComponent { node, role } => write!(f, "kill-component {} {node}", role.as_str()),
            Fault::Pause { node } => write!(f, "pause {node}"),
            Fault::PowerOff { node } => write!(f, "power-off {node}"),
            Fault::Partition { one, other } => write!(f, "partition {} {}", group(one), group(other)),
            Fault::DiskFull { node } => write!(f, "disk-full {node}"),
            Fault::ClockSkew { node, seconds } => write!(f, "clock-skew {node} --by={seconds}s"),
            Fault::SlowLink { node, kbit } => write!(f, "slow-link {node} --kbit {kbit}"),
            Fault::StallNfs => f.write_str("stall-nfs"),
        }
    }
}

fn group(nodes: &BTreeSet<NodeName>) -> String {
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> NodeName {
        name.parse().expect("a name")
    }

    #[test]
    fn the_journal_gives_back_what_was_written() {
        let (db3, db4) = (name("db3"), name("db4"));
        for (fault, words) in [
            (Fault::KillComponent { node: db3.clone(), role: Role::Datanode }, "kill-component datanode db3"),
            (Fault::Pause { node: db3.clone() }, "pause db3"),
            (Fault::PowerOff { node: db3.clone() }, "power-off db3"),
            (Fault::Partition { one: [db3.clone()].into(), other: [name("db1"), db4].into() }, "partition db3 db1,db4"),
            (Fault::DiskFull { node: db3.clone() }, "disk-full db3"),
            (Fault::ClockSkew { node: db3.clone(), seconds: -90 }, "clock-skew db3 --by=-90s"),
            (Fault::SlowLink { node: db3, kbit: 256 }, "slow-link db3 --kbit 256"),
            (Fault::StallNfs, "stall-nfs"),
        ] {
            assert_eq!(fault.to_string(), words);
            let text = serde_json::to_string(&fault).expect("it can be written");
            assert_eq!(serde_json::from_str::<Fault>(&text).expect("it can be read"), fault, "{text}");
        }
    }
}
