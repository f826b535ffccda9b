//! What drills are run on: the lab, asked anew each time, since a drill changes who is who in it.

use crate::{
    apply::Site,
    commands::{failover, fault, run, up},
    context::Record,
    drill::{
        bank::Bank,
        ledger::{Books, Transfer},
        load::Draws,
    },
    engine::{Row, reached},
    error::{Class, Error, Result},
    event::Events,
    executor::Tally,
    host::Home,
    lab::{EngineKind, Fault, NodeName, Placed, Role},
    plan::{self, Plan, Wish},
    sql::{Sql, number},
    verify::{self, LabFile, Observer, Parts, Suite},
};
use std::{str::FromStr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long an answer may take that is no client's: DDL goes to every node.
const STATEMENT: Duration = Duration::from_secs(60);

/// A lab whose lock is held.
pub(super) struct Ground {
    /// Home of all labs.
    pub home: Home,
    /// The lab's name.
    pub name: String,
    /// Its engine.
    pub engine: EngineKind,
    /// Where steps tell what they do.
    pub events: Events,
}

impl Ground {
    /// The bank.
    pub(super) fn bank(&self) -> Bank {
        Bank::of(self.engine)
    }

    /// The lab as it is now.
    pub(super) fn site(&self) -> Result<Arc<Site>> {
        run::standing(&self.home, &self.name, &self.events).map(Arc::new)
    }

    /// A session with a server.
    pub(super) async fn session(&self, site: &Site, on: Placed<'_>) -> Result<Sql> {
        Sql::connect(site.host()?, on.node.address, on.component.port, &site.login, STATEMENT).await
    }

    /// A session with the first coordinator.
    pub(super) async fn first(&self, site: &Site) -> Result<Sql> {
        let coordinators = site.lab.placed(Role::Coordinator);
        let first = coordinators.first().ok_or_else(|| Error::new(Class::Internal, "a lab without a coordinator"))?;
        self.session(site, *first).await
    }

    /// Makes the bank, and gives the accounts of each datanode.
    pub(super) async fn open_bank(&self, site: &Site, draws: Draws) -> Result<Vec<Vec<i32>>> {
        self.close_bank(site).await?;
        let first = self.first(site).await?;
        for statement in self.bank().make(&site.lab, draws) {
            first.query(&statement).await?;
        }
        let mut accounts = Vec::new();
        for datanode in site.lab.placed(Role::Datanode) {
            let rows = first.query(&self.bank().accounts_on(datanode)).await?;
            accounts.push(rows.iter().map(|row| number_at(row, 0)).collect::<Result<Vec<i32>>>()?);
        }
        Ok(accounts)
    }

    /// Removes the bank, if there is one.
    pub(super) async fn close_bank(&self, site: &Site) -> Result<()> {
        let first = self.first(site).await?;
        // A table may be locked by what something killed has left: the server gives up, so that no session waits on and on.
        first.query(&format!("set statement_timeout = {}", (STATEMENT / 2).as_millis())).await?;
        for statement in self.bank().remove().into_iter().chain([self.bank().undo_ddl()]) {
            // Most of it is not there; what stays is swept by `verify`, and told, with who holds it.
            if first.query(&statement).await.is_err_and(|error| error.to_string().contains("statement timeout")) {
                break;
            }
        }
        Ok(())
    }

    /// What the cluster has, of one moment: a transaction of a coordinator that was killed becomes visible only when the
    /// GTM has found out, and that may be between two questions.
    pub(super) async fn books(&self, site: &Site) -> Result<Books> {
        reached(STATEMENT, || self.read_books(site), |_| {}).await
    }

    async fn read_books(&self, site: &Site) -> Result<Books> {
        let first = self.first(site).await?;
        first.query("begin isolation level repeatable read").await?;
        let transfer = |row: &Row| {
            Ok(Transfer {
                from: number_at(row, 0)?,
                id: number_at(row, 1)?,
                to: number_at(row, 2)?,
                amount: number_at(row, 3)?,
            })
        };
        let rows = first.query(&self.bank().ledger()).await?.iter().map(transfer).collect::<Result<Vec<_>>>()?;
        let mut books = Books { rows, ..Books::default() };
        for row in first.query(&self.bank().accounts()).await? {
            let account = number_at(&row, 0)?;
            if books.accounts.insert(account, number_at(&row, 1)?).is_some() {
                books.twice.insert(account);
            }
        }
        Ok(books)
    }

    /// Makes faults.
    pub(super) async fn make(&self, site: &Arc<Site>, faults: &[Fault]) -> Result<()> {
        // Not to be interrupted half-way: it takes a moment, and is mended as a whole.
        ended(fault::make_all(site, faults, &self.events, CancellationToken::new()).await?)
    }

    /// Mends them, and brings back what does not come by itself.
    pub(super) async fn mend(&self, faults: &[Fault]) -> Result<()> {
        ended(fault::mend(&self.home, &self.name, faults, &self.events, CancellationToken::new()).await?)
    }

    /// Has the GTM's standby copy everything anew: 1.0.2 tells it of no sequence that was created since it started.
    pub(super) async fn acquaint_standby(&self, site: &Arc<Site>) -> Result<()> {
        let standby = site.lab.placed(Role::GtmStandby);
        self.carry_out(site, plan::components(&site.lab, site.engine.as_ref(), Wish::Restart, &standby)).await
    }

    /// Fails the GTM over, to this node or to that of the standby.
    pub(super) async fn fail_over(&self, to: Option<&NodeName>) -> Result<()> {
        let record = Record::read(&self.home.lab(&self.name))?
            .ok_or_else(|| Error::new(Class::Internal, "a lab without a record"))?;
        let (home, name, events) = (self.home.clone(), self.name.clone(), self.events.clone());
        ended(failover::act(home, name, record, to, events, CancellationToken::new()).await?.tally)
    }

    /// Goes on with a failover that did not end, if there is one.
    pub(super) async fn end_failover(&self) -> Result<()> {
        let record = Record::read(&self.home.lab(&self.name))?;
        match record.is_some_and(|record| record.check_failover().is_err()) {
            true => self.fail_over(None).await,
            false => Ok(()),
        }
    }

    /// Servers on which there is any of a table that must not have come to be. A coordinator knows of its own only.
    pub(super) async fn traces_of_ddl(&self, site: &Site) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for on in [Role::Coordinator, Role::Datanode].into_iter().flat_map(|role| site.lab.placed(role)) {
            let count = self.session(site, on).await?.value(&self.bank().traces_of_ddl()).await?;
            found.extend((count != "0").then(|| on.name.to_string()));
        }
        Ok(found)
    }

    /// Proves that every coordinator writes, and resolves what is in doubt.
    pub(super) async fn prove(&self, site: &Arc<Site>, gxid: Option<u32>) -> Result<()> {
        self.carry_out(site, plan::proving(gxid)).await
    }

    async fn carry_out(&self, site: &Arc<Site>, plan: Plan) -> Result<()> {
        ended(up::carry_out(site, plan, "drill", self.events.clone(), CancellationToken::new()).await?)
    }

    /// The quick checks; gives what is wrong, and how many are right.
    pub(super) async fn verify(&self, site: &Site, stop: &CancellationToken) -> Result<(Vec<String>, usize)> {
        let tasks = verify::of_suite(self.engine, &site.lab, Suite::Quick, LabFile::Unknown);
        let parts = Parts {
            lab: site.lab.clone(),
            dir: site.dir.clone(),
            host: site.host()?.clone(),
            engine: crate::engine::of(self.engine),
            accelerator: site.accelerator,
            login: site.login.clone(),
            site: Err(Error::new(Class::Internal, "no quick check wants to know the plan of `up`")),
        };
        let report = verify::run(&Observer::new(parts), tasks, verify::sweep(self.engine), stop, |_| {}).await;
        let lines = report.failures().map(|(id, found)| {
            format!("check `{id}` at {}: {} instead of {}", found.place, found.seen, found.expected)
        });
        let left = report.left.iter().map(|left| format!("could not be cleaned up at {}: {}", left.place, left.seen));
        Ok((lines.chain(left).collect(), report.tally().passed))
    }
}

fn ended(tally: Tally) -> Result<()> {
    tally.failure.map_or(Ok(()), Err)
}

fn number_at<T: FromStr>(row: &Row, place: usize) -> Result<T> {
    number(row.get(place).and_then(Option::as_deref).unwrap_or_default())
}
