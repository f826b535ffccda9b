//! What a coordinator that was lost leaves behind, and how it is ended: transactions that are prepared while nobody
//! finishes them, and GXIDs that the GTM holds open for nobody.
//!
//! The second is a defect of 1.0.2: a proxy tells the GTM that a session is gone under a number that it has not filled in yet
//! (`proxyhdr` in XC's GTMProxy_HandleDisconnect), so the GTM keeps the session's GXID open. Our build corrects it (build.sh);
//! a GXID may still be of nobody, as when a GTM was promoted by hand. What its transaction committed stays unseen behind every
//! snapshot: new rows do not appear, and changed ones appear twice, as before and as after the next change. No row is lost; when
//! the GTM closes the GXID all is right.

use super::{Site, talk::Talk};
use crate::{
    engine::{ABANDONED, Holders, InDoubt, Row, open_gxids, retried},
    error::Result,
    guest::quoted,
    lab::{Placed, Role},
};
use futures_util::future::join_all;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How long prepared transactions of sessions that go on may stay prepared.
const FINISHES: Duration = Duration::from_secs(5);
/// How often something that is not yet so is asked again.
const ASK: Duration = Duration::from_millis(300);
/// Between two looks at who has a GXID: a session takes it first, and its lock then.
const LOOKS: Duration = Duration::from_secs(1);
/// How often GXIDs of nobody are looked for: one that was waited for lets others go, which then belong to nobody.
const PASSES: usize = 5;
/// How long the GTM may take to close one.
const GTM: Duration = Duration::from_secs(30);

/// What may have been left.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Transactions that are prepared; one on two servers counts twice.
    pub prepared: u64,
    /// GXIDs that the GTM holds open.
    pub open: BTreeSet<u32>,
}

impl Site {
    /// What may have been left.
    async fn doubts(&self, in_doubt: &InDoubt) -> Result<Doubts> {
        let mut talks = self.talks();
        let prepared = count(&mut talks, in_doubt).await?;
        let Some(first) = talks.first_mut() else { return Ok(Doubts::default()) };
        let open = first.ask(std::slice::from_ref(&in_doubt.open)).await?.concat();
        Ok(Doubts { prepared, open: open_gxids(&open)? })
    }

    /// What was left, if `resolve` would end any of it.
    pub(super) async fn left_behind(&self, in_doubt: &InDoubt) -> Result<Option<Doubts>> {
        let Some(first) = self.lab.placed(Role::Coordinator).first().copied() else { return Ok(None) };
        let doubts = self.doubts(in_doubt).await?;
        // Users' transactions may be on their way.
        let left = (doubts.prepared > 0 && !self.holders(in_doubt).await?.abandoned().is_empty())
            || (!doubts.open.is_empty() && !self.nobodys(first, in_doubt).await?.is_empty());
        Ok(left.then_some(doubts))
    }

    /// Waits until sessions that go on have ended what they prepared, and ends what nobody ends.
    pub(super) async fn resolve(&self, in_doubt: &InDoubt, doubts: Doubts) -> Result<String> {
        let Some(first) = self.lab.placed(Role::Coordinator).first().copied() else { return Ok(String::new()) };
        let Doubts { prepared: mut left, mut open } = doubts;
        let mut talks = self.talks();
        let deadline = Instant::now() + self.patience(FINISHES);
        while left > 0 && Instant::now() < deadline {
            tokio::time::sleep(ASK).await;
            left = count(&mut talks, in_doubt).await?;
            if left > 0 && !self.holders(in_doubt).await?.may_finish() {
                break;
            }
        }
        let mut facts = Vec::new();
        if left > 0 {
            let script = format!("export PGPASSWORD={}\n{}", quoted(&self.login.password), in_doubt.resolve);
            self.shell(first.node).await?.script("resolve transactions in doubt", &script).await?;
            let after = count(&mut talks, in_doubt).await?;
            facts.push(format!("{} transactions in doubt resolved", left.saturating_sub(after)));
            if after > 0 {
                facts.push(self.end_abandoned(in_doubt).await?);
            }
            open = self.open(first, in_doubt).await?;
        } else {
            facts.push("no transaction in doubt".into());
        }
        if !open.is_empty() {
            let closed = self.close(first, in_doubt).await?;
            if closed > 0 {
                facts.push(format!("{closed} GXIDs of lost sessions closed at the GTM"));
            }
        }
        Ok(facts.join("; "))
    }

