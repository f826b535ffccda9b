//! What a guest must look like: pure functions from the lab to files and checks, one file per guest system.

mod archive;
mod debian;
mod el;
mod el5;
mod file;
mod hosts;
mod init;
mod report;
#[cfg(test)]
mod root;
mod system;
mod systemd;
mod tune;

pub(crate) use archive::archive;
pub use file::{Content, GuestFile};
pub(crate) use hosts::name_lines;
pub use init::{Follow, Init};
pub(crate) use init::{SCRIPTS, script_name};
pub use report::{Finding, Verdict, parse_report};
pub use system::System;
pub(crate) use tune::quoted;

use crate::lab::{Lab, Node};

/// First line of the files that are ours alone.
const MARK: &str = "# Written by pgxc-lab from lab.yaml.\n";

/// What differs between guest systems. Pure: it returns files and scripts, others carry them to the guest.
pub trait GuestSystem: Send + Sync {
    /// The files of one node, engine units and profile not included: hosts, sysctl, limits, iptables, time,
    /// locale, fstab. They are put on the seed disk before the first boot and compared by `doctor`.
    fn files(&self, lab: &Lab, node: &Node) -> Vec<GuestFile>;

    /// A POSIX script that brings a running guest to `files` + services + sysctl and reports one line per item.
    ///
    /// With `APPLY=0` in its environment it only reports. Output is read by [`parse_report`].
    fn tune_script(&self, lab: &Lab, node: &Node, files: &[GuestFile]) -> String;

    /// The command that shuts it down, run as root over ssh: guests need not listen to a power button.
    fn power_off(&self) -> &'static str;

    /// The service that sets the clock right.
    fn time_service(&self) -> &'static str;

    /// The zone whose time the hardware clock shows, where it is not universal time.
    fn hardware_clock(&self, _: &Lab) -> Option<String> {
        None
    }

    /// What `mke2fs` is asked for so that this system's kernel mounts what it makes: for disks without a journal that are
    /// only read.
    fn read_only_filesystem(&self) -> &'static [&'static str] {
        &["-t", "ext4", "-O", "^has_journal"]
    }
}
