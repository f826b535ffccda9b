//! The daemons of the lab's gateway: libvirt, the NFS server and the time server. All of them run inside the lab's
//! namespaces only, and end with them.

use super::{paths::LabDir, place::Host, private::last_lines};
use crate::{
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    lab::{HostKind, Lab, NodeName},
};
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

/// NFS over TCP.
pub const NFS_PORT: u16 = 2049;
/// Where nfs-ganesha answers mounts of version 3 on a machine with a firewall: the number that is registered for it.
pub const MOUNT_PORT: u16 = 20048;
/// Seconds for which the NFS server may believe that a file did not change below it: configuration files are written
/// straight into the exports, and with the server's own 60 a restarted component would read the old ones.
const ATTRIBUTES: u32 = 1;
/// nfs-ganesha's log, below the lab's directory.
const GANESHA_LOG: &str = "logs/ganesha.log";
/// Who is waited for after it was told that its exports are others.
pub const READS: &str = "the NFS server, told to read its exports again,";
/// The group as which a node asks whose disk is to be full.
pub(super) const NOBODY: u32 = 65_534;
/// How long a daemon may take to serve; all of them take well under a second on an idle host.
const SERVES: Duration = Duration::from_secs(60);

/// A daemon of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// libvirtd and virtlogd.
    Libvirt,
    /// nfs-ganesha and rpcbind.
    Nfs,
    /// chronyd.
    Time,
}

/// The daemons of one lab.
#[derive(Clone, Debug)]
pub struct Services {
    lab: LabDir,
    host: Host,
}

/// Whether a file holds exactly this text.
pub fn holds_text(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|old| old == text)
}

/// Writes a file of ours unless it is as it must be. Tells whether it was written.
fn write_if_different(path: &Path, text: &str) -> Result<bool> {
    if holds_text(path, text) {
        return Ok(false);
    }
    let cannot = || format!("cannot write `{}`", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).or_error(Class::Host, cannot)?;
    }
    fs::write(path, text).or_error(Class::Host, cannot)?;
    Ok(true)
}

impl Services {
    /// Those of this lab.
    pub fn new(lab: &LabDir, host: &Host) -> Services {
        Services { lab: lab.clone(), host: host.clone() }
    }

    /// Whether libvirtd runs; gives the fact.
    ///
    /// # Errors
    /// When nothing can be run in the lab.
    pub async fn libvirt_holds(&self) -> Result<Option<String>> {
        let holds = self.lab.libvirt_socket().exists() && self.runs("libvirtd").await? && self.runs("virtlogd").await?;
        Ok(holds.then(|| "libvirtd and virtlogd run".to_owned()))
    }

    /// Whether the NFS server runs with the exports of this lab; gives the fact.
    ///
    /// # Errors
    /// When nothing can be run in the lab.
    pub async fn nfs_holds(&self, lab: &Lab) -> Result<Option<String>> {
        let holds = holds_text(&self.lab.join("ganesha.conf"), &ganesha_conf(lab, &self.lab))
            && self.runs("ganesha.nfsd").await?;
        Ok(holds.then(|| format!("the NFS server serves {} exports", lab.nodes.len())))
    }

    /// Whether the time server runs for this lab; gives the fact.
    ///
    /// # Errors
    /// When nothing can be run in the lab.
    pub async fn time_holds(&self, lab: &Lab) -> Result<Option<String>> {
        let holds = holds_text(&self.lab.join("chrony.conf"), &chrony_conf(lab)) && self.runs("chronyd").await?;
        Ok(holds.then(|| "the time server runs".to_owned()))
    }

