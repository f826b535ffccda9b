//! The short proof at the end of `up`, in the SQL of Postgres-XC 1.0.2 (spec 4.0).

use super::hash;
use crate::{
    engine::Proof,
    lab::{Lab, Role},
};

const TABLE: &str = "pgxc_lab_proof";
const ROWS: i32 = 6000;

/// A table distributed by hash, whose rows are counted where they must lie.
pub(crate) fn proof(lab: &Lab) -> Proof {
    // Placement counts datanodes in the order of their names, not of the nodes (spec 2.9).
    let mut names: Vec<&str> = lab.placed(Role::Datanode).iter().map(|placed| placed.name.as_str()).collect();
    names.sort_unstable();
    let counts = names
        .iter()
        .zip(hash::counts(ROWS, names.len()))
        .map(|(name, count)| {
            let query = format!("execute direct on {name} 'select count(*) from {TABLE}'");
            ((*name).to_owned(), query, Some(count))
        })
        .collect();
    Proof {
        fill: vec![
            format!("drop table if exists {TABLE}"),
            format!("create table {TABLE} (k int, v text) distribute by hash (k)"),
        ],
        copy: Some(format!("copy {TABLE} (k, v) from stdin")),
        counts,
        total: format!("select count(*) from {TABLE}"),
        rows: ROWS.unsigned_abs().into(),
        clean: vec![format!("drop table {TABLE}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    #[test]
    fn expects_the_golden_counts() {
        let proof = proof(&document());
        let counts: Vec<u64> = proof.counts.iter().filter_map(|(_, _, count)| *count).collect();
        assert_eq!(counts, [1001, 1005, 1056, 942, 997, 999]);
        assert_eq!(counts.iter().sum::<u64>(), proof.rows);
        assert_eq!(proof.counts[2].1, "execute direct on datanode_3 'select count(*) from pgxc_lab_proof'");
    }
}
