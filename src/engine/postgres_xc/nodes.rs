//! The catalog pgxc_node of one coordinator: what must be in it, and the statements that bring it there.
//!
//! The document registers six datanodes and forgets the other coordinators, so that DDL never reaches them (spec
//! 1.14.1); it registers itself as 127.0.0.1 and the others by address (1.14.2, 1.14.3). Here every coordinator knows
//! every coordinator and datanode under the same short host name, so that the catalogs are equal everywhere but for
//! `nodeis_preferred`.

use crate::{
    engine::{Holding, Row},
    lab::{Identifier, Lab, Node, Placed, Primary, Role},
};

/// What [`statements`] wants to know.
pub(crate) const INVENTORY: &str = "select node_name, node_type, node_port, node_host, nodeis_primary, nodeis_preferred, node_id \
                                    from pgxc_node order by node_name";

/// What initdb did not make, by kind. 1.0 copies no catalogs to a server that joins, and has no mode in which they could
/// be loaded there alone; DDL goes to all servers (ExecUtilityFindNodes), and fails as a whole where one does not know its
/// object: such a table could neither be altered nor dropped any more. Object ids of users begin at 16384.
pub(crate) const UNKNOWN_TO_NEWCOMERS: &str = "\
select 'database', datname::text from pg_database where oid >= 16384 \
union all select 'role', rolname::text from pg_authid where oid >= 16384 \
union all select 'schema', nspname::text from pg_namespace where oid >= 16384 and substr(nspname, 1, 3) <> 'pg_' \
union all select case c.relkind when 'r' then 'table' when 'v' then 'view' when 'S' then 'sequence' else 'type' end, \
 n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace \
 where c.oid >= 16384 and c.relkind in ('r', 'v', 'S', 'c') and substr(n.nspname, 1, 3) <> 'pg_' \
union all select 'function', proname::text from pg_proc where oid >= 16384 \
union all select 'type', typname::text from pg_type where oid >= 16384 and typtype in ('d', 'e') \
order by 1, 2";

/// Has a coordinator's pooler and its sessions know the catalog as it is.
const RELOAD: &str = "select pgxc_pool_reload()";

/// A row of pgxc_node without its oid and its node_id, which is a hash of the name and cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    kind: Kind,
    host: String,
    port: u16,
    primary: bool,
    preferred: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Coordinator,
    Datanode,
}

/// The rows that coordinator `on` must have. Replicated tables are written first on the primary, which must be the
/// same for all: the first datanode, if lab.yaml wants one. They are read from the preferred one: the datanode of the
/// same host.
fn wanted(lab: &Lab, on: Placed<'_>) -> Vec<Entry> {
    let entry = |placed: &Placed<'_>, kind, primary, preferred| Entry {
        name: placed.name.to_string(),
        kind,
        host: placed.node.name.to_string(),
        port: placed.component.port,
        primary,
        preferred,
    };
    let coordinators = lab.placed(Role::Coordinator);
    let datanodes = lab.placed(Role::Datanode);
    let of_coordinators = coordinators.iter().map(|placed| entry(placed, Kind::Coordinator, false, false));
    let is_primary = |index| lab.cluster.primary == Primary::First && index == 0;
    let of_datanodes = datanodes
        .iter()
        .enumerate()
        .map(|(index, placed)| entry(placed, Kind::Datanode, is_primary(index), placed.node.name == on.node.name));
    of_coordinators.chain(of_datanodes).collect()
}

/// Reads a row of [`INVENTORY`]; `None` for what is none.
fn entry(row: &Row) -> Option<Entry> {
    let text = |index: usize| row.get(index)?.as_deref();
    Some(Entry {
        name: text(0)?.to_owned(),
        kind: match text(1)? {
            "C" => Kind::Coordinator,
            "D" => Kind::Datanode,
            _ => return None,
        },
        port: text(2)?.parse().ok()?,
        host: text(3)?.to_owned(),
        primary: text(4)? == "t",
        preferred: text(5)? == "t",
    })
}

