//! `nightly run`: what the timer calls.

use crate::{
    cli::{Arguments, Checks},
    commands::{collect::scene, rebuild, run::listen},
    config, context,
    error::{Class, Result, ResultExt},
    event::Events,
    evidence::{self, Haste},
    host::{Home, Lock},
    lab::Nightly,
    nightly::{
        History, Recorder, RunRecord, admission,
        run::{After, GRACE, Made, Night},
    },
    ui,
    verify::Suite,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Rebuilds, proves and records; the exit code is that of the run's failure.
///
/// # Errors
/// When another run goes on, or nothing can be recorded.
pub(super) async fn run(arguments: &Arguments) -> Result<u8> {
    super::needs_lab_file(arguments)?;
    let home = context::home(arguments)?;
    let lab = context::lab_name(arguments, &home)?;
    let lock = home.nightly(&lab).with_extension("lock");
    let _lock = Lock::take(&lock, &format!("the nightly run of lab `{lab}`"), Duration::ZERO)?;
    let stop = CancellationToken::new();
    // Silent: the record of the run's begin is there already, and its end will say that it was interrupted.
    let signals = tokio::spawn(listen(stop.clone(), || {}));

    let history = History::new(&home, &lab);
    let night = Night { history: &history, mode: arguments.mode(), recorder: Recorder::default(), grace: GRACE };
    let after = || After {
        nightly: settings(arguments),
        evidence: |record: &RunRecord, file: &Path| gather(arguments, &home, record, file),
    };
    let outcome = night.run(|events| work(arguments, &home, events, stop.clone()), stop.cancelled(), after).await;
    signals.abort();
    let (record, failure) = outcome?;
    if let Some(error) = failure {
        ui::print_error(&error);
    }
    tell(&record, &history);
    Ok(record.exit_code.unwrap_or(Class::Internal.exit_code()))
}

/// Is there room, then the rebuild, then the checks.
async fn work(arguments: &Arguments, home: &Home, events: Events, stop: CancellationToken) -> Result<Made> {
    let lab = config::load(&arguments.file()).map_err(config::Problems::into_error)?.lab;
    admission::admit(&lab, home, &home.lab(lab.name.as_str()))?;
    let rebuilt = rebuild::rebuild(arguments, events, stop, false, Checks::Of(Suite::Quick)).await?;
    match rebuilt.tally.failure {
        Some(failure) => Err(failure),
        None => Ok(Made { how: rebuilt.how, key: rebuilt.key }),
    }
}

/// What lab.yaml says about the nights; a file with mistakes tells nobody and removes little.
fn settings(arguments: &Arguments) -> Nightly {
    config::load(&arguments.file()).map(|loaded| loaded.lab.nightly).unwrap_or_default()
}

/// Evidence of a failure, from whatever is left of the lab.
fn gather(arguments: &Arguments, home: &Home, record: &RunRecord, file: &Path) -> Result<PathBuf> {
    let text = serde_json::to_string_pretty(record).or_error(Class::Internal, || "cannot write JSON".into());
    let interrupted = record.exit_code == Some(Class::Interrupted.exit_code());
    let haste = if interrupted { Haste::Interrupted } else { Haste::None };
    evidence::collect(scene(arguments, home, &record.lab, ("record.json", text), None, haste), file)
}

/// The last words of a run, on stderr.
fn tell(record: &RunRecord, history: &History) {
    let took = ui::seconds(record.took());
    let how = record.how.as_ref().map(|how| format!(" ({how})")).unwrap_or_default();
    let word = if record.succeeded() { "was good" } else { "failed" };
    eprintln!("run {} {word} after {took}{how}; its record is in {}", record.id, history.run(&record.id).display());
    if let Some(slow) = &record.slow {
        eprintln!("it is slower than noise explains: {}", crate::nightly::report::slow_text(slow));
    }
    if let Some(bundle) = &record.bundle {
        eprintln!("evidence: {}", history.run(&record.id).join(bundle).display());
    }
}
