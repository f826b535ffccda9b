//! All tests above the units, in one binary.

mod build;
mod config;
mod cost;
mod disks;
mod document;
mod download;
mod drill;
mod e2e;
mod executor;
mod export;
mod help;
mod hypervisor;
mod nightly;
mod plan;
mod program;
mod scale;
mod server;
mod ssh;
mod verify;
