//! `verify`: is the cluster right? With exit codes of its own.

use super::run::{listen, lock as take};
use crate::{
    apply::Site,
    cli::Arguments,
    config,
    context::{self, Standing},
    error::{Class, Error, Result, ResultExt},
    event::Events,
    prepare::{self, Purpose},
    snapshot::replace,
    ui,
    verify::{self, About, LabFile, Observed, Observer, Parts, Report, Suite, Task, report::exit, text},
};
use std::{fs::File, io::Write, path::Path, sync::Arc};
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
    let prepared = prepare(arguments, suite, only).await;
    let (prepared, junit) = match prepared.and_then(|prepared| Ok((prepared, junit.map(open).transpose()?))) {
        Ok(both) => both,
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
    /// Held to the end: no other run changes the lab meanwhile.
    _lock: crate::host::Lock,
}

async fn prepare(arguments: &Arguments, suite: Suite, only: &[String]) -> Result<Prepared> {
    let home = context::home(arguments)?;
    let name = context::lab_name(arguments, &home)?;
    // Before anything is read: another run may be about to change it.
    let lock = take(&home, &name)?;
    replace::check(&home.lab(&name))?;
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
    Ok(Prepared { observer: Observer::new(parts), tasks, about, sweep: verify::sweep(engine), _lock: lock })
}

/// What `up` would work on. Nobody hears its events: they are about choices that were made long ago.
async fn installer(arguments: &Arguments, home: crate::host::Home) -> Result<Site> {
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
