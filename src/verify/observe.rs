//! The effects: asks what a script says, over the wire, with few sessions.

use super::{
    judgement::Finding,
    script::{Act, Ask, Script, Session},
    seen::{Seen, Sight},
};
use crate::{
    apply::{self, Site},
    engine::{Engine, Row, retried},
    error::{Class, Error, Result, ResultExt},
    executor::{Apply, Foresight},
    file,
    gtm::{self, Gtm},
    host::{Accelerator, Exports, Host, LabDir},
    lab::{Lab, Node, Placed, Role},
    plan,
    remote::{Keys, Ssh},
    sql::{DATABASES, Login, Sql},
};
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

/// How long a connection or a statement may take, before the accelerator's patience.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the plan of `up` may take: it looks at everything.
const PLAN: Duration = Duration::from_secs(60);

/// How long servers that serve may take to register: autovacuum_naptime, a minute by default, and then some.
const REGISTERED: Duration = Duration::from_secs(75);
/// How often a GTM is asked for them.
const ASK: Duration = Duration::from_secs(1);

/// What an observer is made of.
pub struct Parts {
    /// The lab, fitted as it runs.
    pub lab: Lab,
    /// Its directory.
    pub dir: LabDir,
    /// Its namespaces.
    pub host: Host,
    /// Its engine.
    pub engine: Box<dyn Engine>,
    /// How guests run.
    pub accelerator: Accelerator,
    /// The superuser.
    pub login: Login,
    /// The site that `up` would work on, or why there is none.
    pub site: Result<Arc<Site>>,
}

/// Asks, and keeps the sessions.
pub struct Observer {
    parts: Parts,
    sessions: Mutex<BTreeMap<Session, Arc<Sql>>>,
    /// New sessions at once: each is a new process in a guest.
    connects: Semaphore,
}

impl std::ops::Deref for Observer {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// Why a script was not asked to its end.
pub(super) enum Broken {
    /// The run was interrupted.
    Interrupted,
    /// These questions had no answer.
    Findings(Vec<Finding>),
}

impl Observer {
    /// From its parts.
    pub fn new(parts: Parts) -> Observer {
        let connects = Semaphore::new(parts.accelerator.tokens() * 2);
        Observer { parts, sessions: Mutex::default(), connects }
    }

