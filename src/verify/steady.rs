//! One snapshot for a whole transaction: what others commit meanwhile, it does not see.

use super::{
    judgement::{Findings, Judgement},
    script::{Ask, Session},
    seen::Seen,
};

/// Sums that a transaction reads before and after somebody else changes the rows that `chosen` selects, from 1 each to 10.
pub(super) fn asks(reader: &Session, writer: &Session, table: &str, chosen: &str) -> [Ask; 6] {
    let sum = format!("select sum(v) from {table} where {chosen}");
    [
        reader.sql("begin", "begin isolation level repeatable read"),
        reader.sql("sum/first", sum.clone()),
        writer.sql("change", format!("update {table} set v = 10 where {chosen}")),
        reader.sql("sum/again", sum.clone()),
        reader.sql("commit", "commit"),
        reader.sql("sum/after", sum),
    ]
}

/// The sum over so many rows is the old one until the transaction ends.
pub(super) fn judge(seen: &Seen, rows: i64, remedy: &str) -> Judgement {
    let changed = 10 * rows;
    let mut findings = Findings::default();
    for (when, expected) in [("first", rows), ("again", rows), ("after", changed)] {
        let sight = seen.get(&format!("sum/{when}"))?;
        findings.same(&format!("{}, {when}", sight.at), expected, sight.number()?, remedy);
    }
    findings.or(format!("{rows}, {rows}, and {changed} after its end"))
}
