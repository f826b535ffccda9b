//! The bank that the load works on, in the SQL of each engine. Names begin as those of `verify` do, whose sweep removes
//! whatever a drill that was killed left.

use super::{ledger::Transfer, load::Draws};
use crate::lab::{EngineKind, Lab, Placed, Role};

/// What every account has in the beginning.
pub const BALANCE: i64 = 1_000_000;
/// Accounts for each datanode: so many that none of them gets less than two, wherever the hash puts them.
const ACCOUNTS: usize = 8;

const ACCOUNT_TABLE: &str = "pgxc_lab_verify_drill_accounts";
const LEDGER_TABLE: &str = "pgxc_lab_verify_drill_ledger";
const BALLAST_TABLE: &str = "pgxc_lab_verify_drill_ballast";
const SEQUENCE: &str = "pgxc_lab_verify_drill_values";
/// The table that must not come to be.
pub const REFUSED_TABLE: &str = "pgxc_lab_verify_drill_refused";
/// Columns that tables are distributed by are called `k`: a row of the ledger lies where the account that pays lies.
const TABLES: [(&str, &str); 3] = [
    (ACCOUNT_TABLE, "k int, v bigint"),
    (LEDGER_TABLE, "k int, id bigint, other int, amount bigint"),
    (BALLAST_TABLE, "k int, v text"),
];

/// A bank.
#[derive(Clone, Copy, Debug)]
pub struct Bank {
    engine: EngineKind,
}

impl Bank {
    /// One of this engine.
    pub fn of(engine: EngineKind) -> Bank {
        Bank { engine }
    }

    /// Whether a transfer may touch several datanodes: postgres_fdw does not promise that it commits as a whole.
    pub fn spans_datanodes(self) -> bool {
        self.engine == EngineKind::PostgresXc
    }

    /// Statements through the first coordinator that make tables and accounts, and the sequence where values are drawn from
    /// it: one that the GTM forgot could not be dropped any more.
    pub fn make(self, lab: &Lab, draws: Draws) -> Vec<String> {
        let mut statements: Vec<String> = TABLES.iter().map(|(table, columns)| self.create(table, columns)).collect();
        if self.engine == EngineKind::PostgresXc && draws == Draws::Each {
            statements.push(format!("create sequence {SEQUENCE}"));
        }
        let count = ACCOUNTS * lab.placed(Role::Datanode).len();
        let rows: Vec<String> = (1..=count).map(|account| format!("({account}, {BALANCE})")).collect();
        statements.push(format!("insert into {ACCOUNT_TABLE} values {}", rows.join(", ")));
        statements
    }

    fn create(self, table: &str, columns: &str) -> String {
        match self.engine {
            EngineKind::PostgresXc => format!("create table {table} ({columns}) distribute by hash (k)"),
            EngineKind::PostgresFdw => {
                format!("select pgxc_lab.create_distributed_table('{table}', '{columns}', 'k')")
            }
        }
    }

    /// Statements through the first coordinator that remove all of it; each may fail because there is nothing.
    pub fn remove(self) -> Vec<String> {
        let tables = TABLES.iter().map(|(table, _)| *table);
        match self.engine {
            EngineKind::PostgresXc => tables
                .map(|table| format!("drop table if exists {table}"))
                .chain([format!("drop sequence if exists {SEQUENCE}")])
                .collect(),
            EngineKind::PostgresFdw => {
                tables.map(|table| format!("select pgxc_lab.drop_distributed_table('{table}')")).collect()
            }
        }
    }

    /// The query through a coordinator that tells which accounts lie on a datanode.
    pub fn accounts_on(self, datanode: Placed<'_>) -> String {
        match self.engine {
            EngineKind::PostgresXc => {
                format!("execute direct on {} 'select k from {ACCOUNT_TABLE} order by k'", datanode.name)
            }
            // Partitions are foreign tables; which server has one is in the catalogue.
            EngineKind::PostgresFdw => format!(
                "select k from {ACCOUNT_TABLE} as a where (select s.srvname from pg_foreign_table f join pg_foreign_server s \
                 on s.oid = f.ftserver where f.ftrelid = a.tableoid) = '{}' order by k",
                datanode.name
            ),
        }
    }

