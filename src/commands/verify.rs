//! `verify`: is the cluster right? With exit codes of its own.

use super::run::{Ended, listen, lock as take};
use crate::{
    apply::Site,
    cli::{Arguments, Checks},
    config,
    context::{self, Standing},
    error::{Class, Error, Result, ResultExt},
    event::{Event, Events, Outcome},
    host::Home,
    prepare::{self, Purpose},
    snapshot::replace,
    ui,
    verify::{self, About, LabFile, Observed, Observer, Parts, Report, Suite, Task, report::exit, text},
};
use std::{fs::File, io::Write, path::Path, sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Checks.
///
/// # Errors
/// [`Class::Interrupted`], and when results cannot be written. Whatever keeps it from checking is told, and ends with the
/// exit code for that.
pub async fn run(arguments: &Arguments, suite: Suite, only: &[String], junit: Option<&Path>, tap: bool) -> Result<u8> {
    let form = match (arguments.json, tap) {
        (true, _) => Form::Json,
        (_, true) => Form::Tap,
        _ => Form::Text,
    };
    // The file is opened before anything is asked: it must not turn out at the end that the results cannot be kept.
    let open = |path: &Path| File::create(path).or_error(Class::Host, || format!("cannot write `{}`", path.display()));
    let prepared = async {
        let home = context::home(arguments)?;
        // Before anything is read, and to the end: another run may be about to change the lab.
        let lock = take(&home, &context::lab_name(arguments, &home)?)?;
        Ok((prepare(arguments, home, suite, only, Own::Too).await?, lock))
    };
    let (prepared, _lock, junit) = match prepared.await.and_then(|(prepared, lock)| {
        let junit = junit.map(open).transpose()?;
        Ok((prepared, lock, junit))
    }) {
        Ok(all) => all,
        Err(error) => {
            ui::print_error(&error);
            return Ok(exit::NOTHING);
        }
    };
    let layout = text::Layout {
        width: prepared.tasks.iter().map(|task| task.id.len()).max().unwrap_or_default(),
        detail: if arguments.verbose { text::Detail::Sight } else { text::Detail::Claim },
    };
    let about = prepared.about.clone();
    if form == Form::Text {
        super::print(&text::header(layout))?;
    }
    let report = check(prepared, |result| {
        if form == Form::Text {
            // A reader that went away must not keep the cluster from being cleaned up.
            let _ = super::print(&text::result(result, layout));
        }
    })
    .await;
    // Also after an interruption: what was seen until then is worth having.
    match form {
        Form::Text => super::print(&text::footer(&report))?,
        Form::Tap => super::print(&verify::tap::render(&report))?,
        Form::Json => {
            let observed = if arguments.verbose { Observed::Told } else { Observed::Left };
            super::print_json(&report.json(&about, observed))?
        }
    };
    if let Some(mut file) = junit {
        let xml = verify::junit::render(&report, &about)?;
        file.write_all(xml.as_bytes()).or_error(Class::Host, || "cannot write the JUnit file".into())?;
    }
    match report.undone.as_slice() {
        [] => Ok(report.exit_code()),
        undone => Err(Error::new(Class::Interrupted, format!("interrupted before {}", undone.join(", ")))
            .hint("`pgxc-lab verify --only ID` does what was left")),
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Tap,
}

/// Everything that is known before the first question.
struct Prepared {
    observer: Observer,
    tasks: Vec<Task>,
    about: About,
    sweep: &'static verify::Sweep,
}

/// Whether checks of lab.yaml are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Too,
    Left,
}

/// With the lab's lock held.
async fn prepare(arguments: &Arguments, home: Home, suite: Suite, only: &[String], own: Own) -> Result<Prepared> {
    replace::check(&home.lab(&context::lab_name(arguments, &home)?))?;
    let standing = Standing::find(arguments)?;
    standing.record.check_failover()?;
    // lab.yaml as it is now has the checks of its own, and is what the lab should be.
    let mut lab = standing.lab.clone();
    let lab_file = match &arguments.lab {
        None if arguments.file().exists() => LabFile::Known,
        _ => LabFile::Unknown,
    };
    if lab_file == LabFile::Known {
        lab.checks = config::load(&arguments.file()).map_err(config::Problems::into_error)?.lab.checks;
    }
    if own == Own::Left {
        lab.checks.clear();
    }
    let engine = standing.record.engine;
    let tasks = match only {
        [] => verify::of_suite(engine, &lab, suite, lab_file),
        names => verify::chosen(engine, &lab, names, lab_file)?,
    };
    let site = match tasks.iter().any(Task::plans) {
        true => installer(arguments, home).await.map(Arc::new),
        false => Err(Error::new(Class::Internal, "no check wanted to know the plan of `up`")),
    };
    let host = standing.host()?.clone();
    let suite = if only.is_empty() { suite.as_str() } else { "chosen" };
    let about = About { lab: lab.name.to_string(), engine: engine.as_str(), suite };
    let login = standing.login()?;
    let accelerator = standing.record.accelerator;
    let parts = Parts { lab, dir: standing.dir, host, engine: standing.engine, accelerator, login, site };
    Ok(Prepared { observer: Observer::new(parts), tasks, about, sweep: verify::sweep(engine) })
}

/// What `up` would work on. Nobody hears its events: they are about choices that were made long ago.
async fn installer(arguments: &Arguments, home: Home) -> Result<Site> {
    let (events, _) = Events::channel();
    prepare::site(arguments, home, Purpose::Look, events).await
}

async fn check(prepared: Prepared, tell: impl FnMut(&verify::report::Result)) -> Report {
    let stop = CancellationToken::new();
    let signals = tokio::spawn(listen(stop.clone(), || {
        eprintln!("interrupted: what was made is removed first; once more ends at once");
    }));
    let Prepared { observer, tasks, sweep, .. } = prepared;
    let report = verify::run(&observer, tasks, sweep, &stop, tell).await;
    signals.abort();
    report
}

/// The step under which a run that ends with checks shows them.
const STEP: &str = "checks";

/// Ends a run that made a lab with checks, if any are wanted and it went well; `auto` wants none where the cluster is as
/// before. With the lab's lock held.
pub(super) async fn conclude(
    mut ended: Ended,
    checks: Checks,
    arguments: &Arguments,
    home: Home,
    events: &Events,
    stop: &CancellationToken,
) -> Ended {
    let wanted = match checks {
        Checks::Of(suite) => Some((suite, Own::Too)),
        Checks::Auto if ended.tally.changed > 0 => Some((Suite::Quick, Own::Left)),
        Checks::Auto | Checks::None => None,
    };
    if let (Some((suite, own)), None) = (wanted, &ended.tally.failure) {
        let proved = match prepare(arguments, home, suite, &[], own).await {
            // Nothing to prove, as in a lab without a cluster.
            Ok(prepared) if own == Own::Left && prepared.tasks.iter().all(|task| task.skip.is_some()) => Ok(()),
            prepared => prove(prepared, suite, events, stop).await,
        };
        ended.tally.failure = proved.err();
    }
    ended
}

/// One step, shown as the run's others.
///
/// # Errors
/// [`Class::Cluster`] when a check failed or left something behind, with what each of them found; whatever keeps it from
/// checking.
async fn prove(prepared: Result<Prepared>, suite: Suite, events: &Events, stop: &CancellationToken) -> Result<()> {
    let begun = Instant::now();
    let title = format!("verify, {}", suite.as_str());
    events.send(Event::Started { step: STEP.into(), node: None, title });
    let ended = async {
        let Prepared { observer, tasks, sweep, .. } = prepared?;
        let tell = |result: &verify::report::Result| {
            let text = format!("{} {}", result.id, result.verdict.word());
            events.send(Event::Progress { step: STEP.into(), text });
        };
        sum_up(&verify::run(&observer, tasks, sweep, stop, tell).await)
    };
    let (ended, took) = (ended.await, begun.elapsed());
    match ended {
        Ok(text) => {
            events.send(Event::Finished { step: STEP.into(), node: None, outcome: Outcome::Unchanged(text), took });
            Ok(())
        }
        Err(error) => {
            events.send(Event::Failed { step: STEP.into(), node: None, error: error.clone(), took });
            Err(error)
        }
    }
}

/// A report in a line, or as a failure.
fn sum_up(report: &Report) -> Result<String> {
    if !report.undone.is_empty() {
        return Err(Error::new(Class::Interrupted, format!("interrupted before {}", report.undone.join(", "))));
    }
    let failed = report.results.iter().filter(|result| matches!(result.verdict, verify::Verdict::Failed { .. }));
    let ids: Vec<&str> = failed.map(|result| result.id.as_str()).collect();
    let (message, hint) = match (ids.as_slice(), report.left.as_slice()) {
        ([], []) => return Ok(text::footer(report).trim_end().to_owned()),
        ([], _) => (
            "the checks left something behind".to_owned(),
            "`pgxc-lab verify` removes what it finds of them".to_owned(),
        ),
        (ids, _) => (
            format!("checks failed: {}", ids.join(", ")),
            format!("`pgxc-lab verify --only {}` asks again, and tells what to do", ids.join(",")),
        ),
    };
    let left = report.left.iter().map(|finding| ("left behind", finding));
    let error = report.failures().chain(left).fold(Error::new(Class::Cluster, message), |error, (id, finding)| {
        error.evidence(format!("{id}, {}: {} instead of {}", finding.place, finding.seen, finding.expected))
    });
    Err(error.hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Finding, Verdict};
    use std::time::Duration;

    fn report(verdicts: Vec<(&str, Verdict)>) -> Report {
        let results = verdicts.into_iter().map(|(id, verdict)| verify::report::Result {
            id: id.into(),
            proves: String::new(),
            how: String::new(),
            expected: String::new(),
            verdict,
            took: Duration::ZERO,
            seen: Default::default(),
        });
        Report { results: results.collect(), took: Duration::from_secs(2), ..Report::default() }
    }

    #[test]
    fn a_failed_check_fails_the_run_and_a_warning_does_not() {
        let passed = || ("nodes", Verdict::Passed { saw: "all".into() });
        let finding = || Finding::wrong("datanode_2", "3 rows", "2 rows", "look");
        let warned = ("hash", Verdict::Warned { findings: vec![finding().doubtful()] });
        let good = sum_up(&report(vec![passed(), warned])).expect("nothing failed");
        assert_eq!(good, "1 passed, 1 with warnings in 2.0s");
        let failed = ("hash", Verdict::Failed { findings: vec![finding()] });
        let error = sum_up(&report(vec![passed(), failed])).expect_err("one failed");
        assert_eq!((error.class(), error.message()), (Class::Cluster, "checks failed: hash"));
        assert_eq!(error.causes(), ["hash, datanode_2: 2 rows instead of 3 rows"]);
        let left = vec![Finding::wrong("the cluster", "nothing is left", "a table", "drop it")];
        let dirty = sum_up(&Report { left, ..report(vec![passed()]) }).expect_err("something is left");
        assert_eq!((dirty.class(), dirty.message()), (Class::Cluster, "the checks left something behind"));
        assert_eq!(dirty.causes(), ["left behind, the cluster: a table instead of nothing is left"]);
        let cut = Report { undone: vec!["hash".into()], ..report(vec![passed()]) };
        assert_eq!(sum_up(&cut).expect_err("interrupted").class(), Class::Interrupted);
    }
}
