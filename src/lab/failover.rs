//! A lab whose GTM and standby have changed places.
//!
//! lab.yaml says where both are at first. A failover swaps them, and lab.yaml stays as it is: everything that is derived
//! from a [`Lab`] (configuration, plans, what is asked where) follows from the swapped value.

use super::{Lab, NodeName, Role};
use serde::{Deserialize, Serialize};

/// How far a failover came; part of the lab's record. No failover: the GTM is where lab.yaml has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Failover {
    /// It was begun: maybe neither of both is the GTM at this moment.
    Begun {
        /// The node that is to have the GTM.
        #[schemars(with = "String")]
        gtm: NodeName,
    },
    /// The GTM is there.
    Done {
        /// The node that has the GTM.
        #[schemars(with = "String")]
        gtm: NodeName,
    },
}

impl Failover {
    /// The node that has, or is to have, the GTM.
    pub fn gtm(&self) -> &NodeName {
        match self {
            Failover::Begun { gtm } | Failover::Done { gtm } => gtm,
        }
    }
}

impl Lab {
    /// The same lab with the GTM on this node, its standby on the other; `None` when this node has neither of both.
    ///
    /// Each keeps its own name, directory, port and parameters: only who is who changes.
    pub fn with_gtm_on(mut self, gtm: &str) -> Option<Lab> {
        let node = self.node(gtm)?;
        if node.roles.contains_key(&Role::Gtm) {
            return Some(self);
        }
        if !node.roles.contains_key(&Role::GtmStandby) {
            return None;
        }
        for node in &mut self.nodes {
            let (gtm, standby) = (node.roles.remove(&Role::Gtm), node.roles.remove(&Role::GtmStandby));
            node.roles.extend(gtm.map(|name| (Role::GtmStandby, name)));
            node.roles.extend(standby.map(|name| (Role::Gtm, name)));
        }
        let components = &mut self.cluster.components;
        let (gtm, standby) = (components.remove(&Role::Gtm), components.remove(&Role::GtmStandby));
        components.extend(gtm.map(|component| (Role::GtmStandby, component)));
        components.extend(standby.map(|component| (Role::Gtm, component)));
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use crate::{engine::fixture::document, lab::Role};

    #[test]
    fn gtm_and_standby_change_places_and_keep_what_is_theirs() {
        let mut lab = document();
        lab.cluster.components.get_mut(&Role::GtmStandby).expect("a standby").port = 1931;
        let swapped = lab.clone().with_gtm_on("db-192-168-122-172").expect("it has the standby");
        let (gtm, standby) = (swapped.placed(Role::Gtm), swapped.placed(Role::GtmStandby));
        assert_eq!((gtm.len(), standby.len()), (1, 1));
        assert_eq!((gtm[0].node.name.as_str(), gtm[0].name.as_str()), ("db-192-168-122-172", "two"));
        assert_eq!((standby[0].name.as_str(), standby[0].component.port), ("one", 1921));
        assert_eq!(gtm[0].component.port, 1931);
        assert_eq!(swapped.clone().with_gtm_on("db-192-168-122-172"), Some(swapped.clone()), "it is there already");
        assert_eq!(swapped.with_gtm_on("db-192-168-122-171"), Some(lab), "and back");
    }

    #[test]
    fn only_a_node_with_one_of_both_can_have_it() {
        assert_eq!(document().with_gtm_on("db-192-168-122-173"), None);
        assert_eq!(document().with_gtm_on("db9"), None);
    }
}
