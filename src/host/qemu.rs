//! The hypervisor's program.

use crate::error::{Class, Error, Result, ResultExt};
use std::{
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The program that runs guests.
pub const QEMU: &str = "qemu-system-x86_64";

/// What it says of itself, with the distribution's revision: a machine's memory can be read back by the same one only.
///
/// # Errors
/// When it is not there.
pub fn version() -> Result<String> {
    // It does not change during a run, and each guest is compared with it.
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    let cannot = || format!("cannot run `{QEMU} --version`");
    let output = Command::new(QEMU).arg("--version").stdin(Stdio::null()).output().or_error(Class::Host, cannot)?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(KNOWN.get_or_init(|| line.to_owned()).clone()),
        _ => Err(Error::new(Class::Host, cannot()).hint("`scripts/setup` installs it")),
    }
}
