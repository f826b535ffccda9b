//! Hosts that are not this machine: guests that moved, the wire, copies of image and engine, and the disks of guests there.

use super::site::Site;
use crate::{
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    executor::Foresight,
    host::{Bridge, Host, Peer, Private, Shelf, Wire, bash, bridge_look, bridge_make, run, system::Change},
    hypervisor::{Libvirt, Parcel},
    journal::Entry,
    lab::{Device, Hosts, LabHost, Node, NodeName, Size},
    snapshot::sparse,
};
use futures_util::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Holes that are shorter are sent, too: an upload of its own costs more.
const GAP: u64 = 4 << 20;

impl Site {
    fn hosts(&self) -> Result<&Hosts> {
        self.lab.hosts.as_ref().ok_or_else(|| Error::new(Class::Internal, "a step of several hosts in a lab of one"))
    }

    /// The other host that a node is on; nothing: it is on this machine.
    pub fn peer_of(&self, node: &Node) -> Option<Peer> {
        self.lab.host_of(node).map(Peer::of)
    }

    /// Whether a host did not answer when this run began.
    pub(super) fn is_silent(&self, peer: &Peer) -> bool {
        self.lab.hosts.as_ref().is_some_and(|hosts| hosts.silent.contains(&peer.name))
    }

    /// Why nothing is asked of a host.
    pub(super) fn check_answers(&self, peer: &Peer) -> Result<()> {
        if !self.is_silent(peer) {
            return Ok(());
        }
        Err(Error::new(Class::Infrastructure, format!("{peer} does not answer"))
            .hint("its nodes wait for it; with `lost: replace` in lab.yaml `pgxc-lab up` places them on other hosts"))
    }

    fn peer(&self, host: &str) -> Result<Option<Peer>> {
        Ok(self.hosts()?.other(host).map(Peer::of))
    }

    /// What of the lab lies on other hosts.
    pub(super) fn shelf(&self) -> Shelf {
        Shelf::of(self.lab.name.as_str())
    }

    async fn script_on(&self, peer: &Peer, what: &'static str, script: String) -> Result<String> {
        let peer = peer.clone();
        let call = tokio::task::spawn_blocking(move || peer.script(what, &script));
        call.await.or_error(Class::Internal, || "a script ended".into())?
    }

    /// Domains of nodes of this lab that are on another host now, host by host. A host that does not answer has none that
    /// anybody could see: it is waited for, or cut off.
    async fn strays(&self) -> Result<Vec<(Option<Peer>, Vec<String>)>> {
        let hosts = self.hosts()?;
        let places = std::iter::once((&hosts.here.name, None))
            .chain(hosts.others.iter().map(|other| (&other.host.name, Some(Peer::of(other)))));
        let looks = places.map(async |(name, peer)| {
            let domains = self.domains_at(peer.as_ref()).await.unwrap_or_default().into_iter();
            let elsewhere = |node: &Node| node.on.as_ref() != Some(name);
            let strays = domains.filter(|domain| self.lab.node(&domain.name).is_some_and(elsewhere));
            (peer, strays.map(|domain| domain.name).collect::<Vec<_>>())
        });
        Ok(join_all(looks).await.into_iter().filter(|(_, strays)| !strays.is_empty()).collect())
    }

    pub(super) async fn foresee_strays(&self) -> Result<Foresight> {
        if self.host_if_there().is_none() {
            return Ok(Foresight::Changes);
        }
        Ok(match self.strays().await?.is_empty() {
            true => Foresight::Holds("every guest is where it belongs".into()),
            false => Foresight::Changes,
        })
    }

    /// Ends guests where their nodes are no longer, before any network lets them meet those that took their places.
    pub(super) async fn end_strays(&self) -> Result<Outcome> {
        let strays = self.strays().await?;
        let mut ended = Vec::new();
        for (peer, names) in strays {
            for name in names {
                let doomed = name.clone();
                self.libvirt_at(peer.as_ref(), move |libvirt| libvirt.remove(&doomed)).await?;
                ended.push(format!("{name} on {}", peer.as_ref().map_or("this machine", |peer| peer.name.as_str())));
            }
        }
        Ok(match ended.is_empty() {
            true => Outcome::Unchanged("every guest is where it belongs".into()),
            false => Outcome::Changed(format!("ended {}", ended.join(", "))),
        })
    }

    /// Whether there may be something of the lab on a host that can be looked at.
    fn is_joined(&self, peer: &Peer) -> bool {
        !self.is_silent(peer) && self.journal.joined().contains(peer)
    }

    fn wire(&self) -> Result<Wire> {
        let hosts = self.hosts()?;
        let ends: BTreeMap<_, _> =
            hosts.all().filter_map(|host| Some((host.name.to_string(), host.address()?))).collect();
        Ok(Wire::new(self.lab.name.as_str(), hosts.fence, ends))
    }

