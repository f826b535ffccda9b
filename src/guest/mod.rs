//! What a guest must look like: pure functions from the lab to files and checks, one file per guest system.

mod debian;
mod file;
mod report;
mod tune;

pub use debian::Debian;
pub(crate) use debian::name_lines;
pub use file::{Content, GuestFile};
pub use report::{Finding, Verdict, parse_report};

use crate::lab::{Lab, Node};

/// What differs between guest systems. Pure: it returns files and scripts, others carry them to the guest.
pub trait GuestSystem: Send + Sync {
    /// The files of one node, engine units and profile not included: hosts, sysctl, limits, iptables, time,
    /// locale, fstab. They are put on the seed disk before the first boot and compared by `doctor`.
    fn files(&self, lab: &Lab, node: &Node) -> Vec<GuestFile>;

    /// A POSIX script that brings a running guest to `files` + services + sysctl and reports one line per item.
    ///
    /// With `APPLY=0` in its environment it only reports. Output is read by [`parse_report`].
    fn tune_script(&self, lab: &Lab, node: &Node, files: &[GuestFile]) -> String;
}
