//! The lab in the words of other tools: ssh, Ansible, /etc/hosts, libpq, and a picture. Pure.

pub mod diagram;
mod hosts;
mod inventory;
mod pgpass;
mod reach;
mod ssh_config;

pub use hosts::hosts;
pub use inventory::inventory;
pub use pgpass::pgpass;
pub use reach::Reach;
pub use ssh_config::ssh_config;

/// Stands at the head of every export: a file that has it may be replaced by a newer one.
pub const MARK: &str = "Written by pgxc-lab";
