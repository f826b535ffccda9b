//! Steps of a failover of the GTM. The lab's roles are already as they are to be: what is its standby was the GTM.
//!
//! What is decided is on the exports, which can be written from here whether a guest runs or not: a guest that reboots in
//! the middle comes up as what it is to be.

use super::{components::Seen, site::Site};
use crate::{
    context::Record,
    engine::{ComponentSetup, Ready, Takeover},
    error::{Class, Error, Result},
    event::Outcome,
    executor::Foresight,
    file, gtm,
    lab::{Failover, Node, Placed, Role},
    plan::Step,
};
use std::{path::PathBuf, time::Duration};

/// How long the guest of the old GTM may take to end it before its power is cut. The proxies wait for 290 s with the
/// document's values (spec 2.7).
const FENCES: Duration = Duration::from_secs(45);
/// How long a GTM may take to answer: it only counts.
const GTM: Duration = Duration::from_secs(5);
/// How long what is behind a proxy may take to serve before the proxy is told again: it may not have been ready to hear.
/// An emulated coordinator takes up to a second for a new session.
const HEARS: Duration = Duration::from_secs(15);
/// How often a proxy is told before it is restarted: its reconnection is known to fail under load (#135).
const TOLD: usize = 3;
/// How often something that is not yet so is asked again.
const ASK: Duration = Duration::from_millis(500);

/// What is left to do when the standby turns out to be no good after the old GTM was ended.
const BACK: &str = "nothing writes now; `pgxc-lab failover gtm --to NODE` with the node of the old GTM goes back to it";

impl Site {
    /// The latest next GXID that is known of both GTMs: what they noted, what they left when they ended, and what the
    /// active one says, if it answers.
    ///
    /// # Errors
    /// When what they noted cannot be read.
    pub async fn seen_gxid(&self) -> Result<Option<u32>> {
        let mut seen = Vec::new();
        for role in [Role::Gtm, Role::GtmStandby] {
            for placed in self.lab.placed(role) {
                seen.extend(self.noted_gxids(placed)?);
            }
        }
        if let Some(active) = self.lab.placed(Role::Gtm).first() {
            seen.extend(self.next_gxid(*active).await);
        }
        Ok(latest(seen))
    }

    /// Sees to it that the standby can take over. As long as the GTM answers, the standby copies its state anew: 1.0.2 tells
    /// a standby of no sequence that was created since it started (its client never ends that message). When the GTM is
    /// gone, the standby must not be behind.
    ///
    /// # Errors
    /// Why it cannot; the GTM was not touched.
    pub async fn prepare_takeover(&self, standby: Placed<'_>) -> Result<()> {
        let refuse = |error: Error| {
            error
                .context(format!("`{}` cannot take over", standby.name))
                .hint("the GTM was not touched; `pgxc-lab status` shows what serves")
        };
        let active = self.lab.placed(Role::Gtm).into_iter().next();
        if let Some(active) = active
            && self.next_gxid(active).await.is_ok()
        {
            let setup = self.engine.component(&self.lab, standby);
            let script = self.init().restart(&[setup.unit.as_str()]);
            self.shell(standby.node).await?.script("restart the standby", &script).await.map_err(refuse)?;
            return self
                .wait_for_service("resync", standby.node, &setup, self.serving_deadline())
                .await
                .map_err(refuse);
        }
        let next = self.next_gxid(standby).await.map_err(refuse)?;
        self.events
            .note("the GTM does not answer: sequences that were created since its standby started are lost to it");
        match self.seen_gxid().await? {
            Some(seen) if gtm::is_far_before(next, seen) => Err(refuse(behind(next, seen))),
            _ => Ok(()),
        }
    }

    pub(super) async fn foresee_fence(&self, step: &Step) -> Result<Foresight> {
        let (old, setup) = self.component_of(step, Role::GtmStandby)?;
        if !self.is_configured(old.node, &setup)? {
            return Ok(Foresight::Changes);
        }
        Ok(match self.see(old.node, &setup).await? {
            Seen::GuestOff => Foresight::Holds("its guest does not run, and its configuration is a standby's".into()),
            Seen::Stopped => Foresight::Holds(format!("`{}` does not run", old.name)),
            // Where it cannot be seen its power is cut.
            Seen::Runs | Seen::Unknown(_) => Foresight::Changes,
        })
    }

