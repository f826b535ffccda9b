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

    let (farewell, tally) = outcome?;
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

/// Where the lock of a lab lies: outside its directory, which `destroy` removes.
pub(super) fn lock_path(home: &crate::host::Home, lab: &str) -> std::path::PathBuf {
    home.path().join("locks").join(lab)
}

async fn act(
    arguments: &Arguments,
    home: crate::host::Home,
    events: Events,
    stop: CancellationToken,
) -> Result<(String, executor::Tally)> {
    let site = Arc::new(prepare::site(arguments, home, Purpose::Act, events.clone()).await?);
    let plan = plan::up(&site.lab, site.engine.as_ref());
    events.send(Event::Begin {
        verb: "up",
        nodes: site
            .lab
            .nodes
            .iter()
            .map(|node| {
                (node.name.to_string(), node.roles.keys().map(|role| role.as_str()).collect::<Vec<_>>().join(" "))
            })
            .collect(),
        steps: plan.steps().count(),
    });
    if let Some(tally) = executor::holds(&plan, &site, &events, site.accelerator.tokens()).await {
        return Ok((farewell(&site, tally.changed), tally));
    }
    site.journal.write(Entry::Begin { verb: "up".into(), version: env!("CARGO_PKG_VERSION").into() })?;
    let tally = executor::run(plan, site.clone(), site.journal.clone(), events, site.accelerator.tokens(), stop).await;
    site.journal.write(Entry::End { succeeded: tally.failure.is_none() })?;
    // Not the site itself: it holds a sender of events, and the display goes on as long as there is one.
    Ok((farewell(&site, tally.changed), tally))
}

/// The first signal lets running steps end, the second ends at once; both leave a lab that `up` goes on with.
async fn listen(stop: CancellationToken, events: Events) {
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
            events.note("interrupted: running steps get 10 s to end; once more ends at once");
            stop.cancel();
        } else {
            // Not `process::exit`: the exit handlers of C libraries would run beside threads that still use them.
            signal_hook::low_level::exit(Class::Interrupted.exit_code().into());
        }
    }
}

/// What a person does next.
fn farewell(site: &crate::apply::Site, changed: usize) -> String {
    let name = &site.lab.name;
    if changed == 0 {
        return format!("lab `{name}` is up; nothing changed\n");
    }
    let mut text = format!("lab `{name}` is up. Go on with:\n");
    if let Some(first) = site.lab.placed(Role::Coordinator).first() {
        let (node, port, user) = (&first.node.name, first.component.port, &site.login.user);
        text.push_str(&format!("  pgxc-lab sql --on {node} -c 'select 1'\n"));
        text.push_str(&format!(
            "  pgxc-lab forward {node}:{port}   # then: psql -h 127.0.0.1 -p {port} -U {user} postgres\n"
        ));
        if site.lab.cluster.password.is_none() {
            text.push_str(&format!("  the password of `{user}` is in {}\n", site.dir.join("keys/password").display()));
        }
    }
    text
}
