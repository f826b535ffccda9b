//! `status`: nodes and components as they are, not as they were.

use crate::{
    apply,
    cli::Arguments,
    context::Standing,
    error::{Class, Result},
    hypervisor::{DomainState, Libvirt, SeenDomain},
    lab::{Failover, Role},
    ui::Table,
};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinSet};

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(2);
/// How long a component may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Nodes and components as they were seen.
#[derive(Serialize)]
pub(super) struct Status {
    lab: String,
    engine: &'static str,
    accelerator: &'static str,
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failover: Option<Failover>,
    nodes: Vec<NodeStatus>,
}

#[derive(Serialize)]
struct NodeStatus {
    node: String,
    address: String,
    memory: String,
    domain: String,
    components: Vec<ComponentStatus>,
}

#[derive(Serialize)]
struct ComponentStatus {
    role: Role,
    name: String,
    port: u16,
    serves: bool,
    detail: String,
}

/// Shows the lab; the exit code tells whether everything serves.
///
/// # Errors
/// When there is no such lab.
pub async fn run(arguments: &Arguments, watch: bool) -> Result<u8> {
    loop {
        let status = look(&Standing::find(arguments)?).await?;
        if watch && !arguments.json {
            super::print("\x1b[H\x1b[2J")?;
        }
        if arguments.json {
            super::print_json(&status)?;
        } else {
            show(&status)?;
        }
        if !watch {
            return Ok(if status.healthy { 0 } else { Class::Cluster.exit_code() });
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(0),
        }
    }
}

/// Looks at every domain and component.
///
/// # Errors
/// When the password was never made.
pub(super) async fn look(standing: &Standing) -> Result<Status> {
    let domains = domains(standing).await?;
    let tokens = Arc::new(Semaphore::new(standing.record.accelerator.tokens() * 2));
    let login = standing.login()?;
    let mut tasks = JoinSet::new();
    for (place, node) in standing.lab.nodes.iter().enumerate() {
        let running =
            domains.iter().any(|domain| domain.name == node.name.as_str() && domain.state == DomainState::Running);
        for placed in standing.lab.components_of(node).into_iter().filter(|placed| standing.engine.runs(placed.role)) {
            let setup = standing.engine.component(&standing.lab, placed);
            let (role, name, port) = (placed.role, placed.name.to_string(), placed.component.port);
            let (host, node, dir, mount) =
                (standing.host.clone(), node.clone(), standing.dir.clone(), standing.lab.nfs.mount.clone());
            let (tokens, login) = (tokens.clone(), login.clone());
            tasks.spawn(async move {
                let _token = tokens.acquire_owned().await;
                let seen = match host {
                    Some(host) if running => {
                        apply::answers(&host, &dir, &mount, &node, &setup.ready, &login, ANSWER).await
                    }
                    _ => Err(crate::error::Error::new(Class::Guest, "the guest does not run")),
                };
                let detail = seen.as_ref().err().map(|error| error.message().to_owned()).unwrap_or_default();
                (place, ComponentStatus { role, name, port, serves: seen.is_ok(), detail })
            });
        }
    }
    let mut components = tasks.join_all().await;
    components.sort_by(|a, b| (a.0, a.1.role).cmp(&(b.0, b.1.role)));
    let mut nodes: Vec<NodeStatus> = standing
        .lab
        .nodes
        .iter()
        .map(|node| NodeStatus {
            node: node.name.to_string(),
            address: node.address.to_string(),
            memory: node.memory.to_string(),
            domain: domains
                .iter()
                .find(|domain| domain.name == node.name.as_str())
                .map_or("absent", |domain| domain.state.as_str())
                .to_owned(),
            components: Vec::new(),
        })
        .collect();
    for (place, component) in components {
        nodes[place].components.push(component);
    }
    let healthy = standing.record.check_failover().is_ok()
        && nodes
            .iter()
            .all(|node| node.domain == "running" && node.components.iter().all(|component| component.serves));
    Ok(Status {
        lab: standing.lab.name.to_string(),
        engine: standing.record.engine.as_str(),
        accelerator: standing.record.accelerator.as_str(),
        healthy,
        failover: standing.record.failover.clone(),
        nodes,
    })
}

async fn domains(standing: &Standing) -> Result<Vec<SeenDomain>> {
    let Some(host) = &standing.host else { return Ok(Vec::new()) };
    let (uri, lab) = (host.libvirt_uri(), standing.lab.name.to_string());
    let seen = tokio::task::spawn_blocking(move || Libvirt::open(&uri)?.domains(&lab)).await;
    // A lab whose libvirt never started has no domains yet.
    Ok(seen.ok().and_then(Result::ok).unwrap_or_default())
}

fn show(status: &Status) -> Result<()> {
    let mut table = Table::new().left("NODE").left("ADDRESS").right("MEMORY").left("DOMAIN").left("COMPONENTS");
    for node in &status.nodes {
        let components: Vec<String> = node
            .components
            .iter()
            .map(|component| {
                format!("{}:{} {}", component.name, component.port, if component.serves { "serves" } else { "DOWN" })
            })
            .collect();
        let components = if components.is_empty() { "-".to_owned() } else { components.join(", ") };
        table.row([node.node.clone(), node.address.clone(), node.memory.clone(), node.domain.clone(), components]);
    }
    super::print(&format!("lab {}, engine {}, {}\n{table}", status.lab, status.engine, status.accelerator))?;
    match &status.failover {
        Some(Failover::Done { gtm }) => super::print(&format!("the GTM is on {gtm} since a failover\n")).map(drop)?,
        Some(Failover::Begun { gtm }) => {
            eprintln!("a failover of the GTM to {gtm} did not end: `pgxc-lab failover gtm` goes on with it");
        }
        None => {}
    }
    for node in &status.nodes {
        for component in node.components.iter().filter(|component| !component.serves) {
            eprintln!("{} of {}: {}", component.name, node.node, component.detail);
        }
    }
    Ok(())
}
