//! Rows lie where their table's distribution says.

use super::{coordinators, datanodes, direct, everywhere, first, own, rows_each};
use crate::{
    engine::{hash_counts, node_id},
    lab::Lab,
    verify::{
        check::{Check, Needs, Suite, Table},
        judgement::{Finding, Findings, Judgement},
        script::{Act, Script},
        seen::Seen,
    },
};

/// Rows of the table by hash: golden vectors are known for this count (spec 4.0).
const HASH_ROWS: i32 = 6000;
/// Rows of the other tables: enough to tell an even spread from an uneven one.
const ROWS: i32 = 600;
/// Rows of the tables on some nodes.
const FEW: i32 = 100;
/// Rows of the replicated table, which go in one by one.
const COPIES: i32 = 50;

const HASH: Table =
    Table { name: "pgxc_lab_verify_hash", make: |lab| filled(lab, "hash", "distribute by hash (k)", HASH_ROWS) };
const MODULO: Table =
    Table { name: "pgxc_lab_verify_modulo", make: |lab| filled(lab, "modulo", "distribute by modulo (k)", ROWS) };
const REPLICATED: Table = Table {
    name: "pgxc_lab_verify_replicated",
    // Not by COPY: in 1.0.2 that gives the primary its first row only (the locator takes the primary out of the list of
    // nodes that the whole statement goes by).
    make: |lab| {
        let table = own("replicated");
        let rows: Vec<String> = (1..=COPIES).map(|k| format!("({k})")).collect();
        Script::default().in_turn([
            first(lab).sql("create", format!("create table {table} (k int) distribute by replication")),
            first(lab).sql("fill", format!("insert into {table} values {}", rows.join(", "))),
        ])
    },
};
const ROUND_ROBIN: Table = Table {
    name: "pgxc_lab_verify_round_robin",
    make: |lab| filled(lab, "round_robin", "distribute by round robin", ROWS),
};

/// What the checks of plans read.
pub(super) const OF_PLANS: &[Table] = &[HASH, REPLICATED];

/// A table with the keys 1 to `rows`, through the first coordinator. By COPY: Postgres-XC sends an insert row by row.
fn filled(lab: &Lab, name: &str, distribution: &str, rows: i32) -> Script {
    let table = own(name);
    let lines = (1..=rows).map(|k| format!("{k}\n")).collect();
    Script::default().in_turn([
        first(lab).sql("create", format!("create table {table} (k int) {distribution}")),
        first(lab).ask("copy", Act::Copy { sql: format!("copy {table} (k) from stdin"), lines }),
    ])
}

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "hash",
        proves: "rows by hash lie where Postgres-XC's hash puts them, and nowhere else",
        how: "6000 rows through the first coordinator; counts on every datanode and through every coordinator",
        expected: "what the hash of 1 to 6000 gives: 1001, 1005, 1056, 942, 997, 999 on six datanodes; 6000 in all",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[HASH],
        script: |lab| counts(lab, "hash"),
        judge: |lab, seen| {
            let expected = hash_counts(HASH_ROWS, datanodes(lab).len()).into_iter().map(|count| count as i64).collect();
            judge_counts(lab, seen, expected, i64::from(HASH_ROWS))
        },
    },
    Check {
        id: "row-origin",
        proves: "every row tells the datanode that it lies on",
        how: "xc_node_id of the rows by hash, grouped",
        expected: "the node_id of each datanode, with as many rows as it has",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[HASH],
        script: |lab| {
            let sql = format!("select xc_node_id, count(*) from {} group by 1 order by 1", own("hash"));
            Script::default().then(first(lab).sql("origin", sql))
        },
        judge: judge_origin,
    },
    Check {
        id: "modulo",
        proves: "rows by modulo lie on the datanode of their remainder",
        how: "600 rows; per datanode their number, and those of another remainder",
        expected: "each datanode has exactly the keys of its remainder",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[MODULO],
        script: ask_modulo,
        judge: judge_modulo,
    },
    Check {
        id: "replicated",
        proves: "a replicated table has all rows on every datanode, and is counted once",
        how: "50 rows; counts on every datanode and through every coordinator",
        expected: "50 everywhere",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[REPLICATED],
        script: |lab| counts(lab, "replicated"),
        judge: |lab, seen| judge_counts(lab, seen, vec![COPIES.into(); datanodes(lab).len()], COPIES.into()),
    },
    Check {
        id: "round-robin",
        proves: "rows by round robin are spread evenly",
        how: "600 rows in one COPY; counts on every datanode",
        expected: "the same everywhere, give or take one",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[ROUND_ROBIN],
        script: |lab| Script::default().in_turn(rows_each(lab, "round_robin")),
        judge: judge_even,
    },
    Check {
        id: "subset",
        proves: "a table on some nodes, or on a node group, has its rows there only",
        how: "a table TO NODE and one TO GROUP with 100 rows each; counts and pgxc_class",
        expected: "no row elsewhere; pgxc_class names the same nodes on every coordinator",
        suite: Suite::Full,
        needs: Needs::TwoDatanodes,
        tables: &[],
        script: ask_subset,
        judge: judge_subset,
    },
    Check {
        id: "locators",
        proves: "every coordinator has the same distribution of a table in its catalogue",
        how: "pgxc_class of a table by hash, by modulo, replicated, by round robin",
        expected: "H, M, R and N, over all datanodes",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[HASH, MODULO, REPLICATED, ROUND_ROBIN],
        script: |lab| {
            let filter = "in ('pgxc_lab_verify_hash', 'pgxc_lab_verify_modulo', 'pgxc_lab_verify_replicated', \
                          'pgxc_lab_verify_round_robin')";
            Script::default().together(everywhere(lab, "class", &locators(filter)))
        },
        judge: judge_locators,
    },
];