    /// The query that draws a value, where the engine has a sequence for all.
    pub fn draw(self) -> Option<String> {
        (self.engine == EngineKind::PostgresXc).then(|| format!("select nextval('{SEQUENCE}')"))
    }

    /// The query within a transaction that tells its GXID, where there is a GTM.
    pub fn gxid(self) -> Option<&'static str> {
        (self.engine == EngineKind::PostgresXc).then_some("select txid_current()")
    }

    /// The statements of a transfer, between `begin` and `commit`. The lower account first: all take their locks in one
    /// order.
    pub fn transfer(self, transfer: &Transfer) -> Vec<String> {
        let Transfer { id, from, to, amount } = transfer;
        let update =
            |account: i32, amount: i64| format!("update {ACCOUNT_TABLE} set v = v + {amount} where k = {account}");
        let mut updates = [(*from, -amount), (*to, *amount)];
        updates.sort_unstable();
        vec![
            format!("insert into {LEDGER_TABLE} (k, id, other, amount) values ({from}, {id}, {to}, {amount})"),
            update(updates[0].0, updates[0].1),
            update(updates[1].0, updates[1].1),
        ]
    }

    /// The query for all rows of transfers: who paid, number, who got it, how much.
    pub fn ledger(self) -> String {
        format!("select k, id, other, amount from {LEDGER_TABLE}")
    }

    /// The query for all accounts and what is on them.
    pub fn accounts(self) -> String {
        format!("select k, v from {ACCOUNT_TABLE}")
    }

    /// A statement that changes the catalogs of all coordinators.
    pub fn ddl(self) -> String {
        self.create(REFUSED_TABLE, "k int")
    }

    /// The query that counts what of that is on a server.
    pub fn traces_of_ddl(self) -> String {
        format!("select count(*) from pg_class where relname = '{REFUSED_TABLE}'")
    }

    /// A statement that removes that, should it have come to be.
    pub fn undo_ddl(self) -> String {
        match self.engine {
            EngineKind::PostgresXc => format!("drop table if exists {REFUSED_TABLE}"),
            EngineKind::PostgresFdw => format!("select pgxc_lab.drop_distributed_table('{REFUSED_TABLE}')"),
        }
    }

    /// A statement that puts 100 kB for each of these accounts where the account lies.
    pub fn fill(self, accounts: &[i32]) -> String {
        let keys: Vec<String> = accounts.iter().map(|account| format!("({account})")).collect();
        format!(
            "insert into {BALLAST_TABLE} select t.k, (select string_agg(md5((i + t.k)::text), '') \
             from generate_series(1, 3200) as i) from (values {}) as t (k)",
            keys.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::smaller;

    #[test]
    fn locks_are_taken_in_one_order() {
        let bank = Bank::of(EngineKind::PostgresXc);
        let back = bank.transfer(&Transfer { id: 7, from: 9, to: 3, amount: 5 });
        assert!(back[1].ends_with("set v = v + 5 where k = 3"), "{back:?}");
        assert!(back[2].ends_with("set v = v + -5 where k = 9"), "{back:?}");
    }

    #[test]
    fn everything_that_is_made_is_removed_and_has_the_prefix_of_the_sweep() {
        for engine in [EngineKind::PostgresXc, EngineKind::PostgresFdw] {
            let bank = Bank::of(engine);
            let made = bank.make(&smaller(2), Draws::Each).len() - 1;
            assert_eq!(bank.remove().len(), made, "{engine:?}");
            for statement in bank.make(&smaller(2), Draws::Each) {
                assert!(statement.contains(crate::verify::PREFIX), "{statement}");
            }
        }
    }
}
