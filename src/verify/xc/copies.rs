//! The user's own replicated tables are the same on every datanode that has them.
//!
//! 1.0.2 lets copies part in silence: with a primary it leaves that one out when rows are changed one by one. So they are
//! compared, all at one moment: the datanodes are asked in one transaction of one snapshot.

use super::first;
use crate::{
    lab::{Lab, Primary},
    verify::{
        check::{Check, Needs, Suite},
        judgement::{Finding, Findings, Judgement},
        script::{Act, Script},
        seen::Seen,
    },
};
use std::collections::BTreeMap;

/// Bytes of a copy beyond which its rows are not read: an emulated datanode takes seconds for as many.
const LIMIT: u32 = 8 << 20;

pub(super) const CHECKS: &[Check] = &[Check {
    id: "copies",
    proves: "all copies of your replicated tables have the same rows",
    how: "in every database, count and sum of the rows' hashes on every datanode that has a copy, in one snapshot; up to 8 MiB",
    expected: "the same on all of them",
    suite: Suite::Quick,
    needs: Needs::TwoDatanodes,
    tables: &[],
    script: |lab| Script::default().then(first(lab).ask("copies", Act::EachDatabase(copies()))),
    judge: judge_copies,
}];

/// Table, datanode, and the statement that looks at the copy there: its size, and its rows unless there are too many. The
/// sum does not hang on their order, which may differ.
fn copies() -> String {
    let table = "quote_ident(n.nspname) || '.' || quote_ident(c.relname)";
    let size = format!("pg_relation_size(' || quote_literal({table}) || ')");
    let rows = "select count(*) || '' rows, sum '' || coalesce(sum(hashtext(t::text)::bigint), 0)";
    format!(
        "select {table}, d.node_name, 'execute direct on ' || d.node_name || ' ' || quote_literal('select {size}, \
         case when {size} <= {LIMIT} then ({rows} from only ' || {table} || ' as t) end') \
         from pgxc_class p join pg_class c on c.oid = p.pcrelid join pg_namespace n on n.oid = c.relnamespace \
         join pgxc_node d on d.oid = any (p.nodeoids) \
         where p.pclocatortype = 'R' and substr(n.nspname, 1, 3) <> 'pg_' and c.relname !~ '^pgxc_lab_' order by 1, 2"
    )
}

/// A copy of a table.
struct Copy<'seen> {
    datanode: &'seen str,
    /// What was seen of its rows; nothing where there are too many.
    rows: Option<&'seen str>,
}

fn judge_copies(lab: &Lab, seen: &Seen) -> Judgement {
    let mut tables: BTreeMap<(&str, &str), Vec<Copy<'_>>> = BTreeMap::new();
    for row in &seen.get("copies")?.rows {
        let text = |column: usize| row.get(column).and_then(|value| value.as_deref());
        let word = |column| text(column).unwrap_or_default();
        tables.entry((word(0), word(1))).or_default().push(Copy { datanode: word(2), rows: text(4) });
    }
    let mut findings = Findings::default();
    let mut large = Vec::new();
    for ((database, table), copies) in &tables {
        if copies.iter().any(|copy| copy.rows.is_none()) {
            large.push(*table);
        } else if copies.iter().any(|copy| copy.rows != copies[0].rows) {
            let each = |copy: &Copy<'_>| format!("{}: {}", copy.datanode, copy.rows.unwrap_or_default());
            let each: Vec<String> = copies.iter().map(each).collect();
            let place = format!("{table} in database {database}");
            findings.add(Finding::wrong(place, "the same rows on every datanode", each.join("; "), remedy(lab)));
        }
    }
    let mut good = format!("replicated tables compared: {}", tables.len() - large.len());
    if !large.is_empty() {
        good.push_str(&format!("; too large: {}", large.join(", ")));
    }
    findings.or(good)
}

/// What to do, and what let the copies part in all likelihood.
fn remedy(lab: &Lab) -> &'static str {
    match lab.cluster.primary {
        Primary::First => {
            "write the table anew from the copy that is right. Postgres-XC 1.0.2 leaves the primary (the first datanode) out when \
             rows are changed one by one; `primary: none` under `cluster` in lab.yaml and `pgxc-lab up` take the mark away"
        }
        Primary::None => {
            "write the table anew from the copy that is right. Rows that are changed one by one are found by their place \
             (ctid), which is another where rows came in another order"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::fixture::smaller, verify::seen::Sight};

    fn judged(primary: Primary, rows: &[[Option<&str>; 5]]) -> Judgement {
        let mut lab = smaller(2);
        lab.cluster.primary = primary;
        let rows = rows.iter().map(|row| row.iter().map(|value| value.map(str::to_owned)).collect()).collect();
        judge_copies(&lab, &Seen(vec![Sight { key: "copies".into(), at: "coordinate_1".into(), rows }]))
    }

    fn row<'a>(database: &'a str, node: &'a str, rows: Option<&'a str>) -> [Option<&'a str>; 5] {
        [Some(database), Some("public.towns"), Some(node), Some("8192"), rows]
    }

    #[test]
    fn tables_of_one_name_in_two_databases_are_two() {
        let same = Some("2 rows, sum 7");
        let rows = [
            row("a", "datanode_1", same),
            row("a", "datanode_2", same),
            row("b", "datanode_1", Some("0 rows, sum 0")),
            row("b", "datanode_2", Some("0 rows, sum 0")),
        ];
        assert_eq!(judged(Primary::First, &rows), Ok("replicated tables compared: 2".into()));
    }

    #[test]
    fn what_was_not_read_is_told() {
        let rows = [row("a", "datanode_1", None), row("a", "datanode_2", Some("2 rows, sum 7"))];
        let good = judged(Primary::First, &rows).expect("nothing is wrong");
        assert_eq!(good, "replicated tables compared: 0; too large: public.towns");
    }

    #[test]
    fn the_mark_is_named_where_there_is_one() {
        let rows = [row("a", "datanode_1", Some("2 rows, sum 7")), row("a", "datanode_2", Some("2 rows, sum 9"))];
        for (primary, named) in [(Primary::First, true), (Primary::None, false)] {
            let Err(Findings(findings)) = judged(primary, &rows) else { panic!("the copies differ") };
            assert_eq!(findings[0].place, "public.towns in database a");
            assert_eq!(findings[0].seen, "datanode_1: 2 rows, sum 7; datanode_2: 2 rows, sum 9");
            assert_eq!(findings[0].remedy.contains("`primary: none`"), named);
        }
    }

    #[test]
    fn the_statements_are_quoted_at_every_level() {
        let sql = copies();
        assert!(sql.contains("pg_relation_size(' || quote_literal(quote_ident(n.nspname) || '.' || quote_ident(c.relname)) || ') <= 8388608"));
        assert!(sql.contains("count(*) || '' rows, sum '' || "));
        assert_eq!(sql.matches('\'').count() % 2, 0);
    }
}
