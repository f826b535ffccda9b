//! The plan that takes nodes out of a lab that is up: nobody knows them any more, then they end, then they are gone.

use super::{Action, Chain, Heavy, Plan, Step, Wish, components};
use crate::{
    engine::Engine,
    lab::{Lab, Node, Placed, Role},
};

/// The plan for these nodes, which hold nothing.
pub fn leaving(lab: &Lab, engine: &dyn Engine, leaving: &[&Node]) -> Plan {
    let is_leaving = |placed: &Placed<'_>| leaving.iter().any(|node| node.name == placed.node.name);
    let gone: Vec<Placed<'_>> = leaving.iter().flat_map(|node| lab.components_of(node)).collect();
    let gone: Vec<Placed<'_>> = gone.into_iter().filter(|placed| engine.runs(placed.role)).collect();
    let names: Vec<String> = gone
        .iter()
        .filter(|placed| matches!(placed.role, Role::Datanode | Role::Coordinator))
        .map(|placed| placed.name.to_string())
        .collect();
    let step = |node: &Node, what: &str, title, action, needs: &[String]| Step {
        id: format!("{}/{what}", node.name),
        node: Some(node.name.to_string()),
        title,
        action,
        needs: needs.to_vec(),
    };
    let mut chains = Vec::new();
    let staying = lab.placed(Role::Coordinator).into_iter().filter(|placed| !is_leaving(placed) && !names.is_empty());
    // One after the other, as they were registered.
    let forget: Vec<Step> = staying
        .map(|on| step(on.node, "forget", "forget the nodes", Action::Forget { names: names.clone() }, &[]))
        .collect();
    let mut before: Vec<String> = forget.iter().map(|step| step.id.clone()).collect();
    if !forget.is_empty() {
        chains.push(Chain { heavy: Heavy::No, steps: forget });
    }
    let stop = components(lab, engine, Wish::Stop, &gone);
    let stopped: Vec<String> = stop.steps().map(|step| step.id.clone()).collect();
    chains.extend(stop.chains.into_iter().map(|mut chain| {
        for step in chain.steps.iter_mut().filter(|step| step.needs.is_empty()) {
            step.needs.clone_from(&before);
        }
        chain
    }));
    before.extend(stopped);
    chains.extend(leaving.iter().map(|node| {
        let dismantle = step(node, "dismantle", "take the node away", Action::Dismantle, &before);
        Chain { heavy: Heavy::No, steps: vec![dismantle] }
    }));
    Plan { chains }
}
