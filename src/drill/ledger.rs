//! What clients were told, against what the cluster has: nothing lost, nothing twice, nothing by half.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// One transfer: money from one account to another, with a row of its own that tells so. All of it is one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its number; no other transfer has it.
    pub id: i64,
    /// The account that pays.
    pub from: i32,
    /// The account that gets it.
    pub to: i32,
    /// How much.
    pub amount: i64,
}

/// What its client knows of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The commit was acknowledged: it must be there, once.
    Acknowledged,
    /// The commit was sent, and then there was no answer or an error: it may be there, but not twice.
    InDoubt(String),
    /// It failed before the commit was sent: it must not be there.
    Refused(String),
}

/// A transfer that ended, one way or the other.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Place of its client in the load.
    pub client: usize,
    /// What was to be done.
    pub transfer: Transfer,
    /// What its client knows.
    pub fate: Fate,
    /// When it was begun.
    pub begun: Instant,
}

/// Everything that clients did and were told.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// In the order in which they ended.
    pub attempts: Vec<Attempt>,
    /// Values that a sequence gave, to whomever.
    pub values: Vec<i64>,
    /// GXIDs that transfers had, of those too that failed later.
    pub gxids: Vec<i64>,
}

/// What the cluster has in the end.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// The rows of transfers.
    pub rows: Vec<Transfer>,
    /// What is on each account.
    pub accounts: BTreeMap<i32, i64>,
    /// Accounts of which there is more than one row.
    pub twice: BTreeSet<i32>,
}

/// The verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Audit {
    /// Transfers that were acknowledged.
    pub acknowledged: usize,
    /// Transfers that failed and must not be there.
    pub refused: usize,
    /// Transfers in doubt that are there.
    pub in_doubt_there: usize,
    /// Transfers in doubt that are not.
    pub in_doubt_gone: usize,
    /// Values that the sequence gave.
    pub values: usize,
    /// GXIDs that transfers had.
    pub gxids: usize,
    /// Transfers in doubt that are there by half, where that explains every account that is not what its transfers make it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub halved: Vec<i64>,
    /// What is wrong; empty: nothing.
    pub wrong: Vec<String>,
}

/// How many mistakes of a kind are told one by one.
const TOLD: usize = 5;

/// Compares. Every account had `balance` in the beginning.
pub fn audit(ledger: &Ledger, books: &Books, balance: i64) -> Audit {
    let mut audit = Audit { values: ledger.values.len(), gxids: ledger.gxids.len(), ..Audit::default() };
    let mut rows: BTreeMap<i64, Vec<&Transfer>> = BTreeMap::new();
    for row in &books.rows {
        rows.entry(row.id).or_default().push(row);
    }
    let mut mistakes = Mistakes::default();
    for Attempt { transfer, fate, .. } in &ledger.attempts {
        let there = rows.remove(&transfer.id).unwrap_or_default();
        match fate {
            Fate::Acknowledged => audit.acknowledged += 1,
            Fate::Refused(_) => audit.refused += 1,
            Fate::InDoubt(_) if there.is_empty() => audit.in_doubt_gone += 1,
            Fate::InDoubt(_) => audit.in_doubt_there += 1,
        }
        match (fate, there.as_slice()) {
            (Fate::Acknowledged, []) => mistakes.add("lost: acknowledged, and not there", transfer.id),
            (Fate::Refused(why), [_]) => {
                mistakes.add("there, though it failed before its commit", format!("{} ({why})", transfer.id));
            }
            (_, [one]) if *one != transfer => mistakes.add("there with another content", transfer.id),
            (_, [_, _, ..]) => mistakes.add("there more than once", transfer.id),
            _ => {}
        }
    }
    rows.into_keys().for_each(|id| mistakes.add("there, and nobody made it", id));

    let off = differences(books, balance);
    match halves(ledger, books, &off) {
        Some(halved) => audit.halved = halved,
        None => {
            for (account, Difference { seen, expected }) in &off {
                mistakes.add(
                    "done by half: an account is not what its transfers make it",
                    format!("account {account} has {seen} instead of {expected}"),
                );
            }
            let paid_in = balance * i64::try_from(books.accounts.len()).unwrap_or_default();
            let sum: i64 = books.accounts.values().sum();
            if sum != paid_in {
                mistakes.add("the sum of all accounts is wrong", format!("{sum} instead of {paid_in}"));
            }
        }
    }
    books.twice.iter().for_each(|account| mistakes.add("an account is there more than once", account));
    for (given, twice) in
        [(&ledger.values, "a value of the sequence was given twice"), (&ledger.gxids, "a GXID was given twice")]
    {
        let mut seen = BTreeSet::new();
        given.iter().filter(|number| !seen.insert(**number)).for_each(|number| mistakes.add(twice, number));
    }
    audit.wrong = mistakes.told();
    audit
}

