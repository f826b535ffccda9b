//! Where a lab lives, from the outside: what its commands run in, how its addresses are reached, where its libvirt is.

use super::{
    holder::HolderId,
    network_namespace,
    paths::LabDir,
    private::{Private, run},
    system,
};
use crate::{
    error::{Class, Result},
    lab::HostKind,
};
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::net::TcpStream;

/// A script may start daemons, and they live as long as the lab: they must not hold what the caller of this program has
/// open, such as the lock of `flock FILE pgxc-lab up`.
const CLOSE_INHERITED: &str =
    "for fd in /proc/self/fd/*; do [ \"${fd##*/}\" -le 2 ] || eval \"exec ${fd##*/}>&-\"; done\n";

/// The host of a lab that is up.
#[derive(Clone, Debug)]
pub enum Host {
    /// Namespaces of the lab's own.
    Private(Private),
    /// This machine, with its own libvirt.
    System,
}

impl Host {
    /// The lab's host, if the lab was brought up there since the machine's last boot.
    pub fn find(lab: &LabDir) -> Option<Host> {
        match Private::find(lab) {
            Some(private) => Some(Host::Private(private)),
            None => system::is_taken(lab).then_some(Host::System),
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> HostKind {
        match self {
            Host::Private(_) => HostKind::Private,
            Host::System => HostKind::System,
        }
    }

    /// A command that runs on it.
    pub fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = match self {
            Host::Private(private) => private.command(program),
            Host::System => tokio::process::Command::new(program),
        };
        command.stdin(Stdio::null());
        command
    }

    /// A command of this machine, with its files, that talks to the lab's network.
    pub fn client(&self, program: &str) -> std::process::Command {
        match self {
            Host::Private(private) => {
                let mut command = std::process::Command::new("nsenter");
                command.arg(format!("--target={}", private.pid())).args(["--net", "--", program]);
                command
            }
            Host::System => std::process::Command::new(program),
        }
    }

    /// Runs a bash script on it and gives its standard output.
    ///
    /// # Errors
    /// When it ends with a failure: what it was for, its last lines.
    pub async fn script(&self, what: &str, class: Class, script: &str) -> Result<String> {
        let mut command = self.command("bash");
        command.args(["-ceu", "-o", "pipefail", &format!("{CLOSE_INHERITED}{script}")]);
        run(command, what, class).await
    }

    /// Connects to an address of the lab.
    ///
    /// # Errors
    /// When nothing accepts within `patience`.
    pub async fn connect(&self, address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
        match self {
            Host::Private(private) => network_namespace::connect(private.pid(), address, patience).await,
            Host::System => {
                let connected = tokio::time::timeout(patience, TcpStream::connect(address)).await;
                let socket = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                socket.set_nodelay(true)?;
                Ok(socket)
            }
        }
    }

    /// A path of it, reachable from here.
    pub fn inside(&self, path: &Path) -> PathBuf {
        match self {
            Host::Private(private) => private.inside(path),
            Host::System => path.to_owned(),
        }
    }

    /// Its libvirt.
    pub fn libvirt_uri(&self) -> String {
        match self {
            Host::Private(private) => private.libvirt_uri(),
            Host::System => system::LIBVIRT.to_owned(),
        }
    }

    /// Identity of a run of a guest, of which libvirt says that it is number `run`: no other run ever has the same.
    pub fn run_of(&self, domain: &str, run: u32) -> String {
        let begun = match self {
            // Numbers begin anew with the namespaces.
            Host::Private(private) => private.incarnation(),
            // They may begin anew with libvirtd, which may be restarted beside its guests: their processes tell.
            Host::System => fs::read_to_string(format!("/run/libvirt/qemu/{domain}.pid"))
                .ok()
                .and_then(|pid| HolderId::of(pid.trim().parse().ok()?))
                .map(|id| id.incarnation())
                .unwrap_or_default(),
        };
        format!("{begun}/{run}")
    }
}
