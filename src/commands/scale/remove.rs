//! `scale remove`: nodes that hold nothing out of the cluster, out of the lab and out of lab.yaml, and `up`.
//!
//! lab.yaml is changed first, and the lab's record last: whatever is cut short in between, the record still has the nodes, and
//! the same command goes on.

use super::{Edit, Ground, PATIENCE, listed};
use crate::{
    apply::leave_step,
    cli::Arguments,
    commands::{
        run::{Ended, confirm, shown, standing},
        up,
    },
    config::{self, Refusal},
    context::{Record, Standing},
    engine::Holding,
    error::{Class, Error, Result},
    event::Events,
    executor::Tally,
    host::{Exports, Home},
    journal::{Entry, Journal},
    lab::{Identifier, Lab, Node, NodeName, Role},
    plan,
    sql::{DATABASES, Sql},
};
use std::{collections::BTreeSet, path::Path, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Makes the lab smaller.
///
/// # Errors
/// Why these nodes must stay: then nothing was touched. The first failure of the run: then lab.yaml has them no more, and the
/// same command goes on.
pub(super) async fn run(arguments: &Arguments, names: &[NodeName]) -> Result<u8> {
    let Ground { home, dir, file, text, lab, _lock } = Ground::take(arguments)?;
    let made = Record::read(&dir)?.map(|_| Standing::find(arguments)).transpose()?;

    // What lab.yaml lost already is gone on with; what was never made is in lab.yaml alone.
    let known = |lab: &Lab, name: &NodeName| lab.node(name.as_str()).is_some();
    let (there, unmade): (Vec<NodeName>, Vec<NodeName>) =
        names.iter().cloned().partition(|name| made.as_ref().is_some_and(|made| known(&made.lab, name)));
    let written: Vec<NodeName> = there.iter().filter(|name| known(&lab, name)).chain(&unmade).cloned().collect();
    let edit = match written.is_empty() {
        true => None,
        false => {
            let smaller = lab.without(&written)?;
            let new = config::without_last(&text, &file, &lab, &smaller).map_err(|refusal| explain(refusal, &file))?;
            Some(Edit { file, old: text, new })
        }
    };
    let made = made.filter(|_| !there.is_empty());
    if let Some(made) = &made {
        made.lab.without(&there)?;
        made.record.check_failover()?;
        check_faults(made)?;
        check_holdings(made, &there).await?;
    }

    let question = match there.as_slice() {
        [] => "change the file so".to_owned(),
        gone => format!("remove {} with guests, disks and exports, which hold nothing of yours", ticked(gone)),
    };
    match &edit {
        Some(edit) => edit.confirm(arguments, &format!("without {}", ticked(&written)), &question)?,
        None => confirm(arguments, &question, "the lab")?,
    }
    // The answer may have taken a while.
    if let Some(made) = &made {
        check_holdings(made, &there).await?;
    }
    if let Some(edit) = &edit {
        edit.carry_out()?;
    }
    if made.is_none() {
        eprintln!("the lab has no such nodes: only the file was changed");
        return Ok(0);
    }
    shown(arguments, |events, stop| async move {
        let tally = take_away(&home, lab.name.as_str(), &there, &events, stop.clone()).await?;
        if tally.failure.is_some() {
            let gone: Vec<&str> = there.iter().map(NodeName::as_str).collect();
            events.note(format!("lab.yaml has them no more; `pgxc-lab scale remove {}` goes on", gone.join(" ")));
            return Ok(Ended { tally, farewell: String::new() });
        }
        let mut ended = up::act(arguments, home, events, stop).await?;
        ended.tally.changed += tally.changed;
        Ok(ended)
    })
    .await
}

/// Has the cluster forget these nodes, ends them, and removes what they consist of.
async fn take_away(
    home: &Home,
    lab: &str,
    names: &[NodeName],
    events: &Events,
    stop: CancellationToken,
) -> Result<Tally> {
    let site = Arc::new(standing(home, lab, events)?);
    for name in names {
        site.journal.write(Entry::Done { step: leave_step(name), digest: "it holds nothing".into() })?;
    }
    let plan = plan::leaving(&site.lab, site.engine.as_ref(), &nodes(&site.lab, names));
    up::carry_out(&site, plan, "scale", events.clone(), stop).await
}

fn nodes<'lab>(lab: &'lab Lab, names: &[NodeName]) -> Vec<&'lab Node> {
    lab.nodes.iter().filter(|node| names.contains(&node.name)).collect()
}