/// What is on an account, and what its transfers make of it.
struct Difference {
    seen: i64,
    expected: i64,
}

/// The accounts that are not what their transfers make them.
fn differences(books: &Books, balance: i64) -> BTreeMap<i32, Difference> {
    let mut expected: BTreeMap<i32, i64> = books.accounts.keys().map(|account| (*account, balance)).collect();
    for row in &books.rows {
        *expected.entry(row.from).or_default() -= row.amount;
        *expected.entry(row.to).or_default() += row.amount;
    }
    let seen = |account: &i32| books.accounts.get(account).copied().unwrap_or_default();
    let all = expected.into_iter().map(|(account, expected)| (account, Difference { seen: seen(&account), expected }));
    all.filter(|(_, difference)| difference.seen != difference.expected).collect()
}

/// The transfers in doubt of which a part is there and a part is not, where such explain every difference; else nothing.
///
/// A transfer has three parts: its row, and what it does to either account. The row tells which parts are missing or
/// too many: of a transfer whose row is there, some of its accounts may lack it, of another, some may have it.
fn halves(ledger: &Ledger, books: &Books, off: &BTreeMap<i32, Difference>) -> Option<Vec<i64>> {
    let there: BTreeSet<i64> = books.rows.iter().map(|row| row.id).collect();
    let doubted: Vec<&Transfer> = ledger
        .attempts
        .iter()
        .filter_map(|attempt| matches!(attempt.fate, Fate::InDoubt(_)).then_some(&attempt.transfer))
        .collect();
    let mut halved = BTreeSet::new();
    for (account, difference) in off {
        // Every sum that some of them make, with who makes it; few transfers are in doubt, and fewer touch one account.
        let mut sums: BTreeMap<i64, Vec<i64>> = [(0, Vec::new())].into();
        for transfer in &doubted {
            let part = match *account {
                account if account == transfer.from => -transfer.amount,
                account if account == transfer.to => transfer.amount,
                _ => continue,
            };
            let part = if there.contains(&transfer.id) { -part } else { part };
            for (sum, mut who) in sums.clone() {
                who.push(transfer.id);
                sums.entry(sum + part).or_insert(who);
            }
        }
        halved.extend(sums.remove(&(difference.seen - difference.expected))?);
    }
    Some(halved.into_iter().collect())
}

