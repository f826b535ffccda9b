//! What a check may leave where postgres_fdw is the engine: distributed tables.

use super::{coordinators, datanodes, each};
use crate::{
    lab::{Lab, Placed},
    verify::{
        script::{Script, Session},
        seen::{Seen, Sight},
        sweep::{HOLDERS, Sweep},
    },
};

pub(in crate::verify) const SWEEP: Sweep = Sweep { look, remove, holders };

/// Not the partitions: they go with their parent.
const TABLES: &str =
    "select relname from pg_class where relname ~ '^pgxc_lab_verify_' and relkind in ('r', 'p') order by relname";

fn look(lab: &Lab) -> Script {
    Script::default()
        .together([each(&coordinators(lab), "coordinator", TABLES), each(&datanodes(lab), "datanode", TABLES)].concat())
}

/// Through the first coordinator that knows some; else on the datanodes, where a call that failed half-way left them.
fn remove(lab: &Lab, seen: &Seen) -> Script {
    let some = |placed: &Placed<'_>, key: &str| -> Option<Sight> {
        seen.get(&format!("{key}/{}", placed.name)).ok().filter(|sight| !sight.rows.is_empty()).cloned()
    };
    let known = coordinators(lab).into_iter().find_map(|on| Some((on, some(&on, "coordinator")?)));
    if let Some((on, sight)) = known {
        let drop = |name: &str| {
            let sql = format!("select pgxc_lab.drop_distributed_table('{name}')");
            Session::with(&on).removal(format!("drop/{name}"), sql)
        };
        return Script::default().in_turn(sight.text().lines().map(drop).collect::<Vec<_>>());
    }
    let lanes = datanodes(lab).into_iter().filter_map(|on| {
        let names = some(&on, "datanode")?.text().replace('\n', ", ");
        Some(vec![Session::with(&on).removal(format!("drop/{}", on.name), format!("drop table if exists {names}"))])
    });
    Script::default().together(lanes)
}

fn holders(lab: &Lab) -> Script {
    Script::default()
        .together([each(&coordinators(lab), "holders", HOLDERS), each(&datanodes(lab), "holders", HOLDERS)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::fixture::smaller, verify::script::Act};

    fn statements(seen: &[(&str, &str)]) -> Vec<String> {
        let sight = |(key, name): &(&str, &str)| Sight {
            key: (*key).into(),
            at: String::new(),
            rows: vec![vec![Some((*name).into())]],
        };
        let script = remove(&smaller(2), &Seen(seen.iter().map(sight).collect()));
        script
            .0
            .into_iter()
            .flatten()
            .flatten()
            .map(|ask| match ask.act {
                Act::Sql(sql) | Act::Removal(sql) => format!("{}: {sql}", ask.at.name),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn coordinators_go_first() {
        let both = [("coordinator/coordinate_2", "pgxc_lab_verify_a"), ("datanode/datanode_1", "pgxc_lab_verify_a")];
        assert_eq!(statements(&both), ["coordinate_2: select pgxc_lab.drop_distributed_table('pgxc_lab_verify_a')"]);
        assert_eq!(statements(&both[1..]), ["datanode_1: drop table if exists pgxc_lab_verify_a"]);
        assert!(statements(&[]).is_empty());
    }
}
