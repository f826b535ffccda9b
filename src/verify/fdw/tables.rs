//! Distributed tables: rows are spread, seen by all, and a transaction that fails leaves none.

use super::{coordinators, datanodes, each, first, last, own};
use crate::{
    lab::{Lab, Placed},
    verify::{
        bank,
        check::{Check, Needs, Suite, Table},
        judgement::{Finding, Findings, Judgement},
        script::{Act, Ask, Script, Session},
        seen::Seen,
        steady,
    },
};

/// Rows that are spread.
const ROWS: i64 = 600;
/// Rows that are written through one coordinator and read through the others at once.
const WRITES: usize = 10;

const SPREAD: Table = Table {
    name: "pgxc_lab_verify_spread",
    make: |lab| {
        let insert = format!("insert into {} select k, 0 from generate_series(1, {ROWS}) as k", own("spread"));
        made(lab, "spread").then(first(lab).sql("fill", insert))
    },
};
/// Where every check of transactions has keys of its own.
const TRANSACTIONS: Table = Table { name: "pgxc_lab_verify_transactions", make: |lab| made(lab, "transactions") };

fn made(lab: &Lab, name: &str) -> Script {
    let sql = format!("select pgxc_lab.create_distributed_table('{}', 'k int, v int', 'k')", own(name));
    Script::default().then(first(lab).sql("create", sql))
}

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "ddl",
        proves: "a distributed table is there on every node",
        how: "create_distributed_table through the first coordinator; pg_class on every node",
        expected: "one row on each",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[SPREAD],
        script: |lab| {
            let count = format!("select count(*) from pg_class where relname = '{}'", own("spread"));
            let nodes = [coordinators(lab), datanodes(lab)].concat();
            Script::default().together(each(&nodes, "class", &count))
        },
        judge: |_, seen| {
            let mut findings = Findings::default();
            for sight in seen.all("class/") {
                findings.same(
                    &sight.at,
                    1,
                    sight.number()?,
                    "a coordinator reaches only whom it knows: see the check `nodes`",
                );
            }
            findings.or(format!("on {} nodes", seen.0.len()))
        },
    },
    Check {
        id: "spread",
        proves: "rows lie on all datanodes, each once, and every coordinator counts them all",
        how: "600 rows through the first coordinator; counts in the tables of the datanodes themselves, and through every coordinator",
        expected: "600 in all, a share on each datanode",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[SPREAD],
        script: |lab| {
            let count = format!("select count(*) from {}", own("spread"));
            Script::default().together(each(&datanodes(lab), "rows", &count)).together(each(
                &coordinators(lab),
                "total",
                &count,
            ))
        },
        judge: judge_spread,
    },
    Check {
        id: "plan-key",
        proves: "a query for one key goes to the one datanode that has it",
        how: "EXPLAIN of a select by key",
        expected: "one foreign scan",
        suite: Suite::Quick,
        needs: Needs::Nothing,
        tables: &[SPREAD],
        script: |lab| {
            let explain = |k| {
                first(lab).sql(
                    format!("key/{k}"),
                    format!("explain (costs off) select * from {} where k = {k}", own("spread")),
                )
            };
            Script::default().in_turn([1, 2, 3].map(explain))
        },
        judge: |_, seen| {
            let mut findings = Findings::default();
            for sight in seen.all("key/") {
                let scans = sight.text().matches("Foreign Scan").count();
                let remedy = "is the table partitioned by hash of its key? it must be made by create_distributed_table";
                findings.same(
                    &format!("plan for {}", sight.key),
                    "1 foreign scan",
                    &format!("{scans} foreign scan"),
                    remedy,
                );
            }
            findings.or("one foreign scan each")
        },
    },
    Check {
        id: "visible",
        proves: "what one coordinator committed, every other one sees at once",
        how: "10 rows, written through the coordinators in turn, each read through all others before the next",
        expected: "no row is missed",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[TRANSACTIONS],
        script: ask_visible,
        judge: |_, seen| {
            let mut findings = Findings::default();
            for sight in seen.all("read/") {
                findings.same(&format!("{} through {}", sight.key, sight.at), 1, sight.number()?, SERVERS);
            }
            findings.or(format!("{} reads, none missed", seen.all("read/").count()))
        },
    },
    Check {
        id: "rollback",
        proves: "a transaction that fails before its commit leaves nothing on any datanode",
        how: "rows for all datanodes, an error, and the end of the transaction; counts in the tables of the datanodes",
        expected: "no row",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[TRANSACTIONS],
        script: ask_rollback,
        judge: judge_rollback,
    },
    Check {
        id: "snapshot",
        proves: "a repeatable read that has read all datanodes reads the same until it ends",
        how: "rows on all datanodes, changed through another coordinator while a transaction has read them",
        expected: "the old sum until it ends, the new one after",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[TRANSACTIONS],
        script: ask_snapshot,
        judge: |_, seen| steady::judge(seen, 100, SERVERS),
    },
    Check {
        id: "bank",
        proves: "transfers between datanodes through all coordinators lose nothing and make nothing",
        how: "transfers between accounts, a range of them for each coordinator, side by side; then their sum through every coordinator",
        expected: "the sum that was paid in",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[TRANSACTIONS],
        script: ask_bank,
        judge: |_, seen| bank::judge(seen),
    },
];