/// Mistakes by kind.
#[derive(Default)]
struct Mistakes(BTreeMap<&'static str, Vec<String>>);

impl Mistakes {
    fn add(&mut self, kind: &'static str, which: impl ToString) {
        self.0.entry(kind).or_default().push(which.to_string());
    }

    fn told(self) -> Vec<String> {
        let line = |(kind, which): (&str, Vec<String>)| {
            let more = if which.len() > TOLD { ", …" } else { "" };
            let some: Vec<String> = which.iter().take(TOLD).cloned().collect();
            format!("{} × {kind}: {}{more}", which.len(), some.join(", "))
        };
        self.0.into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALANCE: i64 = 100;

    fn transfer(id: i64) -> Transfer {
        Transfer { id, from: 1, to: 2, amount: id }
    }

    fn attempt(id: i64, fate: Fate) -> Attempt {
        Attempt { client: 0, transfer: transfer(id), fate, begun: Instant::now() }
    }

    /// One acknowledged, one in doubt and there, one in doubt and gone, one refused.
    fn right() -> (Ledger, Books) {
        let attempts = vec![
            attempt(1, Fate::Acknowledged),
            attempt(2, Fate::InDoubt("broken pipe".into())),
            attempt(3, Fate::InDoubt("timed out".into())),
            attempt(4, Fate::Refused("no connection".into())),
        ];
        let books = Books {
            rows: vec![transfer(1), transfer(2)],
            accounts: [(1, BALANCE - 3), (2, BALANCE + 3), (3, BALANCE)].into(),
            twice: BTreeSet::new(),
        };
        (Ledger { attempts, values: vec![1, 2, 5], gxids: vec![700, 701, 703] }, books)
    }

    #[test]
    fn what_is_right_passes() {
        let (ledger, books) = right();
        let expected = Audit {
            acknowledged: 1,
            refused: 1,
            in_doubt_there: 1,
            in_doubt_gone: 1,
            values: 3,
            gxids: 3,
            halved: Vec::new(),
            wrong: Vec::new(),
        };
        assert_eq!(audit(&ledger, &books, BALANCE), expected);
    }

    #[test]
    fn every_mistake_is_seen() {
        type Break = fn(&mut Ledger, &mut Books);
        let breaks: [(&str, Break); 11] = [
            ("1 × lost: acknowledged, and not there: 1", |_, books| {
                books.rows.remove(0);
                books.accounts = [(1, BALANCE - 2), (2, BALANCE + 2), (3, BALANCE)].into();
            }),
            ("1 × there more than once: 1", |_, books| {
                books.rows.push(transfer(1));
                books.accounts = [(1, BALANCE - 4), (2, BALANCE + 4), (3, BALANCE)].into();
            }),
            ("1 × there more than once: 2", |_, books| {
                books.rows.push(transfer(2));
                books.accounts = [(1, BALANCE - 5), (2, BALANCE + 5), (3, BALANCE)].into();
            }),
            ("1 × there, though it failed before its commit: 4 (no connection)", |_, books| {
                books.rows.push(transfer(4));
                books.accounts = [(1, BALANCE - 7), (2, BALANCE + 7), (3, BALANCE)].into();
            }),
            ("1 × there, and nobody made it: 9", |_, books| {
                books.rows.push(transfer(9));
                books.accounts = [(1, BALANCE - 12), (2, BALANCE + 12), (3, BALANCE)].into();
            }),
            ("1 × there with another content: 1", |ledger, _| ledger.attempts[0].transfer.to = 3),
            ("1 × a value of the sequence was given twice: 5", |ledger, _| ledger.values.push(5)),
            ("1 × a GXID was given twice: 701", |ledger, _| ledger.gxids.push(701)),
            (
                "1 × done by half: an account is not what its transfers make it: account 2 has 99 instead of 103",
                |_, books| {
                    books.accounts.insert(2, BALANCE - 1);
                },
            ),
            ("1 × the sum of all accounts is wrong: 296 instead of 300", |_, books| {
                books.accounts.insert(2, BALANCE - 1);
            }),
            ("1 × an account is there more than once: 2", |_, books| {
                books.twice.insert(2);
            }),
        ];
        for (expected, broken) in breaks {
            let (mut ledger, mut books) = right();
            broken(&mut ledger, &mut books);
            let wrong = audit(&ledger, &books, BALANCE).wrong;
            assert!(wrong.iter().any(|line| line == expected), "{expected} is not in {wrong:?}");
        }
    }

    #[test]
    fn a_transfer_in_doubt_that_is_there_by_half_is_told_from_mistakes() {
        // Number 2 is there but for what account 2 gets of it; number 3 is not there, but account 1 paid for it.
        let (ledger, mut books) = right();
        books.accounts.insert(2, BALANCE + 1);
        books.accounts.insert(1, BALANCE - 6);
        let audit = audit(&ledger, &books, BALANCE);
        assert_eq!((audit.halved, audit.wrong), (vec![2, 3], Vec::new()));
    }

    #[test]
    fn an_acknowledged_transfer_by_half_is_a_mistake() {
        let (ledger, mut books) = right();
        books.accounts.insert(2, BALANCE + 2);
        let audit = audit(&ledger, &books, BALANCE);
        assert_eq!((audit.halved, audit.wrong.len()), (Vec::new(), 2), "{:?}", audit.wrong);
    }

    #[test]
    fn an_account_that_vanished_is_wrong() {
        let (ledger, mut books) = right();
        books.accounts.remove(&2);
        let wrong = audit(&ledger, &books, BALANCE).wrong;
        assert!(wrong.iter().any(|line| line.contains("account 2 has 0 instead of 3")), "{wrong:?}");
    }
}
