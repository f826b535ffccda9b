//! What a guest must look like: pure functions from the lab to files and checks, one file per guest system.

mod debian;
mod el5;
mod file;
mod hosts;
mod report;
#[cfg(test)]
mod root;
mod system;
mod tune;

pub use file::{Content, GuestFile};
pub(crate) use hosts::name_lines;
pub use report::{Finding, Verdict, parse_report};
pub use system::{Init, System};

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
}
