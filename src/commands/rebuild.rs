//! `rebuild`: the lab as `up` on an empty machine would make it.

use super::{
    destroy, restore,
    run::{Ended, confirm, lock, shown},
    snapshot::{Wanted, create},
    up,
    verify::conclude,
};
use crate::{
    cli::{Arguments, Checks},
    config, context,
    error::Result,
    event::{Event, Events},
    executor::Tally,
    host::{Home, Host},
    journal::Journal,
    lab::HostKind,
    prepare::{self, Purpose},
    snapshot::{Inputs, Kind, Manifest, Store},
};
use tokio_util::sync::CancellationToken;

/// How many pristine snapshots are kept: that of these inputs, and that of the ones before, to go back to.
const KEPT: usize = 2;

/// What a rebuild did.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// `restored pristine-KEY` or `built`.
    pub how: String,
    /// Key of the inputs.
    pub key: String,
    /// How the run ended.
    pub tally: Tally,
    /// The last words.
    pub farewell: String,
}

/// Rebuilds, or tells why it would.
///
/// # Errors
/// What is wrong before anything is touched; the first failure of the run.
pub async fn run(arguments: &Arguments, cold: bool, why: bool, checks: Checks) -> Result<u8> {
    let home = context::home(arguments)?;
    let lab = config::load(&arguments.file()).map_err(config::Problems::into_error)?.lab;
    if why {
        return tell_why(arguments, home, lab.name.as_str()).await;
    }
    let there = home.lab(lab.name.as_str()).path().exists();
    if there {
        let question = format!("rebuild lab `{}`, and lose what it holds now", lab.name);
        confirm(arguments, &question, &format!("lab `{}`", lab.name))?;
    }
    shown(arguments, |events, stop| async move {
        let rebuilt = rebuild(arguments, events, stop, cold, checks).await?;
        Ok(Ended { tally: rebuilt.tally, farewell: rebuilt.farewell })
    })
    .await
}

/// The rebuild itself and the checks after it, under the lab's lock and with somebody who listens.
///
/// # Errors
/// What is wrong before the first step.
pub async fn rebuild(
    arguments: &Arguments,
    events: Events,
    stop: CancellationToken,
    cold: bool,
    checks: Checks,
) -> Result<Rebuilt> {
    let home = context::home(arguments)?;
    let lab = config::load(&arguments.file()).map_err(config::Problems::into_error)?.lab.name.to_string();
    let _lock = lock(&home, &lab)?;
    let inputs = inputs(arguments, &home, &events).await?;
    let (store, key) = (Store::new(&home, &lab), inputs.key());
    let found = store.find(&inputs.snapshot()).ok().filter(is_whole);
    if let Some(manifest) = found.filter(|_| !cold) {
        match restore::verify(&home, &manifest, &events).await {
            Ok(()) => {
                let how = format!("restored {}", manifest.name);
                let ended = restore::act(home.clone(), manifest, events.clone(), stop.clone()).await?;
                let Ended { tally, farewell } = conclude(ended, checks, arguments, home, &events, &stop).await;
                return Ok(Rebuilt { how, key, tally, farewell });
            }
            // Nothing was touched; and a rebuild is asked for a good lab, not for that snapshot.
            Err(error) => events.note(format!("not from `{}`: {}; builds anew", manifest.name, error.message())),
        }
    }
    let ended = build(arguments, home.clone(), &lab, inputs, events.clone(), stop.clone()).await?;
    let Ended { tally, farewell } = conclude(ended, checks, arguments, home, &events, &stop).await;
    Ok(Rebuilt { how: "built".into(), key, tally, farewell })
}

/// From nothing, and then the snapshot for next time.
async fn build(
    arguments: &Arguments,
    home: Home,
    lab: &str,
    inputs: Inputs,
    events: Events,
    stop: CancellationToken,
) -> Result<Ended> {
    destroy::remove(&home, lab)?;
    let Ended { tally: built, farewell } = up::act(arguments, home.clone(), events.clone(), stop.clone()).await?;
    // A lab on the machine itself has no snapshots, so it is always built.
    // Neither has one of several hosts.
    let spread = !Journal::read(&home.lab(lab).journal())?.joined().is_empty();
    if built.failure.is_some()
        || spread
        || Host::find(&home.lab(lab)).is_some_and(|host| host.kind() == HostKind::System)
    {
        return Ok(Ended { tally: built, farewell });
    }
    let store = Store::new(&home, lab);
    for old in outlived(&store, &inputs) {
        store.delete(&old)?;
    }
    let wanted = Wanted {
        name: inputs.snapshot(),
        note: Some("as `up` made it".into()),
        kind: Kind::Memory,
        pristine: Some(inputs),
    };
    let taken = create(home, lab.to_owned(), wanted, events, stop).await?;
    let tally = Tally {
        changed: built.changed + taken.tally.changed,
        unchanged: built.unchanged + taken.tally.unchanged,
        failure: taken.tally.failure,
    };
    Ok(Ended { tally, farewell: format!("{}{farewell}", taken.farewell) })
}

/// Pristine snapshots that the new one replaces: that of the same inputs, and all but the newest few.
fn outlived(store: &Store, inputs: &Inputs) -> Vec<String> {
    let (same, others): (Vec<_>, Vec<_>) = pristine(store).partition(|old| old.name == inputs.snapshot());
    same.into_iter().chain(others.into_iter().rev().skip(KEPT - 1)).map(|old| old.name).collect()
}

/// The pristine snapshots that can be read, the oldest first.
fn pristine(store: &Store) -> impl Iterator<Item = Manifest> {
    let manifests = store.list().into_iter().filter_map(|listed| listed.manifest.ok());
    manifests.filter(|manifest| manifest.pristine.is_some())
}

/// Whether a snapshot is of a lab in which everything was done and served.
fn is_whole(manifest: &Manifest) -> bool {
    manifest.complete && manifest.serving && manifest.pristine.is_some()
}

async fn inputs(arguments: &Arguments, home: &Home, events: &Events) -> Result<Inputs> {
    let site = prepare::site(arguments, home.clone(), Purpose::Anew, events.clone()).await?;
    Ok(Inputs::of(&site))
}

async fn tell_why(arguments: &Arguments, home: Home, lab: &str) -> Result<u8> {
    let (events, mut receiver) = Events::channel();
    let inputs = inputs(arguments, &home, &events).await?;
    while let Ok(event) = receiver.try_recv() {
        if let Event::Note { text } = event {
            eprintln!("{text}");
        }
    }
    let store = Store::new(&home, lab);
    let pristine: Vec<Manifest> = pristine(&store).filter(is_whole).collect();
    let last = pristine.last();
    let found = pristine.iter().find(|manifest| manifest.name == inputs.snapshot());
    let changes = last.and_then(|last| last.pristine.as_ref()).map(|old| inputs.changes_since(old)).unwrap_or_default();
    if arguments.json {
        return super::print_json(&serde_json::json!({
            "key": inputs.key(),
            "snapshot": found.map(|manifest| &manifest.name),
            "compared_with": last.map(|manifest| &manifest.name),
            "changes": changes,
        }));
    }
    match (found, last) {
        (Some(found), _) => {
            super::print(&format!("`rebuild` restores `{}` of {}: the inputs are the same\n", found.name, found.made))
        }
        (None, None) => super::print("`rebuild` builds anew: there is no pristine snapshot yet\n"),
        (None, Some(last)) => {
            let mut text = format!("`rebuild` builds anew: since `{}` of {} these changed\n", last.name, last.made);
            for change in changes {
                text.push_str(&format!("  {change}\n"));
            }
            super::print(&text)
        }
    }
}
