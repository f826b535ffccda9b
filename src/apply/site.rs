//! Everything that steps need to know: the lab, its places, and the connections that they share.

use crate::{
    engine::{self, ComponentSetup, Engine},
    error::{Class, Error, Result, ResultExt},
    event::{Event, Events},
    gtm::Gtm,
    guest::{Content, GuestFile, Init, System},
    host::{Accelerator, Exports, Home, Host, LabDir, Peer, Services},
    hypervisor::{Libvirt, SeenDomain},
    image::Image,
    journal::Journal,
    kit::Kit,
    lab::{HostKind, Lab, Node, Placed},
    plan::Step,
    remote::{Keys, Ssh},
    sql::{Login, Sql},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::net::TcpStream;

/// How long one try of a connection to a guest may take, before the accelerator's patience.
pub const TRY: Duration = Duration::from_secs(5);

/// How long a call to libvirt may take: starting a domain takes a second.
const LIBVIRT: Duration = Duration::from_secs(60);

/// What a site is made of.
pub struct Parts {
    /// The lab, fitted to the host.
    pub lab: Lab,
    /// Home of all labs.
    pub home: Home,
    /// Its directory.
    pub dir: LabDir,
    /// The guests' image.
    pub image: Image,
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// Its built programs, if it is built from source.
    pub kit: Option<Kit>,
    /// How guests run.
    pub accelerator: Accelerator,
    /// The superuser of the cluster.
    pub login: Login,
    /// The journal.
    pub journal: Arc<Journal>,
    /// Where events go.
    pub events: Events,
}

/// The place where steps act.
pub struct Site {
    parts: Parts,
    /// The lab's keys.
    pub keys: Keys,
    host: OnceLock<Host>,
    shells: Mutex<BTreeMap<String, Arc<Ssh>>>,
    /// Sessions with coordinators that one look began, for the next look of the same run.
    looks: Mutex<BTreeMap<String, Sql>>,
    /// Connections to the libvirt of other hosts: each is a login over ssh.
    far: Arc<Mutex<BTreeMap<String, Arc<Libvirt>>>>,
}

impl std::ops::Deref for Site {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Site {
    /// From its parts; finds the lab's host if the lab lives there.
    pub fn new(parts: Parts) -> Site {
        let keys = Keys::new(&parts.dir);
        let host = OnceLock::new();
        if let Some(found) = Host::find(&parts.dir) {
            host.get_or_init(|| found);
        }
        Site { parts, keys, host, shells: Mutex::default(), looks: Mutex::default(), far: Arc::default() }
    }

    /// The lab's host, if the lab lives there.
    pub fn host_if_there(&self) -> Option<&Host> {
        self.host.get()
    }

    /// The lab's host.
    ///
    /// # Errors
    /// When the lab is not up.
    pub fn host(&self) -> Result<&Host> {
        self.host.get().ok_or_else(|| {
            Error::new(Class::Host, format!("lab `{}` is not up", self.lab.name)).hint("`pgxc-lab up` makes it")
        })
    }

    /// Remembers where the lab lives from now on.
    pub(super) fn set_host(&self, host: Host) {
        self.host.get_or_init(|| host);
    }

    /// The gateway's daemons.
    ///
    /// # Errors
    /// When the lab is not up.
    pub fn services(&self) -> Result<Services> {
        Ok(Services::new(&self.dir, self.host()?))
    }

    /// The exports.
    ///
    /// # Errors
    /// When the lab is not up.
    pub fn exports(&self) -> Result<Exports> {
        Ok(Exports::new(&self.dir, self.host()?))
    }

    /// The node of a step.
    ///
    /// # Errors
    /// When the step belongs to none: a mistake of the plan.
    pub fn node_of(&self, step: &Step) -> Result<&Node> {
        let node = step.node.as_deref().and_then(|name| self.lab.node(name));
        node.ok_or_else(|| Error::new(Class::Internal, format!("step `{}` names no node of the lab", step.id)))
    }

    /// Shows what a running step waits for.
    pub fn progress(&self, step: &str, text: impl Into<String>) {
        self.events.send(Event::Progress { step: step.to_owned(), text: text.into() });
    }

    /// A deadline inside guests, scaled by how they run.
    pub fn patience(&self, base: Duration) -> Duration {
        base * self.accelerator.patience()
    }

    /// The GTM, or standby of it, that this is; `patience` is what it may take for an answer.
    ///
    /// # Errors
    /// When the lab has no network.
    pub(super) fn gtm(&self, gtm: Placed<'_>, patience: Duration) -> Result<Gtm<'_>> {
        Ok(Gtm::new(self.host()?, gtm.node.address, gtm.component.port, self.patience(patience)))
    }

    /// Calls libvirt on a thread that may block.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn libvirt<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Libvirt) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.libvirt_at(None, call).await
    }

    /// The same with the libvirt of a node's host.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn libvirt_of<T: Send + 'static>(
        &self,
        node: &Node,
        call: impl FnOnce(&Libvirt) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.libvirt_at(self.peer_of(node).as_ref(), call).await
    }

    /// The same with the libvirt of another host, or of this machine.
    pub(super) async fn libvirt_at<T: Send + 'static>(
        &self,
        peer: Option<&Peer>,
        call: impl FnOnce(&Libvirt) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match tokio::time::timeout(LIBVIRT, self.libvirt_patiently_at(peer, call)).await {
            Ok(ended) => ended,
            Err(_) => Err(Error::new(
                Class::Infrastructure,
                format!("libvirt does not answer within {} s", LIBVIRT.as_secs()),
            )
            .hint(match (peer, self.lab.host) {
                (Some(peer), _) => format!("`virsh -c '{}' list` shows whether {peer} does", peer.connection),
                (None, HostKind::Private) => format!(
                    "its log is {}; `pgxc-lab destroy` ends it with the lab",
                    self.dir.join("libvirt/log/libvirtd.log").display()
                ),
                (None, HostKind::System) => "`journalctl -u libvirtd` shows its log".into(),
            })),
        }
    }

    /// The same for a call that takes as long as its work, and has deadlines of its own.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn libvirt_patiently<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Libvirt) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.libvirt_patiently_at(None, call).await
    }

    /// The same with the libvirt of another host.
    pub(super) async fn libvirt_patiently_at<T: Send + 'static>(
        &self,
        peer: Option<&Peer>,
        call: impl FnOnce(&Libvirt) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if let Some(peer) = peer {
            self.check_answers(peer)?;
        }
        let (far, peer) = (self.far.clone(), peer.cloned());
        let here = self.host().map(Host::libvirt_uri);
        let call = tokio::task::spawn_blocking(move || match peer {
            None => call(&Libvirt::open(&here?)?),
            Some(peer) => call(connected(&far, &peer)?.as_ref()),
        });
        call.await.or_error(Class::Internal, || "a call to libvirt ended".into())?
    }

    /// Whether there is a libvirt to ask.
    pub(super) fn libvirt_is_there(&self) -> bool {
        match self.host_if_there() {
            Some(Host::Private(_)) => self.dir.libvirt_socket().exists(),
            Some(Host::System) => true,
            None => false,
        }
    }

    /// The lab's domains.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub async fn domains(&self) -> Result<Vec<SeenDomain>> {
        self.domains_at(None).await
    }

    /// The lab's domains on another host, or on this machine.
    pub(super) async fn domains_at(&self, peer: Option<&Peer>) -> Result<Vec<SeenDomain>> {
        let lab = self.lab.name.to_string();
        self.libvirt_at(peer, move |libvirt| libvirt.domains(&lab)).await
    }

    /// A node's domain, if it is defined.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub async fn domain(&self, node: &Node) -> Result<Option<SeenDomain>> {
        let domains = self.domains_at(self.peer_of(node).as_ref()).await?;
        Ok(domains.into_iter().find(|domain| domain.name == node.name.as_str()))
    }

    /// Identity of the present run of a guest: changes with every power-on. A reboot from inside keeps it.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub async fn run_of(&self, node: &Node) -> Result<String> {
        Ok(self.domain(node).await?.map(|domain| self.identity(&domain)).unwrap_or_default())
    }

    /// The same of a domain that was seen; empty when it does not run.
    pub(super) fn identity(&self, domain: &SeenDomain) -> String {
        if let (false, Some(run)) = (domain.nonce.is_empty(), domain.run) {
            return format!("{}/{run}", domain.nonce);
        }
        let run = self.host_if_there().zip(domain.run);
        run.map(|(host, run)| host.run_of(&domain.name, run)).unwrap_or_default()
    }

    /// A shell on a node; one connection per node is kept.
    ///
    /// # Errors
    /// When the guest does not let us in.
    pub async fn shell(&self, node: &Node) -> Result<Arc<Ssh>> {
        let name = node.name.as_str();
        if let Some(shell) = self.shells.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(shell.clone());
        }
        let connect = async {
            let socket = self.host()?.connect((node.address, 22).into(), self.patience(TRY)).await;
            socket.or_error(Class::Guest, || format!("port 22 of `{name}` does not answer"))
        };
        self.shell_over(node, connect).await
    }

    /// A new shell on a node over this connection, kept from now on.
    pub(super) async fn shell_over(
        &self,
        node: &Node,
        connection: impl Future<Output = Result<TcpStream>>,
    ) -> Result<Arc<Ssh>> {
        let name = node.name.as_str();
        let patience = self.patience(TRY);
        let login = async { Ssh::login(name, connection.await?, &self.keys).await };
        let shell = tokio::time::timeout(patience, login).await.unwrap_or_else(|_| {
            Err(Error::new(Class::Guest, format!("no login on `{name}` within {} s", patience.as_secs())))
        })?;
        let shell = Arc::new(shell);
        self.shells.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), shell.clone());
        Ok(shell)
    }

    /// Forgets the connection to a node, because the guest is about to end.
    pub(super) fn forget_shell(&self, node: &Node) {
        self.shells.lock().unwrap_or_else(PoisonError::into_inner).remove(node.name.as_str());
    }

    /// Keeps the session of a look at a server for the next look.
    pub(super) fn keep_look(&self, on: Placed<'_>, server: Sql) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(on.name.to_string(), server);
    }

    /// The session that was kept.
    pub(super) fn kept_look(&self, on: Placed<'_>) -> Option<Sql> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).remove(on.name.as_str())
    }

    /// Ends the sessions that were kept: something changes, and they may not see it.
    pub(super) fn forget_looks(&self) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What the components of a node need, in start order.
    pub fn components(&self, node: &Node) -> Vec<ComponentSetup> {
        engine::components(self.engine.as_ref(), &self.lab, node)
    }

    /// The guests' system.
    pub fn system(&self) -> System {
        self.image.definition.system
    }

    /// What starts the guests' services.
    pub(super) fn init(&self) -> Init {
        self.system().init()
    }

    /// Every file that the guest of a node must have on its own disk.
    pub fn guest_files(&self, node: &Node) -> Vec<GuestFile> {
        engine::guest_files(self.engine.as_ref(), self.system(), &self.lab, node)
    }

    /// The script that brings a guest to its declared state.
    pub fn tune_script(&self, node: &Node) -> String {
        self.system().guest().tune_script(&self.lab, node, &self.guest_files(node))
    }
}

/// The connection to a host's libvirt that is kept, or a new one in place of one that broke.
fn connected(far: &Mutex<BTreeMap<String, Arc<Libvirt>>>, peer: &Peer) -> Result<Arc<Libvirt>> {
    let name = peer.name.to_string();
    let kept = far.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
    if let Some(libvirt) = kept.filter(|libvirt| libvirt.is_alive()) {
        return Ok(libvirt);
    }
    // Not with the lock held: a login takes as long as the host likes.
    let libvirt = Arc::new(Libvirt::open(&peer.connection.libvirt_uri())?);
    far.lock().unwrap_or_else(PoisonError::into_inner).insert(name, libvirt.clone());
    Ok(libvirt)
}

/// A stable text of files, for digests.
pub(super) fn describe(files: &[GuestFile]) -> String {
    let mut text = String::new();
    for file in files {
        let (kind, content) = match &file.content {
            Content::Text(content) => ("text", content.as_str()),
            Content::Link(target) => ("link", target.as_str()),
            Content::Directory => ("directory", ""),
        };
        text.push_str(&format!("{} {:o} {} {kind} {}\n{content}\n", file.path, file.mode, file.owner, content.len()));
    }
    text
}
