//! `host: system`: this machine itself, with its own libvirt and whatever other people have there.
//!
//! Nothing here is ours by birth, as everything in namespaces of our own would be. So each change is a value
//! ([`Change`]), written to the lab's journal before it is made, and `destroy` takes back exactly these.

mod change;
mod daemon;
mod drain;
mod firewall;
mod lease;
mod names;
mod nfs;
mod survey;
mod undo;

pub use change::Change;
pub use daemon::Daemon;
pub use drain::{CLIENTS, expire_clients};
pub use firewall::{NTP_PORT, PORTMAP_PORT, Rule, is_let_in, rules};
pub use lease::{Lease, lease_list, leases, release};
pub use names::{HOSTS, clashes, hosts_text, remove_block, rewrite, with_block};
pub use nfs::{Server, exports_file, exports_text, is_exported, mount_port, options};
pub use survey::{Facts, Finding, Firewall, SeenLibvirt, Verdict, look, survey};
pub use undo::{is_entangled, leave, undo, unplug};

use super::{holder::boot_id, paths::LabDir};
use crate::error::{Class, Result, ResultExt};
use std::fs;

/// The connection to the machine's own libvirt.
pub const LIBVIRT: &str = "qemu:///system";
/// The network that guests are plugged into: libvirt's own, as in the document.
pub const NETWORK: &str = "default";

/// Whether this lab was brought up on this machine since its last boot.
pub fn is_taken(lab: &LabDir) -> bool {
    fs::read_to_string(lab.system_mark()).is_ok_and(|boot| boot_id().as_deref() == Some(boot.trim()))
}

/// Notes that it is.
///
/// # Errors
/// When the disk refuses.
pub fn take(lab: &LabDir) -> Result<()> {
    let mark = lab.system_mark();
    fs::write(&mark, boot_id().unwrap_or_default())
        .or_error(Class::Host, || format!("cannot write `{}`", mark.display()))
}
