//! `start`, `stop`, `restart`: components of a lab that is up.

use super::run::{Ended, journalled, lock, shown, standing};
use crate::{
    cli::{Arguments, Selection},
    context,
    error::Result,
    event::{Event, Events},
    host::Home,
    plan::{self, Wish},
};
use std::{sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Carries a wish out.
///
/// # Errors
/// When the lab is not up, the selection means nothing, or the first failure of the run.
pub async fn run(arguments: &Arguments, wish: Wish, selection: &Selection) -> Result<u8> {
    let home = context::home(arguments)?;
    let lab = context::lab_name(arguments, &home)?;
    let _lock = lock(&home, &lab)?;
    shown(arguments, |events, stop| act(home, &lab, wish, selection, events, stop)).await
}

async fn act(
    home: Home,
    lab: &str,
    wish: Wish,
    selection: &Selection,
    events: Events,
    stop: CancellationToken,
) -> Result<Ended> {
    let begun = Instant::now();
    let site = Arc::new(standing(&home, lab, &events)?);
    let chosen = selection.pick(&site.lab, site.engine.as_ref())?;
    let count = chosen.len();
    let plan = plan::components(&site.lab, site.engine.as_ref(), wish, &chosen);
    events.send(Event::Begin { verb: wish.as_str(), nodes: super::up::nodes(&site.lab), steps: plan.steps().count() });
    let tally = journalled(&site, plan, wish.as_str(), events, stop).await?;
    Ok(Ended { farewell: farewell(lab, wish, count, begun), tally })
}

fn farewell(lab: &str, wish: Wish, count: usize, begun: Instant) -> String {
    let components = format!("{count} component{}", if count == 1 { "" } else { "s" });
    let seconds = begun.elapsed().as_secs_f64();
    match wish {
        Wish::Start | Wish::Restart => format!("{components} of lab `{lab}` started ({seconds:.1} s)\n"),
        Wish::Stop => format!(
            "{components} of lab `{lab}` stopped ({seconds:.1} s); `pgxc-lab start` or `up` brings them back, and so does a reboot\n"
        ),
    }
}
