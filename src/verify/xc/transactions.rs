//! Transactions: one order for all coordinators, all or nothing over several datanodes.

use super::{coordinators, datanodes, direct, everywhere, first, last, own};
use crate::{
    engine::hash_placement,
    lab::{Lab, Role},
    verify::{
        bank,
        check::{Check, Needs, Suite, Table},
        judgement::{Finding, Findings, Judgement},
        script::{Act, Ask, Script, Session},
        seen::Seen,
        steady,
    },
};

/// Where every check below has keys of its own.
const TRANSACTIONS: Table = Table {
    name: "pgxc_lab_verify_transactions",
    make: |lab| {
        let sql = format!("create table {} (k int, v int) distribute by hash (k)", own("transactions"));
        Script::default().then(first(lab).sql("create", sql))
    },
};

/// Rows that are written through one coordinator and read through the others at once.
const WRITES: usize = 20;
/// Transactions per coordinator whose numbers are compared.
const NUMBERS: usize = 20;
/// Sequence values per coordinator. Each is a way to the GTM and back.
const VALUES: usize = 200;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "visible",
        proves: "what one coordinator committed, every other one sees at once",
        how: "20 rows, written through the coordinators in turn, each read through all others before the next",
        expected: "no row is missed",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[TRANSACTIONS],
        script: ask_visible,
        judge: judge_visible,
    },
    Check {
        id: "gxid",
        proves: "all coordinators draw transaction numbers from one row of numbers",
        how: "txid_current() through the coordinators in turn, 20 times each; then the GTM's next GXID",
        expected: "strictly rising, and the GTM's is higher",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[],
        script: ask_gxid,
        judge: judge_gxid,
    },
    Check {
        id: "sequence",
        proves: "a sequence gives no value twice, whoever asks",
        how: "a new sequence, 200 values through every coordinator at the same time",
        expected: "all different, and the largest is their number",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[],
        script: ask_sequence,
        judge: judge_sequence,
    },
    Check {
        id: "prepare",
        proves: "a prepared transaction is invisible until any coordinator commits it, and then visible everywhere",
        how: "PREPARE TRANSACTION of rows on two datanodes through the first coordinator, COMMIT PREPARED through the last",
        expected: "prepared on exactly these two; no row before and both after; nothing left prepared",
        suite: Suite::Full,
        needs: Needs::TwoDatanodes,
        tables: &[TRANSACTIONS],
        script: |lab| ask_prepare(lab, "commit", 2001),
        judge: |lab, seen| judge_prepare(lab, seen, 2),
    },
    Check {
        id: "rollback",
        proves: "a transaction over two datanodes that does not commit leaves nothing",
        how: "ROLLBACK PREPARED through another coordinator; and an error in the middle of a transaction",
        expected: "no row on any datanode; nothing left prepared",
        suite: Suite::Full,
        needs: Needs::TwoDatanodes,
        tables: &[TRANSACTIONS],
        script: ask_rollback,
        judge: judge_rollback,
    },
    Check {
        id: "snapshot",
        proves: "a repeatable read sees one state of all datanodes, whatever others commit",
        how: "two rows on two datanodes, changed through another coordinator while a transaction has read them",
        expected: "the old values until it ends, the new ones after",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[TRANSACTIONS],
        script: ask_snapshot,
        judge: |_, seen| steady::judge(seen, 2, GTM),
    },
    Check {
        id: "bank",
        proves: "no reader ever sees half of a transfer between datanodes",
        how: "transfers between accounts through every coordinator, while every coordinator sums them up",
        expected: "the same sum every time, also in a repeatable read, and in the end",
        suite: Suite::Full,
        needs: Needs::Nothing,
        tables: &[TRANSACTIONS],
        script: ask_bank,
        judge: |_, seen| bank::judge(seen),
    },
];

const GTM: &str = "does the coordinator ask the same GTM as the others? `pgxc-lab sql -c 'show gtm_host'`";
const ATOMIC: &str = "is enforce_two_phase_commit on? see the check `settings`, and the logs of the datanodes";

fn table() -> String {
    own("transactions")
}

/// The first keys from `from` on that lie on the first and on the last datanode.
fn two_keys(lab: &Lab, from: i32) -> (i32, i32) {
    let count = datanodes(lab).len();
    let on = |place: usize, from: i32| (from..).find(|k| hash_placement(*k, count) == place).unwrap_or(from);
    let first = on(0, from);
    (first, on(count - 1, first + 1))
}

