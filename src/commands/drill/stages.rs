//! A drill, stage by stage. Whatever happens, what was broken is mended, and the load ends.

use super::ground::Ground;
use crate::{
    apply::Site,
    drill::{
        Drill, Prospect,
        bank::BALANCE,
        catalogue::{Attempted, BROKEN, Commits, Refusal, Repair, Sequences},
        ledger::{Ledger, audit},
        load::{self, Draws, Load},
        report::{self, Outcome, Stage, Verdict},
    },
    error::{Class, Error, Result},
    lab::{Fault, Lab, NodeName, Role},
    sql::Sql,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How long clients may take until each has a transfer acknowledged, at first and while others halt. Emulated coordinators
/// take seconds for a new session, and a client that waits for one that is gone waits its whole patience.
const GOES: Duration = Duration::from_secs(60);
/// How long clients may take after it was mended, until what they left in doubt is resolved for them.
const BY_ITSELF: Duration = Duration::from_secs(30);
/// What was on its way when something was broken may still be acknowledged for so long.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// How long the cluster may take to refuse what it must.
const REFUSES: Duration = Duration::from_secs(60);
/// How often clients are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Whether the lab can take another drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It can.
    Well,
    /// It cannot.
    Ill,
}

/// Runs a drill to its end.
pub(super) async fn carry_out(ground: &Ground, drill: &'static Drill, stop: &CancellationToken) -> (Outcome, Health) {
    let mut run = Run { ground, drill, stop, outcome: Outcome::not_run(drill) };
    let health = match run.all().await {
        Ok(()) => Health::Well,
        Err(error) => {
            run.wrong(&error);
            Health::Ill
        }
    };
    let right = run.outcome.wrong.is_empty() && !stop.is_cancelled();
    run.outcome.verdict = if right { Verdict::AsExpected } else { Verdict::Otherwise };
    if stop.is_cancelled() {
        let end = if health == Health::Well { "interrupted; it was mended" } else { "interrupted" };
        run.outcome.wrong.push(end.into());
    }
    (run.outcome, health)
}

struct Run<'a> {
    ground: &'a Ground,
    drill: &'static Drill,
    stop: &'a CancellationToken,
    outcome: Outcome,
}