    /// Starts libvirtd and virtlogd.
    ///
    /// # Errors
    /// When libvirt's socket does not appear.
    pub async fn libvirt(&self) -> Result<Outcome> {
        let socket = self.lab.libvirt_socket();
        // sun_path holds 108 bytes; libvirt's own error for a longer one does not say so.
        const LONGEST_SOCKET: usize = 107;
        if socket.as_os_str().len() > LONGEST_SOCKET {
            return Err(Error::new(Class::Host, format!("`{}` is too long for a socket's name", socket.display()))
                .hint("take a shorter `--home` or lab name"));
        }
        let etc = self.lab.join("libvirt/etc");
        write_if_different(&etc.join("qemu.conf"), QEMU_CONF)?;
        write_if_different(&etc.join("libvirtd.conf"), LIBVIRTD_CONF)?;
        write_if_different(&etc.join("virtlogd.conf"), "max_clients = 1024\n")?;
        self.host
            .script("start libvirt", Class::Infrastructure, START_LIBVIRT)
            .await
            .map_err(|e| self.with_log(e, "libvirt/log/libvirtd.log"))?;
        self.wait("libvirt's socket", "libvirt/log/libvirtd.log", || async { socket.exists() }).await?;
        Ok(Outcome::Changed("started libvirtd and virtlogd".into()))
    }

    /// Starts the NFS server, with one export per node that only this node's address may mount.
    ///
    /// # Errors
    /// When it does not serve.
    pub async fn nfs(&self, lab: &Lab) -> Result<Outcome> {
        let path = self.lab.join("ganesha.conf");
        // The address that it listens on is not read again: only a new start takes it.
        let old = fs::read_to_string(&path).unwrap_or_default();
        let moved = !old.is_empty() && !old.contains(&format!("Bind_addr = {};", lab.network.gateway));
        if moved {
            let stop = "pkill -x ganesha.nfsd || true\nuntil ! pgrep -x ganesha.nfsd >/dev/null; do sleep 0.05; done";
            self.host.script("stop the NFS server", Class::Infrastructure, stop).await?;
        }
        let changed = write_if_different(&path, &ganesha_conf(lab, &self.lab))?;
        if changed && self.runs("ganesha.nfsd").await? {
            self.reload_nfs().await?;
            return Ok(Outcome::Changed("reloaded the NFS server's exports".into()));
        }
        let script = format!(
            "mkdir -p /run/rpcbind /run/ganesha /var/lib/nfs/ganesha\n\
             pgrep -x rpcbind >/dev/null || rpcbind -w </dev/null >/dev/null 2>&1\n\
             ganesha.nfsd -f '{0}/ganesha.conf' -L '{0}/logs/ganesha.log' -p /run/ganesha/ganesha.pid -N NIV_EVENT </dev/null >'{0}/logs/ganesha.start' 2>&1\n",
            self.lab.path().display()
        );
        self.host
            .script("start the NFS server", Class::Infrastructure, &script)
            .await
            .map_err(|e| self.with_log(e, GANESHA_LOG))?;
        let address = SocketAddr::from((lab.network.gateway, NFS_PORT));
        self.wait("the NFS server", GANESHA_LOG, || async {
            self.host.connect(address, Duration::from_secs(1)).await.is_ok()
        })
        .await?;
        self.acquaint(lab).await?;
        Ok(Outcome::Changed(format!("started the NFS server with {} exports", lab.nodes.len())))
    }

