//! Steps of `start` and `stop`: one component each. What counts is what is seen: it answers, or no process of it is
//! left. Exit codes of the programs say neither (spec 2.3, 2.6).

use super::site::Site;
use crate::{
    engine::ComponentSetup,
    error::{Class, Error, Result},
    event::Outcome,
    executor::Foresight,
    hypervisor::DomainState,
    journal::Entry,
    lab::{Node, Placed, Role},
    plan::Step,
};

impl Site {
    pub(super) async fn foresee_start(&self, step: &Step, role: Role) -> Result<Foresight> {
        let (placed, setup) = self.component_of(step, role)?;
        if !self.is_running(placed.node).await? {
            return Err(Error::new(Class::Guest, format!("the guest `{}` does not run", placed.node.name))
                .hint("`pgxc-lab up` boots it, and everything on it starts"));
        }
        Ok(match self.serves(placed.node, &setup).await {
            Ok(()) => Foresight::Holds(format!("`{}` serves", placed.name)),
            Err(_) => Foresight::Changes,
        })
    }

    pub(super) async fn start(&self, step: &Step, role: Role) -> Result<Outcome> {
        let (placed, setup) = self.component_of(step, role)?;
        self.wake(placed.node, &setup).await?;
        self.wait_for_service(&step.id, placed.node, &setup, self.serving_deadline()).await?;
        Ok(Outcome::Changed(format!("`{}` serves", placed.name)))
    }

    pub(super) async fn foresee_stop(&self, step: &Step, role: Role) -> Result<Foresight> {
        let (placed, setup) = self.component_of(step, role)?;
        if self.is_off(placed.node).await? {
            return Ok(Foresight::Holds("the guest does not run".into()));
        }
        let seen = self.shell(placed.node).await?.script("look for processes", &is_stopped(&setup)).await;
        Ok(match seen {
            Ok(_) => Foresight::Holds(format!("`{}` does not run", placed.name)),
            Err(_) => Foresight::Changes,
        })
    }

    pub(super) async fn stop_component(&self, step: &Step, role: Role) -> Result<Outcome> {
        let (placed, setup) = self.component_of(step, role)?;
        self.halt(placed.node, &setup).await?;
        Ok(Outcome::Changed(format!("`{}` is stopped, no process of it is left", placed.name)))
    }

    /// Stops a component the fast way, and sees to it that no process of it is left.
    pub(super) async fn halt(&self, node: &Node, setup: &ComponentSetup) -> Result<()> {
        // `up` must not believe any more that this node's components serve.
        self.journal.write(Entry::Intent { step: format!("{}/serve", node.name) })?;
        let script = format!("systemctl stop {}\n{}", setup.unit, is_stopped(setup));
        let stopped = self.shell(node).await?.script("stop a component", &script).await;
        stopped.map(drop).map_err(|error| {
            error.context(format!("`{}` of `{}` does not end", setup.unit, node.name)).hint(format!(
                "`pgxc-lab ssh {} -- systemctl status {}` shows what it is waiting for",
                node.name, setup.unit
            ))
        })
    }

    /// Whether the domain of a node runs.
    pub(super) async fn is_running(&self, node: &Node) -> Result<bool> {
        Ok(self.domain(node).await?.is_some_and(|domain| domain.state == DomainState::Running))
    }

    /// Whether nothing of a node's guest is in memory: one that is paused or crashed could go on as what it was.
    pub(super) async fn is_off(&self, node: &Node) -> Result<bool> {
        Ok(self.domain(node).await?.is_none_or(|domain| domain.state == DomainState::Off))
    }

    pub(super) fn component_of(&self, step: &Step, role: Role) -> Result<(Placed<'_>, ComponentSetup)> {
        let node = self.node_of(step)?;
        let placed = self.lab.components_of(node).into_iter().find(|placed| placed.role == role);
        let placed =
            placed.ok_or_else(|| Error::new(Class::Internal, format!("`{}` has no {}", node.name, role.as_str())))?;
        Ok((placed, self.engine.component(&self.lab, placed)))
    }
}

/// Shell text that succeeds when a component does not run, by what systemd knows and by what is there: its servers
/// work in its data directory, also one that somebody started by hand. No process is started for it.
pub(super) fn is_stopped(setup: &ComponentSetup) -> String {
    format!(
        "state=$(systemctl show --value -p ActiveState {unit})\n\
         case $state in inactive | failed) ;; *) echo \"systemd says: $state\" >&2; exit 1 ;; esac\n\
         for process in /proc/[0-9]*; do\n  [ \"$process/cwd\" -ef {directory} ] || continue\n  name=\n  read -r name <\"$process/comm\"\n  \
         case $name in gtm | gtm_proxy | postgres) echo \"still there: $name, process ${{process#/proc/}}\" >&2; exit 1 ;; esac\ndone\nexit 0\n",
        unit = setup.unit,
        directory = setup.directory,
    )
}
