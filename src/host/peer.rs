//! A host of the lab that is not this machine, from here: its libvirt, and a shell of root over ssh.

use super::{bridge::bridge_needs, private::last_lines, wire::Wire};
use crate::{
    error::{Class, Error, Result, ResultExt},
    hypervisor::Libvirt,
    lab::{Connection, NodeName, Other, Uplink},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Seconds within which a host must let us in: beyond that it is as good as gone.
const LOGIN: u32 = 5;

/// It, with all that is needed to reach it again: the journal keeps this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name in the lab.
    pub name: NodeName,
    /// How it is reached.
    pub connection: Connection,
}

impl Peer {
    /// That of lab.yaml.
    pub fn of(other: &Other) -> Peer {
        Peer { name: other.host.name.clone(), connection: other.connection.clone() }
    }

    /// What it is, if a lab can use it with this way into the network. Blocks.
    ///
    /// # Errors
    /// What is in the way.
    pub fn survey(&self, uplink: &Uplink) -> Result<String> {
        match uplink {
            Uplink::Address(address) => self.script("make a network", &Wire::needs(*address))?,
            Uplink::Bridge(bridge) => self.script("plug guests in", &bridge_needs(bridge))?,
        };
        let libvirt = Libvirt::open(&self.connection.libvirt_uri())?;
        let ((memory, cpus), (version, _)) = (libvirt.machine()?, libvirt.versions()?);
        Ok(format!("{} MiB, {cpus} processors, libvirt {version}", memory.as_mib()))
    }

    /// A command of it, given to its shell as one text.
    pub fn command(&self, text: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-o", &format!("ConnectTimeout={LOGIN}")]).args(self.connection.ssh_arguments()).arg(text);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a bash script on it and gives its standard output. Blocks.
    ///
    /// # Errors
    /// When it cannot be reached or the script fails: what it was for, its last lines.
    pub fn script(&self, what: &str, script: &str) -> Result<String> {
        use std::io::Write;
        let cannot = || format!("cannot {what} on host `{}`", self.name);
        let mut command = self.command("bash -eu -o pipefail -s");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().or_error(Class::Infrastructure, cannot)?;
        let mut input = child.stdin.take().expect("it was asked for");
        // A host that does not let us in closes this: its words come below.
        let _ = input.write_all(script.as_bytes());
        drop(input);
        let output = child.wait_with_output().or_error(Class::Infrastructure, cannot)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(Error::new(Class::Infrastructure, format!("{}: {}", cannot(), output.status))
            .evidence(last_lines(&text, 10)))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host `{}` ({})", self.name, self.connection)
    }
}

/// What a lab has on a peer: one storage pool of libvirt, whose name and directory tell whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    lab: String,
}

impl Shelf {
    /// That of a lab.
    pub fn of(lab: &str) -> Shelf {
        Shelf { lab: lab.to_owned() }
    }

    /// Name of the pool.
    pub fn pool(&self) -> String {
        format!("pgxc-lab-{}", self.lab)
    }

    /// Its directory: where libvirt's own images are, so that qemu's user and its confinement let it in.
    pub fn directory(&self) -> PathBuf {
        PathBuf::from("/var/lib/libvirt/images").join(self.pool())
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// A node's serial console.
    pub fn console(&self, node: &str) -> PathBuf {
        self.file(&format!("{node}-console.log"))
    }
}

/// Takes a lab off a host: its guests, its pool with all that is in it, its end of the wire. Blocks.
///
/// # Errors
/// When the host does not answer, or something of the lab stays there.
pub fn leave(peer: &Peer, lab: &str) -> Result<()> {
    // First what has a deadline of its own.
    peer.script("log in", "true\n")?;
    let libvirt = Libvirt::open(&peer.connection.libvirt_uri())?;
    for domain in libvirt.domains(lab)? {
        libvirt.remove(&domain.name)?;
    }
    let shelf = Shelf::of(lab);
    libvirt.remove_pool(&shelf.pool(), &shelf.directory())?;
    peer.script("take the wire away", &Wire::remove(lab)).map(drop)
}
