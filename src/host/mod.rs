//! The host: where the lab lives, and what it offers there.

mod bridge;
pub mod capacity;
mod exports;
mod holder;
mod kvm;
mod leftovers;
mod links;
mod lock;
mod network_namespace;
mod paths;
mod peer;
mod place;
mod private;
mod qemu;
mod services;
pub mod system;
mod tracking;
mod wire;

pub use bridge::{Bridge, bash, bridge_look, bridge_make};
pub use exports::Exports;
pub use holder::hold;
pub use kvm::{Accelerator, choose as choose_accelerator};
pub use leftovers::{Directory, Leftover, look as look_for_leftovers};
pub use links::{Link, Links};
pub use lock::Lock;
pub use paths::{Home, LabDir};
pub use peer::{Peer, Shelf, leave as leave_peer};
pub use place::Host;
pub use private::{Private, end_holder, last_lines, run};
pub use qemu::{QEMU, version as qemu_version};
pub use services::{
    MOUNT_PORT, NFS_PORT, READS, Service, Services, chrony_directives, ganesha_conf, holds_text, rereads, until_serves,
};
pub use tracking::Tracking;
pub use wire::{MTU, Wire};

/// Where a program of this machine is.
pub fn program(name: &str) -> Option<std::path::PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"];
    places.iter().map(|place| std::path::Path::new(place).join(name)).find(|path| path.exists())
}
