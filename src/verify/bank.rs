//! The bank: transfers between accounts on different datanodes must never be seen half.

use super::{
    judgement::{Findings, Judgement},
    script::{Ask, Session},
    seen::Seen,
};

/// Accounts of the bank; enough to lie on every datanode of the reference lab.
pub(super) const ACCOUNTS: i32 = 12;
/// What each account has in the beginning.
pub(super) const BALANCE: i32 = 100;
/// Transfers of each coordinator, and sums of each reader.
const ROUNDS: usize = 6;

/// The sum of all accounts.
pub(super) fn sum(table: &str, accounts: &[i32]) -> String {
    let (first, last) = (accounts.first().copied().unwrap_or_default(), accounts.last().copied().unwrap_or_default());
    format!("select sum(v) from {table} where k between {first} and {last}")
}

/// Transfers of one session, always from the account with the lower number: all take their locks in the same order.
pub(super) fn transfers(session: &Session, table: &str, accounts: &[i32], place: usize) -> Vec<Ask> {
    let count = accounts.len();
    let round = |round: usize| {
        // Neighbours and far ones, another pair for each session and round.
        let (one, two) = ((place + round) % count, (place + 2 * round + 1 + count / 2) % count);
        let (low, high) = (accounts[one.min(two)], accounts[one.max(two)]);
        let amount = 1 + i32::try_from(round).unwrap_or_default();
        let move_money = |account: i32, amount: i32| format!("update {table} set v = v + {amount} where k = {account}");
        let key = |what: &str| format!("transfer/{}/{round}/{what}", session.name);
        [
            session.sql(key("begin"), "begin"),
            session.sql(key("from"), move_money(low, -amount)),
            session.sql(key("to"), move_money(high, amount)),
            session.sql(key("commit"), "commit"),
        ]
    };
    (0..ROUNDS).flat_map(round).collect()
}

/// Sums of one session, each with a snapshot of its own.
pub(super) fn sums(session: &Session, table: &str, accounts: &[i32]) -> Vec<Ask> {
    (0..ROUNDS).map(|round| session.sql(format!("sum/{}/{round}", session.name), sum(table, accounts))).collect()
}

/// Sums of one session in one transaction.
pub(super) fn repeatable_sums(session: &Session, table: &str, accounts: &[i32]) -> Vec<Ask> {
    let mut asks = vec![session.sql("repeatable/begin", "begin isolation level repeatable read")];
    asks.extend((0..ROUNDS).map(|round| session.sql(format!("sum/repeatable/{round}"), sum(table, accounts))));
    asks.push(session.sql("repeatable/commit", "commit"));
    asks
}

/// Every sum is what was paid in.
pub(super) fn judge(seen: &Seen) -> Judgement {
    let expected = i64::from(ACCOUNTS * BALANCE);
    let mut findings = Findings::default();
    for sight in seen.all("sum/") {
        let remedy = "half of a transfer was seen or lost: look for a datanode whose GTM is another one, and for prepared \
                      transactions";
        findings.same(&format!("{} through {}", sight.key, sight.at), expected, sight.number()?, remedy);
    }
    let transfers = seen.all("transfer/").filter(|sight| sight.key.ends_with("/commit")).count();
    findings.or(format!("{transfers} transfers, {} sums of {expected}", seen.all("sum/").count()))
}
