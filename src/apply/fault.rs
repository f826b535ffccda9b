//! Faults: how each is made, and how it is undone. Both may be done again, and after a `kill -9` by anybody.

use super::site::Site;
use crate::{
    error::{Class, Error, Result},
    event::Outcome,
    host::{Link, Links},
    hypervisor::DomainState,
    journal::Entry,
    lab::{Fault, Node, NodeName, Role},
    plan::Step,
};
use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

impl Site {
    /// Makes a fault. The journal knows of it before anything is touched.
    ///
    /// # Errors
    /// When the host is the machine itself: what is broken there could be somebody else's.
    pub(super) async fn make(&self, fault: &Fault) -> Result<Outcome> {
        Fault::check_host(&self.lab)?;
        self.journal.write(Entry::Broken { fault: fault.clone() })?;
        let what = match fault {
            Fault::KillComponent { node, role } => self.kill_component(self.named(node)?, *role).await?,
            Fault::Pause { node } => {
                self.must_run(self.named(node)?).await?;
                let name = node.to_string();
                self.libvirt(move |libvirt| libvirt.pause(&name)).await?;
                "the guest stands still".to_owned()
            }
            Fault::PowerOff { node } => {
                self.cut_power(self.named(node)?).await?;
                "the guest has no power".to_owned()
            }
            Fault::Partition { one, other } => {
                let (one, other) = (self.cards(one)?, self.cards(other)?);
                self.links()?.part(&one, &other).await?;
                format!("no frame passes between {} and {} guests", one.len(), other.len())
            }
            Fault::DiskFull { node } => {
                self.named(node)?;
                self.keep_full(&self.journal.faults()).await?;
                "its export takes no more data".to_owned()
            }
            Fault::ClockSkew { node, seconds } => self.skew_clock(self.named(node)?, *seconds).await?,
            Fault::SlowLink { node, kbit } => {
                let node = self.named(node)?;
                self.must_run(node).await?;
                self.links()?.slow(&Link::of(node), *kbit).await?;
                format!("{kbit} kbit/s, in both directions")
            }
            Fault::StallNfs => {
                self.services()?.stall_nfs().await?;
                "the NFS server stands still".to_owned()
            }
        };
        Ok(Outcome::Changed(what))
    }

    /// Undoes a fault. What is gone with namespaces or guests that ended needs no undoing.
    pub(super) async fn mend(&self, step: &Step, fault: &Fault) -> Result<Outcome> {
        // The next `up` must not believe that what was broken serves.
        for node in self.lab.nodes.iter().filter(|node| fault.node().is_none_or(|name| *name == node.name)) {
            self.journal.write(Entry::Intent { step: format!("{}/serve", node.name) })?;
        }
        let what = if self.host_if_there().is_some() {
            self.undo(step, fault).await?
        } else {
            "gone with the namespaces".to_owned()
        };
        self.journal.write(Entry::Mended { fault: fault.clone() })?;
        Ok(Outcome::Changed(what))
    }

    async fn undo(&self, step: &Step, fault: &Fault) -> Result<String> {
        Ok(match fault {
            Fault::KillComponent { .. } => "it may start again".to_owned(),
            Fault::PowerOff { .. } => "it may boot again".to_owned(),
            Fault::Pause { node } => {
                if self.state_of(node).await? != Some(DomainState::Paused) {
                    return Ok("the guest does not stand still any more".to_owned());
                }
                let name = node.to_string();
                self.libvirt(move |libvirt| libvirt.resume(&name)).await?;
                self.settle(step, &[node.to_string()]).await?;
                "the guest goes on, its clock is right".to_owned()
            }
            Fault::Partition { one, other } => {
                self.links()?.join(&self.cards(one)?, &self.cards(other)?).await?;
                "frames pass again".to_owned()
            }
            Fault::DiskFull { node } => {
                let mut others = self.journal.faults();
                others.remove(fault);
                self.keep_full(&others).await?;
                let gid = self.lab.guest.uid;
                self.exports()?.give_back(node.as_str(), gid).await?;
                "its export takes data again".to_owned()
            }
            Fault::ClockSkew { node, .. } => {
                if self.state_of(node).await? != Some(DomainState::Running) {
                    return Ok("its clock is set when it boots".to_owned());
                }
                let script = self.init().start(self.system().guest().time_service());
                self.shell(self.named(node)?).await?.script("set the clock right", &script).await?;
                self.settle(step, &[node.to_string()]).await?;
                "its clock is right".to_owned()
            }
            Fault::SlowLink { node, .. } => {
                self.links()?.quicken(&Link::of(self.named(node)?)).await?;
                "its link is as fast as it was".to_owned()
            }
            Fault::StallNfs => {
                self.services()?.unstall_nfs().await?;
                "the NFS server goes on".to_owned()
            }
        })
    }

