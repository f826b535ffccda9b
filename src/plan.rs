//! The plan: what `up` does, as data. It can be printed, compared and run again; no step holds code.
//!
//! Steps that belong together form a chain: they run one after the other and share one token. A node's whole story
//! is one chain, so that under emulation no more guests are busy than the host has cores (99 s against 265 s for
//! the same eight boots).

mod components;
mod failover;
mod fault;
mod leave;

pub use components::{Wish, components};
pub use failover::failover;
pub use fault::{breaking, mending, proving};
pub use leave::leaving;

use crate::{
    engine::Engine,
    lab::{Fault, HostKind, Hosts, Lab, NodeName, Other, Role, Shape},
    settings::Needs,
};
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf};

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Bake the guests' image.
    Image,
    /// Build the engine from source.
    Build,
    /// Have the machine's /etc/hosts name the nodes, if lab.yaml says so.
    Names,
    /// Look whether the lab can live on this machine, beside what others have there.
    Machine,
    /// Have the machine's firewall let the guests in.
    Firewall,
    /// Make the lab's namespaces.
    Namespaces,
    /// Start libvirt in them.
    Libvirt,
    /// Make the lab's network with a reservation for every node.
    Network,
    /// End guests where their nodes are no longer.
    Strays,
    /// Make a host's end of the wire between the hosts.
    Wire {
        /// The host.
        host: NodeName,
    },
    /// Copy image and engine to a host.
    Stock {
        /// The host.
        host: NodeName,
    },
    /// Make and mount the exports.
    Exports,
    /// Serve them.
    Nfs,
    /// Serve the time.
    Time,
    /// Fill the data directories of a node's components, natively on the host.
    Initialise,
    /// Boot a guest of each shape once and keep it with its memory, for nodes to be made from.
    Template {
        /// The shapes.
        shapes: Vec<Shape>,
    },
    /// Define and start a node's domain, and climb the ladder to a login.
    Boot,
    /// Bring the guest to its declared state.
    Tune,
    /// Wait until the node's components serve.
    Serve,
    /// Have the node's servers read their files again.
    Reload,
    /// Have guests let go of those that booted again while they went on.
    LetGo,
    /// Tell a coordinator of all other components.
    Register,
    /// Write through the first coordinator, read through the last.
    Proof,
    /// Start one component of a node, and wait until it serves.
    Start {
        /// Its kind.
        role: Role,
    },
    /// Stop one component of a node, and wait until no process of it is left.
    Stop {
        /// Its kind.
        role: Role,
    },
    /// End what was the GTM, and see to it that it does not come back as one.
    Fence,
    /// Make the standby the GTM.
    Promote {
        /// The GXID that it must not be below.
        gxid: Option<u32>,
    },
    /// Lead the proxy of a node to the new GTM.
    Reconnect,
    /// Start what was the GTM as the standby.
    Rejoin,
    /// Break something on purpose.
    Break {
        /// What.
        fault: Fault,
    },
    /// Undo that; whatever does not come back by itself is left to other steps.
    Mend {
        /// What.
        fault: Fault,
    },
    /// Have a coordinator forget components of other nodes.
    Forget {
        /// Their names.
        names: Vec<String>,
    },
    /// Remove a node's guest with its disks, and its export.
    Dismantle,
    /// Copy exports and disks from a snapshot.
    Place {
        /// The snapshot's directory.
        snapshot: PathBuf,
    },
    /// Start a node's domain with the memory of a snapshot, standing still.
    Load {
        /// The file with its memory.
        memory: PathBuf,
    },
    /// Let all guests go on.
    Resume {
        /// Their nodes.
        nodes: Vec<String>,
    },
    /// Wait until the guests know the present time.
    Settle {
        /// Their nodes.
        nodes: Vec<String>,
    },
    /// Write through every coordinator, and resolve what is in doubt.
    Recover {
        /// The GXID that the GTM must not be below.
        gxid: Option<u32>,
    },
}

/// An action with its place in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step<A = Action> {
    /// Unique name, e.g. `db3/boot`.
    pub id: String,
    /// Node that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it does, for people.
    pub title: &'static str,
    /// What is to be done.
    #[serde(flatten)]
    pub action: A,
    /// Steps of other chains that must have ended well before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

/// Steps that run one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain<A = Action> {
    /// Whether it keeps a core of the host busy: then it holds a token from its first step to its last.
    pub heavy: Heavy,
    /// The steps, in order.
    pub steps: Vec<Step<A>>,
}

