//! Logs out of filesystems that nobody mounts: the exports of a dead lab, the disk of a dead guest.

use super::bundle::Bundle;
use crate::{
    error::{Class, Result, ResultExt},
    host::capacity,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A guest's disk is copied before it is read; more than this takes minutes and tells no more.
const MOST: u64 = 2 << 30;
/// What must stay free beside such a copy.
const ROOM: u64 = 512 << 20;
/// Seconds that one tool may take.
const PATIENCE: &str = "120";
/// Directories of a database that hold data, often very much of it.
const DATA: [&str; 8] =
    ["base", "global", "pg_xlog", "pg_clog", "pg_subtrans", "pg_multixact", "pg_twophase", "pg_wal"];
/// Where a guest keeps its logs.
const GUEST_LOGS: &str = "/var/log";
/// Directories below it.
const GUEST_DEPTH: usize = 3;

/// Whether a directory is worth a look.
pub(super) fn may_hold_logs(name: &str) -> bool {
    !DATA.contains(&name) && name != "lost+found"
}

/// Whether a file of a data directory is a log.
pub(super) fn is_log(directory: &Path, name: &str) -> bool {
    name.ends_with(".log") || directory.file_name().is_some_and(|directory| directory == "pg_log" || directory == "log")
}

/// An entry of a directory inside an image.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    is_directory: bool,
}

/// Adds the logs below a directory of an ext4 image.
pub(super) fn logs(bundle: &mut Bundle, image: &Path, from: &Path, to: &Path, depth: usize) -> Result<()> {
    dump(bundle, image, from, to, depth, is_log).map(drop)
}

/// Adds the files below a directory of an ext4 image that are wanted; gives how many those were.
fn dump(
    bundle: &mut Bundle,
    image: &Path,
    from: &Path,
    to: &Path,
    depth: usize,
    wanted: fn(&Path, &str) -> bool,
) -> Result<usize> {
    let listing = match debugfs(image, &format!("ls -p \"{}\"", from.display())) {
        Ok(listing) => listing,
        Err(why) => {
            bundle.missing(format!("{}: {why}", to.display()));
            return Ok(0);
        }
    };
    let mut found = 0;
    for Entry { name, is_directory } in listing.lines().filter_map(entry) {
        let (inner, outer) = (from.join(&name), to.join(&name));
        if !plain(&name) {
            bundle.missing(format!("{}: a name that cannot be asked for", outer.display()));
        } else if is_directory && depth > 0 && may_hold_logs(&name) {
            found += dump(bundle, image, &inner, &outer, depth - 1, wanted)?;
        } else if !is_directory && wanted(from, &name) {
            found += 1;
            let scratch = bundle.scratch("file");
            match debugfs(image, &format!("dump \"{}\" \"{}\"", inner.display(), scratch.display())) {
                Ok(_) => bundle.file(&outer, &scratch)?,
                Err(why) => bundle.missing(format!("{}: {why}", outer.display())),
            }
            let _ = fs::remove_file(&scratch);
        }
    }
    Ok(found)
}

/// A line of `ls -p`: `/inode/mode/uid/gid/name/size/`.
fn entry(line: &str) -> Option<Entry> {
    let parts: Vec<&str> = line.split('/').collect();
    let (inode, mode, name) = (parts.get(1)?, parts.get(2)?, *parts.get(5)?);
    let kind = u32::from_str_radix(mode, 8).ok()? & 0o170_000;
    let counts = *inode != "0" && name != "." && name != "..";
    let is_directory = kind == 0o040_000;
    (counts && (is_directory || kind == 0o100_000)).then(|| Entry { name: name.to_owned(), is_directory })
}

/// Names that mean to debugfs what they say.
fn plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('-') && name.chars().all(|c| !c.is_control() && !"\"\\/<>".contains(c))
}

