//! pgxc-lab: a whole distributed-PostgreSQL lab on libvirt VMs with one command.
//!
//! lab.yaml → [`config`] → [`lab::Lab`] → [`plan::Plan`] → [`executor`] → [`apply`] → events → [`ui`] and [`journal`].

pub mod apply;
pub mod cli;
pub mod commands;
pub mod config;
pub mod context;
pub mod digest;
pub mod drill;
pub mod engine;
pub mod error;
pub mod event;
pub mod evidence;
pub mod executor;
pub mod export;
pub mod fault;
pub mod file;
pub mod fit;
pub mod gtm;
pub mod guest;
pub mod host;
pub mod hypervisor;
pub mod image;
pub mod journal;
pub mod kit;
pub mod lab;
pub mod nightly;
pub mod plan;
pub mod prepare;
pub mod remote;
pub mod settings;
pub mod snapshot;
pub mod source;
pub mod sql;
pub mod status;
pub mod ui;
pub mod verify;