    /// Asks everything, stage by stage. After a question without an answer its lane ends, and no further stage begins.
    pub(super) async fn observe(
        &self,
        script: &Script,
        within: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<Seen, Broken> {
        let patience = within.unwrap_or(ANSWER * self.accelerator.patience());
        let mut seen = Vec::new();
        for stage in &script.0 {
            let mut broken = Vec::new();
            for lane in join_all(stage.iter().map(|lane| self.lane(lane, patience, stop))).await {
                match lane {
                    Ok(sights) => seen.extend(sights),
                    Err(finding) => broken.push(finding),
                }
            }
            if stop.is_cancelled() {
                return Err(Broken::Interrupted);
            }
            if !broken.is_empty() {
                return Err(Broken::Findings(broken));
            }
        }
        Ok(Seen(seen))
    }

    async fn lane(&self, lane: &[Ask], patience: Duration, stop: &CancellationToken) -> Result<Vec<Sight>, Finding> {
        let mut sights = Vec::new();
        for ask in lane {
            let answer = tokio::select! {
                answer = self.answer(ask, patience) => answer,
                () = stop.cancelled() => Err(Error::new(Class::Interrupted, "interrupted")),
            };
            let rows = answer.map_err(|error| unanswered(ask, &error))?;
            sights.push(Sight { key: ask.key.clone(), at: ask.at.name.clone(), rows });
        }
        Ok(sights)
    }

    /// Closes the sessions that belong to a single check, or all: open transactions end with them.
    pub(super) async fn close(&self, which: Close) {
        self.sessions.lock().await.retain(|session, _| which == Close::Apart && session.number == 0);
    }

    async fn answer(&self, ask: &Ask, patience: Duration) -> Result<Vec<Row>> {
        let one = |text: String| vec![vec![Some(text)]];
        Ok(match &ask.act {
            Act::Sql(sql) => self.session(&ask.at, patience).await?.query(sql).await?,
            Act::Removal(sql) => {
                let server = self.session(&ask.at, patience).await?;
                server.query(&format!("set statement_timeout = {}", (patience / 2).as_millis())).await?;
                server.query(sql).await?
            }
            Act::EachDatabase(sql) => self.each_database(&ask.at, sql, patience).await?,
            Act::Refused(sql) => match self.session(&ask.at, patience).await?.query(sql).await {
                Ok(_) => Vec::new(),
                Err(error) => one(error.causes().join("; ")),
            },
            Act::Copy { sql, lines } => {
                one(self.session(&ask.at, patience).await?.copy(sql, lines.clone()).await?.to_string())
            }
            Act::Serves => one(self.serves(&ask.at, patience).await?),
            Act::GtmRole => one(self.gtm_role(&ask.at)?),
            Act::NextGxid => {
                let next = self.gtm(&ask.at, patience)?.next_gxid().await?;
                one(next.to_string())
            }
            Act::NodeList(wanted) => {
                let list = self.node_list(&ask.at, wanted, patience).await?;
                let state = |connected| if connected { "connected" } else { "lost" };
                let row = |node: gtm::Registered| {
                    [node.role.as_str().to_owned(), node.name, node.port.to_string(), state(node.connected).to_owned()]
                };
                list.into_iter().map(|node| row(node).map(Some).to_vec()).collect()
            }
            Act::Shell(line) => self.shell(&ask.at.name, line, patience).await?,
            Act::Plan => self.plan().await?.into_iter().map(|step| vec![Some(step)]).collect(),
        })
    }

    async fn session(&self, at: &Session, patience: Duration) -> Result<Arc<Sql>> {
        if let Some(sql) = self.sessions.lock().await.get(at) {
            return Ok(sql.clone());
        }
        let placed = self.placed(at)?;
        let _token = self.connects.acquire().await;
        let sql = Sql::connect(&self.host, placed.node.address, placed.component.port, &self.login, patience).await?;
        let sql = Arc::new(sql);
        self.sessions.lock().await.insert(at.clone(), sql.clone());
        Ok(sql)
    }

    /// With sessions of its own: one that breaks takes its transaction with it.
    async fn each_database(&self, at: &Session, sql: &str, patience: Duration) -> Result<Vec<Row>> {
        let placed = self.placed(at)?;
        let mut found = Vec::new();
        for database in self.session(at, patience).await?.query(DATABASES).await? {
            let database = database.into_iter().next().flatten().unwrap_or_default();
            let login = self.login.in_database(&database);
            let server = Sql::connect(&self.host, placed.node.address, placed.component.port, &login, patience).await?;
            server.query("begin isolation level repeatable read").await?;
            for mut row in server.query(sql).await? {
                let statement = row.pop().flatten().unwrap_or_default();
                for answer in server.query(&statement).await? {
                    found.push([vec![Some(database.clone())], row.clone(), answer].concat());
                }
            }
            server.query("commit").await?;
        }
        Ok(found)
    }

    fn placed(&self, at: &Session) -> Result<Placed<'_>> {
        let placed = self.lab.placed(at.role).into_iter().find(|placed| placed.name.as_str() == at.name);
        placed.ok_or_else(|| Error::new(Class::Internal, format!("the lab has no {} `{}`", at.role.as_str(), at.name)))
    }

    fn node(&self, name: &str) -> Result<&Node> {
        self.lab.node(name).ok_or_else(|| Error::new(Class::Internal, format!("the lab has no node `{name}`")))
    }

