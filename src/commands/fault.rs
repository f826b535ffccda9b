//! `fault`: breaks something on purpose, and mends it.

use super::{
    run::{Ended, lock, lock_path, record, shown, standing, standing_as},
    up,
};
use crate::{
    apply::Site,
    cli::{Arguments, FaultVerb},
    context::{self, Standing},
    error::{Class, Error, Result, ResultExt},
    event::Events,
    executor::Tally,
    host::{Home, Lock},
    journal::Journal,
    lab::{Fault, Role},
    plan,
    ui::Table,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long whoever mends waits for another run to end: a full `verify` takes minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Carries it out.
///
/// # Errors
/// When the lab is not up, words mean nothing, something cannot be broken or mended, or the run was interrupted.
pub async fn run(arguments: &Arguments, verb: &FaultVerb) -> Result<u8> {
    let home = context::home(arguments)?;
    let name = context::lab_name(arguments, &home)?;
    match verb {
        FaultVerb::List => list(arguments, &home, &name),
        FaultVerb::Mend => {
            let _lock = lock(&home, &name)?;
            shown(arguments, |events, stop| mend_all(home, name, events, stop)).await
        }
        _ => {
            let known = Standing::find(arguments)?;
            Fault::check_host(&known.lab)?;
            let Some((faults, lasting)) = verb.faults(&known.lab, known.engine.as_ref())? else { return Ok(0) };
            drop(known);
            let held = lock(&home, &name)?;
            shown(arguments, |events, stop| make(home, name, faults, lasting.time, held, events, stop)).await
        }
    }
}

fn list(arguments: &Arguments, home: &Home, name: &str) -> Result<u8> {
    let dir = home.lab(name);
    if !dir.path().exists() {
        return Err(Error::new(Class::Host, format!("lab `{name}` is not up")).hint("`pgxc-lab up` makes it"));
    }
    let faults = Journal::read(&dir.journal())?.faults();
    if arguments.json {
        return super::print_json(&faults);
    }
    let mut table = Table::new().left("FAULT");
    faults.iter().for_each(|fault| table.row([fault.to_string()]));
    if faults.is_empty() { Ok(0) } else { super::print(&table.to_string()) }
}

/// Breaks, waits with the lock given back, mends. Without a time, breaks only.
async fn make(
    home: Home,
    name: String,
    faults: Vec<Fault>,
    time: Option<Duration>,
    held: Lock,
    events: Events,
    stop: CancellationToken,
) -> Result<Ended> {
    let site = Arc::new(standing(&home, &name, &events)?);
    let broken = make_all(&site, &faults, &events, stop.clone()).await?;
    drop(site);
    if broken.failure.is_none() && time.is_none() && !stop.is_cancelled() {
        let farewell = format!("{}`pgxc-lab fault mend` mends it\n", told("in force", &faults));
        return Ok(Ended { tally: broken, farewell });
    }
    let _held = match time.filter(|_| broken.failure.is_none()) {
        Some(time) => {
            events.note(format!("in force for {} s; Ctrl-C mends it at once", time.as_secs()));
            // Whoever wants to see what the cluster does meanwhile needs it.
            drop(held);
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = stop.cancelled() => {}
            }
            let path = lock_path(&home, &name);
            let waits = tokio::task::spawn_blocking(move || Lock::take(&path, "the lab", PATIENCE));
            let taken = waits.await.or_error(Class::Internal, || "a wait for the lock ended".into())?;
            taken.map_err(|error| {
                error.context("nothing was mended").hint("`pgxc-lab fault mend` mends it when that run has ended")
            })?
        }
        // What was interrupted, or broke in part only, is mended whole.
        None => held,
    };
    finish(&home, &name, &faults, broken, &events, &stop).await
}

async fn finish(
    home: &Home,
    name: &str,
    faults: &[Fault],
    broken: Tally,
    events: &Events,
    stop: &CancellationToken,
) -> Result<Ended> {
    let mut tally = mend_and_prove(home, name, faults, events, CancellationToken::new()).await?;
    tally.changed += broken.changed;
    if broken.failure.is_some() {
        tally.failure = broken.failure;
    } else if stop.is_cancelled() && tally.failure.is_none() {
        tally.failure = Some(Error::new(Class::Interrupted, "interrupted: it was mended before its time"));
    }
    Ok(Ended { tally, farewell: format!("{}everything serves\n", told("mended", faults)) })
}

async fn mend_all(home: Home, name: String, events: Events, stop: CancellationToken) -> Result<Ended> {
    let faults: Vec<Fault> = Journal::read(&home.lab(&name).journal())?.faults().into_iter().collect();
    if faults.is_empty() {
        return Ok(Ended {
            tally: Tally::default(),
            farewell: format!("nothing of lab `{name}` is broken on purpose\n"),
        });
    }
    let tally = mend_and_prove(&home, &name, &faults, &events, stop).await?;
    Ok(Ended { tally, farewell: format!("{}everything serves\n", told("mended", &faults)) })
}

/// Makes faults, one after the other.
///
/// # Errors
/// When the journal cannot be written.
pub(super) async fn make_all(
    site: &Arc<Site>,
    faults: &[Fault],
    events: &Events,
    stop: CancellationToken,
) -> Result<Tally> {
    up::carry_out(site, plan::breaking(faults), "fault", events.clone(), stop).await
}

/// The same, and a proof in the end: every coordinator writes, and transactions that were left in doubt hold no locks.
async fn mend_and_prove(
    home: &Home,
    name: &str,
    faults: &[Fault],
    events: &Events,
    stop: CancellationToken,
) -> Result<Tally> {
    let mut tally = mend(home, name, faults, events, stop.clone()).await?;
    let site = Arc::new(standing(home, name, events)?);
    if tally.failure.is_none() && !site.lab.placed(Role::Coordinator).is_empty() {
        let proved = up::carry_out(&site, plan::proving(None), "mend", events.clone(), stop).await?;
        tally.changed += proved.changed;
        tally.failure = proved.failure;
    }
    Ok(tally)
}

/// Undoes those of these faults that are still in force, and brings back, as `up` does, what does not come by itself.
///
/// # Errors
/// When there is no such lab, or the journal cannot be written.
pub(super) async fn mend(
    home: &Home,
    name: &str,
    faults: &[Fault],
    events: &Events,
    stop: CancellationToken,
) -> Result<Tally> {
    let dir = home.lab(name);
    let record = record(home, name)?;
    let site = Arc::new(standing_as(home, &record, &dir, events)?);
    let mut tally = undo(&site, faults, events, stop.clone()).await?;
    if tally.failure.is_some() {
        return Ok(tally);
    }
    record.check_failover()?;
    let plan = plan::up(&site.lab, site.engine.as_ref());
    let back = up::carry_out(&site, plan, "mend", events.clone(), stop).await?;
    tally.changed += back.changed;
    tally.failure = back.failure;
    Ok(tally)
}

/// Undoes those of these faults that are still in force.
///
/// # Errors
/// When the journal cannot be written.
pub(super) async fn undo<'a>(
    site: &Arc<Site>,
    faults: impl IntoIterator<Item = &'a Fault>,
    events: &Events,
    stop: CancellationToken,
) -> Result<Tally> {
    let force = site.journal.faults();
    let faults: BTreeSet<&Fault> = faults.into_iter().filter(|fault| force.contains(fault)).collect();
    if faults.is_empty() {
        return Ok(Tally::default());
    }
    up::carry_out(site, plan::mending(faults), "mend", events.clone(), stop).await
}

/// A line for each fault.
fn told(word: &str, faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{word}: {fault}\n")).collect()
}