/// The statements of the next round for coordinator `on`, to be run in one session; none when all is right.
///
/// A session remembers the primary that it saw when it started, and while it remembers one it refuses every statement
/// that leaves a node primary, even the same node (spec 2.9). `pgxc_pool_reload()` makes it forget only when a host, a
/// port or the set of nodes changed. So a primary that must change takes two rounds in two sessions: without primary
/// first, then with it. It is altered, never dropped: tables name datanodes by oid.
pub(crate) fn statements(lab: &Lab, on: Placed<'_>, rows: &[Row]) -> Vec<String> {
    let have: Vec<Entry> = rows.iter().filter_map(entry).collect();
    let wanted = wanted(lab, on);
    let remembered = have.iter().any(|entry| entry.primary);
    let mut statements = Vec::new();
    // Coordinators that left the lab: DDL waits for every coordinator in the catalog. They own no tables.
    for gone in
        have.iter().filter(|entry| entry.kind == Kind::Coordinator && wanted.iter().all(|want| want.name != entry.name))
    {
        statements.push(format!("drop node {}", gone.name));
    }
    // A datanode that left keeps its row, for tables may name it, but it is not the primary any more.
    for gone in have.iter().filter(|entry| entry.primary && wanted.iter().all(|want| want.name != entry.name)) {
        statements.push(alter(&Entry { primary: false, ..gone.clone() }));
    }
    for want in wanted {
        let known = have.iter().find(|entry| entry.name == want.name);
        if known == Some(&want) {
            continue;
        }
        let possible = Entry { primary: want.primary && !remembered, ..want };
        match known {
            None => statements.push(create(&possible)),
            // Waits for the round after the one that takes the mark from another node.
            Some(known) if *known == possible => {}
            Some(_) => statements.push(alter(&possible)),
        }
    }
    if !statements.is_empty() {
        statements.push(RELOAD.to_owned());
    }
    statements
}

/// Whom to ask for what only these nodes may hold. Tables and node groups name datanodes by oid: coordinators that stay tell
/// them, all of them, since a group is each one's own. Transactions that somebody prepared are told by the servers themselves.
pub(crate) fn holdings<'lab>(lab: &'lab Lab, leaving: &[&'lab Node]) -> Vec<Holding<'lab>> {
    const PREPARED: &str =
        "select 'prepared transaction', gid from pg_prepared_xacts where database = current_database() order by gid";
    let is_leaving = |placed: &Placed<'_>| leaving.iter().any(|node| node.name == placed.node.name);
    let gone: Vec<Placed<'_>> = lab.placed(Role::Datanode).into_iter().filter(is_leaving).collect();
    let (coordinators, staying): (Vec<Placed<'_>>, Vec<Placed<'_>>) =
        lab.placed(Role::Coordinator).into_iter().partition(is_leaving);
    let names = gone.iter().map(|placed| format!("'{}'", placed.name)).collect::<Vec<_>>().join(", ");
    let parts = format!(
        "select 'table', n.nspname || '.' || c.relname from pgxc_class p join pg_class c on c.oid = p.pcrelid \
         join pg_namespace n on n.oid = c.relnamespace \
         where exists (select 1 from pgxc_node d where d.oid = any (p.nodeoids) and d.node_name in ({names})) \
         union all select 'node group', g.group_name::text from pgxc_group g \
         where exists (select 1 from pgxc_node d where d.oid = any (g.group_members) and d.node_name in ({names})) \
         order by 1, 2"
    );
    let prepared = gone.iter().chain(&coordinators).map(|on| Holding { on: *on, query: PREPARED.to_owned() });
    let parts = staying.iter().filter(|_| !gone.is_empty()).map(|on| Holding { on: *on, query: parts.clone() });
    prepared.chain(parts).collect()
}

/// The statements with which a coordinator that has these rows forgets nodes that hold nothing.
pub(crate) fn farewell(gone: &[Identifier], rows: &[Row]) -> Vec<String> {
    let known = rows.iter().filter_map(entry).filter(|entry| gone.iter().any(|name| name.as_str() == entry.name));
    let mut statements: Vec<String> = known.map(|entry| format!("drop node {}", entry.name)).collect();
    if !statements.is_empty() {
        statements.push(RELOAD.to_owned());
    }
    statements
}

fn create(entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::Coordinator => "coordinator",
        Kind::Datanode => "datanode",
    };
    format!("create node {} with (type = {kind}, {})", entry.name, options(entry))
}

fn alter(entry: &Entry) -> String {
    format!("alter node {} with ({})", entry.name, options(entry))
}

