//! Whether the host has room for a run, asked before anything is touched.

use crate::{
    context::Record,
    error::{Class, Error, Result},
    fit,
    host::{Home, Host, LabDir, capacity},
    lab::{Lab, Size},
};
use std::{fs, path::Path, time::SystemTime};

/// What a lab takes on disk that is not there yet: overlays, exports, logs.
const ROOM: Size = Size::mib(4096);

/// What a run wants, and what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    memory: Size,
    memory_free: Size,
    lab: Size,
    snapshot: Size,
    disk_free: Size,
}

/// Looks whether memory is enough for the guests, and the disk for the lab and its next snapshot.
///
/// # Errors
/// [`Class::Host`] with what is missing.
pub fn admit(lab: &Lab, home: &Home, dir: &LabDir) -> Result<()> {
    let memory = capacity::memory()?;
    let recorded = Record::read(dir)?.map(|record| record.proportion);
    let fitted = fit::fit(lab, memory, recorded)?.lab;
    let guests = Size::bytes(fitted.nodes.iter().map(|node| node.memory.as_bytes()).sum());
    // Guests that run give their memory back before new ones take it.
    let wanted = if Host::find(dir).is_some() { Size::bytes(0) } else { guests };
    let stands = dir.exports_image().exists();
    let need = Need {
        memory: wanted,
        memory_free: memory.available,
        lab: if stands { Size::bytes(0) } else { ROOM },
        snapshot: last_snapshot(&home.snapshots(lab.name.as_str())).unwrap_or_else(|| estimate(guests, dir)),
        disk_free: capacity::free_space(home.path())?,
    };
    judge(&need, lab.name.as_str(), home.path())
}

fn judge(need: &Need, lab: &str, home: &Path) -> Result<()> {
    if need.memory > need.memory_free {
        let (wanted, free) = (need.memory.as_mib(), need.memory_free.as_mib());
        return Err(Error::new(
            Class::Host,
            format!("the guests of lab `{lab}` want {wanted} MiB of memory, {free} MiB are available"),
        )
        .hint("end other labs or programs before the night"));
    }
    let disk = Size::bytes(need.lab.as_bytes() + need.snapshot.as_bytes());
    if disk > need.disk_free {
        let (all, free) = (disk.as_mib(), need.disk_free.as_mib());
        let (own, snapshot) = (need.lab.as_mib(), need.snapshot.as_mib());
        return Err(Error::new(
            Class::Host,
            format!("lab `{lab}` wants {all} MiB of disk below `{}`, {free} MiB are free", home.display()),
        )
        .evidence(format!("{own} MiB for the lab itself, {snapshot} MiB for its next snapshot"))
        .hint("`pgxc-lab snapshot delete` and `pgxc-lab image prune` free some"));
    }
    Ok(())
}

/// What the newest snapshot takes on disk: the next one will take about the same.
fn last_snapshot(directory: &Path) -> Option<Size> {
    let newest = fs::read_dir(directory)
        .ok()?
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH))?;
    Some(Size::bytes(capacity::allocated(&newest.path())))
}

/// Without one to go by: all memory, and what disks and exports hold now.
fn estimate(guests: Size, dir: &LabDir) -> Size {
    Size::bytes(guests.as_bytes() + capacity::allocated(&dir.join("disks")) + capacity::allocated(&dir.exports_image()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        let need = |memory, snapshot| Need {
            memory: Size::mib(memory),
            memory_free: Size::mib(8000),
            lab: ROOM,
            snapshot: Size::mib(snapshot),
            disk_free: Size::mib(10_000),
        };
        let judged = |need| judge(&need, "pgxc", Path::new("/var/lib/pgxc-lab"));
        assert!(judged(need(8000, 5904)).is_ok());
        let memory = judged(need(8001, 0)).expect_err("too much memory");
        assert_eq!(memory.class(), Class::Host);
        assert_eq!(memory.message(), "the guests of lab `pgxc` want 8001 MiB of memory, 8000 MiB are available");
        let disk = judged(need(1, 5905)).expect_err("too much disk");
        assert_eq!(disk.message(), "lab `pgxc` wants 10001 MiB of disk below `/var/lib/pgxc-lab`, 10000 MiB are free");
        assert_eq!(disk.causes(), ["4096 MiB for the lab itself, 5905 MiB for its next snapshot"]);
    }

    #[test]
    fn the_newest_snapshot_is_measured_without_its_holes() {
        let home = tempfile::tempdir().expect("a directory");
        assert_eq!(last_snapshot(home.path()), None);
        let snapshot = home.path().join("one/disks");
        fs::create_dir_all(&snapshot).expect("a directory");
        fs::write(snapshot.join("a"), vec![1; 100_000]).expect("a file");
        fs::File::create(snapshot.join("hole")).and_then(|file| file.set_len(1 << 30)).expect("a sparse file");
        let size = last_snapshot(home.path()).expect("there is one").as_bytes();
        assert!((100_000..1_000_000).contains(&size), "{size}");
    }
}
