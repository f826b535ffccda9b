//! The step that has the servers of a node read their files again.

use super::{cluster::until_seen, site::Site};
use crate::{
    engine::{ComponentSetup, Ready},
    error::{Class, Error, Result},
    event::Outcome,
    plan::Step,
    settings::Look,
};
use std::time::{Duration, Instant};

/// How long servers may take to read their files: they do when they are next idle.
const TAKES: Duration = Duration::from_secs(10);
/// How often they are asked: each question costs an emulated guest a new backend.
const ASK: Duration = Duration::from_millis(700);

impl Site {
    pub(super) async fn reload(&self, step: &Step) -> Result<Outcome> {
        let node = self.node_of(step)?;
        let components = self.components(node);
        // Databases only: every signal ends the GTM and its proxies (spec 2.5).
        let databases = components.iter().filter(|component| matches!(component.ready, Ready::Query { .. }));
        let units: Vec<&str> = databases.map(|component| component.unit.as_str()).collect();
        let files = |component: &ComponentSetup| component.files.iter().map(until_seen).collect::<String>();
        let script = format!("{}{}", components.iter().map(files).collect::<String>(), self.init().reload(&units));
        self.shell(node).await?.script("reload the configuration", &script).await?;
        self.progress(&step.id, "waits for the new values");
        let look = Look {
            lab: &self.lab,
            engine: self.engine.as_ref(),
            dir: &self.dir,
            host: self.host()?,
            login: &self.login,
            patience: self.patience(TAKES),
        };
        let deadline = Instant::now() + self.patience(TAKES);
        loop {
            let left = look.node(node).await?.into_iter().find_map(|(placed, mut left)| Some((placed, left.pop()?)));
            let Some((placed, left)) = left else { break };
            if Instant::now() > deadline {
                let (name, parameter) = (placed.name, left.parameter);
                return Err(Error::new(Class::Cluster, format!("`{name}` does not take `{parameter}` at a reload"))
                    .hint(format!("`pgxc-lab logs {} --component {}` says why", node.name, placed.role.as_str())));
            }
            tokio::time::sleep(ASK).await;
        }
        self.record_start(node).await?;
        Ok(Outcome::Changed(format!("reloaded {}", units.join(", "))))
    }
}