fn options(entry: &Entry) -> String {
    let place = format!("host = '{}', port = {}", entry.host, entry.port);
    match entry.kind {
        Kind::Coordinator => place,
        Kind::Datanode => format!("{place}, primary = {}, preferred = {}", entry.primary, entry.preferred),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::{document, smaller};

    fn row(name: &str, kind: &str, host: &str, port: u16, primary: bool, preferred: bool) -> Row {
        let flag = |flag| Some(if flag { "t" } else { "f" }.to_owned());
        vec![
            Some(name.to_owned()),
            Some(kind.to_owned()),
            Some(port.to_string()),
            Some(host.to_owned()),
            flag(primary),
            flag(preferred),
            Some("1".to_owned()),
        ]
    }

    /// The first coordinator's right catalog in the lab of two data hosts.
    fn right() -> Vec<Row> {
        vec![
            row("coordinate_1", "C", "db-192-168-122-173", 1921, false, false),
            row("coordinate_2", "C", "db-192-168-122-174", 1921, false, false),
            row("datanode_1", "D", "db-192-168-122-173", 1923, true, true),
            row("datanode_2", "D", "db-192-168-122-174", 1923, false, false),
        ]
    }

    fn first(lab: &Lab, rows: &[Row]) -> Vec<String> {
        statements(lab, lab.placed(Role::Coordinator)[0], rows)
    }

    #[test]
    fn a_fresh_coordinator_gets_everything() {
        let lab = document();
        let coordinators = lab.placed(Role::Coordinator);
        for (index, on) in coordinators.iter().enumerate() {
            let rows = [row(on.name.as_str(), "C", "localhost", 5432, false, false)];
            let statements = statements(&lab, *on, &rows);
            assert_eq!(statements.len(), 13, "one alter, eleven create, one reload");
            assert_eq!(statements.iter().filter(|text| text.starts_with("create node coordinate_")).count(), 5);
            assert!(
                statements.contains(&format!("alter node {} with (host = '{}', port = 1921)", on.name, on.node.name))
            );
            let primary: Vec<_> = statements.iter().filter(|text| text.contains("primary = true")).collect();
            assert!(matches!(primary[..], [text] if text.starts_with("create node datanode_1 ")));
            let preferred: Vec<_> = statements.iter().filter(|text| text.contains("preferred = true")).collect();
            assert!(matches!(preferred[..], [text] if text.contains(&format!("datanode_{} ", index + 1))));
            assert_eq!(statements.last().map(String::as_str), Some("select pgxc_pool_reload()"));
        }
    }

    #[test]
    fn a_right_one_gets_nothing() {
        assert_eq!(first(&smaller(2), &right()), Vec::<String>::new());
    }

    #[test]
    fn a_changed_host_of_another_datanode_takes_one_round() {
        let mut rows = right();
        rows[3] = row("datanode_2", "D", "old", 1923, false, false);
        assert_eq!(
            first(&smaller(2), &rows),
            [
                "alter node datanode_2 with (host = 'db-192-168-122-174', port = 1923, primary = false, preferred = false)",
                "select pgxc_pool_reload()"
            ]
        );
    }

    #[test]
    fn a_changed_host_of_the_primary_takes_two() {
        let mut rows = right();
        rows[2] = row("datanode_1", "D", "old", 1923, true, true);
        assert_eq!(
            first(&smaller(2), &rows)[0],
            "alter node datanode_1 with (host = 'db-192-168-122-173', port = 1923, primary = false, preferred = true)"
        );
        rows[2] = row("datanode_1", "D", "db-192-168-122-173", 1923, false, true);
        assert_eq!(
            first(&smaller(2), &rows),
            [
                "alter node datanode_1 with (host = 'db-192-168-122-173', port = 1923, primary = true, preferred = true)",
                "select pgxc_pool_reload()"
            ]
        );
    }

    #[test]
    fn a_wrong_primary_takes_two() {
        let mut rows = right();
        rows[2] = row("datanode_1", "D", "db-192-168-122-173", 1923, false, true);
        rows[3] = row("datanode_2", "D", "db-192-168-122-174", 1923, true, false);
        assert_eq!(
            first(&smaller(2), &rows),
            [
                "alter node datanode_2 with (host = 'db-192-168-122-174', port = 1923, primary = false, preferred = false)",
                "select pgxc_pool_reload()"
            ]
        );
    }

    #[test]
    fn a_primary_that_is_not_wanted_any_more_takes_one() {
        let mut lab = smaller(2);
        lab.cluster.primary = Primary::None;
        assert_eq!(
            first(&lab, &right()),
            [
                "alter node datanode_1 with (host = 'db-192-168-122-173', port = 1923, primary = false, preferred = true)",
                "select pgxc_pool_reload()"
            ]
        );
    }

    #[test]
    fn nodes_that_left() {
        let mut rows = right();
        rows.push(row("coordinate_3", "C", "x", 1921, false, false));
        rows.push(row("datanode_3", "D", "x", 1923, false, false));
        assert_eq!(first(&smaller(2), &rows), ["drop node coordinate_3", "select pgxc_pool_reload()"]);
    }

    #[test]
    fn whoever_leaves_is_asked_and_whoever_stays_tells_of_tables() {
        let lab = smaller(3);
        let asked = |leaving: &[&Node]| -> Vec<(String, bool)> {
            let holdings = holdings(&lab, leaving).into_iter();
            holdings.map(|holding| (holding.on.name.to_string(), holding.query.contains("pgxc_class"))).collect()
        };
        let named = |name: &str, tables| (name.to_owned(), tables);
        assert_eq!(
            asked(&[&lab.nodes[4]]),
            [
                named("datanode_3", false),
                named("coordinate_3", false),
                named("coordinate_1", true),
                named("coordinate_2", true)
            ]
        );
        assert_eq!(asked(&[&lab.nodes[1]]), [], "a standby holds nothing of its own");
    }

    #[test]
    fn those_that_left_are_forgotten_once() {
        let gone: Vec<Identifier> =
            ["datanode_2", "coordinate_2", "datanode_9"].map(|name| name.parse().unwrap()).into();
        let statements = farewell(&gone, &right());
        assert_eq!(statements, ["drop node coordinate_2", "drop node datanode_2", RELOAD]);
        assert_eq!(farewell(&gone, &[right()[0].clone(), right()[2].clone()]), Vec::<String>::new());
    }

    /// Whatever the catalog looks like, rounds of a faithful imitation of the server end in the right catalog.
    #[test]
    fn every_start_converges() {
        for primary in [Primary::First, Primary::None] {
            for broken in 0..64 {
                converges(primary, broken);
            }
        }
    }

    fn converges(primary: Primary, broken: u32) {
        let mut lab = smaller(2);
        lab.cluster.primary = primary;
        let mut rows = right();
        if broken & 1 == 1 {
            rows[0] = row("coordinate_1", "C", "localhost", 5432, false, false);
        }
        rows[2] = row(
            "datanode_1",
            "D",
            if broken & 2 == 2 { "old" } else { "db-192-168-122-173" },
            1923,
            broken & 4 == 4,
            true,
        );
        rows[3] = row("datanode_2", "D", "db-192-168-122-174", 1923, broken & 8 == 8, broken & 16 == 16);
        if broken & 32 == 32 {
            rows.remove(1);
        }
        let mut rounds = 0;
        loop {
            let statements = first(&lab, &rows);
            if statements.is_empty() {
                break;
            }
            rounds += 1;
            assert!(rounds <= 2, "start {broken}, {primary:?}: {statements:?}");
            serve(&mut rows, &statements);
        }
        rows.sort();
        let mut wanted = right();
        wanted[2][4] = Some(if primary == Primary::First { "t" } else { "f" }.to_owned());
        assert_eq!(rows, wanted, "start {broken}, {primary:?}");
    }

    /// What nodemgr.c does with the statements of one session.
    fn serve(rows: &mut Vec<Row>, statements: &[String]) {
        let remembered = rows.iter().any(|row| row[4].as_deref() == Some("t"));
        for statement in statements {
            if statement.starts_with("select ") {
                continue;
            }
            let mut words = statement.splitn(4, ' ');
            let (verb, _, name) = (words.next().unwrap(), words.next(), words.next().unwrap());
            let options: Vec<(&str, &str)> = statement
                .split_once('(')
                .map(|(_, rest)| {
                    rest.trim_end_matches(')').split(", ").filter_map(|pair| pair.split_once(" = ")).collect()
                })
                .unwrap();
            let value =
                |key: &str| options.iter().find(|(known, _)| *known == key).map(|(_, value)| value.trim_matches('\''));
            let old = rows.iter().position(|row| row[0].as_deref() == Some(name));
            assert_eq!(old.is_none(), verb == "create", "{statement}");
            let kind = old.map_or_else(
                || if value("type") == Some("datanode") { "D" } else { "C" }.to_owned(),
                |at| rows[at][1].clone().unwrap(),
            );
            let primary = value("primary") == Some("true");
            assert!(!(primary && remembered), "two nodes cannot be primary: {statement}");
            let new = row(
                name,
                &kind,
                value("host").unwrap(),
                value("port").unwrap().parse().unwrap(),
                primary,
                value("preferred") == Some("true"),
            );
            match old {
                Some(at) => rows[at] = new,
                None => rows.push(new),
            }
        }
    }
}