/// What to do about rows that lie wrong.
const WRONG_PLACE: &str = "do all coordinators count the same datanodes? see the check `nodes`; rows that were written \
                           while they did not must be written anew";

fn counts(lab: &Lab, table: &str) -> Script {
    let total = format!("select count(*) from {}", own(table));
    Script::default().in_turn(rows_each(lab, table)).together(everywhere(lab, "total", &total))
}

fn judge_counts(lab: &Lab, seen: &Seen, expected: Vec<i64>, total: i64) -> Judgement {
    let mut findings = Findings::default();
    let mut saw = Vec::new();
    for (placed, expected) in datanodes(lab).iter().zip(expected) {
        let count = seen.number(&format!("rows/{}", placed.name))?;
        findings.same(placed.name.as_str(), rows(expected), rows(count), WRONG_PLACE);
        saw.push(count.to_string());
    }
    for sight in seen.all("total/") {
        findings.same(&format!("count through {}", sight.at), rows(total), rows(sight.number()?), WRONG_PLACE);
    }
    findings.or(format!("{}; {total} through every coordinator", saw.join(", ")))
}

fn rows(count: i64) -> String {
    format!("{count} rows")
}

fn judge_origin(lab: &Lab, seen: &Seen) -> Judgement {
    let datanodes = datanodes(lab);
    let counts = hash_counts(HASH_ROWS, datanodes.len());
    let sight = seen.get("origin")?;
    let mut findings = Findings::default();
    for (placed, count) in datanodes.iter().zip(counts) {
        let id = node_id(placed.name.as_str()).to_string();
        let row = sight.rows.iter().find(|row| row.first().is_some_and(|first| first.as_deref() == Some(id.as_str())));
        let known = row.and_then(|row| row.get(1).cloned().flatten()).unwrap_or_else(|| "0".to_owned());
        let place = format!("rows with the node_id of {}, {id}", placed.name);
        findings.same(&place, rows(count as i64), format!("{known} rows"), WRONG_PLACE);
    }
    findings.same(&sight.at, datanodes.len(), sight.rows.len(), "a node_id of nobody: see the check `nodes`");
    findings.or(format!("{} different ids", datanodes.len()))
}

fn ask_modulo(lab: &Lab) -> Script {
    let datanodes = datanodes(lab);
    let count = datanodes.len();
    let ask = |(place, name): (usize, &str)| {
        let query =
            format!("select count(*), count(case when k % {count} <> {place} then 1 end) from {}", own("modulo"));
        first(lab).sql(format!("rows/{name}"), direct(name, &query))
    };
    let asks: Vec<_> = datanodes.iter().map(|placed| placed.name.as_str()).enumerate().map(ask).collect();
    Script::default().in_turn(asks)
}

fn judge_modulo(lab: &Lab, seen: &Seen) -> Judgement {
    let datanodes = datanodes(lab);
    let count = i32::try_from(datanodes.len()).unwrap_or(i32::MAX);
    let mut findings = Findings::default();
    let mut saw = Vec::new();
    for (placed, place) in datanodes.iter().zip(0..) {
        let expected = (1..=ROWS).filter(|k| k % count == place).count();
        let text = seen.get(&format!("rows/{}", placed.name))?.text();
        let (all, strange) = text.split_once('|').unwrap_or((text.as_str(), ""));
        let words = |all: &str, strange: &str| format!("{all} rows, {strange} of them of another remainder");
        findings.same(placed.name.as_str(), words(&expected.to_string(), "0"), words(all, strange), WRONG_PLACE);
        saw.push(all.to_owned());
    }
    findings.or(saw.join(", "))
}

