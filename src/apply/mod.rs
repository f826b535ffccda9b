//! From a step to its effect: the only bridge between the plan and the world.

mod away;
mod base;
mod cluster;
mod components;
mod doubt;
mod failover;
mod fault;
mod guest;
mod ladder;
mod leave;
mod let_go;
mod native;
mod reload;
mod revive;
mod seed;
mod site;
mod system;
mod talk;
mod template;
mod warm;

pub use cluster::answers;
pub use leave::leave_step;
pub use site::{Parts, Site};

use crate::{
    error::Result,
    event::Outcome,
    executor::{Apply, Foresight},
    lab::HostKind,
    plan::{Action, Step},
};

impl Apply for Site {
    type Action = Action;

    async fn foresee(&self, step: &Step) -> Result<Foresight> {
        match &step.action {
            Action::Image => Ok(self.foresee_image()),
            Action::Build => Ok(self.foresee_build()),
            Action::Namespaces => Ok(self.foresee_namespaces()),
            Action::Libvirt => self.foresee_libvirt().await,
            Action::Strays => self.foresee_strays().await,
            Action::Wire { host } => self.foresee_wire(host).await,
            Action::Stock { host } => self.foresee_stock(host).await,
            Action::Machine => Ok(self.foresee_machine()),
            Action::Names => self.foresee_names(),
            Action::Firewall => self.foresee_firewall().await,
            Action::Network => match self.lab.host {
                HostKind::Private => self.foresee_network().await,
                HostKind::System => self.foresee_reservations().await,
            },
            Action::Exports => match self.lab.host {
                HostKind::Private => self.foresee_exports(),
                HostKind::System => self.foresee_system_exports(),
            },
            Action::Nfs => match self.lab.host {
                HostKind::Private => self.foresee_nfs().await,
                HostKind::System => self.foresee_system_nfs(),
            },
            Action::Time => match self.lab.host {
                HostKind::Private => self.foresee_time().await,
                HostKind::System => Ok(self.foresee_system_time()),
            },
            Action::Initialise => self.foresee_initialise(step),
            Action::Template { shapes } => self.foresee_template(shapes),
            Action::Boot => self.foresee_boot(step).await,
            Action::Tune => self.foresee_tune(step).await,
            Action::Serve => self.foresee_serve(step).await,
            Action::LetGo => Ok(self.foresee_let_go()),
            Action::Register => self.foresee_register(step).await,
            Action::Proof => Ok(self.foresee_proof(step).await),
            Action::Start { role } => self.foresee_start(step, *role).await,
            Action::Stop { role } => self.foresee_stop(step, *role).await,
            Action::Fence => self.foresee_fence(step).await,
            Action::Promote { .. } | Action::Reconnect | Action::Rejoin => Ok(Foresight::Changes),
            Action::Break { .. } | Action::Mend { .. } => Ok(Foresight::Changes),
            Action::Forget { names } => self.foresee_forget(step, names).await,
            Action::Dismantle => Ok(Foresight::Changes),
            // A reload or restore never finds its work done: it was asked for.
            Action::Reload
            | Action::Place { .. }
            | Action::Load { .. }
            | Action::Resume { .. }
            | Action::Settle { .. }
            | Action::Recover { .. } => Ok(Foresight::Changes),
        }
    }

    async fn act(&self, step: &Step) -> Result<(Outcome, String)> {
        let outcome = match &step.action {
            Action::Image => self.image(step).await?,
            Action::Build => self.build().await?,
            Action::Namespaces => self.namespaces().await?,
            Action::Libvirt => self.services()?.libvirt().await?,
            Action::Strays => self.end_strays().await?,
            Action::Wire { host } => self.join_wire(host).await?,
            Action::Stock { host } => self.stock(host).await?,
            Action::Machine => self.take_machine().await?,
            Action::Names => self.name_nodes().await?,
            Action::Firewall => self.let_guests_in().await?,
            Action::Network => match self.lab.host {
                HostKind::Private => self.network().await?,
                HostKind::System => self.reserve().await?,
            },
            Action::Exports => match self.lab.host {
                HostKind::Private => self.exports()?.ensure(&self.lab).await?,
                HostKind::System => self.mount_system_exports().await?,
            },
            Action::Nfs => match self.lab.host {
                HostKind::Private => self.services()?.nfs(&self.lab).await?,
                HostKind::System => self.serve_system_nfs().await?,
            },
            Action::Time => match self.lab.host {
                HostKind::Private => self.services()?.time(&self.lab).await?,
                HostKind::System => self.serve_system_time().await?,
            },
            Action::Initialise => self.initialise(step).await?,
            Action::Template { shapes } => self.template(step, shapes).await?,
            Action::Boot => self.boot(step).await?,
            Action::Tune => self.tune(step).await?,
            Action::Serve => self.serve(step).await?,
            Action::Reload => self.reload(step).await?,
            Action::LetGo => self.let_go(step).await?,
            Action::Register => self.register(step).await?,
            Action::Proof => self.proof(step).await?,
            Action::Start { role } => self.start(step, *role).await?,
            Action::Stop { role } => self.stop_component(step, *role).await?,
            Action::Fence => self.fence(step).await?,
            Action::Promote { gxid } => self.promote(step, *gxid).await?,
            Action::Reconnect => self.reconnect(step).await?,
            Action::Rejoin => self.rejoin(step).await?,
            Action::Forget { names } => self.forget(step, names).await?,
            Action::Dismantle => self.dismantle(step).await?,
            Action::Break { fault } => self.make(fault).await?,
            Action::Mend { fault } => self.mend(step, fault).await?,
            Action::Place { snapshot } => self.place(snapshot).await?,
            Action::Load { memory } => self.load(step, memory).await?,
            Action::Resume { nodes } => self.resume(nodes).await?,
            Action::Settle { nodes } => self.settle(step, nodes).await?,
            Action::Recover { gxid } => self.recover(step, *gxid).await?,
        };
        Ok((outcome, self.digest_of(step).await?))
    }
}

impl Site {
    /// Digest of everything that decides what a step did, as far as the next run cannot see it.
    async fn digest_of(&self, step: &Step) -> Result<String> {
        match &step.action {
            Action::Boot => self.run_of(self.node_of(step)?).await,
            Action::Tune => self.tune_digest(self.node_of(step)?).await,
            Action::Serve => self.serve_digest(self.node_of(step)?).await,
            Action::Proof => Ok(self.proof_digest()),
            _ => Ok(String::new()),
        }
    }
}
