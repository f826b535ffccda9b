//! Whole labs: real libvirt, real (emulated) guests, real NFS, a real cluster, all in namespaces that pgxc-lab makes.
//!
//! They need root and `scripts/setup`. Run by `./scripts/test`, one after the other: guests need the cores.

mod bench;
mod build;
mod eight;
mod fdw;
mod host;
mod hosts;
mod install;
mod life;
mod native;
mod old_ssh;
mod snapshot;
mod system;