/// A fault may hide what a node holds.
fn check_faults(made: &Standing) -> Result<()> {
    let faults: Vec<String> = Journal::read(&made.dir.journal())?.faults().iter().map(ToString::to_string).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::new(Class::Cluster, format!("lab `{}` is broken on purpose: {}", made.lab.name, faults.join(", ")))
        .hint("`pgxc-lab fault mend` first"))
}

/// Refuses nodes that hold something which nobody else has.
async fn check_holdings(made: &Standing, names: &[NodeName]) -> Result<()> {
    let leaving = nodes(&made.lab, names);
    let host = made.host()?;
    let exports = Exports::new(&made.dir, host);
    let cleared = cleared(made, &leaving).await?;
    let mut held = BTreeSet::new();
    for Holding { on, query } in made.engine.holdings(&made.lab, &leaving) {
        // The export goes last: without it there is nothing left that could be asked.
        if cleared.contains(&on.node.name) || !exports.outside(on.node.name.as_str()).exists() {
            continue;
        }
        let (address, port, login) = (on.node.address, on.component.port, made.login()?);
        let ask = async {
            let server = Sql::connect(host, address, port, &login, PATIENCE).await?;
            let mut rows = Vec::new();
            for database in server.query(DATABASES).await?.into_iter().flatten().flatten() {
                let server = Sql::connect(host, address, port, &login.in_database(&database), PATIENCE).await?;
                rows.extend(server.query(&query).await?);
            }
            Ok(rows)
        };
        let rows = ask.await.map_err(|error: Error| {
            error
                .context(format!("cannot see what is held, since `{}` does not tell", on.name))
                .hint("`pgxc-lab start` brings back what does not serve")
        })?;
        held.extend(rows.into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" ")));
    }
    if held.is_empty() {
        return Ok(());
    }
    let objects: Vec<String> = held.into_iter().collect();
    Err(Error::new(
        Class::Cluster,
        format!("{} of lab `{}` still hold {}; nothing was touched", ticked(names), made.lab.name, listed(&objects)),
    )
    .hint("drop these or make them anew on other nodes, end prepared transactions; then the same command again"))
}

/// Those that were seen to hold nothing by a run that was cut short, and that nobody made known again since: whatever of them
/// has ended by now need not be asked.
async fn cleared(made: &Standing, leaving: &[&Node]) -> Result<BTreeSet<NodeName>> {
    let journal = Journal::read(&made.dir.journal())?;
    let mut cleared: Vec<&Node> = leaving.to_vec();
    cleared.retain(|node| journal.done(&leave_step(&node.name)).is_some());
    let staying = made.lab.placed(Role::Coordinator).into_iter();
    for on in staying.filter(|on| leaving.iter().all(|node| node.name != on.node.name)) {
        if cleared.is_empty() {
            break;
        }
        let server = Sql::connect(made.host()?, on.node.address, on.component.port, &made.login()?, PATIENCE).await?;
        let rows = server.query(made.engine.inventory()).await?;
        cleared.retain(|node| {
            let names: Vec<Identifier> = node.roles.values().cloned().collect();
            made.engine.farewell(&made.lab, &names, &rows).is_empty()
        });
    }
    Ok(cleared.into_iter().map(|node| node.name.clone()).collect())
}

fn ticked(names: &[NodeName]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn explain(refusal: Refusal, file: &Path) -> Error {
    match refusal {
        Refusal::Rules(problems) => problems.into_error().context("the lab without these nodes would not be valid"),
        Refusal::Style(lines) => Error::new(
            Class::LabFile,
            format!("`{}` is written in a way that is not edited; nothing was touched", file.display()),
        )
        .evidence(lines)
        .hint("take these items out of `nodes` by hand, then the same command goes on with the lab"),
    }
}