impl Run<'_> {
    /// All stages. What ends otherwise than expected is noted; an error says that the lab is not well in the end.
    async fn all(&mut self) -> Result<()> {
        let site = self.ground.site()?;
        let faults = (self.drill.faults)(&site.lab);
        let gtm = gtm_of(&site.lab);
        let begun = Instant::now();
        let load = match self.begin(&site).await {
            Ok(load) => load,
            // Nothing is broken yet.
            Err(error) => {
                self.stage("load", begun, Vec::new());
                self.wrong(&error);
                return self.check(&site).await;
            }
        };
        let mut before = Before::default();
        match self.look_before(&site).await {
            Ok(seen) => before = seen,
            Err(error) => self.wrong(&error),
        }
        let seen_gxid = before.gxid;
        if let Err(error) = self.broken(&site, &faults, &load).await {
            self.wrong(&error);
        }
        drop(site);
        let mended = self.mend(&faults, &load, before).await;
        let begun = Instant::now();
        let ledger = load.end().await;
        mended?;
        let site = self.ground.site()?;
        self.compare(&site, ledger, seen_gxid, begun).await?;
        if gtm_of(&site.lab) != gtm {
            if !self.stop.is_cancelled()
                && let Err(error) = self.verify(&site).await
            {
                self.wrong(&error);
            }
            let begun = Instant::now();
            drop(site);
            self.ground.fail_over(gtm.as_ref()).await?;
            self.stage("back", begun, vec!["the GTM is where it was".into()]);
        }
        let site = self.ground.site()?;
        self.check(&site).await
    }

    /// What is compared later with what is there then.
    async fn look_before(&self, site: &Site) -> Result<Before> {
        let gxid = match self.ground.bank().gxid() {
            Some(_) => site.seen_gxid().await?,
            None => None,
        };
        let mut sessions = Vec::new();
        if self.drill.repair == Repair::FailOver {
            for on in site.lab.placed(Role::Coordinator) {
                sessions.push((on.name.to_string(), self.ground.session(site, on).await?));
            }
        }
        Ok(Before { gxid, sessions })
    }

    /// Makes the bank, and waits until every client has a transfer acknowledged.
    async fn begin(&mut self, site: &Arc<Site>) -> Result<Load> {
        let begun = Instant::now();
        let draws = if self.drill.sequences == Sequences::Kept { Draws::Each } else { Draws::None };
        let accounts = self.ground.open_bank(site, draws).await?;
        if self.drill.repair == Repair::FailOver {
            self.ground.acquaint_standby(site).await?;
        }
        let bank = self.ground.bank();
        let clients = load::clients(&site.lab, bank, &accounts)?;
        let load = Load::begin(clients, bank, site.host()?.clone(), site.login.clone(), draws);
        let silent = self.silent(&load, begun, GOES).await;
        if let Some(words) = silent {
            load.end().await;
            return Err(Error::new(Class::Cluster, words));
        }
        self.stage("load", begun, vec![format!("{} clients have transfers acknowledged", load.clients.len())]);
        Ok(load)
    }

    /// Breaks, looks, repairs.
    async fn broken(&mut self, site: &Arc<Site>, faults: &[Fault], load: &Load) -> Result<()> {
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let begun = Instant::now();
        let made = self.ground.make(site, faults).await;
        let some = faults.first().map(ToString::to_string).unwrap_or_default();
        let more = if faults.len() > 1 { format!(", and {} more", faults.len() - 1) } else { String::new() };
        self.stage("break", begun, vec![format!("{some}{more}")]);
        made?;
        let begun = Instant::now();
        let mut saw = self.see(faults, load, begun).await;
        if let Some(refusal) = self.drill.refuses.filter(|_| !self.stop.is_cancelled()) {
            match self.see_refusal(site, faults, load, refusal).await {
                Ok(words) => saw.push(words),
                Err(error) => self.wrong(&error),
            }
        }
        self.stage("see", begun, saw);
        if self.drill.repair == Repair::FailOver && !self.stop.is_cancelled() {
            let begun = Instant::now();
            let done = self.ground.fail_over(None).await;
            self.stage("repair", begun, vec!["failover gtm".into()]);
            done?;
        }
        Ok(())
    }

    /// Looks at what each client sees, for [`BROKEN`] at the least; gives it in words.
    async fn see(&mut self, faults: &[Fault], load: &Load, begun: Instant) -> Vec<String> {
        let prospect = |client| self.drill.prospect(self.ground.engine, faults, client);
        let prospects: Vec<Prospect> = load.clients.iter().map(prospect).collect();
        let on_its_way = begun + ON_ITS_WAY;
        let went = |place: usize| load.acknowledged(place, on_its_way) > 0;
        while !self.stop.is_cancelled() {
            let pending = (0..prospects.len()).any(|place| prospects[place] == Prospect::Goes && !went(place));
            let over = begun.elapsed() > if pending { BROKEN + GOES } else { BROKEN };
            if over {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        if self.stop.is_cancelled() {
            return Vec::new();
        }
        let mut saw = Vec::new();
        for (place, prospect) in prospects.into_iter().enumerate() {
            let who = load.clients[place].told();
            let count = load.acknowledged(place, on_its_way);
            let why = load.last_failure(place).map(|why| format!(" ({why})")).unwrap_or_default();
            match (prospect, count) {
                (Prospect::Goes, 0) => self.outcome.wrong.push(format!("{who}: no transfer went on{why}")),
                (Prospect::Halts, 1..) => {
                    self.outcome.wrong.push(format!("{who}: {count} transfers went on, and none could"));
                }
                (_, 0) => saw.push(format!("{who}: halts{why}")),
                (_, _) => saw.push(format!("{who}: goes on, {count} transfers")),
            }
        }
        saw
    }

    /// Tries what must be refused, through a coordinator that the fault is not on.
    async fn see_refusal(&self, site: &Site, faults: &[Fault], load: &Load, refusal: Refusal) -> Result<String> {
        let touched = |node: &NodeName| faults.iter().any(|fault| fault.node() == Some(node));
        let coordinators = site.lab.placed(Role::Coordinator);
        let peer = coordinators.iter().find(|placed| !touched(&placed.node.name));
        let peer = peer.ok_or_else(|| Error::new(Class::Internal, "nobody is left to be asked"))?;
        let session = self.ground.session(site, *peer).await?;
        let bank = self.ground.bank();
        let statement = match refusal.what {
            Attempted::Table => bank.ddl(),
            Attempted::Data => bank.fill(&load.accounts()),
        };
        let deadline = Instant::now() + REFUSES;
        // What the server says of it is a cause; there is none when it says nothing.
        let error = loop {
            match session.query(&statement).await {
                Err(error) => break error,
                Ok(_) if refusal.what == Attempted::Data && Instant::now() < deadline => {}
                Ok(_) => {
                    return Err(Error::new(Class::Cluster, format!("`{}` took what it must refuse", peer.name)));
                }
            }
        };
        if error.causes().is_empty() {
            return Err(error.context(format!("`{}` neither took nor refused what it must refuse", peer.name)));
        }
        let words = error.causes().join("; ");
        let tells = |words: &str| refusal.says.iter().any(|says| words.contains(says));
        if tells(&words) {
            return Ok(format!("{} refuses: {words}", peer.name));
        }
        // A datanode whose disk is full may end itself after the first one that it refused: that one was told.
        if refusal.what == Attempted::Data
            && let Some(told) = load.failures().into_iter().find(|words| tells(words))
        {
            return Ok(format!("a client was told: {told}; {} refuses: {words}", peer.name));
        }
        Err(Error::new(Class::Cluster, format!("`{}` refuses, but does not say why", peer.name)).evidence(words))
    }

    /// Mends, and waits until every client has a transfer acknowledged again; what they left in doubt is resolved for them
    /// when they do not get on by themselves.
    async fn mend(&mut self, faults: &[Fault], load: &Load, before: Before) -> Result<()> {
        let begun = Instant::now();
        // Nothing but a failover brings back a lab whose failover did not end.
        if let Err(error) = self.ground.end_failover().await {
            self.wrong(&error);
        }
        let mut mended = self.ground.mend(faults).await;
        if mended.is_err() && self.stop.is_cancelled() {
            // Ctrl-C reaches the programs that mend, too.
            mended = self.ground.mend(faults).await;
        }
        self.stage("mend", begun, Vec::new());
        mended?;
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let begun = Instant::now();
        let mut saw = Vec::new();
        if let Some(words) = self.silent(load, begun, BY_ITSELF).await {
            saw.push(format!("not by itself: {words}; what is in doubt is resolved, with the load held"));
            let held = load.hold().await;
            let site = self.ground.site()?;
            self.ground.prove(&site, before.gxid).await?;
            drop(held);
            if let Some(words) = self.silent(load, Instant::now(), GOES).await {
                self.outcome.wrong.push(format!("after it was mended: {words}"));
            }
        }
        let right = self.outcome.wrong.is_empty() && !self.stop.is_cancelled();
        saw.extend(right.then(|| "all clients have transfers acknowledged again".into()));
        for (coordinator, session) in &before.sessions {
            match session.query(&self.ground.bank().accounts()).await {
                Ok(_) => saw.push(format!("{coordinator}: the session of before goes on")),
                Err(error) => {
                    self.wrong(&error.context(format!("{coordinator}: the session of before does not go on")))
                }
            }
        }
        self.stage("go on", begun, saw);
        Ok(())
    }

    /// Waits until every client has a transfer acknowledged that it began since then; gives who has not, and why.
    async fn silent(&self, load: &Load, since: Instant, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            let silent = (0..load.clients.len()).find(|place| load.acknowledged(*place, since) == 0)?;
            if self.stop.is_cancelled() {
                return None;
            }
            if Instant::now() > deadline {
                let why = load.last_failure(silent).unwrap_or_else(|| "no answer yet".into());
                return Some(format!(
                    "{}: no transfer in {} s ({why})",
                    load.clients[silent].told(),
                    patience.as_secs()
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Compares what clients were told with what the cluster has, when nothing is in doubt any more.
    async fn compare(&mut self, site: &Arc<Site>, ledger: Ledger, gxid: Option<u32>, begun: Instant) -> Result<()> {
        self.ground.prove(site, gxid).await?;
        let books = self.ground.books(site).await?;
        let audit = audit(&ledger, &books, BALANCE);
        self.stage("books", begun, vec![report::books(&audit)]);
        self.outcome.wrong.extend(audit.wrong.iter().cloned());
        let halved = report::halved(&audit.halved);
        match self.drill.commits {
            Commits::MayBeHalved => self.outcome.known.extend(halved),
            Commits::Whole => self.outcome.wrong.extend(halved),
        }
        self.outcome.audit = Some(audit);
        Ok(())
    }

    /// Removes the bank and checks the cluster.
    async fn check(&mut self, site: &Arc<Site>) -> Result<()> {
        for server in self.ground.traces_of_ddl(site).await? {
            self.outcome.wrong.push(format!("a part of what was refused is on `{server}`"));
        }
        self.ground.close_bank(site).await?;
        if self.stop.is_cancelled() {
            return Ok(());
        }
        self.verify(site).await
    }

    async fn verify(&mut self, site: &Arc<Site>) -> Result<()> {
        let begun = Instant::now();
        let (wrong, right) = self.ground.verify(site, self.stop).await?;
        self.stage("verify", begun, vec![format!("{right} checks passed")]);
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Error::new(Class::Cluster, wrong.join("; "))),
        }
    }

    fn stage(&mut self, stage: &'static str, begun: Instant, saw: Vec<String>) {
        let took = begun.elapsed();
        let words = saw.first().map_or_else(String::new, |first| format!(": {first}"));
        eprintln!("  {stage} {:.1} s{words}", took.as_secs_f64());
        self.outcome.stages.push(Stage { stage, took, saw });
    }

    fn wrong(&mut self, error: &Error) {
        let words: Vec<&str> =
            std::iter::once(error.message()).chain(error.causes().iter().map(String::as_str)).collect();
        self.outcome.wrong.push(words.join(": ").replace('\n', "; "));
    }
}

/// What there was before anything was broken.
#[derive(Default)]
struct Before {
    /// A GXID that the GTM may not go back to.
    gxid: Option<u32>,
    /// Sessions that nobody uses, of coordinators by name, where sessions must go on.
    sessions: Vec<(String, Sql)>,
}

/// The node that has the GTM, where there is one.
fn gtm_of(lab: &Lab) -> Option<NodeName> {
    lab.placed(Role::Gtm).first().map(|placed| placed.node.name.clone())
}
