//! The instant itself: memory, disks and exports of all guests while they stand still.

use super::{Action, Capture, Kind};
use crate::{
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    hypervisor::{DomainState, Libvirt, memory},
    journal::Entry,
    plan::Step,
    snapshot::{Pause, files, sparse},
};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How long a guest may take to stand still: milliseconds on an idle host.
const PAUSES: Duration = Duration::from_secs(10);

/// The copy of the exports' image.
const EXPORTS: &str = "exports.img";

impl Capture {
    pub(super) async fn memory(&self, step: &Step<Action>) -> Result<Outcome> {
        let name = step.node.clone().unwrap_or_default();
        if !self.seen().running.contains(&name) {
            return Ok(Outcome::Unchanged("the guest does not run".into()));
        }
        // One that does not listen is found out here, and not in the middle of writing.
        let listens = |libvirt: &Libvirt, name: &str| libvirt.monitor(name, &json!({"execute": "query-status"}));
        self.on_each(std::slice::from_ref(&name), listens).await.into_iter().collect::<Result<Vec<_>>>()?;
        let file = self.memory_file(&name);
        files::make_parent(&file)?;
        let still = self
            .site
            .libvirt_patiently(move |libvirt| {
                memory::begin(libvirt, &name, &file)?;
                // A guest that had nothing more to write stands still from here on.
                Ok((libvirt.state(&name)? == DomainState::Paused).then(Instant::now))
            })
            .await?;
        let mut seen = self.seen();
        seen.early = [seen.early, still].into_iter().flatten().min();
        Ok(Outcome::Changed(if still.is_some() { "memory written" } else { "most memory written" }.into()))
    }

    pub(super) async fn exports(&self) -> Result<Outcome> {
        let (from, to) = (self.site.dir.exports_image(), self.directory.join(EXPORTS));
        tokio::task::spawn_blocking(move || sparse::copy(&from, &to).or_error(Class::Host, || cannot_copy(&from, &to)))
            .await
            .or_error(Class::Internal, || "a copy ended".into())??;
        Ok(Outcome::Changed("exports copied, to be compared again".into()))
    }

    pub(super) async fn still(&self, step: &Step<Action>) -> Result<Outcome> {
        let running = self.seen().running.clone();
        self.intend("still/pause")?;
        let begun = Instant::now();
        let mut paused = Vec::new();
        for each in self.on_each(&running, |libvirt, name| libvirt.pause(name).map(|()| Instant::now())).await {
            paused.push(each?);
        }
        let made = Timestamp::now();
        self.intend("still/copy")?;
        self.site.progress(&step.id, "all guests stand still");
        let first = self.seen().early.or(paused.iter().min().copied()).unwrap_or(begun);
        let last = paused.iter().max().copied().unwrap_or(begun);
        let rest = async {
            if self.kind == Kind::Memory {
                for each in self.on_each_patiently(&running, memory::finish).await {
                    each?;
                }
                self.site.progress(&step.id, "memory is written");
            }
            Ok(())
        };
        let (rest, copied) = tokio::join!(rest, self.copy());
        rest.and(copied)?;
        self.intend("still/resume")?;
        self.site.progress(&step.id, "guests go on");
        for each in self.on_each(&running, |libvirt, name| libvirt.resume(name)).await {
            each?;
        }
        let pause = Pause { spread_ms: millis(last.duration_since(first)), longest_ms: millis(first.elapsed()) };
        if let Some(guardian) = self.guardian.lock().await.take() {
            guardian.dismiss().await;
        }
        let mut seen = self.seen();
        seen.made = Some(made);
        seen.pause = pause;
        Ok(Outcome::Changed(format!(
            "{} guests stood still for {:.2} s, all within {:.2} s",
            running.len(),
            first.elapsed().as_secs_f64(),
            last.duration_since(first).as_secs_f64()
        )))
    }

    /// What happens while guests stand still is written down one by one: a crash there is the worst one.
    fn intend(&self, step: &str) -> Result<()> {
        self.site.journal.write(Entry::Intent { step: step.to_owned() })
    }

