//! Files of a snapshot and of a lab.

use crate::error::{Class, Result, ResultExt};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every file below a directory, with its path below `prefix`.
pub(super) fn collect(directory: &Path, prefix: &Path, into: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    let cannot = || format!("cannot read `{}`", directory.display());
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).or_error(Class::Host, cannot),
    };
    for entry in entries {
        let entry = entry.or_error(Class::Host, cannot)?;
        let (path, below) = (entry.path(), prefix.join(entry.file_name()));
        let kind = entry.file_type().or_error(Class::Host, cannot)?;
        if kind.is_dir() {
            collect(&path, &below, into)?;
        } else if kind.is_file() {
            into.push((path, below));
        }
    }
    Ok(())
}

pub(super) fn make_parent(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let Some(parent) = path.parent() else { return Ok(()) };
    // Memory and keys are nobody else's business.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .or_error(Class::Host, || format!("cannot make `{}`", parent.display()))
}
