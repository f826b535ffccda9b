//! `up`: the lab as lab.yaml says, from whatever is there.

use crate::{
    cli::Arguments,
    config, context,
    error::{Class, Result},
    event::{Event, Events},
    executor,
    host::Lock,
    journal::Entry,
    lab::Role,
    plan,
    prepare::{self, Purpose},
    ui,
};
use std::{sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Brings the lab up.
///
/// # Errors
/// The first failure of the run, or what is wrong before it.
pub async fn run(arguments: &Arguments) -> Result<u8> {
    let home = context::home(arguments)?;
    let loaded = config::load(&arguments.file()).map_err(config::Problems::into_error)?;
    let name = loaded.lab.name.clone();
    let _lock = Lock::take(&lock_path(&home, name.as_str()), "the lab", Duration::ZERO)?;

    let (events, receiver) = Events::channel();
    let screen = tokio::spawn(ui::show(arguments.mode(), receiver));
    let stop = CancellationToken::new();
    let signals = tokio::spawn(listen(stop.clone(), events.clone()));
    let outcome = act(arguments, home, events, stop).await;
    signals.abort();
    let summary = screen.await.ok();

    let (site, tally) = outcome?;
    if let Some(error) = tally.failure {
        // The display has told each failure in full; only an interruption is new.
        if error.class() == Class::Interrupted || summary.is_none_or(|summary| summary.failures.is_empty()) {
            return Err(error);
        }
        return Ok(error.class().exit_code());
    }
    if !arguments.json {
        tell(&site, tally.changed, summary.as_ref());
    }
    Ok(0)
}

/// Where the lock of a lab lies: outside its directory, which `destroy` removes.
pub(super) fn lock_path(home: &crate::host::Home, lab: &str) -> std::path::PathBuf {
    home.path().join("locks").join(lab)
}

async fn act(arguments: &Arguments, home: crate::host::Home, events: Events, stop: CancellationToken) -> Result<(Arc<crate::apply::Site>, executor::Tally)> {
    let site = Arc::new(prepare::site(arguments, home, Purpose::Act, events.clone()).await?);
    let plan = plan::up(&site.lab, site.engine.as_ref());
    events.send(Event::Begin {
        verb: "up",
        nodes: site
            .lab
            .nodes
            .iter()
            .map(|node| (node.name.to_string(), node.roles.keys().map(|role| role.as_str()).collect::<Vec<_>>().join(" ")))
            .collect(),
        steps: plan.steps().count(),
    });
    site.journal.write(Entry::Begin { verb: "up".into(), version: env!("CARGO_PKG_VERSION").into() })?;
    let tally = executor::run(plan, site.clone(), site.journal.clone(), events, site.accelerator.tokens(), stop).await;
    site.journal.write(Entry::End { succeeded: tally.failure.is_none() })?;
    Ok((site, tally))
}

/// The first signal lets running steps end, the second ends at once; both leave a lab that `up` goes on with.
async fn listen(stop: CancellationToken, events: Events) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
    for round in 0.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if round == 0 {
            events.note("interrupted: running steps end first; once more ends at once");
            stop.cancel();
        } else {
            std::process::exit(Class::Interrupted.exit_code().into());
        }
    }
}

fn tell(site: &crate::apply::Site, changed: usize, summary: Option<&ui::Summary>) {
    if changed == 0 {
        eprintln!("lab `{}` is up; nothing changed", site.lab.name);
        return;
    }
    if let Some(summary) = summary {
        eprint!("{}", summary.timeline.chart(100));
    }
    if let Some(first) = site.lab.placed(Role::Coordinator).first() {
        eprintln!("lab `{}` is up. Go on with:", site.lab.name);
        eprintln!("  pgxc-lab sql --on {} -c 'select 1'", first.node.name);
        eprintln!("  pgxc-lab forward {}:{}   # then: psql -h 127.0.0.1 -p {} -U {} postgres", first.node.name, first.component.port, first.component.port, site.login.user);
        eprintln!("  the password of `{}` is in {}", site.login.user, site.dir.join("keys/password").display());
    }
}