/// Whether a chain keeps a core busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Heavy {
    /// It mostly waits.
    No,
    /// It does; such chains get their tokens in the order of the plan.
    Yes,
}

/// Chains in the order in which they should begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan<A = Action> {
    /// The chains.
    pub chains: Vec<Chain<A>>,
}

impl<A> Plan<A> {
    /// All steps, chain by chain.
    pub fn steps(&self) -> impl Iterator<Item = &Step<A>> {
        self.chains.iter().flat_map(|chain| &chain.steps)
    }
}

/// The shapes that are worth a template.
fn template_shapes(lab: &Lab) -> Vec<Shape> {
    let Some(least) = lab.boot.least_clones() else { return Vec::new() };
    lab.shapes().into_iter().filter(|(_, count)| *count >= least).map(|(shape, _)| shape).collect()
}

fn host_step(id: &str, title: &'static str, action: Action) -> Step {
    Step { id: id.into(), node: None, title, action, needs: Vec::new() }
}

/// What guests find on the host, in the order in which it can be made.
fn host_steps(host: HostKind) -> Vec<Step> {
    match host {
        HostKind::Private => vec![
            host_step("namespaces", "make the namespaces", Action::Namespaces),
            host_step("libvirt", "start libvirt", Action::Libvirt),
            host_step("network", "make the network", Action::Network),
            host_step("exports", "mount the exports", Action::Exports),
            host_step("nfs", "start the NFS server", Action::Nfs),
            host_step("time", "start the time server", Action::Time),
        ],
        HostKind::System => vec![
            host_step("machine", "look at this machine", Action::Machine),
            host_step("network", "reserve the addresses", Action::Network),
            host_step("firewall", "let the guests in", Action::Firewall),
            host_step("exports", "mount the exports", Action::Exports),
            host_step("nfs", "export them", Action::Nfs),
            host_step("time", "serve the time", Action::Time),
            host_step("names", "name the nodes", Action::Names),
        ],
    }
}

/// What more there is to do on this machine when guests are on others, too: before anything is served.
fn wire_steps(hosts: &Hosts) -> Vec<Step> {
    let host = hosts.here.name.clone();
    vec![
        host_step(STRAYS, "end guests that moved", Action::Strays),
        host_step(&format!("wire@{host}"), wire_title(hosts), Action::Wire { host }),
    ]
}

fn wire_title(hosts: &Hosts) -> &'static str {
    if hosts.are_bridged() { "join the bridge" } else { "make the wire" }
}

/// The chain of a host that is not this machine.
fn peer_steps(hosts: &Hosts, host: &NodeName, bases: &[String]) -> Vec<Step> {
    // A guest that moved away must not come back into the network with the host that it ran on.
    let mut wire = host_step(&format!("wire@{host}"), wire_title(hosts), Action::Wire { host: host.clone() });
    wire.needs.push(STRAYS.into());
    let mut stock = host_step(&stock_of(host), "copy image and engine", Action::Stock { host: host.clone() });
    stock.needs.extend(bases.iter().cloned());
    vec![wire, stock]
}

const STRAYS: &str = "strays";

fn stock_of(host: &NodeName) -> String {
    format!("stock@{host}")
}

/// The plan that brings changed configuration into effect: the steps of `up` that have to do with it, but one node
/// after the other, so that the cluster loses one at a time, and restarts only where a reload is not enough.
pub fn configure(lab: &Lab, changes: &BTreeMap<String, Needs>) -> Plan {
    let mut nodes: Vec<_> = lab.nodes.iter().filter(|node| changes.contains_key(node.name.as_str())).collect();
    nodes.sort_by_key(|node| node.roles.keys().next().copied());
    let mut steps = Vec::new();
    for node in nodes {
        let name = node.name.as_str();
        let mut step = |what: &str, title: &'static str, action: Action| {
            let (id, node) = (format!("{name}/{what}"), Some(name.to_owned()));
            steps.push(Step { id, node, title, action, needs: Vec::new() });
        };
        step("initialise", "write the configuration", Action::Initialise);
        // Limits in the units hang on parameters.
        step("tune", "tune", Action::Tune);
        if changes[name] == Needs::Reload {
            step("reload", "reload the configuration", Action::Reload);
        }
        step("serve", "wait for the components", Action::Serve);
    }
    steps.push(host_step("proof", "prove the cluster", Action::Proof));
    Plan { chains: vec![Chain { heavy: Heavy::No, steps }] }
}