    /// `serves`, or why not.
    async fn serves(&self, at: &Session, patience: Duration) -> Result<String> {
        let placed = self.placed(at)?;
        let ready = self.engine.component(&self.lab, placed).ready;
        let ask = || apply::answers(&self.host, &self.dir, &self.lab, placed.node, &ready, &self.login, patience);
        let seen = retried(ask, |_| {}).await;
        let why = |error: Error| {
            std::iter::once(error.message())
                .chain(error.causes().iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join("; ")
        };
        Ok(seen.map_or_else(why, |()| "serves".to_owned()))
    }

    /// The third line of gtm.pid, on the export that the GTM's directory lies on.
    fn gtm_role(&self, at: &Session) -> Result<String> {
        let placed = self.placed(at)?;
        let exports = Exports::new(&self.dir, &self.host);
        let directory = exports.file(&self.lab, placed.node, &placed.component.directory)?;
        // A GTM that ends removes the file: then it has no role.
        let text = file::read_if_there(&directory.join("gtm.pid"))?.unwrap_or_default();
        Ok(text.lines().nth(2).unwrap_or("none").trim().to_owned())
    }

    fn gtm(&self, at: &Session, patience: Duration) -> Result<Gtm<'_>> {
        let gtm = self.placed(at)?;
        Ok(Gtm::new(&self.host, gtm.node.address, gtm.component.port, patience))
    }

    /// The list when it holds everybody who is wanted, else as it is after a while.
    async fn node_list(
        &self,
        at: &Session,
        wanted: &[(Role, String)],
        patience: Duration,
    ) -> Result<Vec<gtm::Registered>> {
        let gtm = self.gtm(at, patience)?;
        let deadline = Instant::now() + REGISTERED;
        loop {
            let list = gtm.node_list().await?;
            let there =
                |(role, name): &(Role, String)| list.iter().any(|node| node.role == *role && node.name == *name);
            if wanted.iter().all(there) || Instant::now() > deadline {
                return Ok(list);
            }
            tokio::time::sleep(ASK).await;
        }
    }

    async fn shell(&self, name: &str, line: &str, patience: Duration) -> Result<Vec<Row>> {
        let node = self.node(name)?;
        let run = async {
            let socket = self.host.connect((node.address, 22).into(), patience).await;
            let socket = socket.or_error(Class::Guest, || format!("port 22 of `{name}` does not answer"))?;
            Ssh::login(name, socket, &Keys::new(&self.dir)).await?.script("run the command", line).await
        };
        let output = tokio::time::timeout(patience, run).await.unwrap_or_else(|_| {
            Err(Error::new(Class::Guest, format!("no answer from `{name}` within {} s", patience.as_secs())))
        })?;
        Ok(output.lines().map(|line| vec![Some(line.to_owned())]).collect())
    }

    /// The steps of `up` that would run.
    async fn plan(&self) -> Result<Vec<String>> {
        let site = self.site.as_ref().map_err(Error::clone)?;
        let plan = plan::up(&site.lab, site.engine.as_ref());
        let tokens = Semaphore::new(self.accelerator.tokens() * 2);
        let looks = plan.steps().map(async |step| {
            let _token = tokens.acquire().await;
            Ok(matches!(site.foresee(step).await?, Foresight::Changes).then(|| step.id.clone()))
        });
        let patience = PLAN * self.accelerator.patience();
        let looks = tokio::time::timeout(patience, join_all(looks)).await.map_err(|_| {
            Error::new(Class::Cluster, format!("the plan was not foreseen within {} s", patience.as_secs()))
        })?;
        Ok(looks.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

/// Which sessions are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// Those of a single check.
    Apart,
    /// All.
    All,
}

/// A question that should have had an answer.
fn unanswered(ask: &Ask, error: &Error) -> Finding {
    let expected = match &ask.act {
        Act::Sql(sql) | Act::Removal(sql) | Act::EachDatabase(sql) | Act::Copy { sql, .. } => {
            format!("`{}` works", shortened(sql))
        }
        Act::Shell(line) => format!("`{}` works", shortened(line)),
        Act::Refused(_) | Act::Serves | Act::GtmRole | Act::NextGxid | Act::NodeList(_) | Act::Plan => {
            "an answer".into()
        }
    };
    let seen = match error.causes() {
        [] => error.message().to_owned(),
        causes => causes.join("; "),
    };
    let remedy = "`pgxc-lab status` shows what serves, `pgxc-lab logs` why not";
    Finding::wrong(&ask.at.name, expected, seen, remedy)
}

/// Longest statement that a finding repeats.
const STATEMENT: usize = 160;

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(STATEMENT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
