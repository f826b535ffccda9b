//! What a coordinator knows of the cluster: foreign servers, user mappings, functions.

use crate::{
    engine::{Holding, Row},
    lab::{Identifier, Lab, Node, Placed, Role},
};
use sha2::{Digest, Sha256};

/// Extensions, servers with their options, and functions with the digest that is kept as their comment; a kind, a name
/// and a text each.
pub(super) const INVENTORY: &str = "\
select 'extension', extname::text, '' from pg_extension where extname in ('postgres_fdw', 'dblink') \
union all select 'schema', nspname::text, '' from pg_namespace where nspname = 'pgxc_lab' \
union all select coalesce(s.srvtype, ''), s.srvname::text, (select string_agg(o, ' ' order by o) from unnest(s.srvoptions) as o) \
 from pg_foreign_server s join pg_foreign_data_wrapper w on w.oid = s.srvfdw where w.fdwname = 'postgres_fdw' \
union all select 'mapping', m.srvname::text, (select string_agg(o, ' ' order by o) from unnest(m.umoptions) as o) \
 from pg_user_mappings m where m.usename = current_user \
union all select 'function', p.proname::text, coalesce(obj_description(p.oid, 'pg_proc'), '') \
 from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'pgxc_lab' \
order by 1, 2";

/// Functions in the order in which they must be made: name, arguments, definition.
const FUNCTIONS: [(&str, &str, &str); 3] = [
    ("run_on", "name, text", include_str!("run_on.sql")),
    ("create_distributed_table", "text, text, text", include_str!("distributed_table.sql")),
    ("drop_distributed_table", "text", include_str!("drop_table.sql")),
];

/// The statements that give coordinator `on` every other node as a server, and the functions.
///
/// User mappings hold no password: pg_hba.conf trusts coordinators (spec 1.14.5), and only superusers may use mappings
/// without one.
pub(super) fn statements(lab: &Lab, on: Placed<'_>, rows: &[Row]) -> Vec<String> {
    let have = |kind: &str, name: &str| -> Option<&str> {
        let row = rows.iter().find(|row| {
            row.first().is_some_and(|k| k.as_deref() == Some(kind))
                && row.get(1).is_some_and(|n| n.as_deref() == Some(name))
        })?;
        Some(row.get(2).and_then(|text| text.as_deref()).unwrap_or_default())
    };
    let superuser = lab.cluster.superuser.as_str();
    let mut statements = Vec::new();
    for extension in ["postgres_fdw", "dblink"] {
        if have("extension", extension).is_none() {
            statements.push(format!("create extension {extension} schema public"));
        }
    }
    if have("schema", "pgxc_lab").is_none() {
        statements.push("create schema pgxc_lab".to_owned());
    }
    let peers = lab.placed(Role::Coordinator).into_iter().filter(|peer| peer.name != on.name);
    for server in lab.placed(Role::Datanode).into_iter().chain(peers) {
        let name = server.name.as_str();
        let kind = server.role.as_str();
        let mut options = vec![
            ("dbname", "postgres".to_owned()),
            ("host", server.node.name.to_string()),
            ("port", server.component.port.to_string()),
        ];
        if server.role == Role::Datanode {
            // postgres_fdw's alone: dblink, which uses the coordinators' servers, passes libpq's options on.
            options.extend([
                ("batch_size", "1000".to_owned()),
                ("fetch_size", "10000".to_owned()),
                ("async_capable", "true".to_owned()),
            ]);
        }
        options.sort_unstable();
        let wanted = options.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
        let list = options.iter().map(|(key, value)| format!("{key} '{value}'")).collect::<Vec<_>>().join(", ");
        match have(kind, name) {
            Some(known) if known == wanted => {}
            None => statements
                .push(format!("create server {name} type '{kind}' foreign data wrapper postgres_fdw options ({list})")),
            Some(known) => {
                // Foreign tables depend on the server: its options change, it is never dropped.
                let changes: Vec<String> = options
                    .iter()
                    .filter(|(key, value)| !known.split(' ').any(|option| option == format!("{key}={value}")))
                    .map(|(key, value)| {
                        let exists = known.split(' ').any(|option| option.split('=').next() == Some(key));
                        format!("{} {key} '{value}'", if exists { "set" } else { "add" })
                    })
                    .collect();
                if !changes.is_empty() {
                    statements.push(format!("alter server {name} options ({})", changes.join(", ")));
                }
            }
        }
        if have("mapping", name).is_none() {
            statements.push(format!("create user mapping for {superuser} server {name} options (user '{superuser}')"));
        }
    }
    for (name, arguments, definition) in FUNCTIONS {
        let digest = digest(definition);
        if have("function", name) != Some(digest.as_str()) {
            statements.push(definition.trim_end().to_owned());
            statements.push(format!("comment on function pgxc_lab.{name}({arguments}) is '{digest}'"));
        }
    }
    statements
}

/// What a server has of its own: nothing is made on any other by itself. Of the lab are the schema pgxc_lab and what
/// extensions brought.
const OWN: &str = "\
select case c.relkind when 'r' then 'table' when 'm' then 'materialized view' when 'v' then 'view' else 'sequence' end, \
 n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace \
 where c.oid >= 16384 and c.relkind in ('r', 'm', 'v', 'S') and n.nspname !~ '^(pg_|pgxc_lab$)' \
 and not exists (select 1 from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e') \
union all select 'function', n.nspname || '.' || p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace \
 where p.oid >= 16384 and n.nspname !~ '^(pg_|pgxc_lab$)' \
 and not exists (select 1 from pg_depend e where e.classid = 'pg_proc'::regclass and e.objid = p.oid and e.deptype = 'e') \
union all select 'database', datname::text from pg_database where oid >= 16384 and datname = current_database() \
order by 1, 2";

