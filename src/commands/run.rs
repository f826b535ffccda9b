//! What runs that change a lab have in common: the lock, the display, signals, how the end is told.

use crate::{
    apply::Site,
    cli::Arguments,
    context::Record,
    error::{Class, Error, Result, ResultExt},
    event::Events,
    executor::{self, Tally},
    host::{Home, LabDir, Lock},
    journal::{Entry, Journal},
    plan::Plan,
    prepare,
    snapshot::replace,
    ui,
};
use std::{
    io::{BufRead, IsTerminal},
    sync::Arc,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a run leaves: how many steps did what, and what a person does next.
pub(super) struct Ended {
    /// How it ended.
    pub tally: Tally,
    /// The last words, after the timeline.
    pub farewell: String,
}

/// Takes the lock of a lab; it lies outside the lab's directory, which `destroy` removes.
///
/// # Errors
/// When another run holds it.
pub(super) fn lock(home: &Home, lab: &str) -> Result<Lock> {
    Lock::take(&lock_path(home, lab), "the lab", Duration::ZERO)
}

/// Where that lock lies.
pub(super) fn lock_path(home: &Home, lab: &str) -> std::path::PathBuf {
    home.path().join("locks").join(lab)
}

/// The site of a lab that is up, as its record says it is; the lock is held.
///
/// # Errors
/// When there is no such lab, it does not run, or a restore of it did not end.
pub(super) fn standing(home: &Home, lab: &str, events: &Events) -> Result<Site> {
    let record = record(home, lab)?;
    record.check_failover()?;
    standing_as(home, &record, &home.lab(lab), events)
}

/// The record of a lab that is to be changed.
///
/// # Errors
/// When there is no such lab, or a restore of it did not end.
pub(super) fn record(home: &Home, lab: &str) -> Result<Record> {
    let dir = home.lab(lab);
    let none = || Error::new(Class::Host, format!("lab `{lab}` is not up")).hint("`pgxc-lab up` makes it");
    let record = Record::read(&dir)?.ok_or_else(none)?;
    replace::check(&dir)?;
    Ok(record)
}

/// The same, as a record says it is that may tell of a failover that did not end.
///
/// # Errors
/// As [`standing`].
pub(super) fn standing_as(home: &Home, record: &Record, dir: &LabDir, events: &Events) -> Result<Site> {
    let journal = Journal::open(&dir.journal())?;
    let site = prepare::recorded(home.clone(), dir.clone(), dir, record, journal, events.clone())?;
    site.host()?;
    Ok(site)
}

/// Carries out a plan, and has the journal say that a run of this verb began and how it ended.
///
/// # Errors
/// When the journal cannot be written. What failed is in the tally.
pub(super) async fn journalled(
    site: &Arc<Site>,
    plan: Plan,
    verb: &str,
    events: Events,
    stop: CancellationToken,
) -> Result<Tally> {
    site.journal.write(Entry::Begin { verb: verb.into(), version: env!("CARGO_PKG_VERSION").into() })?;
    let tally = executor::run(plan, site.clone(), site.journal.clone(), events, site.accelerator.tokens(), stop).await;
    site.journal.write(Entry::End { succeeded: tally.failure.is_none() })?;
    Ok(tally)
}

/// Asks before something of a person's is lost; `--yes`, or nobody at a terminal, is a yes.
///
/// # Errors
/// [`Class::Interrupted`] when the answer is no: `what` was not touched.
pub(super) fn confirm(arguments: &Arguments, question: &str, what: &str) -> Result<()> {
    if arguments.yes || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    eprint!("{question}? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).or_error(Class::Host, || "cannot read the answer".into())?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::new(Class::Interrupted, format!("{what} was not touched"))),
    }
}

/// Does the work with a display, and tells how it ended; gives the exit code.
///
/// # Errors
/// What went wrong and was not shown yet.
pub(super) async fn shown<F: Future<Output = Result<Ended>>>(
    arguments: &Arguments,
    work: impl FnOnce(Events, CancellationToken) -> F,
) -> Result<u8> {
    let (events, receiver) = Events::channel();
    let screen = tokio::spawn(ui::show(arguments.mode(), receiver));
    let stop = CancellationToken::new();
    let noted = events.clone();
    let signals = tokio::spawn(listen(stop.clone(), move || {
        noted.note("interrupted: running steps get 10 s to end; once more ends at once");
    }));
    let outcome = work(events, stop).await;
    signals.abort();
    let summary = screen.await.ok();

    let Ended { tally, farewell } = outcome?;
    if let Some(error) = tally.failure {
        // The display has told each failure in full; only an interruption is new.
        if error.class() == Class::Interrupted || summary.is_none_or(|summary| summary.failures.is_empty()) {
            return Err(error);
        }
        return Ok(error.class().exit_code());
    }
    if !arguments.json {
        if let Some(summary) = summary.filter(|_| tally.changed > 0) {
            eprint!("{}", summary.timeline.chart(100));
        }
        eprint!("{farewell}");
    }
    Ok(0)
}

/// The first signal lets running steps end, the second ends at once; both leave a lab that `up` goes on with.
pub(super) async fn listen(stop: CancellationToken, told: impl Fn()) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    for round in 0.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if round == 0 {
            told();
            stop.cancel();
        } else {
            // Not `process::exit`: the exit handlers of C libraries would run beside threads that still use them.
            signal_hook::low_level::exit(Class::Interrupted.exit_code().into());
        }
    }
}
