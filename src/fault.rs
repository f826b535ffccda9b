//! Faults on purpose: how tests end this program where it hurts most.
//!
//! `PGXC_LAB_FAULT=kill-after-journal-line:N` has it die, as by `kill -9`, when it has written its Nth line of the
//! lab's journal: the line is on disk, and nothing of what follows was done.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The variable.
pub const VARIABLE: &str = "PGXC_LAB_FAULT";
/// Lines of the journal that this process has written.
static LINES: AtomicUsize = AtomicUsize::new(0);

/// A line of the journal was written.
pub fn journal_line_written() {
    let line = LINES.fetch_add(1, Ordering::Relaxed) + 1;
    if std::env::var(VARIABLE).is_ok_and(|fault| fault == format!("kill-after-journal-line:{line}")) {
        // It cannot fail for the own process, and does not return.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
}
