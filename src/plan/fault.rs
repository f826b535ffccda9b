//! Plans that make faults, and undo them.

use super::{Action, Chain, Heavy, Plan, Step};
use crate::lab::Fault;

/// The plan that makes faults, one after the other: together they are one moment, and each is in the journal first.
pub fn breaking<'a>(faults: impl IntoIterator<Item = &'a Fault>) -> Plan {
    let steps = faults.into_iter().map(|fault| step("break", fault, "break", Action::Break { fault: fault.clone() }));
    Plan { chains: vec![Chain { heavy: Heavy::No, steps: steps.collect() }] }
}

/// The plan that undoes faults, side by side: one that cannot be mended keeps no other from it. Only full disks are mended
/// one after the other, since what is done about one hangs on which others there are.
pub fn mending<'a>(faults: impl IntoIterator<Item = &'a Fault>) -> Plan {
    let (disks, others): (Vec<_>, Vec<_>) =
        faults.into_iter().partition(|fault| matches!(fault, Fault::DiskFull { .. }));
    let mend = |fault: &Fault| step("mend", fault, "mend", Action::Mend { fault: fault.clone() });
    let mut chains: Vec<Vec<Step>> = others.into_iter().map(|fault| vec![mend(fault)]).collect();
    chains.push(disks.into_iter().map(mend).collect());
    Plan { chains: chains.into_iter().map(|steps| Chain { heavy: Heavy::No, steps }).collect() }
}

/// The plan that proves that a cluster goes on, and resolves what is in doubt. `gxid` was seen before: it must not go back.
pub fn proving(gxid: Option<u32>) -> Plan {
    let action = Action::Recover { gxid };
    let step = Step { id: "recover".into(), node: None, title: "prove the cluster", action, needs: Vec::new() };
    Plan { chains: vec![Chain { heavy: Heavy::No, steps: vec![step] }] }
}

fn step(word: &str, fault: &Fault, title: &'static str, action: Action) -> Step {
    Step {
        id: format!("{}/{word}", fault.id()),
        node: fault.node().map(ToString::to_string),
        title,
        action,
        needs: Vec::new(),
    }
}