/// One request; debugfs tells failures in words only.
fn debugfs(image: &Path, request: &str) -> std::result::Result<String, String> {
    let mut command = Command::new("timeout");
    command.args([PATIENCE, "debugfs", "-R", request]).arg(image);
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("no debugfs: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    let complaint = words.lines().find(|line| !line.starts_with("debugfs ") && !line.trim().is_empty());
    match complaint {
        Some(complaint) => Err(complaint.to_owned()),
        None if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        None => Err(format!("debugfs: {}", output.status)),
    }
}

/// Adds /var/log of a guest that does not run, from its disk. The guests' journal is not among it: it lives in
/// memory, see images/debian-12.
pub(super) fn guest(bundle: &mut Bundle, name: &str, overlay: &Path) -> Result<()> {
    let scratch = bundle.scratch(name);
    let copied = copy(overlay, &scratch);
    let result = match copied {
        Ok(()) => {
            let to = PathBuf::from(format!("guests/{name}{GUEST_LOGS}"));
            dump(bundle, &scratch, Path::new(GUEST_LOGS), &to, GUEST_DEPTH, |_, _| true).map(|found| {
                if found == 0 {
                    bundle.missing(format!("{}: no files; the journal lived in memory", to.display()));
                }
            })
        }
        Err(why) => {
            bundle.missing(format!("guests/{name}: its disk cannot be read: {why}"));
            Ok(())
        }
    };
    if scratch.exists() {
        fs::remove_file(&scratch).or_error(Class::Host, || format!("cannot remove `{}`", scratch.display()))?;
    }
    result
}

/// The whole disk of overlay and image as one raw file: debugfs reads no other. The guest may still run.
fn copy(overlay: &Path, to: &Path) -> std::result::Result<(), String> {
    let size = data_of(&qemu_img(&["map", "-U", "--output=json"], overlay, None)?)?;
    if size > MOST {
        return Err(format!("it holds {} MiB, more than {} MiB are not copied", size >> 20, MOST >> 20));
    }
    let free = capacity::free_space(to).map_err(|error| error.message().to_owned())?.as_bytes();
    if free < size + ROOM {
        return Err(format!("a copy takes {} MiB, {} MiB are free", size >> 20, free >> 20));
    }
    qemu_img(&["convert", "-U", "-O", "raw"], overlay, Some(to)).map(drop)
}

/// Bytes of a disk that are data, from `qemu-img map`.
fn data_of(map: &str) -> std::result::Result<u64, String> {
    let ranges: Vec<serde_json::Value> = serde_json::from_str(map).map_err(|error| error.to_string())?;
    let data = ranges.iter().filter(|range| range["data"] == true && range["zero"] != true);
    Ok(data.filter_map(|range| range["length"].as_u64()).sum())
}

fn qemu_img(arguments: &[&str], disk: &Path, to: Option<&Path>) -> std::result::Result<String, String> {
    let mut command = Command::new("timeout");
    command.args([PATIENCE, "qemu-img"]).args(arguments).arg(disk).args(to).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("no qemu-img: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("qemu-img: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read() {
        for (line, expected) in [
            ("/12/040755/0/0/pg_log//", Some(("pg_log", true))),
            ("/13/100600/500/500/gtm.log/123/", Some(("gtm.log", false))),
            ("/2/040755/0/0/.//", None),
            ("/2/040755/0/0/..//", None),
            ("/14/120777/0/0/link/7/", None),
            ("/0/100644/0/0/deleted/7/", None),
            ("debugfs 1.47", None),
            ("", None),
        ] {
            let expected = expected.map(|(name, is_directory)| Entry { name: name.into(), is_directory });
            assert_eq!(entry(line), expected, "{line}");
        }
        assert!(plain("postgresql-2013-04-03_101500.csv") && plain("a b"));
        assert!(!plain("a\"b") && !plain("<7>") && !plain(""));
    }

    #[test]
    fn only_data_is_counted() {
        let map = r#"[{"start":0,"length":100,"data":true,"zero":false},{"start":100,"length":50,"data":false,"zero":true},{"start":150,"length":7,"data":true,"zero":true}]"#;
        assert_eq!(data_of(map), Ok(100));
        assert!(data_of("no").is_err());
    }

    #[test]
    fn what_is_a_log() {
        let log = |path: &str| {
            let path = Path::new(path);
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            is_log(path.parent().unwrap_or(Path::new("/")), name)
        };
        assert!(log("/db1/pgxc_gtm/gtm.log") && log("/db1/d/pg_log/x.csv"));
        assert!(!log("/db1/d/postgresql.conf"));
        assert!(may_hold_logs("pgxc_datanode") && !may_hold_logs("base") && !may_hold_logs("lost+found"));
    }
}