    pub(super) async fn fence(&self, step: &Step) -> Result<Outcome> {
        let (old, setup) = self.component_of(step, Role::GtmStandby)?;
        let mut how = format!("the guest of `{}` does not run", old.name);
        if self.is_running(old.node).await? {
            how = format!("`{}` is stopped, no process of it is left", old.name);
            self.progress(&step.id, "stops it");
            let halted = tokio::time::timeout(FENCES, self.halt(old.node, &setup)).await;
            let failed = match halted {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.message().to_owned()),
                Err(_) => Some(format!("it did not end within {} s", FENCES.as_secs())),
            };
            if let Some(why) = failed {
                self.progress(&step.id, "cuts the power of its guest");
                self.cut_power(old.node).await?;
                how = format!("the power of `{}` was cut, since {why}", old.node.name);
            }
        } else if !self.is_off(old.node).await? {
            // Paused, it would go on as the GTM when somebody resumes it.
            self.cut_power(old.node).await?;
            how = format!("the power of `{}` was cut, since its guest is paused or crashed", old.node.name);
        }
        if let Ok(gxid) = self.next_gxid(old).await {
            return Err(Error::new(
                Class::Cluster,
                format!("something still answers as the GTM on `{}`, at GXID {gxid}", old.node.name),
            )
            .hint(format!("end it: `pgxc-lab ssh {} -- pgrep -a gtm`", old.node.name)));
        }
        // From here on it cannot come back as the GTM, whatever reboots.
        self.configure(old.node, &setup)?;
        Ok(Outcome::Changed(how))
    }

    pub(super) async fn promote(&self, step: &Step, seen: Option<u32>) -> Result<Outcome> {
        let (new, setup) = self.component_of(step, Role::Gtm)?;
        let takeover = self.takeover()?;
        let mut known: Vec<u32> = seen.into_iter().collect();
        for old in self.lab.placed(Role::GtmStandby) {
            known.extend(self.noted_gxids(old)?);
        }
        let least = latest(known);
        let runs = match self.see(new.node, &setup).await? {
            Seen::Runs => true,
            Seen::Stopped => false,
            Seen::GuestOff => {
                return Err(Error::new(Class::Guest, format!("the guest of `{}` does not run", new.name)).hint(BACK));
            }
            Seen::Unknown(why) => return Err(why.hint(BACK)),
        };
        let next = if runs {
            let next = self.next_gxid(new).await?;
            if let Some(least) = least.filter(|least| gtm::is_far_before(next, *least)) {
                return Err(behind(next, least).hint(BACK));
            }
            self.progress(&step.id, format!("at GXID {next}"));
            let beyond = latest([next].into_iter().chain(least).collect()).unwrap_or(next).wrapping_add(gtm::LAG);
            let next = self.gtm(new, GTM)?.skip(beyond).await?;
            self.shell(new.node).await?.script("promote the standby", &takeover.promote).await?;
            self.note_prepared(new).await?;
            self.start_afresh(step, new, &setup).await?;
            next
        } else {
            // It was the GTM and ended in an orderly way, which is where it goes on.
            let left = self.noted_control(new)?.ok_or_else(|| {
                Error::new(Class::Cluster, format!("`{}` does not run and left nothing to go on with", new.name))
            })?;
            must_not_be_before(left, least)?;
            left
        };
        self.configure(new.node, &setup)?;
        if !runs {
            self.wake(new.node, &setup).await?;
        }
        self.wait_for_service(&step.id, new.node, &setup, self.serving_deadline()).await?;
        self.fill_in(new).await?;
        let now = self.next_gxid(new).await?;
        must_not_be_before(now, latest([next].into_iter().chain(least).collect()))?;
        if runs && gtm::is_far_before(next, now) {
            self.events
                .note(format!("`{}` did not end in an orderly way: values of sequences may be given again", new.name));
        }
        self.record_start(new.node).await?;
        if let Some(record) = Record::read(&self.dir)? {
            record.record_failover(&self.dir, Failover::Done { gtm: new.node.name.clone() })?;
        }
        Ok(Outcome::Changed(format!("`{}` is the GTM, at GXID {now}", new.name)))
    }

    /// Notes what a standby that was promoted holds open that is prepared, unless a run before this one did: the standby
    /// is about to forget it.
    async fn note_prepared(&self, new: Placed<'_>) -> Result<()> {
        let Some(record) = Record::read(&self.dir)?.filter(|record| record.prepared.is_none()) else { return Ok(()) };
        record.record_prepared(&self.dir, self.gtm(new, GTM)?.prepared().await?)
    }

    /// Has a standby that was promoted start as the GTM that it is, before anybody uses it.
    ///
    /// What it copied when it started as a standby is in places where it does not find it: such GXIDs would stay open for ever,
    /// and what they changed would be seen twice. And the room for their snapshots is as large as they were then
    /// (`gtm_deserialize_snapshotdata` in gtm_serialize.c): the next transaction in that place writes beyond it as soon as more are open,
    /// and the GTM crashes. What is prepared must stay open ([`Site::fill_in`]); of everything else it knows nothing any more since
    /// its GTM's connections ended.
    async fn start_afresh(&self, step: &Step, new: Placed<'_>, setup: &ComponentSetup) -> Result<()> {
        self.progress(&step.id, "starts it as the GTM");
        self.gtm(new, GTM)?.forget_standby(new.name.as_str()).await?;
        let script = self.init().restart(&[setup.unit.as_str()]);
        self.shell(new.node).await?.script("start the promoted standby as the GTM", &script).await.map(drop)
    }

    /// Tells a GTM that has just started what it does not know by itself: what is prepared, and who is registered.
    async fn fill_in(&self, new: Placed<'_>) -> Result<()> {
        let gtm = self.gtm(new, GTM)?;
        let prepared = Record::read(&self.dir)?.and_then(|record| record.prepared).unwrap_or_default();
        gtm.hold(&prepared).await?;
        gtm.register(&self.registrations()).await.map(drop)
    }

    /// What servers register with.
    fn registrations(&self) -> Vec<gtm::Registration<'_>> {
        self.servers()
            .into_iter()
            .map(|server| {
                let beside = self.lab.components_of(server.node);
                let proxy = beside.into_iter().find(|placed| placed.role == Role::GtmProxy);
                gtm::Registration {
                    role: server.role,
                    name: server.name.as_str(),
                    address: server.node.address,
                    port: server.component.port,
                    proxy: proxy.map_or("", |proxy| proxy.name.as_str()),
                    directory: &server.component.directory,
                }
            })
            .collect()
    }

    pub(super) async fn reconnect(&self, step: &Step) -> Result<Outcome> {
        let (proxy, setup) = self.component_of(step, Role::GtmProxy)?;
        let takeover = self.takeover()?;
        // First: a proxy that dies of its reconnection starts again with this.
        self.configure(proxy.node, &setup)?;
        if !self.is_running(proxy.node).await? {
            return Ok(Outcome::Changed("configured; its guest does not run".into()));
        }
        let behind: Vec<ComponentSetup> = self
            .components(proxy.node)
            .into_iter()
            .filter(|component| matches!(component.ready, Ready::Query { .. }))
            .collect();
        let shell = self.shell(proxy.node).await?;
        let restart = self.init().restart_soon(&setup.unit);
        for told in 1..=TOLD + 1 {
            let (script, how) =
                if told <= TOLD { (&takeover.reconnect, "reconnected") } else { (&restart, "restarted") };
            self.progress(&step.id, format!("tells `{}`, time {told}", proxy.name));
            // A proxy that is not there cannot be told: systemd starts it, or the last round does.
            let heard = shell.script("reconnect the proxy", script).await;
            if let Err(error) = &heard {
                self.log(proxy.node, &format!("# {error}"));
            }
            if self.serve_soon(proxy.node, &behind).await {
                self.record_start(proxy.node).await?;
                let times = if told == 1 { String::new() } else { format!(" at time {told}") };
                return Ok(Outcome::Changed(format!("`{}` {how}{times}, what is behind it serves", proxy.name)));
            }
        }
        let error = Error::new(Class::Cluster, format!("`{}` does not find the new GTM", proxy.name));
        Err(self.explain_silence(proxy.node, &setup, error).await)
    }

    /// Whether all of these serve within [`HEARS`].
    async fn serve_soon(&self, node: &Node, components: &[ComponentSetup]) -> bool {
        let all = async {
            for component in components {
                while self.serves(node, component).await.is_err() {
                    tokio::time::sleep(ASK).await;
                }
            }
        };
        tokio::time::timeout(HEARS, all).await.is_ok()
    }

    pub(super) async fn rejoin(&self, step: &Step) -> Result<Outcome> {
        let (old, setup) = self.component_of(step, Role::GtmStandby)?;
        if !self.is_running(old.node).await? {
            self.events
                .note(format!("`{}` is off: `pgxc-lab up` boots it, and it comes up as the standby", old.node.name));
            return Ok(Outcome::Unchanged("its guest does not run; it will come up as the standby".into()));
        }
        self.wake(old.node, &setup).await?;
        self.wait_for_service(&step.id, old.node, &setup, self.serving_deadline()).await?;
        self.record_start(old.node).await?;
        Ok(Outcome::Changed(format!("`{}` is the standby, and follows", old.name)))
    }

    fn takeover(&self) -> Result<Takeover> {
        self.engine.takeover(&self.lab).ok_or_else(|| Error::new(Class::Internal, "an engine without a GTM"))
    }

    async fn next_gxid(&self, gtm: Placed<'_>) -> Result<u32> {
        self.gtm(gtm, GTM)?.next_gxid().await
    }

    /// GXIDs that a GTM noted or left, as they lie on its export. There are two notes, since one may be half written.
    fn noted_gxids(&self, gtm: Placed<'_>) -> Result<Vec<u32>> {
        let mut noted = Vec::new();
        for name in self.takeover()?.marks {
            let text = file::read_if_there(&self.of_gtm(gtm, &name)?)?.unwrap_or_default();
            noted.extend(text.trim().parse::<u32>());
        }
        noted.extend(self.noted_control(gtm)?);
        Ok(noted)
    }

    /// The GXID that a GTM left when it ended in an orderly way: its first four bytes, in the guest's order.
    fn noted_control(&self, gtm: Placed<'_>) -> Result<Option<u32>> {
        let path = self.of_gtm(gtm, &self.takeover()?.control)?;
        let bytes = file::bytes_if_there(&path)?;
        Ok(bytes.and_then(|bytes| bytes.first_chunk().copied()).map(u32::from_le_bytes))
    }

    /// A file of a GTM's data directory, as it lies on its export.
    fn of_gtm(&self, gtm: Placed<'_>, name: &str) -> Result<PathBuf> {
        self.on_export(gtm.node, &format!("{}/{name}", gtm.component.directory))
    }
}

fn must_not_be_before(gxid: u32, least: Option<u32>) -> Result<()> {
    match least {
        Some(least) if gtm::is_before(gxid, least) => Err(behind(gxid, least).hint(BACK)),
        _ => Ok(()),
    }
}

fn behind(gxid: u32, seen: u32) -> Error {
    Error::new(
        Class::Cluster,
        format!("it is at GXID {gxid}, but the GTM was at {seen}: GXIDs between would be given a second time"),
    )
}

/// The latest of some GXIDs.
fn latest(gxids: Vec<u32>) -> Option<u32> {
    gxids.into_iter().reduce(|latest, gxid| if gtm::is_before(latest, gxid) { gxid } else { latest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_gxid_is_told_across_the_wrap() {
        assert_eq!(latest(vec![]), None);
        assert_eq!(latest(vec![10_000, 10_313, 10_200]), Some(10_313));
        assert_eq!(latest(vec![u32::MAX - 5, 12, u32::MAX]), Some(12));
    }
}
