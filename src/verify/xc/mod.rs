//! The catalogue for Postgres-XC 1.0: checks of the specification's section 4 that break nothing.
//!
//! SQL of 1.0: `EXECUTE DIRECT ON node 'query'` and `TO NODE a, b` without parentheses, `ROUND ROBIN` in two words.

#[cfg(test)]
mod broken;
mod copies;
mod members;
mod placement;
mod plans;
pub(super) mod sweep;
mod transactions;

use super::{
    check::Check,
    parties::{coordinator, coordinators, first, last, own},
    script::{Ask, Session},
};
use crate::lab::{Lab, Placed, Role};

/// Everything that is checked, in the order in which it is.
pub static CATALOGUE: &[&[Check]] =
    &[members::CHECKS, copies::CHECKS, placement::CHECKS, plans::CHECKS, transactions::CHECKS, members::LAST];

/// Datanodes in the order of their names, which is the order that the placement of rows counts in (spec 2.9).
fn datanodes(lab: &Lab) -> Vec<Placed<'_>> {
    let mut datanodes = lab.placed(Role::Datanode);
    datanodes.sort_by_key(|placed| placed.name.as_str());
    datanodes
}

/// A query that a coordinator hands on to one other node as it is.
fn direct(node: &str, query: &str) -> String {
    format!("execute direct on {node} '{}'", query.replace('\'', "''"))
}

/// A count of a table's rows on every datanode through the first coordinator, as `rows/DATANODE`.
fn rows_each(lab: &Lab, table: &str) -> Vec<Ask> {
    let ask = |placed: &Placed<'_>| {
        let query = direct(placed.name.as_str(), &format!("select count(*) from {}", own(table)));
        first(lab).sql(format!("rows/{}", placed.name), query)
    };
    datanodes(lab).iter().map(ask).collect()
}

/// The same question to every coordinator, side by side, as `KEY/COORDINATOR`.
fn everywhere(lab: &Lab, key: &str, sql: &str) -> Vec<Vec<Ask>> {
    let ask = |placed: &Placed<'_>| vec![Session::with(placed).sql(format!("{key}/{}", placed.name), sql)];
    coordinators(lab).iter().map(ask).collect()
}
