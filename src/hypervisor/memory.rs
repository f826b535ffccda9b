//! Memory of a guest, written to a file and read back, through the hypervisor's migration to a file.
//!
//! libvirt's own `save` ends the domain, and writes only after the guest was stopped. Here a guest goes on while most
//! of its memory is written; only the rest is written when all guests stand still.

use super::Libvirt;
use crate::error::{Class, Error, Result};
use serde_json::{Value, json};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// First qemu that migrates to and from a file.
const FIRST_QEMU: [u32; 2] = [8, 2];
/// How often a migration is asked how far it is: each question costs libvirt a millisecond.
const ASK: Duration = Duration::from_millis(10);
/// No limit, in bytes a second.
const UNLIMITED: u64 = 1 << 40;
/// As good as standing still, in bytes a second: what is left after the first pass waits for the pause.
const TRICKLE: u64 = 32 << 10;
/// A guest's memory is written before the pause until this much of it is left, in bytes. With less, an idle guest would
/// end between two questions, and so stand still before the others are ready; more would be written during the pause.
const LEFT: u64 = 32 << 20;
/// How long a guest's memory may take to be written or read: 100 MB/s for 64 GiB, and ten times a usual lab's.
const PATIENCE: Duration = Duration::from_secs(660);

/// How far a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    None,
    Active { remaining: u64, total: u64 },
    Completed,
}

/// Tells whether this hypervisor can write memory to a file.
///
/// # Errors
/// When it cannot, with what would help.
pub fn check_version(qemu: &str) -> Result<()> {
    let mut numbers = qemu.split('.').filter_map(|number| number.parse::<u32>().ok());
    let version = [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)];
    if version >= FIRST_QEMU {
        return Ok(());
    }
    Err(Error::new(
        Class::Host,
        format!(
            "qemu {qemu} cannot write a guest's memory to a file; {}.{} is the first",
            FIRST_QEMU[0], FIRST_QEMU[1]
        ),
    )
    .hint("take `--disk-only`, or a newer qemu: Debian 12 has one in its backports"))
}

/// Stops a guest and writes its memory. Its disks are whole and at rest afterwards, and it can only be ended.
///
/// # Errors
/// When the hypervisor refuses or the disk does.
pub fn write(libvirt: &Libvirt, name: &str, file: &Path) -> Result<()> {
    libvirt.pause(name)?;
    begin(libvirt, name, file)?;
    finish(libvirt, name)
}

/// Writes most of a guest's memory while it runs, and holds the rest back. The migration goes on until
/// [`finish`] or [`cancel`]; a guest that had nothing left to write stands still already.
///
/// # Errors
/// When the hypervisor refuses or the disk does.
pub fn begin(libvirt: &Libvirt, name: &str, file: &Path) -> Result<()> {
    set_capabilities(libvirt, name)?;
    libvirt.monitor(
        name,
        &json!({"execute": "migrate-set-parameters", "arguments": {
            "max-bandwidth": UNLIMITED,
            // Together: a thousand bytes may be left when the guest is stopped by itself, so it hardly ever is.
            "downtime-limit": 1000,
            "avail-switchover-bandwidth": 1000,
        }}),
    )?;
    migrate(libvirt, name, file)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match progress(libvirt, name)? {
            Progress::Completed => return Ok(()),
            Progress::None => return Err(given_up(name)),
            Progress::Active { remaining, total } if total > 0 && remaining < LEFT => {
                return limit(libvirt, name, TRICKLE);
            }
            Progress::Active { .. } => wait(name, deadline)?,
        }
    }
}

/// Writes the rest of a paused guest's memory.
///
/// # Errors
/// When the disk refuses.
pub fn finish(libvirt: &Libvirt, name: &str) -> Result<()> {
    limit(libvirt, name, UNLIMITED)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match progress(libvirt, name)? {
            Progress::Completed => return Ok(()),
            Progress::None => return Err(given_up(name)),
            Progress::Active { .. } => wait(name, deadline)?,
        }
    }
}

