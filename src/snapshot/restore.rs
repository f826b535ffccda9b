//! Bringing a lab back: everything is checked before anything is touched, then the lab is replaced and its guests go on.

use super::{Kind, Manifest, replace};
use crate::{
    apply::Site,
    engine::Engine,
    error::{Class, Error, Result},
    event::{Events, Outcome},
    host::{Home, LabDir, system},
    journal::Journal,
    lab::Lab,
    plan::{self, Action, Chain, Heavy, Plan, Step},
    prepare,
};
use std::path::Path;

/// The plan of a restore.
pub fn plan(lab: &Lab, engine: &dyn Engine, manifest: &Manifest, snapshot: &Path) -> Plan {
    let step = |id: String, node: Option<&str>, title, action, needs: &[&str]| Step {
        id,
        node: node.map(str::to_owned),
        title,
        action,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
    };
    let place =
        step("place".into(), None, "place exports and disks", Action::Place { snapshot: snapshot.to_owned() }, &[]);
    let mut up = plan::up(lab, engine);
    // A lab of plain VMs has no cluster.
    let proved = up.steps().any(|step| step.action == Action::Proof);
    for step in up.chains.iter_mut().flat_map(|chain| &mut chain.steps) {
        if step.action == Action::Exports {
            step.needs.push("place".into());
        }
    }
    let mut chains = vec![Chain { heavy: Heavy::No, steps: vec![place] }];
    if manifest.kind == Kind::DiskOnly {
        // The guests boot, so everything is as in `up` on a lab whose power was cut.
        chains.extend(up.chains);
        return Plan { chains };
    }
    chains.extend(up.chains.into_iter().filter(|chain| {
        // The host's own chain: whatever the guests' would do is in their memory.
        chain.steps.iter().any(|step| step.action == Action::Namespaces)
    }));
    let running: Vec<String> =
        manifest.nodes.iter().filter(|node| node.running).map(|node| node.name.clone()).collect();
    let mut loads = Vec::new();
    for name in &running {
        let id = format!("{name}/load");
        loads.push(id.clone());
        let memory = snapshot.join("memory").join(name);
        let steps = vec![step(id, Some(name), "read memory", Action::Load { memory }, &["time", "place"])];
        chains.push(Chain { heavy: Heavy::Yes, steps });
    }
    let mut resume = step("resume".into(), None, "go on", Action::Resume { nodes: running.clone() }, &[]);
    resume.needs = loads;
    chains.push(Chain { heavy: Heavy::No, steps: vec![resume] });
    let settle = Action::Settle { nodes: running };
    chains.push(Chain {
        heavy: Heavy::No,
        steps: vec![step("settle".into(), None, "set the clocks", settle, &["resume"])],
    });
    if manifest.serving && proved {
        // Beside the clocks: both mostly wait.
        let recover = Action::Recover { gxid: manifest.gxid };
        let recover = step("recover".into(), None, "prove the cluster", recover, &["resume"]);
        chains.push(Chain { heavy: Heavy::No, steps: vec![recover] });
    }
    Plan { chains }
}

/// A site that the plan can run on. From here on the lab is the snapshot's.
///
/// # Errors
/// When this machine cannot run it (before anything was touched), or the old lab does not go away.
pub async fn prepare(home: &Home, manifest: &Manifest, snapshot: &Path, events: &Events) -> Result<Site> {
    let dir = home.lab(&manifest.lab);
    let preview = prepare::recorded(
        home.clone(),
        dir.clone(),
        &LabDir::at(snapshot),
        &manifest.record,
        Journal::read(&snapshot.join("journal.jsonl"))?,
        events.clone(),
    )?;
    if system::is_entangled(&dir)? {
        return Err(Error::new(
            Class::Host,
            format!(
                "lab `{}` lives on this machine itself (`host: system`): a snapshot cannot replace it",
                manifest.lab
            ),
        )
        .hint(format!("`pgxc-lab destroy --lab {}` first", manifest.lab)));
    }
    check_machine(&preview, manifest).await?;
    prepare::check_room(&preview.lab, &preview.home, &dir)?;
    let (old, from, new) = (dir.clone(), snapshot.to_owned(), manifest.clone());
    events
        .blocking_step("clear", "end the old lab", move || {
            replace::begin(&old, &from, &new)?;
            Ok(Outcome::Changed("nothing of the old lab runs".into()))
        })
        .await?;
    let journal = Journal::open(&dir.journal())?;
    prepare::recorded(home.clone(), dir.clone(), &dir, &manifest.record, journal, events.clone())
}

/// Memory can be read only by the machine that wrote it: the same devices, made by the same hypervisor.
async fn check_machine(site: &Site, manifest: &Manifest) -> Result<()> {
    if manifest.kind == Kind::DiskOnly {
        return Ok(());
    }
    let refuse = |what: String| {
        Err(Error::new(Class::Host, what).hint(
            "nothing was touched; the data of the snapshot are in its exports and disks: `pgxc-lab snapshot show` tells where",
        ))
    };
    let text = crate::host::qemu_version()?;
    let qemu = text.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or_default();
    if qemu != manifest.versions.qemu {
        return refuse(format!(
            "snapshot `{}` was made with qemu {}, here is {qemu}: it cannot be trusted to read that memory",
            manifest.name, manifest.versions.qemu
        ));
    }
    for state in &manifest.nodes {
        let same = match site.lab.node(&state.name) {
            Some(node) => site.machine(node)? == state.machine,
            None => false,
        };
        if !same {
            return refuse(format!(
                "pgxc-lab {} makes `{}` another machine than {} did: its memory does not fit",
                env!("CARGO_PKG_VERSION"),
                state.name,
                manifest.versions.pgxc_lab
            ));
        }
    }
    Ok(())
}
