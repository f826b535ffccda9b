//! One verb per file.

mod collect;
mod components;
mod config;
mod destroy;
mod doctor;
mod drill;
mod exec;
mod export;
mod failover;
mod fault;
mod forward;
mod image;
mod logs;
mod nightly;
mod plan;
mod rebuild;
mod restore;
mod run;
mod scale;
mod snapshot;
mod sql;
mod ssh;
mod status;
mod up;
mod validate;
mod verify;

use crate::{
    cli::{self, Arguments, Verb},
    error::{Class, Result, ResultExt},
    plan::Wish,
};
use std::io::Write;

/// Carries out a command line; the exit code of a command that did its work but found something wrong is its own.
///
/// # Errors
/// Those of the verb.
pub async fn run(arguments: &Arguments) -> Result<u8> {
    match &arguments.verb {
        Verb::Up { ending, .. } => up::run(arguments, ending.checks).await,
        Verb::Destroy { forget } => destroy::run(arguments, forget),
        Verb::Status { watch } => status::run(arguments, *watch).await,
        Verb::Plan => plan::run(arguments).await,
        Verb::Doctor { apply } => doctor::run(arguments, *apply).await,
        Verb::Validate => validate::run(arguments),
        Verb::Verify { suite, only, junit, tap } => verify::run(arguments, *suite, only, junit.as_deref(), *tap).await,
        Verb::Ssh { node, command } => ssh::run(arguments, node, command),
        Verb::Exec { on, command } => exec::run(arguments, on, command).await,
        Verb::Sql { on, command, script } => {
            sql::run(arguments, on.as_ref(), command.as_deref(), script.as_deref()).await
        }
        Verb::Logs { node, follow, component } => logs::run(arguments, node, *follow, *component).await,
        Verb::Forward { endpoint, stdio: true, .. } => forward::stdio(arguments, endpoint).await,
        Verb::Forward { endpoint, local, .. } => forward::run(arguments, endpoint, *local).await,
        Verb::Collect { since, out } => collect::run(arguments, since.as_deref(), out.as_deref()).await,
        Verb::Config(verb) => config::run(arguments, verb).await,
        Verb::Export { what, out } => export::run(arguments, *what, out.as_deref()),
        Verb::Start(selection) => components::run(arguments, Wish::Start, selection).await,
        Verb::Stop(selection) => components::run(arguments, Wish::Stop, selection).await,
        Verb::Restart(selection) => components::run(arguments, Wish::Restart, selection).await,
        Verb::Failover(cli::FailoverVerb::Gtm { to }) => failover::run(arguments, to.as_ref()).await,
        Verb::Scale(verb) => scale::run(arguments, verb).await,
        Verb::Drill(cli::DrillVerb::List) => drill::list(arguments),
        Verb::Drill(cli::DrillVerb::Run { names, .. }) => drill::run(arguments, names).await,
        Verb::Fault(verb) => fault::run(arguments, verb).await,
        Verb::Snapshot(verb) => snapshot::run(arguments, verb).await,
        Verb::Restore { name, ending } => restore::run(arguments, name, ending.checks).await,
        Verb::Rebuild { cold, why, ending } => rebuild::run(arguments, *cold, *why, ending.checks).await,
        Verb::Nightly(verb) => nightly::run(arguments, verb).await,
        Verb::Image(verb) => image::run(arguments, verb).await,
        Verb::Completions { shell } => print(&cli::completions(*shell)),
        Verb::Man { out } => man(out.as_deref()),
        Verb::Schema => print(&crate::config::schema()),
        Verb::InternalHost { .. } | Verb::InternalGuardian { .. } => {
            unreachable!("main does these before it comes here")
        }
    }
}

/// Prints data. A reader that went away, such as `head`, is no failure.
fn print(text: &str) -> Result<u8> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(crate::error::Error::caused(Class::Host, "cannot write to stdout", error)),
    }
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<u8> {
    let mut text = serde_json::to_string_pretty(value).or_error(Class::Internal, || "cannot write JSON".into())?;
    text.push('\n');
    print(&text)
}

fn man(out: Option<&std::path::Path>) -> Result<u8> {
    let pages = cli::man_pages();
    let Some(directory) = out else { return print(&pages.first().map(|(_, page)| page.clone()).unwrap_or_default()) };
    std::fs::create_dir_all(directory).or_error(Class::Host, || format!("cannot make `{}`", directory.display()))?;
    for (name, page) in pages {
        let path = directory.join(name);
        std::fs::write(&path, page).or_error(Class::Host, || format!("cannot write `{}`", path.display()))?;
    }
    Ok(0)
}
