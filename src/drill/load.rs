//! The load: clients that move money through coordinators and remember what they were told.

use super::{
    bank::Bank,
    ledger::{Attempt, Fate, Ledger, Transfer},
};
use crate::{
    error::{Class, Error, Result},
    host::Host,
    lab::{Lab, NodeName, Placed, Role},
    sql::{Login, Sql, number},
};
use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{RwLock, RwLockWriteGuard},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// How long a client waits for an answer before it gives its session up and takes another.
const ANSWER: Duration = Duration::from_secs(15);
/// What a client does nothing for after a transfer: emulated guests must stay able to do something else.
const PAUSE: Duration = Duration::from_millis(100);
/// The same after one that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// At how many coordinators the load works: each client is a process in an emulated guest, and in each datanode.
const COORDINATORS: usize = 3;
/// Numbers of transfers that each client has for itself.
const NUMBERS: i64 = 1_000_000;

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// The node of its coordinator.
    pub node: NodeName,
    /// Name of its coordinator.
    pub coordinator: String,
    /// What it writes to.
    pub reach: Reach,
    address: Ipv4Addr,
    port: u16,
    accounts: Vec<i32>,
}

/// What a client writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The datanode of this node only.
    Datanode(NodeName),
    /// All datanodes: most of its transactions commit in two phases.
    Everywhere,
}

impl Client {
    /// For people.
    pub fn told(&self) -> String {
        match &self.reach {
            Reach::Datanode(node) => format!("{} on the datanode of {node}", self.coordinator),
            Reach::Everywhere => format!("{} on all datanodes", self.coordinator),
        }
    }

    fn new(on: Placed<'_>, reach: Reach, accounts: Vec<i32>) -> Client {
        Client {
            node: on.node.name.clone(),
            coordinator: on.name.to_string(),
            reach,
            address: on.node.address,
            port: on.component.port,
            accounts,
        }
    }

    #[cfg(test)]
    pub(super) fn fixture(node: NodeName, reach: Reach) -> Client {
        let coordinator = "coordinate_1".to_owned();
        Client { node, coordinator, reach, address: Ipv4Addr::LOCALHOST, port: 1, accounts: vec![1, 2] }
    }
}

/// The clients of a lab: at the first coordinators and the last one, one for the datanode beside it, and where the
/// engine commits over several datanodes as a whole, one for all. `accounts` are those of each datanode, in their order.
///
/// # Errors
/// When a datanode has too few accounts to move money between.
pub fn clients(lab: &Lab, bank: Bank, accounts: &[Vec<i32>]) -> Result<Vec<Client>> {
    let datanodes = lab.placed(Role::Datanode);
    if let Some(place) = accounts.iter().position(|accounts| accounts.len() < 2) {
        return Err(Error::new(
            Class::Cluster,
            format!("`{}` has {} accounts: the hash spreads too badly", datanodes[place].name, accounts[place].len()),
        ));
    }
    let all: Vec<i32> = accounts.concat();
    let coordinators = lab.placed(Role::Coordinator);
    let count = coordinators.len();
    let mut clients = Vec::new();
    for (place, on) in coordinators.into_iter().enumerate() {
        if place + 1 >= COORDINATORS && place + 1 < count {
            continue;
        }
        let beside = datanodes.iter().position(|datanode| datanode.node.name == on.node.name);
        let beside = beside.unwrap_or(place % datanodes.len().max(1));
        if let (Some(datanode), Some(accounts)) = (datanodes.get(beside), accounts.get(beside)) {
            clients.push(Client::new(on, Reach::Datanode(datanode.node.name.clone()), accounts.clone()));
        }
        if bank.spans_datanodes() && datanodes.len() > 1 {
            clients.push(Client::new(on, Reach::Everywhere, all.clone()));
        }
    }
    Ok(clients)
}

/// Clients at work.
pub struct Load {
    /// They, in the order of their places.
    pub clients: Vec<Client>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

struct Shared {
    bank: Bank,
    host: Host,
    login: Login,
    draws: Draws,
    ledger: Mutex<Ledger>,
    /// Each transfer holds it for itself; whoever has it whole holds them all.
    gate: RwLock<()>,
}

/// Whether clients draw values of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draws {
    /// One before each transfer.
    Each,
    /// None.
    None,
}

impl Load {
    /// Begins.
    pub fn begin(clients: Vec<Client>, bank: Bank, host: Host, login: Login, draws: Draws) -> Load {
        let shared = Arc::new(Shared { bank, host, login, draws, ledger: Mutex::default(), gate: RwLock::default() });
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for (place, client) in clients.iter().enumerate() {
            tasks.spawn(shared.clone().work(place, client.clone(), stop.clone()));
        }
        Load { clients, shared, stop, tasks }
    }

    /// All accounts that clients move money between.
    pub fn accounts(&self) -> Vec<i32> {
        let all: BTreeSet<i32> = self.clients.iter().flat_map(|client| client.accounts.iter().copied()).collect();
        all.into_iter().collect()
    }

    /// How many transfers a client had acknowledged that it began since then.
    pub fn acknowledged(&self, client: usize, since: Instant) -> usize {
        let since = |attempt: &&Attempt| attempt.client == client && attempt.begun > since;
        self.ledger().attempts.iter().filter(since).filter(|attempt| attempt.fate == Fate::Acknowledged).count()
    }

