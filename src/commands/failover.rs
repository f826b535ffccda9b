//! `failover gtm`: the standby becomes the GTM.

use super::run::{Ended, journalled, lock, record, shown, standing_as};
use crate::{
    cli::Arguments,
    context::{self, Record},
    error::{Class, Error, Result},
    event::{Event, Events},
    executor,
    host::Home,
    lab::{Failover, Lab, NodeName, Role},
    plan,
};
use std::{sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Fails over, or goes on with a failover that did not end.
///
/// # Errors
/// When the standby cannot take over: then nothing was touched. The first failure of the run.
pub async fn run(arguments: &Arguments, to: Option<&NodeName>) -> Result<u8> {
    let home = context::home(arguments)?;
    let lab = context::lab_name(arguments, &home)?;
    let _lock = lock(&home, &lab)?;
    let record = record(&home, &lab)?;
    shown(arguments, |events, stop| act(home, lab, record, to, events, stop)).await
}

/// The run itself, with the lock held and somebody who listens.
///
/// # Errors
/// What keeps the standby from taking over: then nothing was touched.
pub(super) async fn act(
    home: Home,
    name: String,
    record: Record,
    to: Option<&NodeName>,
    events: Events,
    stop: CancellationToken,
) -> Result<Ended> {
    let begun = Instant::now();
    let dir = home.lab(&name);
    let site = standing_as(&home, &record, &dir, &events)?;
    if site.engine.takeover(&site.lab).is_none() {
        return Err(Error::new(Class::Usage, format!("{} has no GTM", site.engine.kind().as_str())));
    }
    let seen = site.seen_gxid().await?;
    let target = target(&site.lab, record.failover.as_ref(), to)?;
    let record = match target {
        Target::Holds(gtm) => {
            let farewell = format!("`{gtm}` has the GTM of lab `{name}`; nothing changed\n");
            return Ok(Ended { tally: executor::Tally::default(), farewell });
        }
        Target::GoesOn(_) => record,
        Target::Standby(gtm) => {
            // Not a step: the lab's roles are still as they were.
            for standby in site.lab.placed(Role::GtmStandby) {
                events.note(format!("`{}` gets ready", standby.name));
                tokio::select! {
                    ready = site.prepare_takeover(standby) => ready?,
                    () = stop.cancelled() => {
                        return Err(Error::new(Class::Interrupted, "interrupted before the failover began")
                            .hint("the GTM was not touched"));
                    }
                }
            }
            // Before anything is touched: from here on only a failover may decide who is the GTM.
            record.record_failover(&dir, Failover::Begun { gtm })?
        }
        Target::Back(gtm) => record.record_failover(&dir, Failover::Begun { gtm })?,
    };
    drop(site);
    let site = Arc::new(standing_as(&home, &record, &dir, &events)?);
    let plan = plan::failover(&site.lab, seen);
    events.send(Event::Begin { verb: "failover", nodes: super::up::nodes(&site.lab), steps: plan.steps().count() });
    let tally = journalled(&site, plan, "failover", events, stop).await?;
    let farewell = site.lab.placed(Role::Gtm).first().map_or_else(String::new, |gtm| {
        let seconds = begun.elapsed().as_secs_f64();
        format!("`{}` on `{}` is the GTM of lab `{name}` ({seconds:.1} s)\n", gtm.name, gtm.node.name)
    });
    Ok(Ended { tally, farewell })
}

/// What a failover is to do.
#[derive(Debug, PartialEq)]
enum Target {
    /// The GTM is there already.
    Holds(NodeName),
    /// A failover to this node was begun.
    GoesOn(NodeName),
    /// The standby is on this node.
    Standby(NodeName),
    /// A failover away from this node was begun, and is to be taken back.
    Back(NodeName),
}

/// Which node is to have the GTM of a lab, by how far the last failover came.
fn target(lab: &Lab, last: Option<&Failover>, to: Option<&NodeName>) -> Result<Target> {
    let on = |role| lab.placed(role).into_iter().next().map(|placed| placed.node.name.clone());
    let standby = on(Role::GtmStandby).ok_or_else(|| {
        Error::new(Class::Usage, format!("lab `{}` has no standby of its GTM", lab.name))
            .hint("give a node the role `gtm_standby` in lab.yaml, and `pgxc-lab up`")
    })?;
    let gtm = on(Role::Gtm).ok_or_else(|| Error::new(Class::Internal, "a lab without a GTM"))?;
    let begun = matches!(last, Some(Failover::Begun { .. }));
    match to {
        Some(to) if *to == gtm && !begun => Ok(Target::Holds(gtm)),
        Some(to) if *to == gtm => Ok(Target::GoesOn(gtm)),
        Some(to) if *to == standby && begun => Ok(Target::Back(standby)),
        Some(to) if *to != standby => Err(Error::new(Class::Usage, format!("`{to}` has no standby of the GTM"))
            .hint(format!("`{standby}` has it, `{gtm}` has the GTM"))),
        None if begun => Ok(Target::GoesOn(gtm)),
        Some(_) | None => Ok(Target::Standby(standby)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::{document, smaller};

    fn name(last: u8) -> NodeName {
        format!("db-192-168-122-{last}").parse().expect("a name")
    }

    #[test]
    fn the_target_follows_from_the_last_failover() {
        let lab = document();
        let swapped = lab.clone().with_gtm_on("db-192-168-122-172").expect("it has the standby");
        let (begun, done) = (Failover::Begun { gtm: name(172) }, Failover::Done { gtm: name(172) });
        for (lab, last, to, expected) in [
            (&lab, None, None, Target::Standby(name(172))),
            (&lab, None, Some(name(172)), Target::Standby(name(172))),
            (&lab, None, Some(name(171)), Target::Holds(name(171))),
            (&swapped, Some(&begun), None, Target::GoesOn(name(172))),
            (&swapped, Some(&begun), Some(name(172)), Target::GoesOn(name(172))),
            (&swapped, Some(&begun), Some(name(171)), Target::Back(name(171))),
            (&swapped, Some(&done), None, Target::Standby(name(171))),
            (&swapped, Some(&done), Some(name(172)), Target::Holds(name(172))),
        ] {
            assert_eq!(target(lab, last, to.as_ref()).expect("a target"), expected);
        }
    }

    #[test]
    fn a_node_that_cannot_take_over_is_refused() {
        let error = target(&document(), None, Some(&name(173))).expect_err("it has neither");
        assert_eq!(error.class(), Class::Usage);
        let mut alone = smaller(1);
        alone.nodes[1].roles.clear();
        let error = target(&alone, None, None).expect_err("no standby");
        assert!(error.message().contains("has no standby"), "{error}");
    }
}