fn judge_even(lab: &Lab, seen: &Seen) -> Judgement {
    let mut counts = Vec::new();
    for sight in seen.all("rows/") {
        counts.push((sight.key.trim_start_matches("rows/"), sight.number()?));
    }
    let share = i64::from(ROWS) / i64::try_from(datanodes(lab).len()).unwrap_or(1);
    let mut findings = Findings::default();
    for (name, count) in &counts {
        if (count - share).abs() > 1 {
            findings.add(Finding::wrong(name, format!("{share} rows, give or take one"), rows(*count), WRONG_PLACE));
        }
    }
    let sum: i64 = counts.iter().map(|(_, count)| count).sum();
    findings.same("all datanodes", rows(ROWS.into()), rows(sum), WRONG_PLACE);
    findings.or(counts.iter().map(|(_, count)| count.to_string()).collect::<Vec<_>>().join(", "))
}

/// The second datanode and the last one.
fn chosen(lab: &Lab) -> Vec<String> {
    let names: Vec<String> = datanodes(lab).iter().map(|placed| placed.name.to_string()).collect();
    let mut chosen: Vec<String> = names.get(1).into_iter().chain(names.last()).cloned().collect();
    chosen.dedup();
    chosen
}

fn ask_subset(lab: &Lab) -> Script {
    let (group, nodes) = (own("group"), chosen(lab).join(", "));
    let lines = |rows| (1..=rows).map(|k| format!("{k}\n")).collect();
    let mut script =
        Script::default().together(everywhere(lab, "group", &format!("create node group {group} with {nodes}")));
    for (name, whereto) in [("subset", format!("to node {nodes}")), ("grouped", format!("to group {group}"))] {
        let table = own(name);
        let counts = datanodes(lab).into_iter().map(|placed| {
            let query = format!("select count(*) from {table}");
            first(lab).sql(format!("{name}/rows/{}", placed.name), direct(placed.name.as_str(), &query))
        });
        script = script
            .in_turn([
                first(lab).sql(
                    format!("{name}/create"),
                    format!("create table {table} (k int) distribute by hash (k) {whereto}"),
                ),
                first(lab).ask(
                    format!("{name}/copy"),
                    Act::Copy { sql: format!("copy {table} (k) from stdin"), lines: lines(FEW) },
                ),
            ])
            .in_turn(counts)
            .together(everywhere(lab, &format!("{name}/class"), &locators(&format!("= '{table}'"))));
    }
    script
}

/// Name, locator and nodes of tables, from the catalogue of a coordinator.
fn locators(filter: &str) -> String {
    format!(
        "select c.relname, p.pclocatortype, (select string_agg(n.node_name::text, ', ' order by n.node_name) from pgxc_node n \
         where n.oid = any (p.nodeoids)) from pgxc_class p join pg_class c on c.oid = p.pcrelid where c.relname {filter} \
         order by c.relname"
    )
}

fn judge_subset(lab: &Lab, seen: &Seen) -> Judgement {
    let chosen = chosen(lab);
    let names: Vec<&str> = chosen.iter().map(String::as_str).collect();
    let mut findings = Findings::default();
    for name in ["subset", "grouped"] {
        let mut sum = 0;
        for placed in datanodes(lab) {
            let count = seen.number(&format!("{name}/rows/{}", placed.name))?;
            sum += count;
            if !names.contains(&placed.name.as_str()) {
                findings.same(&format!("{} of {name}", placed.name), rows(0), rows(count), WRONG_PLACE);
            }
        }
        findings.same(&format!("all datanodes of {name}"), rows(FEW.into()), rows(sum), WRONG_PLACE);
        for sight in seen.0.iter().filter(|sight| sight.key.starts_with(&format!("{name}/class/"))) {
            let expected = format!("{}|H|{}", own(name), names.join(", "));
            findings.same(
                &sight.at,
                expected,
                sight.text(),
                "the table was made while the nodes were others: see `nodes`",
            );
        }
    }
    findings.or(format!("only on {}", names.join(", ")))
}

fn judge_locators(lab: &Lab, seen: &Seen) -> Judgement {
    let names: Vec<String> = datanodes(lab).iter().map(|placed| placed.name.to_string()).collect();
    let names = names.join(", ");
    let line = |(name, locator): (&str, &str)| format!("{}|{locator}|{names}", own(name));
    let expected: Vec<String> =
        [("hash", "H"), ("modulo", "M"), ("replicated", "R"), ("round_robin", "N")].map(line).to_vec();
    let mut findings = Findings::default();
    for sight in seen.all("class/") {
        for (index, expected) in expected.iter().enumerate() {
            let text = sight.text();
            let line = text.lines().nth(index).unwrap_or("no row");
            findings.same(
                &sight.at,
                expected.as_str(),
                line,
                "DDL did not reach it as it was given: see the check `ddl`",
            );
        }
    }
    findings.or(format!("H, M, R, N on {} coordinators", coordinators(lab).len()))
}
