//! The catalogue for the substitute, postgres_fdw: what it promises, and no more. There is no GTM, no global snapshot and
//! no atomic commit over several nodes, so none of that is checked.

#[cfg(test)]
mod broken;
mod members;
pub(super) mod sweep;
mod tables;

use super::{
    check::Check,
    parties::{coordinators, first, last, own},
    script::{Ask, Session},
    unchanged::UNCHANGED,
};
use crate::lab::{Lab, Placed, Role};

/// Everything that is checked, in the order in which it is.
pub static CATALOGUE: &[&[Check]] = &[members::CHECKS, tables::CHECKS, &[UNCHANGED]];

fn datanodes(lab: &Lab) -> Vec<Placed<'_>> {
    lab.placed(Role::Datanode)
}

/// The same question to each of these, side by side, as `KEY/COMPONENT`.
fn each(placed: &[Placed<'_>], key: &str, sql: &str) -> Vec<Vec<Ask>> {
    placed.iter().map(|placed| vec![Session::with(placed).sql(format!("{key}/{}", placed.name), sql)]).collect()
}
