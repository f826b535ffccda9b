//! The catalogue for the substitute, postgres_fdw: what it promises, and no more. There is no GTM, no global snapshot and
//! no atomic commit over several nodes, so none of that is checked.

#[cfg(test)]
mod broken;
mod members;
pub(super) mod sweep;
mod tables;

use super::{
    check::{Check, PREFIX},
    script::{Ask, Session},
};
use crate::lab::{Lab, Placed, Role};

/// Everything that is checked, in the order in which it is.
pub static CATALOGUE: &[&[Check]] = &[members::CHECKS, tables::CHECKS, members::LAST];

fn coordinators(lab: &Lab) -> Vec<Placed<'_>> {
    lab.placed(Role::Coordinator)
}

fn datanodes(lab: &Lab) -> Vec<Placed<'_>> {
    lab.placed(Role::Datanode)
}

fn first(lab: &Lab) -> Session {
    Session::with(&coordinators(lab)[0])
}

fn last(lab: &Lab) -> Session {
    let coordinators = coordinators(lab);
    Session::with(&coordinators[coordinators.len() - 1])
}

fn own(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The same question to each of these, side by side, as `KEY/COMPONENT`.
fn each(placed: &[Placed<'_>], key: &str, sql: &str) -> Vec<Vec<Ask>> {
    placed.iter().map(|placed| vec![Session::with(placed).sql(format!("{key}/{}", placed.name), sql)]).collect()
}
