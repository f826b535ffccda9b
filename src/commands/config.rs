//! `config`: parameters of lab.yaml against what runs, and into effect with as little disturbance as they allow.

use super::{
    run::{Ended, lock, shown},
    up,
};
use crate::{
    cli::{Arguments, ConfigVerb},
    config,
    context::{self, Standing},
    error::{Class, Error, Result},
    lab::{Lab, NodeName, Role},
    plan,
    prepare::{self, Purpose},
    settings::{Difference, Look, Needs},
    snapshot::replace,
    ui::Table,
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long one answer of a server may take, before the accelerator's patience.
const ANSWER: Duration = Duration::from_secs(10);

/// A difference with its place.
#[derive(Serialize)]
struct Line {
    node: NodeName,
    role: Role,
    component: String,
    #[serde(flatten)]
    difference: Difference,
}

/// Carries it out.
///
/// # Errors
/// Those of the verb.
pub async fn run(arguments: &Arguments, verb: &ConfigVerb) -> Result<u8> {
    match verb {
        ConfigVerb::Diff => diff(arguments).await,
        ConfigVerb::Apply => apply(arguments).await,
    }
}

/// Shows what differs; the exit code tells whether anything does.
async fn diff(arguments: &Arguments) -> Result<u8> {
    let standing = Standing::find(arguments)?;
    let wanted = wanted(arguments, &standing)?;
    if !only_parameters_differ(&wanted, &standing.lab) {
        eprintln!(
            "lab.yaml differs from the lab in more than parameters, too: `pgxc-lab plan` shows what `up` would do"
        );
    }
    let lines = lines(&standing, &wanted).await?;
    if arguments.json {
        super::print_json(&lines)?;
    } else if !lines.is_empty() {
        let header = Table::new().left("NODE").left("COMPONENT").left("PARAMETER").left("LAB.YAML");
        let mut table = header.left("RUNS").left("NEEDS");
        for Line { node, component, difference, .. } in &lines {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            table.row([
                node.to_string(),
                component.clone(),
                difference.parameter.clone(),
                value(&difference.wanted),
                value(&difference.runs),
                difference.needs.as_str().to_owned(),
            ]);
        }
        super::print(&table.to_string())?;
    }
    if standing.engine.runs(Role::Gtm) {
        eprintln!("the GTM and its proxies tell nobody what they run with: their files were compared");
    }
    match lines.len() {
        0 => eprintln!("everything runs as lab.yaml says"),
        1 => eprintln!("1 parameter differs"),
        count => eprintln!("{count} parameters differ"),
    }
    Ok(if lines.is_empty() { 0 } else { Class::Cluster.exit_code() })
}

/// Brings lab.yaml's parameters into effect, node by node, and proves the cluster.
async fn apply(arguments: &Arguments) -> Result<u8> {
    if arguments.lab.is_some() {
        return Err(Error::new(Class::Usage, "parameters come from a lab file, `--lab` names a lab without one")
            .hint("take `--file LAB.YAML`"));
    }
    let home = context::home(arguments)?;
    let name = context::lab_name(arguments, &home)?;
    let _lock = lock(&home, &name)?;
    replace::check(&home.lab(&name))?;
    let standing = Standing::find(arguments)?;
    let wanted = wanted(arguments, &standing)?;
    if !only_parameters_differ(&wanted, &standing.lab) {
        return Err(Error::new(Class::Usage, "lab.yaml differs from the lab in more than parameters")
            .hint("`pgxc-lab plan` shows what `up` would do, `pgxc-lab up` does it"));
    }
    let mut changes: BTreeMap<String, Needs> = BTreeMap::new();
    for line in lines(&standing, &wanted).await? {
        let needs = changes.entry(line.node.to_string()).or_insert(Needs::Reload);
        *needs = line.difference.needs.max(*needs);
    }
    if changes.is_empty() {
        eprintln!("lab `{name}` runs as lab.yaml says; nothing changed");
        return Ok(0);
    }
    shown(arguments, |events, stop| async move {
        let site = Arc::new(prepare::site(arguments, home, Purpose::Act, events.clone()).await?);
        let plan = plan::configure(&site.lab, &changes);
        let tally = up::carry_out(&site, plan, "config apply", events, stop).await?;
        Ok(Ended { farewell: format!("lab `{name}` runs as lab.yaml says\n"), tally })
    })
    .await
}

/// lab.yaml as it is now, fitted as the lab is; with `--lab`, as it was at the last `up`.
fn wanted(arguments: &Arguments, standing: &Standing) -> Result<Lab> {
    if arguments.lab.is_some() {
        return Ok(standing.lab.clone());
    }
    standing.record.fitted(&config::load(&arguments.file()).map_err(config::Problems::into_error)?.lab)
}

/// Whether `new` has the same machines and components as `old`.
fn only_parameters_differ(new: &Lab, old: &Lab) -> bool {
    let mut new = new.clone();
    for (role, component) in &mut new.cluster.components {
        component.parameters.clone_from(&old.cluster.components[role].parameters);
    }
    new.cluster.hba.clone_from(&old.cluster.hba);
    // Serialised, since that leaves out whatever decides nothing about the lab itself.
    serde_json::to_value(new).ok() == serde_json::to_value(old).ok()
}

/// Everything that differs, in the order of the nodes that both know.
async fn lines(standing: &Standing, wanted: &Lab) -> Result<Vec<Line>> {
    let login = standing.login()?;
    let look = Look {
        lab: wanted,
        engine: standing.engine.as_ref(),
        dir: &standing.dir,
        host: standing.host()?,
        login: &login,
        patience: ANSWER * standing.record.accelerator.patience(),
    };
    let mut lines = Vec::new();
    for node in wanted.nodes.iter().filter(|node| standing.lab.node(node.name.as_str()).is_some()) {
        for (placed, differences) in look.node(node).await? {
            lines.extend(differences.into_iter().map(|difference| Line {
                node: node.name.clone(),
                role: placed.role,
                component: placed.name.to_string(),
                difference,
            }));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    #[test]
    fn machines_are_more_than_parameters() {
        let old = document();
        let mut new = old.clone();
        new.cluster.hba.push("host all all ::/0 md5".into());
        new.cluster.components.get_mut(&Role::Datanode).expect("all five").parameters.clear();
        new.nightly.keep += 1;
        assert!(only_parameters_differ(&new, &old));
        new.cluster.components.get_mut(&Role::Datanode).expect("all five").port += 1;
        assert!(!only_parameters_differ(&new, &old));
        let mut new = old.clone();
        new.nodes.pop();
        assert!(!only_parameters_differ(&new, &old));
    }
}
