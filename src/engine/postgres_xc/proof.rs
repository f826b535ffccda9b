//! The short proof at the end of `up`, in the SQL of Postgres-XC 1.0.2 (spec 4.0).

use super::hash;
use crate::{
    engine::{InDoubt, Proof, Writes},
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

/// Through every coordinator a row for each of two datanodes, so that it commits in two phases, and every datanode is
/// written to. Not for all: each takes a session of its own there, of which an emulated guest makes few in a second.
pub(crate) fn writes(lab: &Lab) -> Writes {
    const TABLE: &str = "pgxc_lab_restored";
    let (coordinators, datanodes) = (lab.placed(Role::Coordinator).len(), lab.placed(Role::Datanode).len().max(1));
    let mut keys: Vec<_> = (0..datanodes).map(|datanode| keys_of(datanode, datanodes)).collect();
    let mut row = |place: usize| format!("({})", keys[place % datanodes].next().unwrap_or_default());
    Writes {
        prepare: vec![format!("create table {TABLE} (k int) distribute by hash (k)")],
        each: (0..coordinators)
            .map(|place| format!("insert into {TABLE} values {}, {}", row(place), row(place + 1)))
            .collect(),
        total: format!("select count(*) from {TABLE}"),
        rows: 2 * coordinators as u64,
        clean: vec![format!("drop table {TABLE}")],
    }
}

/// The keys that lie on one datanode of so many.
fn keys_of(datanode: usize, datanodes: usize) -> impl Iterator<Item = i32> {
    (1..i32::MAX).filter(move |key| hash::placement(*key, datanodes) == datanode)
}

/// Only the transactions that coordinators prepare by themselves, named T and their GXID (XC's xact.c): a transaction
/// that a user prepared is the user's to end. `pgxc_clean` commits what any node committed.
pub(crate) fn in_doubt(lab: &Lab) -> Option<InDoubt> {
    const MAINTENANCE: &str = "set xc_maintenance_mode = on";
    const COUNT: &str = "select count(*) from pg_prepared_xacts where gid ~ '^T[0-9]+$'";
    let coordinators = lab.placed(Role::Coordinator);
    let first = coordinators.first().copied()?;
    let mut counts = vec![vec![COUNT.to_owned()]; coordinators.len()];
    // Through a coordinator, whose pool has a session there already: a new one costs an emulated guest half a second.
    for (place, datanode) in lab.placed(Role::Datanode).iter().enumerate() {
        let quoted = COUNT.replace('\'', "''");
        counts[place % coordinators.len()].push(format!("execute direct on {} '{quoted}'", datanode.name));
    }
    let (prefix, port, user) = (&lab.cluster.prefix, first.component.port, &lab.cluster.superuser);
    Some(InDoubt {
        counts,
        resolve: format!(
            "LD_LIBRARY_PATH={prefix}/lib {prefix}/bin/pgxc_clean -h 127.0.0.1 -p {port} -d postgres -U {user} -w\n"
        ),
        open: "select txid_current_snapshot()".into(),
        // The lock of a prepared transaction is there, too: its owner is named by the GXID, of no process.
        holders: "select transaction, case when gid = 'T' || transaction \
                  then round(extract(epoch from clock_timestamp() - prepared)) else -1 end from pg_prepared_xacts \
                  union all select transactionid, null from pg_locks \
                  where locktype = 'transactionid' and mode = 'ExclusiveLock' and granted and pid is not null"
            .into(),
        committed: "select pgxc_is_committed('{gxid}'::xid)".into(),
        // As pgxc_clean does: the node alone, without asking the GTM, which knows only names that users gave.
        commit: vec![MAINTENANCE.into(), "commit prepared 'T{gxid}'".into()],
        roll_back: vec![MAINTENANCE.into(), "rollback prepared 'T{gxid}'".into()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    #[test]
    fn every_server_is_asked_once_for_what_is_in_doubt() {
        let in_doubt = in_doubt(&document()).expect("a coordinator");
        assert_eq!(in_doubt.counts.len(), 6);
        assert!(in_doubt.counts.iter().all(|queries| queries.len() == 2));
        assert_eq!(
            in_doubt.counts[2][1],
            "execute direct on datanode_3 'select count(*) from pg_prepared_xacts where gid ~ ''^T[0-9]+$'''"
        );
        assert!(in_doubt.resolve.contains("/bin/pgxc_clean -h 127.0.0.1 -p 1921 "), "{}", in_doubt.resolve);
    }

    #[test]
    fn every_coordinator_writes_other_keys_to_two_datanodes() {
        let writes = writes(&document());
        assert_eq!((writes.each.len(), writes.rows), (6, 12));
        let keys = |statement: &String| -> Vec<i32> {
            let (_, values) = statement.split_once("values ").expect("an insert");
            values.split(", ").map(|value| value.trim_matches(['(', ')']).parse().expect("a key")).collect()
        };
        let mut all = Vec::new();
        for (place, statement) in writes.each.iter().enumerate() {
            let keys = keys(statement);
            let placed: Vec<usize> = keys.iter().map(|key| hash::placement(*key, 6)).collect();
            assert_eq!(placed, [place, (place + 1) % 6], "{statement}");
            all.extend(keys);
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12, "no key twice");
    }

    #[test]
    fn expects_the_golden_counts() {
        let proof = proof(&document());
        let counts: Vec<u64> = proof.counts.iter().filter_map(|(_, _, count)| *count).collect();
        assert_eq!(counts, [1001, 1005, 1056, 942, 997, 999]);
        assert_eq!(counts.iter().sum::<u64>(), proof.rows);
        assert_eq!(proof.counts[2].1, "execute direct on datanode_3 'select count(*) from pgxc_lab_proof'");
    }
}
