//! The host: where the lab lives, and what it offers there.

pub mod capacity;
mod exports;
mod holder;
mod kvm;
mod leftovers;
mod links;
mod lock;
mod network_namespace;
mod paths;
mod private;
mod qemu;
mod services;

pub use exports::Exports;
pub use holder::hold;
pub use kvm::{Accelerator, choose as choose_accelerator};
pub use leftovers::{Directory, Leftover, look as look_for_leftovers};
pub use links::{Link, Links};
pub use lock::Lock;
pub use paths::{Home, LabDir};
pub use private::{Private, end_holder, last_lines, run};
pub use qemu::version as qemu_version;
pub use services::{Service, Services};
