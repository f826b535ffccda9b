//! `restore`: the lab as a snapshot has it.

use super::{
    run::{Ended, confirm, lock, shown},
    verify::conclude,
};
use crate::{
    cli::{Arguments, Checks},
    context,
    error::{Class, Error, Result},
    event::{Event, Events, Outcome},
    executor,
    host::Home,
    journal::{Entry, Journal},
    lab::NodeName,
    prepare::LockFile,
    snapshot::{self, Depth, Manifest, Store, replace},
};
use similar::TextDiff;
use std::{fs, sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Longest difference of lab.yaml that is shown.
const DIFFERENCE: usize = 30;

/// Restores.
///
/// # Errors
/// What is wrong with the snapshot, before anything is touched; the first failure of the run.
pub async fn run(arguments: &Arguments, name: &NodeName, checks: Checks) -> Result<u8> {
    let home = context::home(arguments)?;
    let lab = context::lab_name(arguments, &home)?;
    let _lock = lock(&home, &lab)?;
    let manifest = Store::new(&home, &lab).find(name.as_str())?;
    if !Journal::read(&home.lab(&lab).journal())?.joined().is_empty() {
        return Err(Error::new(Class::Host, format!("lab `{lab}` is spread over several hosts"))
            .hint("`pgxc-lab destroy` takes it off them first; its snapshots are kept"));
    }
    let loss = if home.lab(&lab).path().exists() { ", and lose what it holds now" } else { "" };
    let question = format!("bring lab `{lab}` back to `{}` of {}{loss}", manifest.name, manifest.made);
    confirm(arguments, &question, &format!("lab `{lab}`"))?;
    shown(arguments, |events, stop| async move {
        verify(&home, &manifest, &events).await?;
        // What did not serve when the snapshot was taken does not serve now.
        let checks = match checks {
            Checks::Auto if manifest.kind == snapshot::Kind::Memory && !manifest.serving => Checks::None,
            checks => checks,
        };
        let ended = act(home.clone(), manifest, events.clone(), stop.clone()).await?;
        Ok(conclude(ended, checks, arguments, home, &events, &stop).await)
    })
    .await
}

/// The run itself, with the lock held, the snapshot checked and somebody who listens.
///
/// # Errors
/// What is wrong before the first step.
pub(super) async fn act(home: Home, manifest: Manifest, events: Events, stop: CancellationToken) -> Result<Ended> {
    let begun = Instant::now();
    let store = Store::new(&home, &manifest.lab);
    let directory = store.directory(&manifest.name);
    let site = Arc::new(snapshot::restore::prepare(&home, &manifest, &directory, &events).await?);
    let plan = snapshot::restore::plan(&site.lab, site.engine.as_ref(), &manifest, &directory);
    events.send(Event::Begin { verb: "restore", nodes: super::up::nodes(&site.lab), steps: plan.steps().count() });
    site.journal.write(Entry::Begin { verb: "restore".into(), version: env!("CARGO_PKG_VERSION").into() })?;
    let tokens = site.accelerator.tokens();
    let tally = executor::run(plan, site.clone(), site.journal.clone(), events, tokens, stop).await;
    if tally.failure.is_none() {
        if manifest.complete && manifest.kind == snapshot::Kind::Memory {
            site.adopt().await?;
        }
        replace::finished(&site.dir)?;
    }
    site.journal.write(Entry::End { succeeded: tally.failure.is_none() })?;
    Ok(Ended { farewell: farewell(&manifest, begun), tally })
}

/// Checks the snapshot, as a step that is shown.
///
/// # Errors
/// Everything that is damaged.
pub(super) async fn verify(home: &Home, manifest: &Manifest, events: &Events) -> Result<()> {
    let (home, manifest) = (home.clone(), manifest.clone());
    events
        .blocking_step("verify", "check the snapshot", move || {
            snapshot::verify(&Store::new(&home, &manifest.lab), &home, &manifest, Depth::Snapshot)?;
            Ok(Outcome::Unchanged(format!("{} files are as they were written", manifest.files.len())))
        })
        .await
}

/// What a person should know next: what is not as it was, and what differs from the files that `up` reads.
fn farewell(manifest: &Manifest, begun: Instant) -> String {
    let mut text = format!(
        "lab `{}` is restored to `{}` of {} ({:.1} s)\n",
        manifest.lab,
        manifest.name,
        manifest.made,
        begun.elapsed().as_secs_f64()
    );
    let off: Vec<&str> = manifest.nodes.iter().filter(|node| !node.running).map(|node| node.name.as_str()).collect();
    if !off.is_empty() && manifest.kind == snapshot::Kind::Memory {
        text.push_str(&format!("  as then, no guest runs on {}: `pgxc-lab up` starts it\n", off.join(", ")));
    }
    if !manifest.serving && manifest.kind == snapshot::Kind::Memory {
        text.push_str(
            "  as then, not every component serves, so the cluster was not proved: `pgxc-lab status` shows which\n",
        );
    }
    let record = &manifest.record;
    if let Ok(now) = fs::read_to_string(&record.lab_file)
        && now != record.lab_yaml
    {
        text.push_str(&format!(
            "  `{}` has changed since; the lab is that of then, and `pgxc-lab up` would make it that of now:\n",
            record.lab_file.display()
        ));
        let difference = TextDiff::from_lines(record.lab_yaml.as_str(), now.as_str());
        let difference = difference.unified_diff().context_radius(0).header("then", "now").to_string();
        for line in difference.lines().take(DIFFERENCE) {
            text.push_str(&format!("    {line}\n"));
        }
        if difference.lines().count() > DIFFERENCE {
            text.push_str("    ...\n");
        }
    }
    let lock = fs::read_to_string(LockFile::path(&record.lab_file)).ok();
    if manifest.lab_lock.is_some() && lock != manifest.lab_lock {
        text.push_str("  lab.lock has changed since: it is left as it is, the snapshot keeps its own\n");
    }
    text
}