    /// The last failure that a client was told of.
    pub fn last_failure(&self, client: usize) -> Option<String> {
        self.ledger().attempts.iter().rev().filter(|attempt| attempt.client == client).find_map(
            |attempt| match &attempt.fate {
                Fate::Acknowledged => None,
                Fate::InDoubt(why) | Fate::Refused(why) => Some(why.clone()),
            },
        )
    }

    /// Everything that clients were told when something failed.
    pub fn failures(&self) -> Vec<String> {
        self.ledger().attempts.iter().filter_map(told).collect()
    }

    /// Has clients begin nothing more, and waits until those that are at it have ended, each within its patience. They go on
    /// when what this gives is dropped.
    pub async fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.gate.write().await
    }

    /// Ends the load and gives what clients know.
    pub async fn end(mut self) -> Ledger {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.ledger().clone()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger()
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(self: Arc<Self>, place: usize, client: Client, stop: CancellationToken) {
        let mut session: Option<Sql> = None;
        for number in 0.. {
            let open = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                open = self.gate.read() => open,
            };
            let transfer = transfer(&client.accounts, place, number);
            let begun = Instant::now();
            let fate = self.attempt(&client, &mut session, &transfer).await;
            let failed = fate != Fate::Acknowledged;
            if failed {
                session = None;
            }
            let attempt = Attempt { client: place, transfer, fate, begun };
            self.ledger().attempts.push(attempt);
            drop(open);
            tokio::select! {
                () = tokio::time::sleep(if failed { AFTER_FAILURE } else { PAUSE }) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn attempt(&self, client: &Client, session: &mut Option<Sql>, transfer: &Transfer) -> Fate {
        if let Err(error) = self.until_commit(client, session, transfer).await {
            return Fate::Refused(words(&error));
        }
        let Some(sql) = session else { return Fate::Refused("no session".into()) };
        match sql.query("commit").await {
            Ok(_) => Fate::Acknowledged,
            Err(error) => Fate::InDoubt(words(&error)),
        }
    }

    async fn until_commit(&self, client: &Client, session: &mut Option<Sql>, transfer: &Transfer) -> Result<()> {
        let sql = match session {
            Some(sql) => sql,
            None => {
                let sql = Sql::connect(&self.host, client.address, client.port, &self.login, ANSWER).await?;
                // The document's `off` lets a server that is killed lose what it acknowledged last, and says so.
                sql.query("set synchronous_commit = on").await?;
                session.insert(sql)
            }
        };
        if let Some(draw) = self.bank.draw().filter(|_| self.draws == Draws::Each) {
            let value = number(&sql.value(&draw).await?)?;
            self.ledger().values.push(value);
        }
        sql.query("begin").await?;
        if let Some(gxid) = self.bank.gxid() {
            let gxid = number(&sql.value(gxid).await?)?;
            self.ledger().gxids.push(gxid);
        }
        for statement in self.bank.transfer(transfer) {
            sql.query(&statement).await?;
        }
        Ok(())
    }
}

/// What a client was told when a transfer failed.
fn told(attempt: &Attempt) -> Option<String> {
    match &attempt.fate {
        Fate::Acknowledged => None,
        Fate::InDoubt(why) | Fate::Refused(why) => Some(why.clone()),
    }
}

/// The server's own words, where there are any.
fn words(error: &Error) -> String {
    error.causes().last().cloned().unwrap_or_else(|| error.message().to_owned())
}

/// The transfer of this number: all pairs in turn, another order for each client.
fn transfer(accounts: &[i32], place: usize, number: i64) -> Transfer {
    let count = accounts.len();
    let turn = usize::try_from(number).unwrap_or_default();
    let from = (turn * 7 + place * 3) % count;
    let to = (from + 1 + (turn / count) % (count - 1)) % count;
    let id = i64::try_from(place).unwrap_or_default() * NUMBERS + number;
    Transfer { id, from: accounts[from], to: accounts[to], amount: 1 + number % 9 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::fixture::document, lab::EngineKind};

    #[test]
    fn a_transfer_is_between_two_accounts_and_has_a_number_of_its_own() {
        let accounts = [3, 5, 8];
        let mut ids = BTreeSet::new();
        for place in 0..4 {
            for number in 0..50 {
                let transfer = transfer(&accounts, place, number);
                assert_ne!(transfer.from, transfer.to);
                assert!(transfer.amount > 0 && ids.insert(transfer.id));
            }
        }
        assert_eq!((transfer(&[1, 2], 0, 0).from, transfer(&[1, 2], 0, 0).to), (1, 2));
    }

    #[test]
    fn the_document_has_three_coordinators_under_load() {
        let lab = document();
        let accounts: Vec<Vec<i32>> = (0..6).map(|place| vec![place * 2, place * 2 + 1]).collect();
        let names = |engine| {
            let clients = clients(&lab, Bank::of(engine), &accounts).expect("clients");
            clients.iter().map(|client| (client.coordinator.clone(), client.accounts.len())).collect::<Vec<_>>()
        };
        let fdw = [("coordinate_1", 2), ("coordinate_2", 2), ("coordinate_6", 2)];
        assert_eq!(names(EngineKind::PostgresFdw), fdw.map(|(name, count)| (name.to_owned(), count)));
        assert_eq!(names(EngineKind::PostgresXc).len(), 6);
        assert!(clients(&lab, Bank::of(EngineKind::PostgresXc), &[vec![1], vec![2, 3]]).is_err());
    }
}