    /// Has the NFS server, which runs, serve the exports as ever, but for these nodes as a group that gets no space (see
    /// [`Exports::reserve`](super::Exports::reserve)): what they have open goes on.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub async fn export_all(&self, lab: &Lab, full: &BTreeSet<&NodeName>) -> Result<()> {
        if write_if_different(&self.lab.join("ganesha.conf"), &ganesha_conf_but(lab, &self.lab, full))? {
            self.reload_nfs().await?;
        }
        Ok(())
    }

    /// Has the NFS server read its exports again, and waits until it has; open files and mounts of others are not disturbed.
    async fn reload_nfs(&self) -> Result<()> {
        let before = rereads(&self.lab);
        self.host.script("reload the NFS server", Class::Infrastructure, "pkill -HUP -x ganesha.nfsd").await?;
        self.wait(READS, GANESHA_LOG, || async { rereads(&self.lab) > before }).await
    }

    /// Has the NFS server stand still.
    ///
    /// # Errors
    /// When there is none.
    pub async fn stall_nfs(&self) -> Result<()> {
        self.host.script("stall the NFS server", Class::Infrastructure, "pkill -STOP -x ganesha.nfsd").await.map(drop)
    }

    /// Lets it go on; one that ended meanwhile is started by `up`.
    ///
    /// # Errors
    /// When nothing can be run in the lab.
    pub async fn unstall_nfs(&self) -> Result<()> {
        let script = "pkill -CONT -x ganesha.nfsd || true";
        self.host.script("let the NFS server go on", Class::Infrastructure, script).await.map(drop)
    }

    /// Has a fresh NFS server look at every directory with a socket in it, by name, before restored guests come with the
    /// handles that an earlier server gave them. nfs-ganesha 5.9 that sees a socket first by its handle does not know
    /// where it lies, and answers every question about it, and every listing of its directory, with \"invalid argument\":
    /// a minute after a restore, when guests forget what they knew, Postgres-XC cannot reach its own pool manager.
    async fn acquaint(&self, lab: &Lab) -> Result<()> {
        let mut script = String::new();
        for node in &lab.nodes {
            script.push_str(&format!(
                "cd '{}'\nwhile IFS= read -r -d '' directory; do nfs-ls \"nfs://{}{}/$directory?version=3\" >/dev/null; \
                 done < <(find . -type s -printf '%P\\0' | xargs -0 -r dirname -z | sort -zu)\n",
                self.lab.exports().join(node.name.as_str()).display(),
                lab.network.gateway,
                node.export
            ));
        }
        self.host.script("show the NFS server its sockets", Class::Infrastructure, &script).await.map(drop)
    }

    /// Starts the time server.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn time(&self, lab: &Lab) -> Result<Outcome> {
        write_if_different(&self.lab.join("chrony.conf"), &chrony_conf(lab))?;
        let script = format!(
            "pkill -x chronyd || true\nuntil ! pgrep -x chronyd >/dev/null; do sleep 0.05; done\nrm -f /run/chronyd-lab.pid\n\
             chronyd -x -u root -f '{0}/chrony.conf' </dev/null >'{0}/logs/chronyd.log' 2>&1\n",
            self.lab.path().display()
        );
        self.host
            .script("start the time server", Class::Infrastructure, &script)
            .await
            .map_err(|e| self.with_log(e, "logs/chronyd.log"))?;
        self.wait("the time server", "logs/chronyd.log", || async { self.runs("chronyd").await.unwrap_or(false) })
            .await?;
        Ok(Outcome::Changed("started the time server".into()))
    }

    async fn runs(&self, program: &str) -> Result<bool> {
        let mut command = self.host.command("pgrep");
        command.args(["-x", program]).stdout(std::process::Stdio::null());
        let status = command.status().await.or_error(Class::Host, || "cannot run `pgrep` in the lab".into())?;
        Ok(status.success())
    }

    async fn wait<F: Future<Output = bool>>(&self, what: &str, log: &str, serves: impl Fn() -> F) -> Result<()> {
        until_serves(what, serves).await.map_err(|error| self.with_log(error, log))
    }

    fn with_log(&self, error: Error, log: &str) -> Error {
        let path = self.lab.join(log);
        match fs::read_to_string(&path) {
            Ok(text) => error.evidence(format!("{}:\n{}", path.display(), last_lines(&text, 10))),
            Err(_) => error,
        }
    }
}

/// How often nfs-ganesha has read its exports again. A signal only asks it to: until it has, nodes get what they got before.
pub fn rereads(lab: &LabDir) -> usize {
    fs::read_to_string(lab.join(GANESHA_LOG)).unwrap_or_default().matches("Reread exports complete").count()
}