/// Gives up writing, if any is under way.
///
/// # Errors
/// When the hypervisor does not listen.
pub fn cancel(libvirt: &Libvirt, name: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut told = false;
    // A migration that failed is over too.
    while let Ok(Progress::Active { .. }) = progress(libvirt, name) {
        if !told {
            libvirt.monitor(name, &json!({"execute": "migrate_cancel"}))?;
            told = true;
        }
        wait(name, deadline)?;
    }
    Ok(())
}

/// Waits until a domain that was started with `-incoming` has read its memory.
///
/// # Errors
/// When the hypervisor cannot read it: it ends then, with the reason in its log.
pub fn wait_loaded(libvirt: &Libvirt, name: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = libvirt
            .monitor(name, &json!({"execute": "query-status"}))
            .map_err(|error| error.context(format!("the memory of `{name}` cannot be read back")))?;
        if status["status"] != "inmigrate" {
            return Ok(());
        }
        wait(name, deadline)?;
    }
}

fn set_capabilities(libvirt: &Libvirt, name: &str) -> Result<()> {
    // The plain stream: whatever an earlier, broken run may have set.
    let capability = |name: &str| json!({"capability": name, "state": false});
    let capabilities = [capability("mapped-ram"), capability("background-snapshot"), capability("multifd")];
    let command = json!({"execute": "migrate-set-capabilities", "arguments": {"capabilities": capabilities}});
    // A hypervisor that does not know one of them cannot have it set.
    let _ = libvirt.monitor(name, &command);
    Ok(())
}

fn migrate(libvirt: &Libvirt, name: &str, file: &Path) -> Result<()> {
    let uri = format!("file:{}", file.display());
    libvirt.monitor(name, &json!({"execute": "migrate", "arguments": {"uri": uri}})).map(drop)
}

fn limit(libvirt: &Libvirt, name: &str, bytes_a_second: u64) -> Result<()> {
    let arguments = json!({"max-bandwidth": bytes_a_second});
    libvirt.monitor(name, &json!({"execute": "migrate-set-parameters", "arguments": arguments})).map(drop)
}

fn progress(libvirt: &Libvirt, name: &str) -> Result<Progress> {
    parse(name, &libvirt.monitor(name, &json!({"execute": "query-migrate"}))?)
}

/// # Errors
/// When the migration failed.
fn parse(name: &str, answer: &Value) -> Result<Progress> {
    let number = |key: &str| answer["ram"][key].as_u64().unwrap_or(0);
    match answer["status"].as_str() {
        Some("failed") => Err(Error::new(Class::Host, format!("the memory of `{name}` could not be written"))
            .evidence(answer["error-desc"].as_str().unwrap_or("the hypervisor gives no reason").to_owned())
            .hint("look whether the disk is full; the guest goes on as it was")),
        Some("completed") => Ok(Progress::Completed),
        None | Some("none" | "cancelled") => Ok(Progress::None),
        Some(_) => Ok(Progress::Active { remaining: number("remaining"), total: number("total") }),
    }
}

fn given_up(name: &str) -> Error {
    Error::new(Class::Infrastructure, format!("somebody gave up writing the memory of `{name}`"))
}

fn wait(name: &str, deadline: Instant) -> Result<()> {
    if Instant::now() > deadline {
        return Err(Error::new(
            Class::Infrastructure,
            format!("the memory of `{name}` was not moved within {} s", PATIENCE.as_secs()),
        ));
    }
    thread::sleep(ASK);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_hypervisor_is_refused() {
        assert!(check_version("10.0.2").is_ok());
        assert!(check_version("8.2.0").is_ok());
        assert!(check_version("8.1.9").is_err());
        assert!(check_version("7.2.15").is_err());
    }

    #[test]
    fn the_answer_of_a_migration_is_read() {
        let active = json!({"status": "active", "ram": {"remaining": 5, "total": 40}});
        assert_eq!(parse("db1", &active).expect("it is understood"), Progress::Active { remaining: 5, total: 40 });
        assert_eq!(parse("db1", &json!({})).expect("it is understood"), Progress::None);
        assert_eq!(parse("db1", &json!({"status": "completed"})).expect("it is understood"), Progress::Completed);
        let failed = json!({"status": "failed", "error-desc": "No space left on device"});
        assert!(parse("db1", &failed).expect_err("it failed").to_string().contains("could not be written"));
    }
}
