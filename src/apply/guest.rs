//! Steps of one guest: boot and tune.

use super::site::Site;
use crate::{
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    executor::Foresight,
    guest::{Verdict, parse_report},
    host::{Accelerator, MTU, Wire},
    hypervisor::{Boot, Card, Clock, Disk, DomainDefinition, DomainState, Plug, SeenDomain, Slot, uuid_of},
    image::Machine,
    kit::Kit,
    lab::{Node, Shape},
    plan::Step,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long a guest may take to shut down by itself before its power is cut.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// The files that a machine is made of, where it runs.
pub(super) struct Files {
    root: PathBuf,
    seed: PathBuf,
    base: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
    engine: Option<PathBuf>,
    console: PathBuf,
}

impl Site {
    pub(super) async fn foresee_boot(&self, step: &Step) -> Result<Foresight> {
        let node = self.node_of(step)?;
        if !self.libvirt_is_there() || self.peer_of(node).is_some_and(|peer| self.is_silent(&peer)) {
            return Ok(Foresight::Changes);
        }
        let Some(domain) = self.domain(node).await? else { return Ok(Foresight::Changes) };
        let digest = self.definition(node)?.1;
        let holds = domain.state == DomainState::Running
            && domain.digest == digest
            && self.disk_is_current(node, Some(&domain), &digest)
            && self.journal.done(&step.id).is_some_and(|run| !run.is_empty() && run == self.identity(&domain));
        Ok(if holds { Foresight::Holds("the guest runs".into()) } else { Foresight::Changes })
    }

    pub(super) async fn boot(&self, step: &Step) -> Result<Outcome> {
        let node = self.node_of(step)?;
        let name = node.name.as_str();
        let peer = self.peer_of(node);
        let domains = self.domains_at(peer.as_ref()).await?;
        self.end_orphaned_templates(&domains).await?;
        self.write_seed(node)?;
        let (xml, digest) = self.definition(node)?;
        let mut seen = domains.into_iter().find(|domain| domain.name == name);
        let current = self.disk_is_current(node, seen.as_ref(), &digest);
        if let Some(domain) = &seen
            && (domain.digest != digest || !current || domain.state == DomainState::Crashed)
        {
            self.progress(&step.id, "stops the old guest");
            self.stop(node).await?;
            let name = name.to_owned();
            self.libvirt_of(node, move |libvirt| libvirt.remove(&name)).await?;
            seen = None;
        }
        if !current {
            if let Some(outcome) = self.boot_warm(node, &step.id).await? {
                return Ok(outcome);
            }
            match &peer {
                None => self.make_overlay(node).await?,
                Some(peer) => self.make_overlay_at(peer, node).await?,
            }
        }
        let started = match seen.map(|domain| domain.state) {
            Some(DomainState::Running) => false,
            Some(DomainState::Paused) => {
                let name = name.to_owned();
                self.libvirt_of(node, move |libvirt| libvirt.resume(&name)).await?;
                false
            }
            _ => {
                if let Some(peer) = &peer {
                    self.send_seed(peer, node).await?;
                }
                let (name, xml) = (name.to_owned(), xml.clone());
                self.libvirt_of(node, move |libvirt| {
                    libvirt.define(&name, &xml)?;
                    libvirt.start(&name)
                })
                .await?;
                self.forget_shell(node);
                self.record_start(node).await?;
                true
            }
        };
        self.climb(node, &step.id).await?;
        Ok(Outcome::Changed(if started { "booted, ssh login works" } else { "was running, ssh login works" }.into()))
    }

    pub(super) async fn foresee_tune(&self, step: &Step) -> Result<Foresight> {
        let node = self.node_of(step)?;
        let holds =
            self.host_if_there().is_some() && self.journal.done(&step.id) == Some(self.tune_digest(node).await?);
        Ok(if holds { Foresight::Holds("the guest was tuned in this run".into()) } else { Foresight::Changes })
    }

    pub(super) async fn tune_digest(&self, node: &Node) -> Result<String> {
        Ok(crate::digest::of_text(&format!("{}\n{}", self.run_of(node).await?, self.tune_script(node))))
    }

    pub(super) async fn tune(&self, step: &Step) -> Result<Outcome> {
        let node = self.node_of(step)?;
        let shell = self.shell(node).await?;
        let report = shell.script("tune the guest", &format!("APPLY=1\n{}", self.tune_script(node))).await?;
        self.log(node, &format!("# tune\n{report}"));
        let findings = parse_report(&report);
        let with = |verdict: Verdict| findings.iter().filter(|finding| finding.verdict == verdict).collect::<Vec<_>>();
        let failed = with(Verdict::Failed);
        if findings.is_empty() || !failed.is_empty() {
            let lines: Vec<String> =
                failed.iter().map(|finding| format!("{} {}: {}", finding.kind, finding.item, finding.detail)).collect();
            return Err(Error::new(Class::Guest, format!("`{}` cannot be tuned as lab.yaml says", node.name))
                .evidence(if lines.is_empty() { format!("the report is empty: {report}") } else { lines.join("\n") })
                .hint(format!(
                    "`pgxc-lab doctor` shows every value; the report is in `{}`",
                    self.dir.node_log(node.name.as_str()).display()
                )));
        }
        Ok(Outcome::Changed(format!(
            "tuned: {} as declared, {} applied, {} not on this guest",
            with(Verdict::Ok).len(),
            with(Verdict::Applied).len(),
            with(Verdict::Unsupported).len() + with(Verdict::Superseded).len() + with(Verdict::Absent).len()
        )))
    }

    /// Shuts a guest down, or cuts its power when it does not listen.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub async fn stop(&self, node: &Node) -> Result<()> {
        if self.domain(node).await?.is_some_and(|domain| domain.state == DomainState::Running)
            && let Ok(shell) = self.shell(node).await
        {
            // The connection breaks while the guest goes down: that is no failure.
            let _ =
                tokio::time::timeout(self.patience(SHUTDOWN), shell.run(self.system().guest().power_off(), &[])).await;
            let deadline = Instant::now() + self.patience(SHUTDOWN);
            while Instant::now() < deadline
                && self.domain(node).await?.is_some_and(|domain| domain.state == DomainState::Running)
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        self.cut_power(node).await
    }

    /// Cuts the power of a guest.
    ///
    /// # Errors
    /// When libvirt refuses.
    pub(super) async fn cut_power(&self, node: &Node) -> Result<()> {
        self.forget_shell(node);
        let name = node.name.to_string();
        self.libvirt_of(node, move |libvirt| libvirt.power_off(&name)).await
    }

    /// The domain of a node, as XML with its digest.
    pub(super) fn definition(&self, node: &Node) -> Result<(String, String)> {
        self.sealed(node, self.domain_of(node))
    }

    /// The same domain, for a start that reads the guest's memory from a file.
    pub(super) fn incoming_definition(&self, node: &Node, memory: &Path) -> Result<(String, String)> {
        let incoming = Some(memory.display().to_string());
        self.sealed(node, DomainDefinition { incoming, ..self.domain_of(node) })
    }

    pub(super) fn sealed(&self, node: &Node, definition: DomainDefinition) -> Result<(String, String)> {
        definition.sealed().or_error(Class::Internal, || format!("cannot render the domain of `{}`", node.name))
    }

    /// Digest of a node's machine wherever the home of all labs lies: memory can be read back by the same machine only.
    ///
    /// # Errors
    /// None that could be caused from outside.
    pub fn machine(&self, node: &Node) -> Result<String> {
        let (xml, digest) = self.definition(node)?;
        let home = self.home.path().display().to_string();
        Ok(crate::digest::of_text(&xml.replace(&digest, "").replace(&home, "")))
    }

    pub(super) fn domain_of(&self, node: &Node) -> DomainDefinition {
        let name = node.name.as_str();
        let (files, nonce) = match self.peer_of(node) {
            None => (self.files_here(name, &self.dir.overlay(name), &self.dir.seed(name)), String::new()),
            Some(_) => (self.files_away(node), fresh()),
        };
        DomainDefinition {
            card: Some(self.card_of(node)),
            network_frame: format!(
                "{} {} {}",
                self.lab.network.subnet, self.lab.network.gateway, self.lab.network.domain
            ),
            nonce,
            ..self.machine_of(name, node.shape(), &files)
        }
    }

    pub(super) fn card_of(&self, node: &Node) -> Card {
        let plug = match self.lab.host_of(node) {
            None => Plug::Network("default".into()),
            Some(other) => Plug::Bridge(match other.host.bridge() {
                Some(bridge) => bridge.to_string(),
                None => Wire::bridge(self.lab.name.as_str()),
            }),
        };
        let mtu = self.lab.hosts.as_ref().and_then(|hosts| (!hosts.are_bridged()).then_some(MTU));
        Card { mac: node.mac, plug, mtu, machine: self.image.definition.machine }
    }

    /// The files of a machine on this machine.
    pub(super) fn files_here(&self, name: &str, root: &Path, seed: &Path) -> Files {
        Files {
            root: root.to_owned(),
            seed: seed.to_owned(),
            base: self.image.root(),
            kernel: self.image.kernel(),
            initrd: self.image.initrd(),
            engine: self.kit.as_ref().map(Kit::disk),
            console: self.dir.console(name),
        }
    }

    /// The files of a node on another host.
    fn files_away(&self, node: &Node) -> Files {
        let (shelf, image) = (self.shelf(), self.image.id());
        Files {
            root: shelf.file(&self.away_overlay(node)),
            seed: shelf.file(&Site::away_seed(node)),
            base: self.copy_of(image, &self.image.root()),
            kernel: self.copy_of(image, &self.image.kernel()),
            initrd: self.copy_of(image, &self.image.initrd()),
            engine: self.kit.as_ref().map(|kit| self.copy_of(kit.id(), &kit.disk())),
            console: shelf.console(node.name.as_str()),
        }
    }

    /// A machine of this lab without a network card.
    pub(super) fn machine_of(&self, name: &str, shape: Shape, files: &Files) -> DomainDefinition {
        let text = |path: &Path| path.display().to_string();
        let mut disks = vec![
            Disk {
                file: text(&files.root),
                format: "qcow2",
                // The lab's root disks are disposable: everything that matters is on the exports.
                cache: "unsafe",
                backing: Some(text(&files.base)),
                target: "vda",
                slot: Slot::Root,
                serial: "pgxc-root",
                readonly: false,
                shared: false,
            },
            Disk {
                file: text(&files.seed),
                format: "raw",
                cache: "none",
                backing: None,
                target: "vdb",
                slot: Slot::Seed,
                serial: "pgxc-seed",
                readonly: true,
                shared: false,
            },
        ];
        if let Some(engine) = &files.engine {
            disks.push(Disk {
                file: text(engine),
                format: "raw",
                cache: "writeback",
                backing: None,
                target: "vdc",
                slot: Slot::Engine,
                serial: "pgxc-engine",
                readonly: true,
                shared: true,
            });
        }
        let emulated = self.accelerator == Accelerator::Tcg;
        DomainDefinition {
            kind: if emulated { "qemu" } else { "kvm" },
            name: name.to_owned(),
            uuid: uuid_of(&[self.lab.name.as_str(), name]),
            lab: self.lab.name.to_string(),
            nonce: String::new(),
            digest: String::new(),
            memory_kib: shape.memory.as_kib(),
            cpus: shape.cpus,
            machine: self.image.definition.machine,
            boot: Some(Boot {
                kernel: text(&files.kernel),
                initrd: text(&files.initrd),
                cmdline: self.image.definition.cmdline.clone(),
            }),
            cpu: (self.names_cpu() && self.image.definition.cpu != "max").then(|| self.image.definition.cpu.clone()),
            cpu_mode: if emulated { "maximum" } else { "host-passthrough" },
            clock: match self.system().guest().hardware_clock(&self.lab) {
                Some(zone) => Clock::Zone(zone),
                None => Clock::Utc,
            },
            disks,
            card: None,
            network_frame: String::new(),
            console: text(&files.console),
            incoming: None,
        }
    }

    /// Whether guests get the image's CPU model: emulated ones, and those whose kernel is older than the host's processor.
    fn names_cpu(&self) -> bool {
        self.accelerator == Accelerator::Tcg || self.image.definition.machine == Machine::Pc
    }

    /// Whether the root disk of a node, whose domain was seen, lies on the present image.
    fn disk_is_current(&self, node: &Node, seen: Option<&SeenDomain>, digest: &str) -> bool {
        match self.lab.host_of(node) {
            None => self.overlay_is_current(node),
            // There it is named by its image, and made before its domain is.
            Some(_) => seen.is_some_and(|domain| domain.digest == digest),
        }
    }

    /// Whether the overlay lies on the present image. A root disk holds nothing that the seed and the image do not
    /// bring back, so one on an old image is made anew.
    pub(super) fn overlay_is_current(&self, node: &Node) -> bool {
        let overlay = self.dir.overlay(node.name.as_str());
        overlay.exists() && fs::read_to_string(overlay.with_extension("base")).is_ok_and(|base| base == self.image.id())
    }

    async fn make_overlay(&self, node: &Node) -> Result<()> {
        let overlay = self.dir.overlay(node.name.as_str());
        self.forget_overlay(node);
        self.create_overlay(&overlay, node.shape()).await?;
        self.own_overlay(node)
    }

    /// An empty overlay on the image.
    pub(super) async fn create_overlay(&self, file: &Path, shape: Shape) -> Result<()> {
        let mut command = tokio::process::Command::new("qemu-img");
        command
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(self.image.root())
            .arg(file)
            .arg(shape.disk.as_bytes().to_string());
        crate::host::run(command, &format!("make the disk `{}`", file.display()), Class::Host).await.map(drop)
    }

    /// From now on a node's overlay is none that the node's guest was started from.
    pub(super) fn forget_overlay(&self, node: &Node) {
        let overlay = self.dir.overlay(node.name.as_str());
        let _ = fs::remove_file(overlay.with_extension("base"));
        let _ = fs::remove_file(overlay);
    }

    /// From now on a node's overlay is that of its guest.
    pub(super) fn own_overlay(&self, node: &Node) -> Result<()> {
        let base = self.dir.overlay(node.name.as_str()).with_extension("base");
        fs::write(&base, self.image.id()).or_error(Class::Host, || format!("cannot write `{}`", base.display()))
    }
}

/// A text that no other power-on has.
fn fresh() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_nanos(), std::process::id())
}
