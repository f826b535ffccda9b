//! Steps of nodes that leave: coordinators forget them, and what they consist of is removed.

use super::{site::Site, template::is_template};
use crate::{
    error::{Class, Result, ResultExt},
    event::Outcome,
    executor::Foresight,
    journal::Entry,
    lab::{HostKind, Identifier, NodeName},
    plan::Step,
};
use std::{fs, io, path::Path};

/// What `up` may have noted as done for a node: a later one of the same name begins anew.
const DONE: [&str; 6] = ["initialise", "boot", "tune", "serve", "register", "reload"];

/// The step under which the journal has that a node was seen to hold nothing, until it is gone.
pub fn leave_step(node: &NodeName) -> String {
    format!("{node}/leave")
}

impl Site {
    pub(super) async fn foresee_forget(&self, step: &Step, names: &[String]) -> Result<Foresight> {
        Ok(match self.to_be_forgotten(step, names).await?.is_empty() {
            true => Foresight::Holds("it knows none of them".into()),
            false => Foresight::Changes,
        })
    }

    pub(super) async fn forget(&self, step: &Step, names: &[String]) -> Result<Outcome> {
        let on = self.coordinator_of(step)?;
        let server = self.sql(on).await?;
        let statements = self.to_be_forgotten(step, names).await?;
        for statement in &statements {
            self.log(on.node, &format!("# {}: {statement}", on.name));
            server.query(statement).await?;
        }
        Ok(Outcome::Changed(format!("`{}` knows {} no more", on.name, names.join(", "))))
    }

    async fn to_be_forgotten(&self, step: &Step, names: &[String]) -> Result<Vec<String>> {
        let on = self.coordinator_of(step)?;
        let gone: Vec<Identifier> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let rows = self.sql(on).await?.query(self.engine.inventory()).await?;
        Ok(self.engine.farewell(&self.lab, &gone, &rows))
    }

    /// Removes whatever a node consists of. What is gone already, since an earlier run was cut short, stays gone.
    pub(super) async fn dismantle(&self, step: &Step) -> Result<Outcome> {
        let node = self.node_of(step)?;
        let name = node.name.as_str();
        for what in DONE {
            self.journal.write(Entry::Intent { step: format!("{name}/{what}") })?;
        }
        self.stop(node).await?;
        let domain = name.to_owned();
        self.libvirt(move |libvirt| libvirt.remove(&domain)).await?;
        self.forget_overlay(node);
        let key = self.keys.host_key(name);
        for file in [self.dir.seed(name), key.with_extension("host.pub"), key] {
            remove(&file)?;
        }
        if self.lab.host == HostKind::System {
            self.withdraw_export(node).await?;
        }
        let export = self.exports()?.directory(name);
        let script = format!("rm -rf --one-file-system '{}'\n", export.display());
        self.host()?.script(&format!("remove the export of `{name}`"), Class::Host, &script).await?;
        self.journal.write(Entry::Intent { step: leave_step(&node.name) })?;
        Ok(Outcome::Changed("its guest, its disks and its export are gone".into()))
    }

    /// What to say of guests of the lab that none of its nodes has: lab.yaml lost them, and nobody took them away.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub async fn left_guests(&self) -> Result<Vec<String>> {
        if !self.libvirt_is_there() {
            return Ok(Vec::new());
        }
        let lost = self.domains().await?.into_iter().filter(|domain| !is_template(domain));
        let lost = lost.map(|domain| domain.name).filter(|name| self.lab.node(name).is_none());
        Ok(lost
            .map(|name| {
                format!(
                    "guest `{name}` is not in lab.yaml any more and is left as it is: write it back, and \
                     `pgxc-lab scale remove {name}` takes it away"
                )
            })
            .collect())
    }
}

/// Removes a file that may be gone already.
fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.or_error(Class::Host, || format!("cannot remove `{}`", file.display())),
    }
}