const SERVERS: &str = "do all coordinators use the same datanodes? see the check `nodes`";

fn table() -> String {
    own("transactions")
}

fn judge_spread(_: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    let (mut sum, mut saw) = (0, Vec::new());
    for sight in seen.all("rows/") {
        let count = sight.number()?;
        if count == 0 {
            findings.add(Finding::wrong(&sight.at, "a share of the rows", "0 rows", SERVERS));
        }
        sum += count;
        saw.push(count.to_string());
    }
    findings.same("all datanodes", format!("{ROWS} rows"), format!("{sum} rows"), SERVERS);
    for sight in seen.all("total/") {
        findings.same(&sight.at, &format!("{ROWS} rows"), &format!("{} rows", sight.number()?), SERVERS);
    }
    findings.or(format!("{}; {ROWS} through every coordinator", saw.join(", ")))
}

fn ask_visible(lab: &Lab) -> Script {
    let coordinators = coordinators(lab);
    let table = table();
    let mut asks = Vec::new();
    for (round, k) in (1001..).enumerate().take(WRITES) {
        let writer = Session::with(&coordinators[round % coordinators.len()]);
        asks.push(writer.sql(format!("write/{k}"), format!("insert into {table} values ({k}, 0)")));
        let mut readers: Vec<Session> =
            coordinators.iter().map(Session::with).filter(|other| *other != writer).collect();
        if readers.is_empty() {
            readers.push(writer.apart(1));
        }
        let query = format!("select count(*) from {table} where k = {k}");
        asks.extend(readers.iter().map(|reader| reader.sql(format!("read/{k}/{}", reader.name), query.clone())));
    }
    Script::default().in_turn(asks)
}

/// Rows of a range of keys in the tables of the datanodes themselves.
fn left(lab: &Lab, from: i32) -> Vec<Vec<Ask>> {
    let count = format!("select count(*) from {} where k between {from} and {}", table(), from + 999);
    each(&datanodes(lab), "left", &count)
}

/// Rows enough to lie on every datanode.
fn ask_rollback(lab: &Lab) -> Script {
    let session = first(lab).apart(1);
    let insert = format!("insert into {} select k, 0 from generate_series(3001, 3100) as k", table());
    Script::default()
        .in_turn([
            session.sql("begin", "begin"),
            session.sql("rows", insert),
            session.ask("error", Act::Refused("select 1 / 0".into())),
            session.sql("end", "rollback"),
        ])
        .together(left(lab, 3001))
}

fn judge_rollback(_: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    let error = seen.get("error")?;
    if error.rows.is_empty() {
        findings.add(Finding::wrong(&error.at, "an error", "none", "1 / 0 has no value"));
    }
    for sight in seen.all("left/") {
        findings.same(
            &sight.at,
            "0 rows",
            &format!("{} rows", sight.number()?),
            "look for errors in the log of this datanode",
        );
    }
    findings.or("no row on any datanode")
}

fn ask_snapshot(lab: &Lab) -> Script {
    let table = table();
    let rows = format!("insert into {table} select k, 1 from generate_series(4001, 4100) as k");
    Script::default().then(first(lab).sql("rows", rows)).in_turn(steady::asks(
        &first(lab).apart(1),
        &last(lab),
        &table,
        "k between 4001 and 4100",
    ))
}

/// Accounts of one coordinator are no other's: postgres_fdw refuses concurrent updates of a row instead of waiting.
fn ask_bank(lab: &Lab) -> Script {
    let table = table();
    let coordinators = coordinators(lab);
    let accounts =
        |place: i32| -> Vec<i32> { (5001 + place * bank::ACCOUNTS..).take(bank::ACCOUNTS as usize).collect() };
    let all: Vec<i32> = (0..).zip(&coordinators).flat_map(|(place, _)| accounts(place)).collect();
    let values: Vec<String> = all.iter().map(|k| format!("({k}, {})", bank::BALANCE)).collect();
    let lane =
        |(place, on): (i32, &Placed<'_>)| bank::transfers(&Session::with(on).apart(1), &table, &accounts(place), 0);
    let sums = |(place, _): (i32, &Placed<'_>)| -> Vec<Vec<Ask>> {
        each(&coordinators, &format!("sum/{place}"), &bank::sum(&table, &accounts(place)))
    };
    Script::default()
        .then(first(lab).sql("open", format!("insert into {table} values {}", values.join(", "))))
        .together((0..).zip(&coordinators).map(lane))
        .together((0..).zip(&coordinators).flat_map(sums))
}
