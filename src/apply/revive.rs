//! Steps of a restore: files into their places, memory into guests, all guests go on at once, and a proof that the
//! cluster did not notice.

use super::{doubt::Doubts, site::Site, talk::Talk};
use crate::{
    engine::{InDoubt, Writes, open_gxids},
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    file, gtm,
    host::Tracking,
    hypervisor::memory,
    journal::Entry,
    lab::{Node, Role},
    plan::{self, Step},
    snapshot::sparse,
};
use futures_util::future::join_all;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::task::JoinSet;

/// How long the GTM may take to answer: it was there a moment ago.
const GTM: Duration = Duration::from_secs(30);
/// How long a guest may take to set its clock: chronyd looks every four seconds, and believes its second look.
const CLOCK: Duration = Duration::from_secs(30);
/// How far off a clock may be, in seconds: what chronyd slews instead of stepping (`makestep 1`).
const SLEWED: f64 = 1.0;
/// How often a guest is asked for its time: each question is two new processes on cores that emulated guests need.
const ASK_TIME: Duration = Duration::from_secs(1);

impl Site {
    /// Copies exports and disks from a snapshot into the lab's directory.
    pub(super) async fn place(&self, snapshot: &Path) -> Result<Outcome> {
        let mut files = vec![(snapshot.join("exports.img"), self.dir.exports_image())];
        for node in &self.lab.nodes {
            let overlay = self.dir.overlay(node.name.as_str());
            let from = snapshot.join("disks").join(overlay.file_name().unwrap_or_default());
            // A node whose guest never started has no disk yet.
            if from.exists() {
                files.push((from, overlay));
            }
        }
        let count = files.len();
        let mut copies = JoinSet::new();
        for (from, to) in files {
            copies.spawn_blocking(move || {
                sparse::copy(&from, &to)
                    .or_error(Class::Host, || format!("cannot copy `{}` to `{}`", from.display(), to.display()))
            });
        }
        while let Some(copied) = copies.join_next().await {
            copied.or_error(Class::Internal, || "a copy ended".into())??;
        }
        Ok(Outcome::Changed(format!("placed {count} disks and exports")))
    }

    /// Starts a node's domain with the memory of a snapshot, standing still.
    pub(super) async fn load(&self, step: &Step, memory: &Path) -> Result<Outcome> {
        let node = self.node_of(step)?;
        let name = node.name.to_string();
        let (incoming, _) = self.incoming_definition(node, memory)?;
        let (plain, _) = self.definition(node)?;
        let log = self.dir.join("libvirt/log/qemu").join(format!("{name}.log"));
        self.libvirt_patiently(move |libvirt| {
            libvirt.start_paused(&name, &incoming)?;
            memory::wait_loaded(libvirt, &name)?;
            // What starts next time boots.
            libvirt.define(&name, &plain)
        })
        .await
        .map_err(|error| match fs::read_to_string(&log) {
            Ok(text) => error.evidence(format!("{}:\n{}", log.display(), crate::host::last_lines(&text, 5))),
            Err(_) => error,
        })?;
        Ok(Outcome::Changed("memory read".into()))
    }

    /// Lets all guests go on, as near to one instant as can be.
    pub(super) async fn resume(&self, nodes: &[String]) -> Result<Outcome> {
        let calls = nodes.iter().map(|name| {
            let name = name.clone();
            self.libvirt(move |libvirt| libvirt.resume(&name))
        });
        for resumed in join_all(calls).await {
            resumed?;
        }
        Ok(Outcome::Changed(format!("{} guests go on", nodes.len())))
    }

    /// Waits until the guests that were asleep know the present time: their chronyds look every few seconds and step
    /// (`makestep 1 -1`). They are asked from the gateway; a login would cost an emulated guest seconds.
    pub(super) async fn settle(&self, step: &Step, nodes: &[String]) -> Result<Outcome> {
        let since = now();
        let waits = nodes.iter().filter_map(|name| self.lab.node(name)).map(|node| self.settled(node, since));
        self.progress(&step.id, "waits for chrony");
        for settled in join_all(waits).await {
            settled?;
        }
        Ok(Outcome::Changed(format!("{} clocks are right", nodes.len())))
    }

    async fn settled(&self, node: &Node, since: f64) -> Result<()> {
        let deadline = Instant::now() + self.patience(CLOCK);
        loop {
            let answer = Tracking::ask(self.host()?, node).await;
            if answer.as_deref().is_ok_and(|answer| is_right(answer, since)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let error = Error::new(
                    Class::Guest,
                    format!("the clock of `{}` was not set within {} s", node.name, self.patience(CLOCK).as_secs()),
                )
                .hint(format!("`pgxc-lab ssh {} -- chronyc sources` tells why", node.name));
                return Err(match answer {
                    Ok(answer) => error.evidence(answer),
                    Err(why) => error.evidence(why.to_string()),
                });
            }
            tokio::time::sleep(ASK_TIME).await;
        }
    }

