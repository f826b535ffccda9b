//! `nightly`: rebuilds every night, and a record of each run.

mod run;

use crate::{
    cli::{Arguments, NightlyVerb},
    context,
    error::{Class, Error, Result, ResultExt},
    file,
    nightly::{
        History, Outcome, RunRecord, report,
        schedule::{Installation, Target},
        since,
        unit::Units,
    },
    prepare::{FLEX_VARIABLE, OFFLINE_VARIABLE, SOURCE_VARIABLE},
    ui::{self, Table},
};
use jiff::{Timestamp, tz::TimeZone};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Carries it out.
///
/// # Errors
/// Those of the verb; a failed run gives its exit code.
pub async fn run(arguments: &Arguments, verb: &NightlyVerb) -> Result<u8> {
    match verb {
        NightlyVerb::Install { at } => install(arguments, at).await,
        NightlyVerb::Remove => remove(arguments).await,
        NightlyVerb::Run => run::run(arguments).await,
        NightlyVerb::History { since } => history(arguments, since.as_deref()),
        NightlyVerb::Report { since, out } => write_report(arguments, since.as_deref(), out.as_deref()),
    }
}

/// The runs of the lab, all or those since a moment; a record that cannot be read is told and passed over.
fn runs(arguments: &Arguments, since: Option<&str>) -> Result<(History, String, Vec<RunRecord>)> {
    let home = context::home(arguments)?;
    let lab = context::lab_name(arguments, &home)?;
    let since = since.map(|text| since::parse(text, Timestamp::now(), &TimeZone::system())).transpose()?;
    let history = History::new(&home, &lab);
    let (mut records, errors) = history.list();
    for error in errors {
        ui::print_error(&error);
    }
    records.retain(|record| since.is_none_or(|since| record.begin >= since));
    Ok((history, lab, records))
}

fn history(arguments: &Arguments, since: Option<&str>) -> Result<u8> {
    let (_, lab, records) = runs(arguments, since)?;
    if arguments.json {
        return super::print_json(&records);
    }
    if records.is_empty() {
        eprintln!("lab `{lab}` has no such run; `pgxc-lab nightly run` does one");
        return Ok(0);
    }
    let mut table = Table::new().left("RUN").left("RESULT").right("TOOK").left("HOW").left("WHAT HAPPENED");
    for record in &records {
        let (result, what) = match (&record.outcome, &record.slow) {
            (Outcome::Succeeded, None) => ("good".to_owned(), String::new()),
            (Outcome::Succeeded, Some(slow)) => ("slow".to_owned(), report::slow_text(slow)),
            (Outcome::Unfinished, _) => ("unfinished".to_owned(), String::new()),
            (Outcome::Failed { class, message, step, .. }, _) => (
                format!("failed ({})", report::class_name(*class)),
                step.as_ref().map_or_else(|| message.clone(), |step| format!("{step}: {message}")),
            ),
        };
        let took = if record.end.is_some() { ui::seconds(record.took()) } else { "-".to_owned() };
        let how = record.how.clone().unwrap_or_else(|| "-".to_owned());
        table.row([record.id.clone(), result, took, how, what.lines().next().unwrap_or_default().to_owned()]);
    }
    super::print(&table.to_string())
}

fn write_report(arguments: &Arguments, since: Option<&str>, out: Option<&Path>) -> Result<u8> {
    let (history, lab, records) = runs(arguments, since)?;
    let out = out.map_or_else(|| history.path().join("report.html"), Path::to_owned);
    let out = std::path::absolute(&out).or_error(Class::Host, || format!("cannot find `{}`", out.display()))?;
    let directory = out.parent().unwrap_or(Path::new("/"));
    let html = report::render(&lab, &records, history.path(), directory, Timestamp::now())?;
    fs::create_dir_all(directory).or_error(Class::Host, || format!("cannot make `{}`", directory.display()))?;
    file::replace(&out, html)?;
    super::print(&format!("{}\n", out.display()))
}

async fn install(arguments: &Arguments, at: &str) -> Result<u8> {
    needs_lab_file(arguments)?;
    let home = context::home(arguments)?;
    let absolute = |path: PathBuf| {
        std::path::absolute(&path).or_error(Class::Host, || format!("cannot find `{}`", path.display()))
    };
    let lab = crate::config::load(&arguments.file()).map_err(crate::config::Problems::into_error)?.lab;
    let mut variables = Vec::new();
    for name in [SOURCE_VARIABLE, FLEX_VARIABLE, OFFLINE_VARIABLE] {
        let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { continue };
        // A path from here means nothing to a timer; the last variable only has to be there.
        let value = if name == OFFLINE_VARIABLE { value } else { absolute(value.into())?.into() };
        let value = value.into_string().map_err(|value| {
            Error::new(Class::Usage, format!("{name} is `{}`, which cannot stand in a unit", value.display()))
        })?;
        variables.push((name.to_owned(), value));
    }
    let units = Units {
        lab: lab.name.to_string(),
        at: at.to_owned(),
        program: env::current_exe().or_error(Class::Host, || "cannot find this program's own file".into())?,
        home: home.path().to_owned(),
        file: absolute(arguments.file())?,
        variables,
    };
    match Target::default().install(&units, &list(&home, lab.name.as_str())).await? {
        Installation::Systemd(installed) => {
            for file in &installed.files {
                eprintln!("wrote {}", file.display());
            }
            eprintln!("`{}` waits for {at}; `pgxc-lab nightly remove` takes all of it back", installed.timer);
        }
        Installation::NoSystemd => {
            eprintln!("there is no systemd here, and nothing was written; this line is for `crontab -e`:");
            super::print(&format!("{}\n", units.cron()?))?;
        }
    }
    Ok(0)
}

async fn remove(arguments: &Arguments) -> Result<u8> {
    let home = context::home(arguments)?;
    let lab = context::lab_name(arguments, &home)?;
    match Target::default().remove(&list(&home, &lab)).await? {
        Some(installed) => {
            eprintln!("stopped `{}`", installed.timer);
            for file in &installed.files {
                eprintln!("removed {}", file.display());
            }
            eprintln!("records of the runs stay in {}", home.nightly(&lab).display());
        }
        None => eprintln!("nothing of lab `{lab}` is installed; a line in a crontab is yours to remove"),
    }
    Ok(0)
}

/// What `install` wrote: beside the runs, since it outlives the lab as they do.
fn list(home: &crate::host::Home, lab: &str) -> PathBuf {
    home.nightly(lab).join("installed.json")
}

/// A night needs the file: it may have changed since the last `up`, and that is what the night is to find out.
fn needs_lab_file(arguments: &Arguments) -> Result<()> {
    if arguments.lab.is_some() {
        return Err(Error::new(Class::Usage, "a nightly run is about a lab file, `--lab` names a lab without one")
            .hint("take `--file LAB.YAML`"));
    }
    Ok(())
}