fn ask_visible(lab: &Lab) -> Script {
    let coordinators = coordinators(lab);
    let table = table();
    let mut asks = Vec::new();
    for round in 0..WRITES {
        let k = 1001 + round;
        let writer = Session::with(&coordinators[round % coordinators.len()]);
        asks.push(writer.sql(format!("write/{k}"), format!("insert into {table} values ({k}, 0)")));
        let mut readers: Vec<Session> =
            coordinators.iter().map(Session::with).filter(|reader| *reader != writer).collect();
        if readers.is_empty() {
            readers.push(writer.apart(1));
        }
        asks.extend(readers.iter().map(|reader| {
            reader.sql(format!("read/{k}/{}", reader.name), format!("select count(*) from {table} where k = {k}"))
        }));
    }
    Script::default().in_turn(asks)
}

fn judge_visible(_: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    for sight in seen.all("read/") {
        let k = sight.key.split('/').nth(1).unwrap_or_default();
        findings.same(&format!("row {k} through {}", sight.at), 1, sight.number()?, GTM);
    }
    findings.or(format!("{} reads, none missed", seen.all("read/").count()))
}

fn ask_gxid(lab: &Lab) -> Script {
    let coordinators = coordinators(lab);
    let ask = |call: usize| {
        Session::with(&coordinators[call % coordinators.len()]).sql(format!("gxid/{call}"), "select txid_current()")
    };
    let asks: Vec<Ask> = (0..NUMBERS * coordinators.len()).map(ask).collect();
    let next = lab.placed(Role::Gtm).into_iter().map(|gtm| Session::with(&gtm).ask("next", Act::NextGxid));
    Script::default().in_turn(asks).in_turn(next)
}

fn judge_gxid(_: &Lab, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    let mut before = 0;
    let mut calls = 0;
    for sight in seen.all("gxid/").chain(seen.all("next")) {
        let number = sight.number()?;
        if number <= before {
            findings.add(Finding::wrong(&sight.at, format!("a number after {before}"), number, GTM));
        }
        before = number;
        calls += 1;
    }
    findings.or(format!("{calls} numbers, rising to {before}"))
}

fn ask_sequence(lab: &Lab) -> Script {
    let sequence = own("sequence");
    let values = format!("select nextval('{sequence}') from generate_series(1, {VALUES})");
    Script::default()
        .then(first(lab).sql("create", format!("create sequence {sequence}")))
        .together(everywhere(lab, "values", &values))
}

fn judge_sequence(lab: &Lab, seen: &Seen) -> Judgement {
    let mut values = Vec::new();
    for sight in seen.all("values/") {
        values.extend(sight.text().lines().filter_map(|line| line.parse::<i64>().ok()));
    }
    let all = VALUES * coordinators(lab).len();
    let largest = values.iter().max().copied().unwrap_or_default();
    values.sort_unstable();
    values.dedup();
    let mut findings = Findings::default();
    findings.same(
        "all coordinators",
        format!("{all} different values"),
        format!("{} different values", values.len()),
        GTM,
    );
    findings.same("the largest value", all as i64, largest, GTM);
    findings.or(format!("{all} different values"))
}

/// Two rows on two datanodes, prepared, and finished through the last coordinator.
fn ask_prepare(lab: &Lab, how: &str, from: i32) -> Script {
    let (table, gid) = (table(), own(&format!("prepared_{from}")));
    let (one, two) = two_keys(lab, from);
    let session = first(lab).apart(1);
    let rows = format!("select count(*) from {table} where k in ({one}, {two})");
    let count = format!("select count(*) from pg_prepared_xacts where gid = '{gid}'");
    let prepared = |when: &str| -> Vec<Ask> {
        let ask = |name: &str| first(lab).sql(format!("prepared/{when}/{name}"), direct(name, &count));
        datanodes(lab).iter().map(|placed| ask(placed.name.as_str())).collect()
    };
    Script::default()
        .in_turn([
            session.sql("begin", "begin"),
            session.sql("one", format!("insert into {table} values ({one}, 0)")),
            session.sql("two", format!("insert into {table} values ({two}, 0)")),
            session.sql("prepare", format!("prepare transaction '{gid}'")),
        ])
        .in_turn(prepared("before"))
        .together(everywhere(lab, "rows/before", &rows))
        .then(last(lab).sql("finish", format!("{how} prepared '{gid}'")))
        .in_turn(prepared("after"))
        .together(everywhere(lab, "rows/after", &rows))
}