/// Waits until a daemon serves.
///
/// # Errors
/// When it does not within [`SERVES`].
pub async fn until_serves<F: Future<Output = bool>>(what: &str, serves: impl Fn() -> F) -> Result<()> {
    let deadline = Instant::now() + SERVES;
    while !serves().await {
        if Instant::now() > deadline {
            let text = format!("{what} does not answer within {} s", SERVES.as_secs());
            return Err(Error::new(Class::Infrastructure, text));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// qemu runs as root inside the lab's namespaces, where it sees only the lab; files keep their owners, no cgroups
/// are made on the host.
const QEMU_CONF: &str = "user = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\nremember_owner = 0\nsecurity_driver = \"none\"\n\
     namespaces = []\ncgroup_controllers = []\nstdio_handler = \"logd\"\nmax_queued = 0\n";

const LIBVIRTD_CONF: &str = "unix_sock_dir = \"/run/libvirt\"\nunix_sock_rw_perms = \"0700\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n\
     max_clients = 200\nmax_workers = 32\nlog_outputs = \"3:file:/var/log/libvirt/libvirtd.log\"\naudit_level = 0\n";

const START_LIBVIRT: &str = "mkdir -p /run/libvirt /var/lib/libvirt/qemu /var/log/libvirt/qemu /var/cache/libvirt /etc/libvirt/qemu/networks\n\
     pgrep -x virtlogd >/dev/null || { rm -f /run/virtlogd.pid; virtlogd -d -f /etc/libvirt/virtlogd.conf -p /run/virtlogd.pid </dev/null >/dev/null 2>&1; }\n\
     pgrep -x libvirtd >/dev/null || { rm -f /run/libvirtd.pid; libvirtd -d -f /etc/libvirt/libvirtd.conf -p /run/libvirtd.pid </dev/null >/dev/null 2>&1; }\n";

/// The configuration of chronyd: it tells the guests the host's time, and never sets the host's clock (-x).
fn chrony_conf(lab: &Lab) -> String {
    format!("{}\npidfile /run/chronyd-lab.pid\n", chrony_directives(lab).join("\n"))
}

/// What chronyd is told wherever it runs.
pub fn chrony_directives(lab: &Lab) -> Vec<String> {
    vec![
        "local stratum 8".into(),
        format!("allow {}", lab.network.subnet),
        format!("bindaddress {}", lab.network.gateway),
        "port 123".into(),
        "cmdport 0".into(),
        "bindcmdaddress /".into(),
    ]
}

/// The configuration of nfs-ganesha.
///
/// The document's export options are rw, no_root_squash, sync; here each export is open to its own node only, and to the
/// gateway itself for reading: see `Services::acquaint`.
pub fn ganesha_conf(lab: &Lab, dir: &LabDir) -> String {
    ganesha_conf_but(lab, dir, &BTreeSet::new())
}

/// The same, but with these nodes as a group that gets no space.
fn ganesha_conf_but(lab: &Lab, dir: &LabDir, full: &BTreeSet<&NodeName>) -> String {
    let (mount_port, recovery) = match lab.host {
        HostKind::Private => (String::new(), String::new()),
        // A port that the firewall can be told; and what clients had open is kept where no other server keeps its own.
        HostKind::System => {
            (format!("  MNT_Port = {MOUNT_PORT};\n"), format!("  RecoveryRoot = \"{}\";\n", dir.join("nfs").display()))
        }
    };
    let mut text = format!(
        "NFS_CORE_PARAM {{\n  Protocols = 3, 4;\n{mount_port}  Bind_addr = {};\n  NFS_Port = {NFS_PORT};\n  mount_path_pseudo = true;\n  Enable_NLM = false;\n  Enable_RQUOTA = false;\n}}\n\
         NFSv4 {{\n  RecoveryBackend = fs;\n{recovery}  Grace_Period = 5;\n  Lease_Lifetime = 5;\n  Only_Numeric_Owners = true;\n}}\n\
         EXPORT_DEFAULTS {{\n  Attr_Expiration_Time = {ATTRIBUTES};\n}}\n\
         LOG {{ Default_Log_Level = EVENT; }}\n",
        lab.network.gateway
    );
    for (index, node) in lab.nodes.iter().enumerate() {
        let id = index + 1;
        let squash = match full.contains(&node.name) {
            true => format!("All_Squash; Anonymous_Uid = {}; Anonymous_Gid = {NOBODY}", lab.guest.uid),
            false => "No_Root_Squash".to_owned(),
        };
        text.push_str(&format!(
            "EXPORT {{\n  Export_Id = {id};\n  Filesystem_Id = {id}.{id};\n  Path = \"{}\";\n  Pseudo = \"{}\";\n  Access_Type = NONE;\n  Protocols = 3, 4;\n  Transports = TCP;\n  SecType = sys;\n  \
             CLIENT {{ Clients = {}; Access_Type = RW; Squash = {squash}; }}\n  \
             CLIENT {{ Clients = {}; Access_Type = RO; Squash = No_Root_Squash; }}\n  FSAL {{ Name = VFS; }}\n}}\n",
            dir.exports().join(node.name.as_str()).display(),
            node.export,
            node.address,
            lab.network.gateway,
        ));
    }
    text
}
