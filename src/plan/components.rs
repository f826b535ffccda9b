//! The plan of `start`, `stop` and `restart`: components of a lab that is up, in the order that the cluster needs
//! (spec 2.11).

use super::{Action, Chain, Heavy, Plan, Step};
use crate::{
    engine::Engine,
    lab::{Lab, Placed, Role},
};

/// What is to become of components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// They serve.
    Start,
    /// No process of them is left.
    Stop,
    /// First the one, then the other: never the programs' own `restart`, which brings a GTM's old `-x` back (spec 2.5).
    Restart,
}

impl Wish {
    /// The verb.
    pub fn as_str(self) -> &'static str {
        match self {
            Wish::Start => "start",
            Wish::Stop => "stop",
            Wish::Restart => "restart",
        }
    }
}

/// The plan for these components. All of a kind at once, and the next kind when they are done: from the GTM to the
/// coordinators, and for a stop the other way round.
pub fn components(lab: &Lab, engine: &dyn Engine, wish: Wish, chosen: &[Placed<'_>]) -> Plan {
    let mut kinds: Vec<(Wish, Role)> = Vec::new();
    if wish != Wish::Start {
        kinds.extend(Role::ALL.into_iter().rev().map(|role| (Wish::Stop, role)));
    }
    if wish != Wish::Stop {
        kinds.extend(Role::ALL.into_iter().map(|role| (Wish::Start, role)));
    }
    let gtm = chosen.iter().any(|placed| placed.role == Role::Gtm);
    let mut plan = Plan { chains: Vec::new() };
    let mut before: Vec<String> = Vec::new();
    for (wish, role) in kinds {
        let mut meant: Vec<Placed<'_>> = chosen.iter().copied().filter(|placed| placed.role == role).collect();
        // A GTM may come back without knowledge of its standby: then that one has to register anew.
        if meant.is_empty() && wish == Wish::Start && role == Role::GtmStandby && gtm && engine.runs(role) {
            meant = lab.placed(role);
        }
        let steps: Vec<Step> = meant.iter().map(|placed| step(*placed, wish, &before)).collect();
        if !steps.is_empty() {
            before = steps.iter().map(|step| step.id.clone()).collect();
        }
        // Starting a server is work for its guest, stopping one is mostly a wait.
        let heavy = if wish == Wish::Start { Heavy::Yes } else { Heavy::No };
        plan.chains.extend(steps.into_iter().map(|step| Chain { heavy, steps: vec![step] }));
    }
    plan
}

fn step(placed: Placed<'_>, wish: Wish, needs: &[String]) -> Step {
    let (word, action) = match wish {
        Wish::Stop => ("stop", Action::Stop { role: placed.role }),
        Wish::Start | Wish::Restart => ("start", Action::Start { role: placed.role }),
    };
    Step {
        id: format!("{}/{word}-{}", placed.node.name, placed.role.as_str()),
        node: Some(placed.node.name.to_string()),
        title: title(wish, placed.role),
        action,
        needs: needs.to_vec(),
    }
}

fn title(wish: Wish, role: Role) -> &'static str {
    let stops = wish == Wish::Stop;
    match role {
        Role::Gtm if stops => "stop the GTM",
        Role::GtmStandby if stops => "stop the GTM's standby",
        Role::GtmProxy if stops => "stop the proxy",
        Role::Datanode if stops => "stop the datanode",
        Role::Coordinator if stops => "stop the coordinator",
        Role::Gtm => "start the GTM",
        Role::GtmStandby => "start the GTM's standby",
        Role::GtmProxy => "start the proxy",
        Role::Datanode => "start the datanode",
        Role::Coordinator => "start the coordinator",
    }
}
