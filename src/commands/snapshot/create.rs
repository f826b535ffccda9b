//! `snapshot create`.

use crate::{
    commands::{
        run::{Ended, record, standing_as},
        up,
    },
    error::{Class, Error, Result},
    event::{Event, Events},
    executor,
    host::Home,
    journal::Entry,
    lab::HostKind,
    snapshot::{self, Capture, Inputs, Kind, Store},
};
use std::{sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// What a snapshot is to be.
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The person's words.
    pub note: Option<String>,
    /// What it holds of the guests.
    pub kind: Kind,
    /// The inputs of a pristine snapshot.
    pub pristine: Option<Inputs>,
}

/// Takes a snapshot, with the lab's lock held and somebody who listens.
///
/// # Errors
/// What is wrong before the first step, or a guest that does not go on.
pub async fn create(home: Home, lab: String, wanted: Wanted, events: Events, stop: CancellationToken) -> Result<Ended> {
    let begun = Instant::now();
    let dir = home.lab(&lab);
    let record = record(&home, &lab)?;
    let site = standing_as(&home, &record, &dir, &events)?;
    if site.host()?.kind() == HostKind::System {
        return Err(Error::new(Class::Host, format!("lab `{lab}` lives on this machine itself (`host: system`)"))
            .evidence("the machine's qemu runs as a user who may not write a guest's memory to the lab's snapshots")
            .hint("labs with `host: private` have snapshots"));
    }
    if site.lab.hosts.is_some() {
        return Err(Error::new(Class::Host, format!("lab `{lab}` is spread over several hosts"))
            .hint("labs without `hosts` in lab.yaml have snapshots"));
    }
    let part = Store::new(&home, &lab).begin(&wanted.name)?;
    let (journal, tokens) = (site.journal.clone(), site.accelerator.tokens());
    let plan = snapshot::plan(&site, wanted.kind);
    events.send(Event::Begin { verb: "snapshot", nodes: up::nodes(&site.lab), steps: plan.steps().count() });
    let capture = Arc::new(Capture::new(site, record, wanted.kind, &part));
    journal.write(Entry::Begin { verb: "snapshot".into(), version: env!("CARGO_PKG_VERSION").into() })?;
    let tally = executor::run(plan, capture.clone(), journal.clone(), events.clone(), tokens, stop).await;
    // Whatever happened: no guest stays paused.
    capture.recover().await?;
    let mut farewell = String::new();
    if tally.failure.is_none() {
        let manifest = capture.manifest(&wanted.name, wanted.note, wanted.pristine)?;
        farewell = format!(
            "snapshot `{}` of lab `{lab}` is taken ({:.1} s; guests stood still for {:.2} s)\n",
            wanted.name,
            begun.elapsed().as_secs_f64(),
            manifest.pause.longest_ms as f64 / 1000.0
        );
        part.commit(manifest)?;
    }
    journal.write(Entry::End { succeeded: tally.failure.is_none() })?;
    Ok(Ended { tally, farewell })
}
