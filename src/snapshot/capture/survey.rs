//! Before a snapshot: who runs, who serves and where, and is there room.

use super::{Capture, Kind};
use crate::{
    apply,
    engine::Ready,
    error::{Class, Error, Result},
    event::Outcome,
    gtm::Gtm,
    host::capacity,
    hypervisor::{DomainState, memory},
    lab::{Role, Size},
    snapshot::{Guardian, Versions},
    sql::Sql,
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How long a component may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Disk space that must be left when the snapshot is whole.
const SPARE: Size = Size::mib(512);

/// What a component says.
enum Answer {
    Wal(String),
    Gxid(u32),
    Serves,
}

impl Capture {
    pub(super) async fn survey(&self) -> Result<Outcome> {
        let site = &self.site;
        let (libvirt, qemu) = site.libvirt(|libvirt| libvirt.versions()).await?;
        if self.kind == Kind::Memory {
            memory::check_version(&qemu)?;
        }
        let domains = site.domains().await?;
        if let Some(paused) = domains.iter().find(|domain| domain.state == DomainState::Paused) {
            return Err(Error::new(Class::Guest, format!("the guest `{}` is paused", paused.name))
                .hint("`pgxc-lab up` lets it go on"));
        }
        let running: Vec<String> = domains
            .into_iter()
            .filter(|domain| domain.state == DomainState::Running)
            .map(|domain| domain.name)
            .collect();
        self.check_room(&running).await?;
        {
            let mut seen = self.seen();
            seen.versions = Some(Versions { pgxc_lab: env!("CARGO_PKG_VERSION").into(), libvirt, qemu });
            seen.running.clone_from(&running);
        }
        let (silent, written) = tokio::join!(self.ask_components(&running), async { site.exports()?.sync().await });
        written?;
        self.seen().serving = silent.is_empty();
        for text in &silent {
            site.events.note(format!("not serving, and so it will be after a restore: {text}"));
        }
        *self.guardian.lock().await = Some(Guardian::post(&site.dir, &running).await?);
        Ok(Outcome::Changed(format!("{} of {} guests run", running.len(), site.lab.nodes.len())))
    }

    /// Looks for room for the snapshot: what the guests take of the host's memory, their disks, the exports.
    async fn check_room(&self, running: &[String]) -> Result<()> {
        let mut wanted = capacity::allocated(&self.site.dir.exports_image());
        for node in &self.site.lab.nodes {
            wanted += capacity::allocated(&self.site.dir.overlay(node.name.as_str()));
        }
        if self.kind == Kind::Memory {
            let names = running.to_vec();
            wanted += self
                .site
                .libvirt(move |libvirt| {
                    names.iter().try_fold(0, |sum, name| Ok(sum + libvirt.resident(name)?.as_bytes()))
                })
                .await?;
        }
        let free = capacity::free_space(&self.directory)?;
        if free.as_bytes() >= wanted + SPARE.as_bytes() {
            return Ok(());
        }
        Err(Error::new(
            Class::Host,
            format!(
                "only {free} are free below `{}`, the snapshot may take {} MiB and {SPARE} must stay",
                self.directory.display(),
                wanted >> 20
            ),
        )
        .hint("`pgxc-lab snapshot list` shows what older ones take, `snapshot delete` removes one"))
    }

    /// Asks every component whether it serves and where its WAL is; gives those that do not answer.
    async fn ask_components(&self, running: &[String]) -> Vec<String> {
        let site = &self.site;
        let tokens = Arc::new(tokio::sync::Semaphore::new(site.accelerator.tokens() * 2));
        let mut asked = JoinSet::new();
        let mut silent = Vec::new();
        for node in &site.lab.nodes {
            let serving = site.lab.components_of(node).into_iter().filter(|placed| site.engine.runs(placed.role));
            for placed in serving {
                let name = placed.name.to_string();
                let Some(host) = site.host_if_there().filter(|_| running.contains(&node.name.to_string())) else {
                    silent.push(format!("{name} of {}: the guest does not run", node.name));
                    continue;
                };
                let ready = site.engine.component(&site.lab, placed).ready;
                let (host, dir, lab, node) = (host.clone(), site.dir.clone(), site.lab.clone(), node.clone());
                let (role, login, tokens, wal) =
                    (placed.role, site.login.clone(), tokens.clone(), site.engine.wal_position());
                asked.spawn(async move {
                    let _token = tokens.acquire_owned().await;
                    let answer = match &ready {
                        Ready::Query { port, .. } => {
                            match Sql::connect(&host, node.address, *port, &login, ANSWER).await {
                                Ok(server) => server.value(wal).await.map(Answer::Wal),
                                Err(error) => Err(error),
                            }
                        }
                        Ready::Gtm { port } if role == Role::Gtm => {
                            Gtm::new(&host, node.address, *port, ANSWER).next_gxid().await.map(Answer::Gxid)
                        }
                        ready => apply::answers(&host, &dir, &lab, &node, ready, &login, ANSWER)
                            .await
                            .map(|()| Answer::Serves),
                    };
                    (node.name.to_string(), name, answer)
                });
            }
        }
        while let Some(Ok((node, name, answer))) = asked.join_next().await {
            match answer {
                Ok(Answer::Wal(position)) => {
                    self.seen().wal.entry(node).or_default().insert(name, position);
                }
                Ok(Answer::Gxid(gxid)) => self.seen().gxid = Some(gxid),
                Ok(Answer::Serves) => {}
                Err(error) => silent.push(format!("{name} of {node}: {}", error.message())),
            }
        }
        silent
    }
}