    pub(super) async fn foresee_wire(&self, host: &NodeName) -> Result<Foresight> {
        let Some(here) = self.host_if_there() else { return Ok(Foresight::Changes) };
        let (wire, bridge, lab) = (self.wire()?, self.bridge(host)?, self.lab.name.as_str());
        let seen = match (self.peer(host.as_str())?, bridge) {
            (Some(peer), _) if !self.is_joined(&peer) => return Ok(Foresight::Changes),
            (Some(peer), Some(bridge)) => self.script_on(&peer, "look at the bridge", bridge_look(lab, bridge)).await?,
            (None, Some(bridge)) => {
                let look = Bridge::new(lab, bridge).look(self.private()?.pid(), HERE);
                run(bash(&look), "look at the bridge", Class::Infrastructure).await?
            }
            (Some(peer), None) => {
                let look = wire.look(host.as_str(), &Wire::bridge(lab));
                self.script_on(&peer, "look at the wire", look).await?
            }
            (None, None) => {
                let look = wire.look(host.as_str(), HERE);
                here.script("look at the wire", Class::Infrastructure, &look).await?
            }
        };
        Ok(match seen.trim() {
            "whole" if bridge.is_some() => Foresight::Holds("the bridge is there".into()),
            "whole" => Foresight::Holds("the wire is there".into()),
            _ => Foresight::Changes,
        })
    }

    pub(super) async fn join_wire(&self, host: &NodeName) -> Result<Outcome> {
        let wire = self.wire()?;
        let bridge = self.bridge(host)?;
        let Some(peer) = self.peer(host.as_str())? else {
            if let Some(bridge) = bridge {
                return self.plug_in(bridge).await;
            }
            let (outside, inside) = wire.make_here(host.as_str(), self.private()?.pid(), HERE);
            run(bash(&outside), "make the wire", Class::Infrastructure).await?;
            self.host()?.script("plug the wire in", Class::Infrastructure, &inside).await?;
            return Ok(Outcome::Changed(format!("made the wire to {} hosts", self.hosts()?.others.len())));
        };
        self.join(&peer).await?;
        if let Some(bridge) = bridge {
            let make = bridge_make(self.lab.name.as_str(), bridge);
            self.script_on(&peer, "use the bridge", make).await?;
            return Ok(Outcome::Changed(format!("guests will be on `{bridge}`")));
        }
        self.script_on(&peer, "make the wire", wire.make(host.as_str())).await.map_err(|error| {
            error.hint(
                "the hosts must reach each other at their `address` with UDP port 4789, and ssh must log in as root",
            )
        })?;
        Ok(Outcome::Changed("made this host's end of the wire".into()))
    }

    /// The bridge of a host, in a lab that lives on bridges.
    fn bridge(&self, host: &NodeName) -> Result<Option<&Device>> {
        Ok(self.hosts()?.host(host).and_then(LabHost::bridge))
    }

    fn private(&self) -> Result<Private> {
        match self.host()? {
            Host::Private(private) => Ok(private.clone()),
            Host::System => Err(Error::new(Class::Internal, "a lab of several hosts without namespaces")),
        }
    }

    /// Joins the lab's network to a bridge of this machine, if nobody there is in its way.
    async fn plug_in(&self, name: &Device) -> Result<Outcome> {
        let bridge = Bridge::new(self.lab.name.as_str(), name);
        let others = bridge.others(&self.lab).await?;
        if !others.is_empty() {
            return Err(Error::new(Class::Infrastructure, format!("the bridge `{name}` is not free for this lab"))
                .evidence(others.join("\n"))
                .hint("take addresses that nobody has there, or a bridge that no DHCP server is on"));
        }
        let port = Bridge::port(self.lab.name.as_str());
        let port = port.parse().map_err(|problem: String| Error::new(Class::Internal, problem))?;
        let what = Change::Plugged { bridge: name.clone(), port };
        if !self.journal.changes().contains(&what) {
            self.journal.write(Entry::Change { what })?;
        }
        let make = bridge.make(self.private()?.pid(), HERE);
        run(bash(&make), "plug the lab in", Class::Infrastructure).await?;
        Ok(Outcome::Changed(format!("joined the lab's network to `{name}`")))
    }

    /// Writes down that the lab has something on a host from now on, unless others have there what it would need.
    async fn join(&self, peer: &Peer) -> Result<()> {
        self.check_answers(peer)?;
        // First a login, which has a deadline of its own.
        self.script_on(peer, "log in", "true\n".into()).await?;
        let lab = self.lab.name.to_string();
        let others: BTreeSet<String> =
            self.libvirt_at(Some(peer), move |libvirt| libvirt.others(&lab)).await?.into_iter().collect();
        let clashes: Vec<&str> = self
            .lab
            .nodes
            .iter()
            .filter(|node| node.on.as_ref() == Some(&peer.name))
            .map(|node| node.name.as_str())
            .filter(|name| others.contains(*name))
            .collect();
        if !clashes.is_empty() {
            return Err(Error::new(Class::Infrastructure, format!("domains of {peer} are somebody else's"))
                .evidence(clashes.join("\n"))
                .hint("give the lab's nodes other names"));
        }
        if !self.journal.joined().contains(peer) {
            self.journal.write(Entry::Joined { peer: peer.clone() })?;
        }
        Ok(())
    }

