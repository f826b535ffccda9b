//! The seed: what makes one guest of the image this node. A tar archive, given to the guest as a read-only disk and
//! unpacked by its initrd, so that the first process already finds its own name, keys, units and tuning.

use super::site::Site;
use crate::{
    error::{Class, Result, ResultExt},
    file,
    guest::{GuestFile, archive},
    image::SEED_LENGTH,
    lab::Node,
};
use std::{fs, path::PathBuf};

impl Site {
    /// Writes a node's seed unless it is as it must be; gives its path.
    ///
    /// # Errors
    /// When a key cannot be read or the file not be written.
    pub(super) fn write_seed(&self, node: &Node) -> Result<PathBuf> {
        let name = node.name.as_str();
        let path = self.dir.seed(name);
        let mut files = self.guest_files(node);
        let host_key = self.keys.host_key(name);
        let secret =
            fs::read_to_string(&host_key).or_error(Class::Host, || format!("cannot read `{}`", host_key.display()))?;
        let file = self.system().ssh().host_key_file();
        files.push(GuestFile::text(file, secret).mode(0o600));
        files.push(GuestFile::text(format!("{file}.pub"), self.keys.public_text(&host_key)?));
        files.push(
            GuestFile::text("/root/.ssh/authorized_keys", self.keys.public_text(&self.keys.lab_key())?).mode(0o600),
        );
        let mut archive = archive(&files).or_error(Class::Host, || format!("cannot pack the seed of `{name}`"))?;
        // Zeros after its end are no part of an archive.
        let length = (archive.len() as u64).next_multiple_of(SEED_LENGTH);
        archive.resize(usize::try_from(length).or_error(Class::Internal, || "a seed of that length".into())?, 0);
        if fs::read(&path).is_ok_and(|old| old == archive) {
            return Ok(path);
        }
        // By rename: a running guest keeps the file that it was started with.
        file::replace(&path, archive)?;
        Ok(path)
    }
}
