//! `drill`: lists drills and runs them one after the other.

mod ground;
mod stages;

use super::{
    collect,
    run::{listen, lock as take},
};
use crate::{
    cli::Arguments,
    context::{self, Standing},
    drill::{
        self, CATALOGUE, Drill,
        report::{self, Outcome, Verdict, exit},
    },
    error::{Class, Error, Result, ResultExt},
    event::{Event, Events},
    evidence::{self, Haste},
    lab::Fault,
    status,
    ui::{self, Table},
};
use ground::Ground;
use jiff::Timestamp;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Shows all drills.
///
/// # Errors
/// When stdout is gone.
pub fn list(arguments: &Arguments) -> Result<u8> {
    let standing = Standing::find(arguments).ok();
    let why = |drill: &Drill| standing.as_ref().and_then(|lab| drill.lacking(lab.record.engine, &lab.lab));
    if arguments.json {
        let drills: Vec<_> = CATALOGUE
            .iter()
            .map(|drill| serde_json::json!({"name": drill.name, "proves": drill.proves, "not_here": why(drill)}))
            .collect();
        return super::print_json(&drills);
    }
    let mut table = Table::new().left("DRILL").left("PROVES");
    for drill in CATALOGUE {
        let not_here = why(drill).map(|why| format!(" (not here: {why})")).unwrap_or_default();
        table.row([drill.name.to_owned(), format!("{}{not_here}", drill.proves)]);
    }
    super::print(&table.to_string())
}

/// Runs these, or all.
///
/// # Errors
/// [`Class::Interrupted`]. Whatever keeps it from running any is told, and ends with the exit code for that.
pub async fn run(arguments: &Arguments, names: &[String]) -> Result<u8> {
    let (ground, drills, _lock) = match prepare(arguments, names).await {
        Ok(prepared) => prepared,
        Err(error) => {
            ui::print_error(&error);
            return Ok(exit::NOTHING);
        }
    };
    let stop = CancellationToken::new();
    let signals = tokio::spawn(listen(stop.clone(), || {
        eprintln!("interrupted: what is broken is mended first; once more ends at once, and leaves it to `fault mend`");
    }));
    let outcomes = run_all(arguments, &ground, &drills, &stop).await;
    signals.abort();
    let outcomes = outcomes?;
    if arguments.json {
        super::print_json(&report::json(&ground.name, ground.engine.as_str(), &outcomes))?;
    } else {
        super::print(&report::footer(&outcomes))?;
    }
    if stop.is_cancelled() {
        return Err(Error::new(Class::Interrupted, "interrupted before every drill was run"));
    }
    Ok(report::exit_code(&outcomes))
}

async fn prepare(arguments: &Arguments, names: &[String]) -> Result<(Ground, Vec<&'static Drill>, crate::host::Lock)> {
    let standing = Standing::find(arguments)?;
    Fault::check_host(&standing.lab)?;
    let home = context::home(arguments)?;
    let lock = take(&home, standing.lab.name.as_str())?;
    let drills = drill::chosen(names, standing.record.engine, &standing.lab)?;
    if !status::look(&standing).await?.healthy {
        return Err(Error::new(Class::Cluster, format!("lab `{}` is not healthy", standing.lab.name))
            .hint("`pgxc-lab status` shows what does not serve, `pgxc-lab up` brings it back"));
    }
    let (name, engine) = (standing.lab.name.to_string(), standing.record.engine);
    Ok((Ground { home, name, engine, events: events(arguments) }, drills, lock))
}

/// What steps say is told with `--verbose` only: a drill has its own words.
fn events(arguments: &Arguments) -> Events {
    let (events, mut receiver) = Events::channel();
    if arguments.verbose && !arguments.json {
        tokio::spawn(ui::show(arguments.mode(), receiver));
    } else {
        tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                if let Event::Failed { step, error, .. } = event {
                    eprintln!("{step} failed: {}", error.message());
                }
            }
        });
    }
    events
}

async fn run_all(
    arguments: &Arguments,
    ground: &Ground,
    drills: &[&'static Drill],
    stop: &CancellationToken,
) -> Result<Vec<Outcome>> {
    let width = drills.iter().map(|drill| drill.name.len()).max().unwrap_or_default();
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut healthy = true;
    for drill in drills {
        if stop.is_cancelled() {
            break;
        }
        let outcome = if healthy {
            eprintln!("{}: {}", drill.name, drill.proves);
            let (mut outcome, health) = stages::carry_out(ground, drill, stop).await;
            healthy = health == stages::Health::Well;
            if outcome.verdict == Verdict::Otherwise && !stop.is_cancelled() {
                match keep_evidence(arguments, ground, drill).await {
                    Ok(file) => outcome.evidence = Some(file),
                    Err(error) => ui::print_error(&error),
                }
            }
            outcome
        } else {
            Outcome::not_run(drill)
        };
        if !arguments.json {
            super::print(&report::text(&outcome, width))?;
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// As `collect` does, in this directory.
async fn keep_evidence(arguments: &Arguments, ground: &Ground, drill: &Drill) -> Result<PathBuf> {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let file = PathBuf::from(format!("pgxc-lab-{}-{}-{time}.tar.zst", ground.name, drill.name));
    let file = std::path::absolute(&file).or_error(Class::Host, || format!("cannot find `{}`", file.display()))?;
    let known = ("status.json", collect::status_text(arguments).await);
    let scene = collect::scene(arguments, &ground.home, &ground.name, known, None, Haste::None);
    let work = tokio::task::spawn_blocking(move || evidence::collect(scene, &file));
    work.await.or_error(Class::Internal, || "the collecting thread ended".into())?
}