/// Whom to ask for what only these nodes may hold: themselves, and coordinators that stay for tables of theirs that have a
/// part there.
pub(super) fn holdings<'lab>(lab: &'lab Lab, leaving: &[&'lab Node]) -> Vec<Holding<'lab>> {
    let is_leaving = |placed: &Placed<'_>| leaving.iter().any(|node| node.name == placed.node.name);
    let gone: Vec<Placed<'_>> = lab.placed(Role::Datanode).into_iter().filter(is_leaving).collect();
    let (coordinators, staying): (Vec<Placed<'_>>, Vec<Placed<'_>>) =
        lab.placed(Role::Coordinator).into_iter().partition(is_leaving);
    let own = gone.iter().chain(&coordinators).map(|on| Holding { on: *on, query: OWN.to_owned() });
    let names: Vec<String> = gone.iter().map(|placed| format!("'{}'", placed.name)).collect();
    let parts = format!(
        "select 'foreign table', f.ftrelid::regclass::text from pg_foreign_table f join pg_foreign_server s \
         on s.oid = f.ftserver where s.srvname in ({}) order by 1, 2",
        names.join(", ")
    );
    let parts = staying.iter().filter(|_| !names.is_empty()).map(|on| Holding { on: *on, query: parts.clone() });
    own.chain(parts).collect()
}

/// The statements with which a coordinator that has these rows forgets servers that hold nothing. A server that something
/// hangs on all the same is not dropped.
pub(super) fn farewell(lab: &Lab, gone: &[Identifier], rows: &[Row]) -> Vec<String> {
    let superuser = lab.cluster.superuser.as_str();
    let mut statements = Vec::new();
    for name in gone {
        let has = |kinds: &[&str]| {
            let text = |row: &Row, column: usize| row.get(column).cloned().flatten().unwrap_or_default();
            rows.iter().any(|row| kinds.contains(&text(row, 0).as_str()) && text(row, 1) == name.as_str())
        };
        if has(&["mapping"]) {
            statements.push(format!("drop user mapping for {superuser} server {name}"));
        }
        if has(&[Role::Datanode.as_str(), Role::Coordinator.as_str()]) {
            statements.push(format!("drop server {name}"));
        }
    }
    statements
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::smaller;

    fn row(kind: &str, name: &str, text: &str) -> Row {
        [kind, name, text].map(|text| Some(text.to_owned())).to_vec()
    }

    #[test]
    fn a_fresh_coordinator_gets_everything_and_a_right_one_nothing() {
        let lab = smaller(2);
        let on = lab.placed(Role::Coordinator)[0];
        let statements_of = |rows: &[Row]| statements(&lab, on, rows);
        let fresh = statements_of(&[]);
        assert_eq!(fresh.iter().filter(|text| text.starts_with("create server")).count(), 3);
        assert!(fresh.iter().any(|text| text.starts_with("create server coordinate_2 type 'coordinator'")));
        let datanode =
            "async_capable=true batch_size=1000 dbname=postgres fetch_size=10000 host=db-192-168-122-173 port=1923";
        let mut rows = vec![
            row("extension", "postgres_fdw", ""),
            row("extension", "dblink", ""),
            row("schema", "pgxc_lab", ""),
            row("datanode", "datanode_1", datanode),
            row("datanode", "datanode_2", &datanode.replace("173", "174")),
            row("coordinator", "coordinate_2", "dbname=postgres host=db-192-168-122-174 port=1921"),
        ];
        rows.extend(["datanode_1", "datanode_2", "coordinate_2"].map(|name| row("mapping", name, "user=postgres")));
        rows.extend(FUNCTIONS.map(|(name, _, definition)| row("function", name, &digest(definition))));
        assert_eq!(statements_of(&rows), Vec::<String>::new());
        rows[4] = row("datanode", "datanode_2", &datanode.replace("173", "9"));
        assert_eq!(statements_of(&rows), ["alter server datanode_2 options (set host 'db-192-168-122-174')"]);
    }

    #[test]
    fn whoever_leaves_is_asked_and_then_forgotten() {
        let lab = smaller(2);
        let asked: Vec<String> =
            holdings(&lab, &[&lab.nodes[3]]).into_iter().map(|holding| holding.on.name.to_string()).collect();
        assert_eq!(asked, ["datanode_2", "coordinate_2", "coordinate_1"]);
        assert!(holdings(&lab, &[&lab.nodes[1]]).is_empty(), "a standby runs nothing here");
        let rows = [row("datanode", "datanode_2", ""), row("mapping", "datanode_2", ""), row("mapping", "mine", "")];
        let gone: Vec<Identifier> = ["2", "datanode_2", "coordinate_2"].map(|name| name.parse().unwrap()).into();
        let statements = farewell(&lab, &gone, &rows);
        assert_eq!(statements, ["drop user mapping for postgres server datanode_2", "drop server datanode_2"]);
    }
}
