//! Files of a snapshot and of a lab.

use super::part::make_directory;
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

/// Makes the directory that a file is to lie in.
pub(super) fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), make_directory)
}
