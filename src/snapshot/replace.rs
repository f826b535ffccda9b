//! The lab's directory, replaced by what a snapshot holds. A mark tells that this was begun: a lab that is half one and
//! half the other must not be brought up.

use super::{Manifest, files, sparse};
use crate::{
    error::{Class, Error, Result, ResultExt},
    file,
    host::{LabDir, end_holder},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The mark, in the lab's directory; it holds the snapshot's name.
const MARK: &str = "restoring";
/// What of a lab's directory stays: what was seen so far helps whoever looks for a reason.
const KEPT: [&str; 2] = ["logs", MARK];

/// Ends everything that runs in the lab and puts the snapshot's small files in place. Exports and disks follow.
///
/// # Errors
/// When something does not end or cannot be copied; [`finished`] was not reached then, and the same restore can be run
/// again.
pub fn begin(dir: &LabDir, snapshot: &Path, manifest: &Manifest) -> Result<()> {
    let path = dir.path();
    fs::create_dir_all(dir.join("logs")).or_error(Class::Host, || format!("cannot make `{}`", path.display()))?;
    file::replace(&dir.join(MARK), &manifest.name)?;
    end_holder(dir)?;
    for entry in fs::read_dir(path).or_error(Class::Host, || format!("cannot read `{}`", path.display()))?.flatten() {
        if KEPT.iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        let gone = match entry.path().is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        };
        gone.or_error(Class::Host, || format!("cannot remove `{}`", entry.path().display()))?;
    }
    for below in manifest.files.keys().map(PathBuf::from).filter(|below| is_small(below)) {
        let (from, to) = (snapshot.join(&below), dir.join(&below));
        files::make_parent(&to)?;
        sparse::copy(&from, &to).or_error(Class::Host, || format!("cannot copy `{}`", from.display()))?;
    }
    manifest.record.write(dir)
}

/// The restore ended well.
///
/// # Errors
/// When the mark cannot be removed.
pub fn finished(dir: &LabDir) -> Result<()> {
    let mark = dir.join(MARK);
    fs::remove_file(&mark).or_error(Class::Host, || format!("cannot remove `{}`", mark.display()))
}

/// Refuses a lab whose restore did not end.
///
/// # Errors
/// With the name of the snapshot.
pub fn check(dir: &LabDir) -> Result<()> {
    let Some(name) = file::read_if_there(&dir.join(MARK))? else { return Ok(()) };
    Err(Error::new(
        Class::Host,
        format!("a restore of `{name}` did not end: lab `{}` is half that, half what it was", dir.name()),
    )
    .hint(format!(
        "`pgxc-lab restore {name}` goes through with it; `pgxc-lab destroy` removes the lab, and no snapshot"
    )))
}

/// Whether a file of a snapshot is copied before the steps begin. The large ones are copied by a step, beside others;
/// memory is read where it lies.
fn is_small(below: &Path) -> bool {
    !below.starts_with("memory")
        && below != Path::new("exports.img")
        && below.extension().is_none_or(|extension| extension != "qcow2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_disks_and_exports_are_large() {
        let large: Vec<&str> = [
            "keys/lab",
            "exports.img",
            "disks/db1.qcow2",
            "disks/db1.base",
            "disks/db1-seed.tar",
            "memory/db1",
            "journal.jsonl",
        ]
        .into_iter()
        .filter(|path| !is_small(Path::new(path)))
        .collect();
        assert_eq!(large, ["exports.img", "disks/db1.qcow2", "memory/db1"]);
    }

    #[test]
    fn a_lab_in_the_middle_of_a_restore_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let dir = LabDir::at(directory.path());
        check(&dir).expect("nothing was begun");
        fs::write(dir.join(MARK), "loaded").expect("it can be written");
        assert!(check(&dir).expect_err("it was begun").message().contains("`loaded`"));
        finished(&dir).expect("the mark is there");
        check(&dir).expect("it ended");
    }
}