    /// What never changes and every host needs once: names in the pool, and files here.
    fn cargo(&self) -> Vec<(String, PathBuf)> {
        let image = [self.image.root(), self.image.kernel(), self.image.initrd()];
        let mut cargo: Vec<_> = image.into_iter().map(|file| (volume_of(self.image.id(), &file), file)).collect();
        cargo.extend(self.kit.iter().map(|kit| (volume_of(kit.id(), &kit.disk()), kit.disk())));
        cargo
    }

    /// Where a file that never changes lies on other hosts.
    pub(super) fn copy_of(&self, id: &str, file: &Path) -> PathBuf {
        self.shelf().file(&volume_of(id, file))
    }

    pub(super) async fn foresee_stock(&self, host: &NodeName) -> Result<Foresight> {
        let Some(peer) = self.peer(host.as_str())?.filter(|peer| self.is_joined(peer)) else {
            return Ok(Foresight::Changes);
        };
        let pool = self.shelf().pool();
        let there = self.libvirt_at(Some(&peer), move |libvirt| libvirt.volumes(&pool)).await?;
        Ok(match self.cargo().iter().all(|(name, _)| Libvirt::is_whole(&there, name)) {
            true => Foresight::Holds("image and engine are there".into()),
            false => Foresight::Changes,
        })
    }

    pub(super) async fn stock(&self, host: &NodeName) -> Result<Outcome> {
        let peer =
            self.peer(host.as_str())?.ok_or_else(|| Error::new(Class::Internal, "this machine needs no copies"))?;
        let (cargo, shelf) = (self.cargo(), self.shelf());
        self.libvirt_patiently_at(Some(&peer), move |libvirt| {
            libvirt.ensure_pool(&shelf.pool(), &shelf.directory())?;
            let (mut copied, mut bytes) = (0, 0);
            for (name, file) in &cargo {
                let (length, extents) = content(file)?;
                if libvirt.send_once(&shelf.pool(), name, &Parcel { file, length, extents: &extents })? {
                    copied += 1;
                    bytes += extents.iter().map(|extent| extent.end - extent.start).sum::<u64>();
                }
            }
            Ok(match copied {
                0 => Outcome::Unchanged("image and engine are there".into()),
                _ => Outcome::Changed(format!("copied {copied} files of {} MiB", bytes >> 20)),
            })
        })
        .await
        .map_err(|error| error.context(format!("host `{host}`")))
    }

    /// Name of a node's disk on another host: an overlay on this image.
    pub(super) fn away_overlay(&self, node: &Node) -> String {
        format!("{}-{}.qcow2", node.name, self.image.id())
    }

    /// Name of a node's seed on another host.
    pub(super) fn away_seed(node: &Node) -> String {
        format!("{}-seed.tar", node.name)
    }

    /// An empty disk for a node on its host.
    pub(super) async fn make_overlay_at(&self, peer: &Peer, node: &Node) -> Result<()> {
        let (pool, name, size) = (self.shelf().pool(), self.away_overlay(node), node.disk);
        let backing = self.copy_of(self.image.id(), &self.image.root());
        self.libvirt_at(Some(peer), move |libvirt| libvirt.make_overlay(&pool, &name, &backing, size)).await
    }

    /// A node's seed, as it is here, for its host.
    pub(super) async fn send_seed(&self, peer: &Peer, node: &Node) -> Result<()> {
        let (pool, name, file) = (self.shelf().pool(), Site::away_seed(node), self.dir.seed(node.name.as_str()));
        self.libvirt_at(Some(peer), move |libvirt| {
            let (length, extents) = content(&file)?;
            libvirt.send(&pool, &name, &Parcel { file: &file, length, extents: &extents })
        })
        .await
    }

    /// The end of a node's console on its host; words instead, when the host does not tell.
    pub(super) async fn away_console(&self, peer: &Peer, node: &Node) -> String {
        let script = format!("tail -n 15 '{}'\n", self.shelf().console(node.name.as_str()).display());
        self.script_on(peer, "read the console", script).await.unwrap_or_else(|error| error.to_string())
    }
}

/// The bridge of the lab's network in its namespaces.
const HERE: &str = "virbr0";

/// A copy is named by the digest of what it was made from, as the directory here is.
fn volume_of(id: &str, file: &Path) -> String {
    format!("{id}-{}", file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default())
}

/// Length of a file, and where there is something in it.
fn content(file: &Path) -> Result<(Size, Vec<std::ops::Range<u64>>)> {
    let (length, extents) =
        sparse::content(file, GAP).or_error(Class::Host, || format!("cannot read `{}`", file.display()))?;
    Ok((Size::bytes(length), extents))
}
