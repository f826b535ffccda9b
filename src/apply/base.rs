//! Steps of the host: image, engine build, namespaces, network, daemons.

use super::site::Site;
use crate::{
    error::{Class, Error, Result},
    event::Outcome,
    executor::Foresight,
    host::{Host, Private},
    hypervisor::{NetworkDefinition, reservations},
    image::{Sources, Workshop},
    lab::Hosts,
    plan::Step,
    prepare,
};

impl Site {
    pub(super) fn foresee_image(&self) -> Foresight {
        if self.image.is_baked() {
            Foresight::Holds(format!("{} is in the cache", self.image.id()))
        } else {
            Foresight::Changes
        }
    }

    pub(super) async fn image(&self, step: &Step) -> Result<Outcome> {
        let disks = self.home.disks();
        let workshop = Workshop {
            log: &self.dir.join("logs/image.log"),
            accelerator: self.accelerator,
            sources: Sources::new(&self.lab, &self.image.definition.name, &disks, prepare::is_offline()),
            events: &self.events,
            step: &step.id,
        };
        self.image.ensure(&workshop).await
    }

    pub(super) fn foresee_build(&self) -> Foresight {
        match &self.kit {
            Some(kit) if !kit.is_built() => Foresight::Changes,
            Some(kit) => Foresight::Holds(format!("{} is in the cache", kit.id())),
            None => Foresight::Holds("packages bring it".into()),
        }
    }

    pub(super) async fn build(&self) -> Result<Outcome> {
        let kit = self.kit.as_ref().ok_or_else(|| Error::new(Class::Internal, "a build without a kit"))?;
        let outcome = kit.ensure(&self.dir.join("logs/build.log")).await?;
        for fact in kit.facts() {
            self.events.note(format!("engine build: {fact}"));
        }
        Ok(outcome)
    }

    pub(super) fn foresee_namespaces(&self) -> Foresight {
        match self.host_if_there() {
            Some(Host::Private(private)) => Foresight::Holds(format!("held by process {}", private.pid())),
            _ => Foresight::Changes,
        }
    }

    pub(super) async fn namespaces(&self) -> Result<Outcome> {
        let private = Private::start(&self.dir).await?;
        let text = format!("made network, mount, pid, ipc and uts namespaces, held by process {}", private.pid());
        self.set_host(Host::Private(private));
        Ok(Outcome::Changed(text))
    }

    /// Looking at a daemon needs the namespaces; without them it is certain that it does not run.
    async fn foresee_service<F: Future<Output = Result<Option<String>>>>(
        &self,
        holds: impl FnOnce() -> F,
    ) -> Result<Foresight> {
        if self.host_if_there().is_none() {
            return Ok(Foresight::Changes);
        }
        Ok(holds().await?.map_or(Foresight::Changes, Foresight::Holds))
    }

    pub(super) async fn foresee_libvirt(&self) -> Result<Foresight> {
        self.foresee_service(|| async { self.services()?.libvirt_holds().await }).await
    }

    pub(super) async fn foresee_nfs(&self) -> Result<Foresight> {
        self.foresee_service(|| async { self.services()?.nfs_holds(&self.lab).await }).await
    }

    pub(super) async fn foresee_time(&self) -> Result<Foresight> {
        self.foresee_service(|| async { self.services()?.time_holds(&self.lab).await }).await
    }

    pub(super) fn foresee_exports(&self) -> Result<Foresight> {
        if self.host_if_there().is_none() {
            return Ok(Foresight::Changes);
        }
        Ok(match self.exports()?.holds(&self.lab) {
            true => Foresight::Holds(format!("{} exports are mounted", self.lab.nodes.len())),
            false => Foresight::Changes,
        })
    }

    fn network_definition(&self) -> NetworkDefinition {
        let (network, hosts) = (&self.lab.network, reservations(&self.lab));
        let name = self.lab.name.as_str();
        NetworkDefinition {
            shared: self.lab.hosts.as_ref().is_some_and(Hosts::are_bridged),
            ..NetworkDefinition::new(name, network.subnet, network.gateway, &network.domain, hosts)
        }
    }

    pub(super) async fn foresee_network(&self) -> Result<Foresight> {
        if self.host_if_there().is_none() {
            return Ok(Foresight::Changes);
        }
        let definition = self.network_definition();
        let holds = self.libvirt(move |libvirt| libvirt.network_holds(&definition)).await?;
        Ok(if holds {
            Foresight::Holds(format!("{} addresses are reserved", self.lab.nodes.len()))
        } else {
            Foresight::Changes
        })
    }

    pub(super) async fn network(&self) -> Result<Outcome> {
        let definition = self.network_definition();
        self.libvirt(move |libvirt| libvirt.ensure_network(&definition)).await?;
        Ok(Outcome::Changed(format!(
            "made network {} with {} reserved addresses",
            self.lab.network.subnet,
            self.lab.nodes.len()
        )))
    }
}