    /// Proves that the cluster goes on: GXIDs did not go back, every coordinator writes, nothing is in doubt.
    pub(super) async fn recover(&self, step: &Step, least_gxid: Option<u32>) -> Result<Outcome> {
        let mut facts = Vec::new();
        if let (Some(least), Some(gtm)) = (least_gxid, self.lab.placed(Role::Gtm).first().copied()) {
            let now = self.gtm(gtm, GTM)?.next_gxid().await?;
            if gtm::is_before(now, least) {
                return Err(Error::new(
                    Class::Cluster,
                    format!("the GTM is at GXID {now}, before {least}, where it was already"),
                )
                .hint("do not write to this cluster: rows would vanish; `pgxc-lab restore` brings a snapshot back"));
            }
            facts.push(format!("GXID {now}, not below {least}"));
        }
        self.progress(&step.id, "makes a table");
        let (writes, in_doubt) = (self.engine.writes(&self.lab), self.engine.in_doubt(&self.lab));
        let coordinators = self.lab.placed(Role::Coordinator);
        let mut talks: Vec<Talk<'_>> = coordinators.iter().map(|placed| self.talk(*placed)).collect();
        let (text, doubts) = self.write_through_all(&step.id, &mut talks, &writes, in_doubt.as_ref()).await?;
        facts.insert(0, text);
        if let Some(in_doubt) = in_doubt {
            facts.push(self.resolve(&in_doubt, doubts).await?);
        }
        if let Some(first) = talks.first_mut() {
            self.progress(&step.id, "removes the table");
            first.ask(&writes.clean).await?;
        }
        Ok(Outcome::Changed(format!("proved: {}", facts.join("; "))))
    }

    /// Writes through every coordinator at once, and looks for what is in doubt when all have committed.
    async fn write_through_all(
        &self,
        step: &str,
        talks: &mut [Talk<'_>],
        writes: &Writes,
        in_doubt: Option<&InDoubt>,
    ) -> Result<(String, Doubts)> {
        let many = talks.len();
        let Some(first) = talks.first_mut() else {
            return Err(Error::new(Class::Internal, "a lab without a coordinator"));
        };
        // What an earlier run left is looked for only when it is in the way: each DDL goes to every node.
        if first.ask_once(&writes.prepare).await.is_err() {
            let _ = first.ask_once(&writes.clean).await;
            first.ask(&writes.prepare).await?;
        }
        self.progress(step, "writes through every coordinator");
        let written =
            talks.iter_mut().zip(&writes.each).map(|(talk, statement)| talk.ask(std::slice::from_ref(statement)));
        for outcome in join_all(written).await {
            outcome?;
        }
        let Some(last) = talks.last_mut() else {
            return Err(Error::new(Class::Internal, "no coordinator is the last"));
        };
        self.progress(step, format!("counts through {}", last.name()));
        let mut doubts = Doubts::default();
        let mut questions = vec![writes.total.clone()];
        questions.extend(in_doubt.map(|in_doubt| in_doubt.open.clone()));
        let answers = last.ask(&questions).await?;
        let (last, total) = (last.name().to_owned(), answers[0].trim());
        if total != writes.rows.to_string() {
            return Err(Error::new(
                Class::Cluster,
                format!("`{last}` counts {total} rows after {} were written through {many} coordinators", writes.rows),
            )
            .hint("the lab is kept as it is: `pgxc-lab status` and `pgxc-lab sql` look at it"));
        }
        if let Some(in_doubt) = in_doubt {
            doubts.open = open_gxids(&answers[1])?;
            let counted = talks.iter_mut().zip(&in_doubt.counts).map(|(talk, counts)| talk.count(counts));
            doubts.prepared = join_all(counted).await.into_iter().sum::<Result<u64>>()?;
        }
        Ok((format!("{} rows through {many} coordinators, counted through {last}", writes.rows), doubts))
    }

    /// Writes down that everything that `up` would do holds in these runs of the guests: the snapshot was taken of a lab
    /// where all of it was done.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn adopt(&self) -> Result<()> {
        for node in &self.lab.nodes {
            self.carry_start_over(node).await?;
        }
        for step in plan::up(&self.lab, self.engine.as_ref()).steps() {
            let digest = self.digest_of(step).await?;
            self.journal.write(Entry::Done { step: step.id.clone(), digest })?;
        }
        Ok(())
    }

    /// The components of a restored guest run with the configuration with which they were started before.
    async fn carry_start_over(&self, node: &Node) -> Result<()> {
        let path = self.started_mark(node)?;
        let text = file::read_if_there(&path)?.unwrap_or_default();
        let Some((_, digest)) = text.trim().split_once(' ') else { return Ok(()) };
        let text = format!("{} {digest}\n", self.run_of(node).await?);
        fs::write(&path, text).or_error(Class::Host, || format!("cannot write `{}`", path.display()))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Whether chronyd's report (`tracking` as CSV) tells of a clock that was looked at `since` and is right. The time of
/// its last look is told by the guest's own clock, so one that still lags behind is of before.
fn is_right(report: &str, since: f64) -> bool {
    Tracking::read(report).is_some_and(|seen| seen.looked >= since - SLEWED && seen.offset.abs() < SLEWED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_right_when_it_was_looked_at_again() {
        let report = |looked: &str, offset: &str| {
            format!("C0A87A01,192.168.122.1,9,{looked},{offset},0.0,0.0,1.0,0.0,0.0,0.0,0.0,4.0,Normal\n")
        };
        assert!(is_right(&report("1000.5", "0.000001"), 1000.0));
        assert!(!is_right(&report("900.5", "0.000001"), 1000.0), "of before the restore");
        assert!(!is_right(&report("1000.5", "99.9"), 1000.0), "still being slewed");
        assert!(!is_right("506 Cannot talk to daemon\n", 1000.0));
    }
}
