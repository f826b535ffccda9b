//! The seed: what makes one guest of the image this node. A tar archive, given to the guest as a read-only disk and
//! unpacked by its initrd, so that the first process already finds its own name, keys, units and tuning.

use super::site::Site;
use crate::{
    error::{Class, Result, ResultExt},
    guest::{Content, GuestFile},
    image::SEED_LENGTH,
    lab::Node,
};
use std::{fs, path::PathBuf};
use tar::{Builder, EntryType, Header};

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
        let new = path.with_extension("new");
        fs::write(&new, archive)
            .and_then(|()| fs::rename(&new, &path))
            .or_error(Class::Host, || format!("cannot write `{}`", path.display()))?;
        Ok(path)
    }
}

/// A tar archive of guest files; the same files always give the same bytes.
fn archive(files: &[GuestFile]) -> std::io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for file in files {
        let name = file.path.trim_start_matches('/');
        let mut header = Header::new_gnu();
        header.set_mode(file.mode);
        header.set_uid(file.owner.into());
        header.set_gid(file.owner.into());
        header.set_mtime(0);
        header.set_size(0);
        match &file.content {
            Content::Text(text) => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(text.len() as u64);
                builder.append_data(&mut header, name, text.as_bytes())?;
            }
            Content::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                builder.append_link(&mut header, name, target)?;
            }
            Content::Directory => {
                header.set_entry_type(EntryType::Directory);
                builder.append_data(&mut header, format!("{name}/"), std::io::empty())?;
            }
        }
    }
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_whole_blocks_and_the_same_every_time() {
        let files = [
            GuestFile::text("/etc/hostname", "db1\n"),
            GuestFile::link("/etc/localtime", "/usr/share/zoneinfo/Asia/Shanghai"),
            GuestFile::directory("/data02", 0o755).owned_by(500),
        ];
        let bytes = archive(&files).expect("it packs");
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(bytes, archive(&files).expect("it packs again"));
        let mut seen = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().expect("it lists") {
            let entry = entry.expect("an entry");
            seen.push((entry.path().expect("a path").display().to_string(), entry.header().uid().expect("an owner")));
        }
        assert_eq!(
            seen,
            [("etc/hostname".to_owned(), 0), ("etc/localtime".to_owned(), 0), ("data02/".to_owned(), 500)]
        );
    }
}
