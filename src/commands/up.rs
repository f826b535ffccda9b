//! `up`: the lab as lab.yaml says, from whatever is there.

use super::{
    run::{self, Ended, lock, shown},
    verify,
};
use crate::{
    apply::Site,
    cli::{Arguments, Checks},
    config, context,
    error::Result,
    event::{Event, Events},
    executor::{self, Tally},
    host::Home,
    lab::{Lab, Role},
    plan::{self, Plan},
    prepare::{self, Purpose},
    snapshot::replace,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Brings the lab up.
///
/// # Errors
/// The first failure of the run, or what is wrong before it.
pub async fn run(arguments: &Arguments, checks: Checks) -> Result<u8> {
    let home = context::home(arguments)?;
    let loaded = config::load(&arguments.file()).map_err(config::Problems::into_error)?;
    let _lock = lock(&home, loaded.lab.name.as_str())?;
    replace::check(&home.lab(loaded.lab.name.as_str()))?;
    shown(arguments, |events, stop| async move {
        let ended = act(arguments, home.clone(), events.clone(), stop.clone()).await?;
        Ok(verify::conclude(ended, checks, arguments, home, &events, &stop).await)
    })
    .await
}

/// The run itself, with the lock held and somebody who listens.
///
/// # Errors
/// What is wrong before the first step.
pub(super) async fn act(arguments: &Arguments, home: Home, events: Events, stop: CancellationToken) -> Result<Ended> {
    let site = Arc::new(prepare::site(arguments, home, Purpose::Act, events.clone()).await?);
    let mut tally = super::fault::undo(&site, &site.journal.faults(), &events, stop.clone()).await?;
    if tally.failure.is_none() {
        let plan = plan::up(&site.lab, site.engine.as_ref());
        let mended = tally.changed;
        tally = carry_out(&site, plan, "up", events.clone(), stop).await?;
        tally.changed += mended;
    }
    if tally.failure.is_none() {
        prepare::settle(&site)?;
        site.left_guests().await?.into_iter().for_each(|text| events.note(text));
    }
    // Not the site itself: it holds a sender of events, and the display goes on as long as there is one.
    Ok(Ended { farewell: farewell(&site, tally.changed), tally })
}

/// Carries out a plan of steps that hold or not.
///
/// # Errors
/// When the journal cannot be written.
pub(super) async fn carry_out(
    site: &Arc<Site>,
    plan: Plan,
    verb: &'static str,
    events: Events,
    stop: CancellationToken,
) -> Result<Tally> {
    events.send(Event::Begin { verb, nodes: nodes(&site.lab), steps: plan.steps().count() });
    if let Some(tally) = executor::holds(&plan, site, &events, site.accelerator.looks()).await {
        return Ok(tally);
    }
    run::journalled(site, plan, verb, events, stop).await
}

/// Nodes with their roles, as the display wants them.
pub(super) fn nodes(lab: &Lab) -> Vec<(String, String)> {
    let roles = |node: &crate::lab::Node| node.roles.keys().map(|role| role.as_str()).collect::<Vec<_>>().join(" ");
    lab.nodes.iter().map(|node| (node.name.to_string(), roles(node))).collect()
}

/// What a person does next.
fn farewell(site: &Site, changed: usize) -> String {
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
