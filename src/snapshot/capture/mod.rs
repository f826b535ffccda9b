//! Taking a snapshot: look, write most of the memory while guests run, let all stand still, copy, let them go on,
//! hash, and only then name what was taken.

mod still;
mod survey;

use super::{FORMAT, FileRecord, Guardian, Inputs, Kind, Manifest, NodeState, Part, Pause, Versions, bases};
use crate::{
    apply::Site,
    context::Record,
    error::{Class, Error, Result},
    event::Outcome,
    executor::{Apply, Foresight},
    lab::Node,
    plan::{Chain, Heavy, Plan, Step},
};
use jiff::Timestamp;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// What a step of taking a snapshot does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Look: who runs, who serves, is there room.
    Survey,
    /// Write most of a guest's memory while it runs.
    Memory,
    /// Copy the exports while guests run: most of it will still be right when they stand still.
    Exports,
    /// Let all guests stand still, copy, let them go on.
    Still,
    /// Hash what was copied.
    Hash,
}

/// What is known so far.
#[derive(Default)]
struct Seen {
    running: Vec<String>,
    serving: bool,
    gxid: Option<u32>,
    wal: BTreeMap<String, BTreeMap<String, String>>,
    versions: Option<Versions>,
    /// Since when guests stand still that had all their memory written early.
    early: Option<Instant>,
    made: Option<Timestamp>,
    pause: Pause,
    files: BTreeMap<String, FileRecord>,
}

/// A snapshot that is being taken.
pub struct Capture {
    site: Site,
    record: Record,
    kind: Kind,
    directory: PathBuf,
    seen: Mutex<Seen>,
    guardian: tokio::sync::Mutex<Option<Guardian>>,
}

/// The plan of taking a snapshot of this lab.
pub fn plan(site: &Site, kind: Kind) -> Plan<Action> {
    let step = |id: String, node: Option<&Node>, title, action, needs| Step {
        id,
        node: node.map(|node| node.name.to_string()),
        title,
        action,
        needs,
    };
    let survey = step("survey".into(), None, "look at the lab", Action::Survey, Vec::new());
    let mut chains = vec![Chain { heavy: Heavy::No, steps: vec![survey] }];
    let exports = step("exports".into(), None, "copy the exports", Action::Exports, vec!["survey".into()]);
    chains.push(Chain { heavy: Heavy::No, steps: vec![exports] });
    let mut before = vec!["exports".to_owned()];
    if kind == Kind::Memory {
        for node in &site.lab.nodes {
            let id = format!("{}/memory", node.name);
            before.push(id.clone());
            let steps = vec![step(id, Some(node), "write memory", Action::Memory, vec!["survey".into()])];
            chains.push(Chain { heavy: Heavy::Yes, steps });
        }
    }
    let still = step("still".into(), None, "stand still and copy", Action::Still, before);
    let hash = step("hash".into(), None, "hash the files", Action::Hash, Vec::new());
    chains.push(Chain { heavy: Heavy::No, steps: vec![still, hash] });
    Plan { chains }
}

impl Capture {
    /// Of a lab into a directory.
    pub fn new(site: Site, record: Record, kind: Kind, part: &Part) -> Capture {
        let directory = part.path().to_owned();
        Capture { site, record, kind, directory, seen: Mutex::default(), guardian: tokio::sync::Mutex::default() }
    }

    /// The site that it is taken of.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Lets every guest go on, whatever happened.
    ///
    /// # Errors
    /// When one does not.
    pub async fn recover(&self) -> Result<()> {
        match self.guardian.lock().await.take() {
            Some(guardian) => guardian.recover(&self.site.dir).await,
            None => Ok(()),
        }
    }

    /// What the snapshot says of itself, after the last step ended well.
    ///
    /// # Errors
    /// When a base of the guests' disks is not in the cache.
    pub fn manifest(&self, name: &str, note: Option<String>, pristine: Option<Inputs>) -> Result<Manifest> {
        let seen = self.seen();
        let incomplete = || Error::new(Class::Internal, "a snapshot was to be named before it was whole");
        let nodes = self.site.lab.nodes.iter().map(|node| {
            Ok(NodeState {
                name: node.name.to_string(),
                mac: node.mac.to_string(),
                running: seen.running.contains(&node.name.to_string()),
                machine: self.site.machine(node)?,
                wal: seen.wal.get(node.name.as_str()).cloned().unwrap_or_default(),
            })
        });
        let plan = crate::plan::up(&self.site.lab, self.site.engine.as_ref());
        Ok(Manifest {
            format: FORMAT,
            lab: self.site.lab.name.to_string(),
            name: name.to_owned(),
            note,
            made: seen.made.ok_or_else(incomplete)?,
            kind: self.kind,
            pristine,
            record: self.record.clone(),
            lab_lock: fs::read_to_string(crate::prepare::LockFile::path(&self.record.lab_file)).ok(),
            complete: plan.steps().all(|step| is_shared(step) || self.site.journal.done(&step.id).is_some()),
            serving: seen.serving,
            files: seen.files.clone(),
            bases: bases(&self.site.home, &self.record.uses)?,
            nodes: nodes.collect::<Result<_>>()?,
            pause: seen.pause,
            gxid: seen.gxid,
            versions: seen.versions.clone().ok_or_else(incomplete)?,
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Apply for Capture {
    type Action = Action;

    async fn foresee(&self, _: &Step<Action>) -> Result<Foresight> {
        Ok(Foresight::Changes)
    }

    async fn act(&self, step: &Step<Action>) -> Result<(Outcome, String)> {
        let outcome = match step.action {
            Action::Survey => self.survey().await?,
            Action::Memory => self.memory(step).await?,
            Action::Exports => self.exports().await?,
            Action::Still => self.still(step).await?,
            Action::Hash => self.hash().await?,
        };
        Ok((outcome, String::new()))
    }
}

/// Whether a step's result lies in the cache or in the host, and so outside of what the journal must tell.
fn is_shared(step: &Step) -> bool {
    step.node.is_none() && step.action != crate::plan::Action::Proof
}