/// How many rows are there after it was finished.
fn judge_prepare(lab: &Lab, seen: &Seen, after: i64) -> Judgement {
    let mut findings = Findings::default();
    let datanodes = datanodes(lab);
    for (place, placed) in datanodes.iter().enumerate() {
        let expected = i64::from(place == 0 || place == datanodes.len() - 1);
        let name = placed.name.as_str();
        let count = seen.number(&format!("prepared/before/{name}"))?;
        findings.same(&format!("prepared transactions on {name}"), expected, count, ATOMIC);
        let left = seen.number(&format!("prepared/after/{name}"))?;
        findings.same(&format!("what is left prepared on {name}"), 0, left, "`pgxc_clean` on a coordinator ends it");
    }
    for (when, expected) in [("before", 0), ("after", after)] {
        for sight in seen.all("rows/").filter(|sight| sight.key.starts_with(&format!("rows/{when}/"))) {
            let place = format!("rows through {} {when} the end of the transaction", sight.at);
            findings.same(&place, expected, sight.number()?, ATOMIC);
        }
    }
    findings.or(format!("prepared on 2 datanodes, {after} rows after"))
}

fn ask_rollback(lab: &Lab) -> Script {
    let table = table();
    let (one, two) = two_keys(lab, 3501);
    let session = first(lab).apart(2);
    let left = datanodes(lab).into_iter().map(|placed| {
        let query = format!("select count(*) from {table} where k between 3001 and 3999");
        first(lab).sql(format!("left/{}", placed.name), direct(placed.name.as_str(), &query))
    });
    ask_prepare(lab, "rollback", 3001)
        .in_turn([
            session.sql("error/begin", "begin"),
            session.sql("error/one", format!("insert into {table} values ({one}, 0)")),
            session.sql("error/two", format!("insert into {table} values ({two}, 0)")),
            session.ask("error", Act::Refused("select 1 / 0".into())),
            session.sql("error/end", "rollback"),
        ])
        .in_turn(left)
}

fn judge_rollback(lab: &Lab, seen: &Seen) -> Judgement {
    let mut findings = judge_prepare(lab, seen, 0).err().unwrap_or_default();
    if seen.get("error")?.rows.is_empty() {
        findings.add(Finding::wrong(&seen.get("error")?.at, "an error", "none", "1 / 0 has no value"));
    }
    for sight in seen.all("left/") {
        findings.same(sight.key.trim_start_matches("left/"), "0 rows", &format!("{} rows", sight.number()?), ATOMIC);
    }
    findings.or("no row on any datanode")
}

fn ask_snapshot(lab: &Lab) -> Script {
    let table = table();
    let (one, two) = two_keys(lab, 4001);
    let chosen = format!("k in ({one}, {two})");
    Script::default()
        .then(first(lab).sql("rows", format!("insert into {table} values ({one}, 1), ({two}, 1)")))
        .in_turn(steady::asks(&first(lab).apart(1), &last(lab), &table, &chosen))
}

/// Everyone transfers between the same accounts, the lower number first: Postgres-XC finds no deadlock that goes over two
/// datanodes.
fn ask_bank(lab: &Lab) -> Script {
    let accounts: Vec<i32> = (5001..=5000 + bank::ACCOUNTS).collect();
    let sessions: Vec<Session> = coordinators(lab).iter().map(Session::with).collect();
    let lines = accounts.iter().map(|k| format!("{k}\t{}\n", bank::BALANCE)).collect();
    let table = table();
    let copy = Act::Copy { sql: format!("copy {table} (k, v) from stdin"), lines };
    let transfers = sessions
        .iter()
        .enumerate()
        .map(|(place, session)| bank::transfers(&session.clone().apart(1), &table, &accounts, place));
    let readers = sessions.iter().map(|session| bank::sums(session, &table, &accounts));
    Script::default()
        .then(first(lab).ask("open", copy))
        .together(transfers.chain(readers).chain([bank::repeatable_sums(&last(lab).apart(2), &table, &accounts)]))
        .then(last(lab).sql("sum/end", bank::sum(&table, &accounts)))
}
