//! What a lab changes on the machine that it lives on.

use super::{Daemon, Rule};
use crate::{hypervisor::Reservation, lab::Device};
use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr, path::PathBuf};

/// One change, with all that is needed to take it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// An address was reserved in libvirt's network, and perhaps leased then.
    Reserved(Reservation),
    /// A directory was made.
    Directory {
        /// It.
        path: PathBuf,
    },
    /// A filesystem was mounted.
    Mounted {
        /// Where.
        point: PathBuf,
    },
    /// A file of exports was written.
    ExportsFile {
        /// It.
        path: PathBuf,
    },
    /// The kernel was told to export a directory.
    Exported {
        /// Who may mount it.
        client: Ipv4Addr,
        /// What is exported.
        directory: PathBuf,
    },
    /// A daemon was started.
    Started(Daemon),
    /// The firewall was told to let something in.
    LetIn(Rule),
    /// The lab's names were written into a file of names.
    Named {
        /// The lab.
        lab: String,
        /// The file.
        path: PathBuf,
    },
    /// A lab in namespaces of its own was plugged into a bridge of the machine.
    Plugged {
        /// The bridge.
        bridge: Device,
        /// The port on it.
        port: Device,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Reserved(reservation) => {
                write!(f, "reservation of {} for {}", reservation.address, reservation.mac)
            }
            Change::Directory { path } => write!(f, "directory `{}`", path.display()),
            Change::Mounted { point } => write!(f, "mount on `{}`", point.display()),
            Change::ExportsFile { path } => write!(f, "file `{}`", path.display()),
            Change::Exported { client, directory } => write!(f, "export of `{}` to {client}", directory.display()),
            Change::Started(daemon) => write!(f, "{daemon}"),
            Change::Named { lab, path } => write!(f, "names of lab `{lab}` in `{}`", path.display()),
            Change::Plugged { bridge, port } => write!(f, "port {port} on the bridge {bridge}"),
            Change::LetIn(rule) => write!(f, "firewall rule `{rule}`"),
        }
    }
}