/// The plan that brings a lab up from nothing, or from anything half made.
pub fn up(lab: &Lab, engine: &dyn Engine) -> Plan {
    let mut here = host_steps(lab.host);
    if let Some(hosts) = &lab.hosts {
        let network = here.iter().position(|step| step.action == Action::Network).map_or(here.len(), |place| place + 1);
        here.splice(network..network, wire_steps(hosts));
    }
    let mut chains = vec![
        Chain { heavy: Heavy::No, steps: vec![host_step("image", "bake the image", Action::Image)] },
        Chain { heavy: Heavy::No, steps: here },
    ];
    let mut ready = vec!["image".to_owned(), "time".to_owned()];
    if engine.build(lab).is_some() {
        // Not beside the bake: both are busy, and the builder root is made from the same mirror.
        let mut build = host_step("build", "build the engine", Action::Build);
        build.needs.push("image".into());
        chains.push(Chain { heavy: Heavy::No, steps: vec![build] });
        ready.push("build".into());
    }
    let bases: Vec<String> = ready.iter().filter(|step| *step != "time").cloned().collect();
    // One without a node needs nothing.
    let used = |other: &&Other| lab.nodes.iter().any(|node| node.on.as_ref() == Some(&other.host.name));
    if let Some(hosts) = &lab.hosts {
        let steps = |other: &Other| peer_steps(hosts, &other.host.name, &bases);
        let used = hosts.others.iter().filter(used);
        chains.extend(used.map(|other| Chain { heavy: Heavy::No, steps: steps(other) }));
    }
    let shapes = template_shapes(lab);
    let template = (!shapes.is_empty()).then(|| {
        let mut step = host_step("template", "boot the template", Action::Template { shapes });
        step.needs.clone_from(&ready);
        step
    });
    // The GTM first: what waits for it may hold a token, so it must have had its own before.
    let mut nodes: Vec<_> = lab.nodes.iter().collect();
    nodes.sort_by_key(|node| node.roles.keys().next().copied().unwrap_or(Role::Coordinator));
    let gtm = lab
        .nodes
        .iter()
        .find(|node| node.roles.contains_key(&Role::Gtm) && engine.runs(Role::Gtm))
        .map(|node| format!("{}/serve", node.name));
    // Before the nodes, whose native work can go on beside it.
    chains.extend(template.iter().map(|step| Chain { heavy: Heavy::Yes, steps: vec![step.clone()] }));
    for node in &nodes {
        let name = node.name.as_str();
        let step = |what: &str, title: &'static str, action: Action| Step {
            id: format!("{name}/{what}"),
            node: Some(name.to_owned()),
            title,
            action,
            needs: Vec::new(),
        };
        let runs = node.roles.keys().any(|role| engine.runs(*role));
        let mut boot = step("boot", "boot", Action::Boot);
        boot.needs.extend(template.iter().map(|template| template.id.clone()));
        boot.needs.extend(lab.host_of(node).map(|other| stock_of(&other.host.name)));
        let mut steps = vec![boot, step("tune", "tune", Action::Tune)];
        if runs {
            steps.insert(0, step("initialise", "initialise", Action::Initialise));
            let mut serve = step("serve", "start the components", Action::Serve);
            serve.needs.extend(gtm.iter().filter(|gtm| **gtm != serve.id).cloned());
            steps.push(serve);
        }
        steps[0].needs.extend(ready.iter().cloned());
        chains.push(Chain { heavy: Heavy::Yes, steps });
    }
    // One after the other: two coordinators that run their first DDL at once can dead-lock (spec 2.9).
    let mut cluster: Vec<Step> = lab
        .placed(Role::Coordinator)
        .iter()
        .map(|coordinator| Step {
            id: format!("{}/register", coordinator.node.name),
            node: Some(coordinator.node.name.to_string()),
            title: "register the nodes",
            action: Action::Register,
            needs: Vec::new(),
        })
        .collect();
    if cluster.is_empty() {
        // Plain VMs: there is nothing to be registered or proved.
        return Plan { chains };
    }
    // A coordinator that waits for a server that is gone does not listen.
    cluster.insert(0, host_step("let-go", "let go of lost guests", Action::LetGo));
    cluster.push(host_step("proof", "prove the cluster", Action::Proof));
    let last: Vec<String> = chains
        .iter()
        .filter(|chain| chain.heavy == Heavy::Yes)
        .filter_map(|chain| chain.steps.last())
        .filter(|step| step.node.is_some())
        .map(|step| step.id.clone())
        .collect();
    cluster[0].needs = last;
    chains.push(Chain { heavy: Heavy::No, steps: cluster });
    Plan { chains }
}