    /// With every coordinator.
    fn talks(&self) -> Vec<Talk<'_>> {
        self.lab.placed(Role::Coordinator).into_iter().map(|placed| self.talk(placed)).collect()
    }

    /// Ends what is prepared and whose coordinator does not run it any more, for it holds its locks for ever: commits what any
    /// server has committed, for a coordinator begins to commit when all servers have prepared; rolls back the rest, of which
    /// nobody was told that it was committed. `pgxc_clean` does neither where the coordinator itself has noted an abort, as it
    /// does when the commit fails on one of the servers: to it that is a contradiction.
    async fn end_abandoned(&self, in_doubt: &InDoubt) -> Result<String> {
        let servers = self.servers();
        let deadline = Instant::now() + self.patience(Duration::from_secs(ABANDONED.unsigned_abs()));
        let mut abandoned = self.holders(in_doubt).await?;
        // Young ones get the time that a coordinator may need.
        while abandoned.may_finish() && Instant::now() < deadline {
            tokio::time::sleep(LOOKS).await;
            abandoned = self.holders(in_doubt).await?;
        }
        let (mut committed, mut rolled_back) = (0, 0);
        let all = abandoned.prepared.len();
        for (gxid, places) in abandoned.abandoned() {
            let named = |text: &String| text.replace("{gxid}", &gxid.to_string());
            let mut begun = false;
            for answer in self.ask_all(&servers, &named(&in_doubt.committed)).await {
                begun |= answer?.iter().flatten().flatten().any(|value| value == "t");
            }
            let (statements, count) = match begun {
                true => (&in_doubt.commit, &mut committed),
                false => (&in_doubt.roll_back, &mut rolled_back),
            };
            let statements: Vec<String> = statements.iter().map(named).collect();
            for place in places {
                self.session_after(servers[place], &statements).await?;
            }
            *count += 1;
        }
        let left = all - committed - rolled_back;
        if left > 0 {
            self.events.note(format!(
                "{left} transactions are prepared, and sessions still run them: `select * from pg_prepared_xacts` on each node \
                 shows them"
            ));
        }
        Ok(format!(
            "{committed} committed that were so by half, {rolled_back} rolled back that nobody committed, {left} left"
        ))
    }

    /// Has the GTM close what nobody has; gives how many it closed.
    async fn close(&self, first: Placed<'_>, in_doubt: &InDoubt) -> Result<usize> {
        let Some(gtm) = self.lab.placed(Role::Gtm).first().copied() else { return Ok(0) };
        let mut closed = 0;
        for _ in 0..PASSES {
            let gxids = self.nobodys(first, in_doubt).await?;
            if gxids.is_empty() {
                break;
            }
            let stay = self.gtm(gtm, GTM)?.close(&gxids).await?;
            closed += gxids.len() - stay.len();
            if !stay.is_empty() {
                self.events.note(stays(&stay));
                break;
            }
        }
        Ok(closed)
    }

    /// GXIDs that the GTM holds open while no server has anything of them, twice.
    async fn nobodys(&self, first: Placed<'_>, in_doubt: &InDoubt) -> Result<BTreeSet<u32>> {
        let before = self.open(first, in_doubt).await?;
        let before = self.holders(in_doubt).await?.without(before);
        if before.is_empty() {
            return Ok(before);
        }
        tokio::time::sleep(LOOKS).await;
        let after = self.open(first, in_doubt).await?;
        let after = self.holders(in_doubt).await?.without(after);
        Ok(before.intersection(&after).copied().collect())
    }

    async fn open(&self, first: Placed<'_>, in_doubt: &InDoubt) -> Result<BTreeSet<u32>> {
        open_gxids(&retried(|| async { self.sql(first).await?.value(&in_doubt.open).await }, |_| {}).await?)
    }

    /// Asks servers the same, side by side, each again where its connection to the GTM has just broken.
    async fn ask_all(&self, servers: &[Placed<'_>], query: &str) -> Vec<Result<Vec<Row>>> {
        let asked = servers
            .iter()
            .map(|placed| retried(move || async move { self.sql(*placed).await?.query(query).await }, |_| {}));
        join_all(asked).await
    }

    /// Every server is asked: one that does not answer may have anything.
    async fn holders(&self, in_doubt: &InDoubt) -> Result<Holders> {
        let answers = self.ask_all(&self.servers(), &in_doubt.holders).await;
        let mut holders = Holders::default();
        for (place, rows) in answers.into_iter().enumerate() {
            holders.add(place, &rows?)?;
        }
        Ok(holders)
    }

    /// Coordinators and datanodes.
    pub(super) fn servers(&self) -> Vec<Placed<'_>> {
        [Role::Coordinator, Role::Datanode].into_iter().flat_map(|role| self.lab.placed(role)).collect()
    }
}

/// What is told of GXIDs that the GTM keeps open though it was told to close them.
fn stays(gxids: &BTreeSet<u32>) -> String {
    let gxids: Vec<String> = gxids.iter().map(ToString::to_string).collect();
    format!(
        "the GTM cannot close GXIDs that were open when it was a standby, which was promoted by hand ({}): what they changed is seen \
         twice. `pgxc-lab failover gtm` leads to one that knows nothing of them",
        gxids.join(", "),
    )
}

/// How many transactions are prepared.
async fn count(talks: &mut [Talk<'_>], in_doubt: &InDoubt) -> Result<u64> {
    let counts = talks.iter_mut().zip(&in_doubt.counts).map(|(talk, asked)| talk.count_once(asked));
    join_all(counts).await.into_iter().sum()
}