    /// Every process of a component, as if by the kernel; and its init, which would start it again within seconds, is told
    /// not to.
    async fn kill_component(&self, node: &Node, role: Role) -> Result<String> {
        // What was the GTM may be the standby by now.
        let roles: &[Role] =
            if matches!(role, Role::Gtm | Role::GtmStandby) { &[Role::Gtm, Role::GtmStandby] } else { &[role] };
        let placed = self.lab.components_of(node).into_iter().find(|placed| roles.contains(&placed.role));
        let placed = placed.filter(|placed| self.engine.runs(placed.role)).ok_or_else(|| {
            Error::new(Class::Usage, format!("nothing on `{}` is a {}", node.name, role.as_str()))
                .hint("`pgxc-lab status` shows what runs where")
        })?;
        let setup = self.engine.component(&self.lab, placed);
        // Whether there was one to be killed is of no interest: none must be left.
        let script = self.init().kill(&setup.unit);
        self.shell(node).await?.script("kill a component", &script).await?;
        self.halt(node, &setup).await?;
        Ok(format!("`{}` was killed, and stays down", placed.name))
    }

    /// Has exactly the exports of nodes with such a fault take no more data.
    async fn keep_full(&self, faults: &BTreeSet<Fault>) -> Result<()> {
        let full: BTreeSet<&NodeName> = faults
            .iter()
            .filter_map(|fault| match fault {
                Fault::DiskFull { node } => Some(node),
                _ => None,
            })
            .collect();
        let (exports, gid) = (self.exports()?, self.lab.guest.uid);
        if full.is_empty() {
            self.services()?.export_all(&self.lab, &full).await?;
            return exports.release().await;
        }
        exports.reserve(gid).await?;
        self.services()?.export_all(&self.lab, &full).await
    }

    async fn skew_clock(&self, node: &Node, seconds: i64) -> Result<String> {
        // From the host's clock and not the guest's: the same fault twice is one.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let then = i64::try_from(now).unwrap_or(i64::MAX).saturating_add(seconds);
        // Nobody may set it right; the service comes back at every boot.
        let stop = self.init().stop(self.system().guest().time_service());
        let script = format!("{stop}date -s @{then} >/dev/null\n");
        self.shell(node).await?.script("set the clock wrong", &script).await?;
        let way = if seconds < 0 { "behind" } else { "ahead" };
        Ok(format!("its clock is {} s {way}", seconds.unsigned_abs()))
    }

    fn named(&self, name: &NodeName) -> Result<&Node> {
        self.lab
            .node(name.as_str())
            .ok_or_else(|| Error::new(Class::Usage, format!("lab `{}` has no node `{name}`", self.lab.name)))
    }

    fn cards(&self, names: &BTreeSet<NodeName>) -> Result<Vec<Link>> {
        names.iter().map(|name| Ok(Link::of(self.named(name)?))).collect()
    }

    fn links(&self) -> Result<Links> {
        Ok(Links::new(self.host()?))
    }

    async fn state_of(&self, name: &NodeName) -> Result<Option<DomainState>> {
        Ok(self.domain(self.named(name)?).await?.map(|domain| domain.state))
    }

    async fn must_run(&self, node: &Node) -> Result<()> {
        if self.is_running(node).await? || self.state_of(&node.name).await? == Some(DomainState::Paused) {
            return Ok(());
        }
        Err(Error::new(Class::Guest, format!("the guest `{}` does not run", node.name)).hint("`pgxc-lab up` boots it"))
    }
}
