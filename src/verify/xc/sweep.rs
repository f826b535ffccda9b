//! What a check may leave in a Postgres-XC cluster: prepared transactions, tables, sequences, a node group.

use super::{coordinators, datanodes, direct, first};
use crate::{
    lab::{Lab, Placed},
    verify::{
        script::{Ask, Script, Session},
        seen::Seen,
        sweep::{HOLDERS, Sweep},
    },
};

pub(in crate::verify) const SWEEP: Sweep = Sweep { look, remove, holders };

const PREPARED: &str = "select gid from pg_prepared_xacts where gid ~ '^pgxc_lab_verify_' order by gid";
const RELATIONS: &str = "select relkind, relname from pg_class where relname ~ '^pgxc_lab_verify_' and relkind in ('r', 'S') order by relname";
const GROUPS: &str = "select group_name from pgxc_group where group_name ~ '^pgxc_lab_verify_' order by group_name";

fn look(lab: &Lab) -> Script {
    let lane = |(place, on): (usize, &Placed<'_>)| {
        let session = Session::with(on);
        let mut lane: Vec<Ask> = vec![
            session.sql(format!("relations/{}", on.name), RELATIONS),
            session.sql(format!("groups/{}", on.name), GROUPS),
        ];
        if place == 0 {
            let datanodes = datanodes(lab);
            lane.extend(datanodes.iter().map(|placed| {
                session.sql(format!("prepared/{}", placed.name), direct(placed.name.as_str(), PREPARED))
            }));
        }
        lane
    };
    Script::default().together(coordinators(lab).iter().enumerate().map(lane))
}

/// Transactions first: they hold locks on the tables. Then what the first coordinator that knows something knows; a
/// coordinator that was not told by it has its turn in the next round.
fn remove(lab: &Lab, seen: &Seen) -> Script {
    let mut gids = lines(seen, "prepared/");
    gids.sort();
    gids.dedup();
    let end = |gid: &String| first(lab).sql(format!("end/{gid}"), format!("rollback prepared '{gid}'"));
    let mut script = Script::default().in_turn(gids.iter().map(end));
    let known = coordinators(lab).into_iter().find_map(|on| {
        let text = seen.get(&format!("relations/{}", on.name)).ok()?.text();
        Some((on, text)).filter(|(_, text)| !text.is_empty())
    });
    if let Some((on, text)) = known {
        for (kind, what) in [("r|", "table"), ("S|", "sequence")] {
            let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(kind)).collect();
            if !names.is_empty() {
                let sql = format!("drop {what} if exists {}", names.join(", "));
                script = script.then(Session::with(&on).removal(format!("drop/{what}"), sql));
            }
        }
    }
    let groups = seen.all("groups/").filter_map(|sight| {
        let on = coordinators(lab).into_iter().find(|on| on.name.as_str() == sight.at)?;
        let drop = |group: &str| {
            Session::with(&on).sql(format!("group/{}/{group}", on.name), format!("drop node group {group}"))
        };
        Some(sight.text().lines().map(drop).collect::<Vec<_>>())
    });
    script.together(groups)
}

/// Of the servers themselves: a coordinator asked about a datanode could wait, too.
fn holders(lab: &Lab) -> Script {
    let ask = |on: &Placed<'_>| vec![Session::with(on).sql(format!("holders/{}", on.name), HOLDERS)];
    Script::default().together(coordinators(lab).iter().chain(&datanodes(lab)).map(ask))
}

fn lines(seen: &Seen, prefix: &str) -> Vec<String> {
    seen.all(prefix).flat_map(|sight| sight.text().lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::fixture::smaller,
        verify::{script::Act, seen::Sight},
    };

    fn sight(key: &str, at: &str, rows: &[&[&str]]) -> Sight {
        let rows = rows.iter().map(|row| row.iter().map(|value| Some((*value).to_owned())).collect()).collect();
        Sight { key: key.into(), at: at.into(), rows }
    }

    #[test]
    fn transactions_go_before_tables_and_nothing_else_goes() {
        let lab = smaller(2);
        let seen = Seen(vec![
            sight(
                "relations/coordinate_1",
                "coordinate_1",
                &[&["r", "pgxc_lab_verify_a"], &["S", "pgxc_lab_verify_s"], &["r", "pgxc_lab_verify_b"]],
            ),
            sight("relations/coordinate_2", "coordinate_2", &[]),
            sight("groups/coordinate_2", "coordinate_2", &[&["pgxc_lab_verify_group"]]),
            sight("prepared/datanode_1", "coordinate_1", &[&["pgxc_lab_verify_x"]]),
            sight("prepared/datanode_2", "coordinate_1", &[&["pgxc_lab_verify_x"]]),
        ]);
        let script = remove(&lab, &seen);
        let statements: Vec<(&str, &str)> = script
            .0
            .iter()
            .flatten()
            .flatten()
            .map(|ask| match &ask.act {
                Act::Sql(sql) | Act::Removal(sql) => (ask.at.name.as_str(), sql.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            statements,
            [
                ("coordinate_1", "rollback prepared 'pgxc_lab_verify_x'"),
                ("coordinate_1", "drop table if exists pgxc_lab_verify_a, pgxc_lab_verify_b"),
                ("coordinate_1", "drop sequence if exists pgxc_lab_verify_s"),
                ("coordinate_2", "drop node group pgxc_lab_verify_group"),
            ]
        );
        assert_eq!(remove(&lab, &Seen::default()).0.iter().flatten().flatten().count(), 0);
    }
}