    /// Copies what must be of the same instant: exports and disks; and what a restore needs besides.
    async fn copy(&self) -> Result<()> {
        let site = &self.site;
        let exports = site.exports()?;
        exports.freeze().await?;
        let mut files: Vec<(PathBuf, PathBuf)> = Vec::new();
        for node in &site.lab.nodes {
            let overlay = site.dir.overlay(node.name.as_str());
            for file in [overlay.with_extension("base"), overlay, site.dir.seed(node.name.as_str())] {
                files.push((file.clone(), Path::new("disks").join(file.file_name().unwrap_or_default())));
            }
        }
        for directory in ["keys", "nfs"] {
            files::collect(&site.dir.join(directory), Path::new(directory), &mut files)?;
        }
        files.push((site.dir.journal(), "journal.jsonl".into()));
        let mut copies = JoinSet::new();
        let (from, to) = (site.dir.exports_image(), self.directory.join(EXPORTS));
        copies.spawn_blocking(move || sparse::refresh(&from, &to).or_error(Class::Host, || cannot_copy(&from, &to)));
        for (from, below) in files.into_iter().filter(|(from, _)| from.exists()) {
            let to = self.directory.join(below);
            files::make_parent(&to)?;
            copies.spawn_blocking(move || sparse::copy(&from, &to).or_error(Class::Host, || cannot_copy(&from, &to)));
        }
        let mut outcome = Ok(());
        while let Some(copied) = copies.join_next().await {
            outcome = outcome.and(copied.unwrap_or_else(|_| Err(Error::new(Class::Internal, "a copy ended"))));
        }
        self.site.progress("still", "exports and disks are copied");
        // Also after a failure: a frozen filesystem holds up everybody.
        exports.thaw().await?;
        outcome
    }

    pub(super) async fn hash(&self) -> Result<Outcome> {
        let directory = self.directory.clone();
        let files = tokio::task::spawn_blocking(move || {
            let mut files = Vec::new();
            files::collect(&directory, Path::new(""), &mut files)?;
            let mut records = BTreeMap::new();
            for (path, below) in files {
                let record =
                    sparse::digest(&path).or_error(Class::Host, || format!("cannot read `{}`", path.display()))?;
                records.insert(below.display().to_string(), record);
            }
            Ok::<_, Error>(records)
        });
        let files: BTreeMap<_, _> = files.await.or_error(Class::Internal, || "hashing ended".into())??;
        let text = format!("hashed {} files", files.len());
        self.seen().files = files;
        Ok(Outcome::Changed(text))
    }

    /// Calls libvirt for each domain at once; one that does not answer in time is an error and holds up no other.
    async fn on_each<T: Send + 'static>(
        &self,
        names: &[String],
        call: impl Fn(&Libvirt, &str) -> Result<T> + Copy + Send + 'static,
    ) -> Vec<Result<T>> {
        let calls = names.iter().map(|name| {
            let (owned, name) = (name.clone(), name.clone());
            async move {
                let call = self.site.libvirt(move |libvirt| call(libvirt, &owned));
                tokio::time::timeout(PAUSES, call).await.unwrap_or_else(|_| {
                    Err(Error::new(
                        Class::Infrastructure,
                        format!("the hypervisor of `{name}` does not listen within {} s", PAUSES.as_secs()),
                    )
                    .hint(format!(
                        "its log is below the lab's `libvirt/log`; `pgxc-lab logs {name}` shows the console"
                    )))
                })
            }
        });
        join_all(calls).await
    }

    /// The same for work that takes its time, as long as it goes on.
    async fn on_each_patiently<T: Send + 'static>(
        &self,
        names: &[String],
        call: impl Fn(&Libvirt, &str) -> Result<T> + Copy + Send + 'static,
    ) -> Vec<Result<T>> {
        let calls = names.iter().cloned().map(|name| self.site.libvirt_patiently(move |libvirt| call(libvirt, &name)));
        join_all(calls).await
    }

    fn memory_file(&self, node: &str) -> PathBuf {
        self.directory.join("memory").join(node)
    }
}

fn cannot_copy(from: &Path, to: &Path) -> String {
    format!("cannot copy `{}` to `{}`", from.display(), to.display())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
