//! A snapshot in the making: under a dotted name until it is whole.

use super::{Manifest, store::MANIFEST};
use crate::{
    error::{Class, Error, Result, ResultExt},
    host::Lock,
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A snapshot that is being made. Dropped without a commit, nothing of it stays.
#[derive(Debug)]
pub struct Part {
    lab: String,
    name: String,
    directory: PathBuf,
    named: PathBuf,
    _lock: Lock,
}

impl Part {
    /// An empty directory, under the lock of the lab's snapshots.
    pub(super) fn new(lab: &str, name: &str, directory: PathBuf, named: PathBuf, lock: Lock) -> Result<Part> {
        make_directory(&directory)?;
        Ok(Part { lab: lab.to_owned(), name: name.to_owned(), directory, named, _lock: lock })
    }

    /// The directory to put its files into.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Writes the manifest and gives the snapshot its name; after this it is whole, whatever happens.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of the snapshot stays.
    pub fn commit(self, manifest: Manifest) -> Result<()> {
        if (&manifest.lab, &manifest.name) != (&self.lab, &self.name) {
            let whose = format!("the manifest is that of `{}@{}`", manifest.lab, manifest.name);
            return Err(Error::new(Class::Internal, whose));
        }
        let path = self.directory.join(MANIFEST);
        let cannot = || format!("cannot write `{}`", path.display());
        let text = serde_json::to_vec_pretty(&manifest).or_error(Class::Internal, cannot)?;
        // lab.yaml, which is in it, may hold a password.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .or_error(Class::Host, cannot)?;
        file.write_all(&text).and_then(|()| file.sync_all()).or_error(Class::Host, cannot)?;
        sync(&self.directory)?;
        fs::rename(&self.directory, &self.named)
            .or_error(Class::Host, || format!("cannot name `{}`", self.named.display()))?;
        self.named.parent().map_or(Ok(()), sync)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After a commit there is nothing of this name. A failure leaves a stale part: the next run removes it.
        let _ = remove(&self.directory);
    }
}

/// Makes a directory that nobody else may look into: snapshots hold keys, passwords and memory.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .or_error(Class::Host, || format!("cannot make `{}`", path.display()))
}

/// Removes a directory, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::caused(Class::Host, format!("cannot remove `{}`", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Makes names in a directory last, also through a power cut.
pub(super) fn sync(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .or_error(Class::Host, || format!("cannot sync `{}`", directory.display()))
}
