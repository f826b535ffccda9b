//! Guest files as a tar archive.

use super::{Content, GuestFile};
use tar::{Builder, EntryType, Header};

/// A tar archive of guest files; the same files always give the same bytes.
///
/// # Errors
/// When a path is too long for an archive.
pub(crate) fn archive(files: &[GuestFile]) -> std::io::Result<Vec<u8>> {
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
