//! Bases: the read-only files of the cache that the guests' disks lie on. A snapshot names them, it does not copy them.

use crate::{
    error::{Class, Error, Result},
    host::Home,
    image, kit,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Digests (SHA-256) of the bases of a lab whose record uses these entries of the cache, as
/// [`Manifest::bases`](super::Manifest::bases) keeps them. What a restore does not need, such as the root that an
/// engine was built in, is none.
///
/// # Errors
/// When the cache has no image among them, or does not tell their digests.
pub fn bases(home: &Home, record_uses: &[String]) -> Result<BTreeMap<String, String>> {
    let mut bases = BTreeMap::new();
    for id in record_uses {
        for kind in Kind::ALL {
            let entry = Entry { kind, id: id.clone() };
            if entry.directory(home).is_dir() {
                bases.extend(entry.recorded(home)?);
            }
        }
    }
    if bases.keys().any(|base| base.starts_with("images/")) {
        return Ok(bases);
    }
    Err(Error::new(
        Class::Image,
        format!("the lab's image is not in `{}`: it uses {}", home.cache().display(), record_uses.join(", ")),
    )
    .hint("`pgxc-lab up` makes the image again"))
}

/// Snapshots of any lab that need this entry of the cache, as `LAB@SNAPSHOT`, sorted.
pub fn users(home: &Home, kind: &str, id: &str) -> Vec<String> {
    let mut users = Vec::new();
    for lab in directories(&home.path().join("snapshots")) {
        for snapshot in directories(&home.snapshots(&lab)) {
            let manifest = fs::read(home.snapshots(&lab).join(&snapshot).join("manifest.json")).unwrap_or_default();
            // The text and not the value: a manifest that is damaged or newer than we are still needs its bases.
            if String::from_utf8_lossy(&manifest).contains(&format!("\"{kind}/{id}/")) {
                users.push(format!("{lab}@{snapshot}"));
            }
        }
    }
    users.sort();
    users
}

/// Names of the directories in a directory, without those that are half made or half gone.
pub(super) fn directories(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// The path of a base in the cache.
pub(super) fn path(home: &Home, base: &str) -> PathBuf {
    home.cache().join(base)
}

/// Kinds of entries that hold bases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Image,
    Engine,
}

impl Kind {
    pub(super) const ALL: [Kind; 2] = [Kind::Image, Kind::Engine];

    /// Its directory in the cache.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Image => "images",
            Kind::Engine => "engines",
        }
    }

    /// The files of such an entry: the bases, and what the cache keeps beside them.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            Kind::Image => &["root.ext4", "vmlinuz", "initrd.img", "manifest.json"],
            Kind::Engine => &[kit::DISK, kit::DISK_DIGEST, "facts"],
        }
    }

    /// Those of them that disks lie on.
    pub(super) fn bases(self) -> &'static [&'static str] {
        match self {
            Kind::Image => &["root.ext4", "vmlinuz", "initrd.img"],
            Kind::Engine => &[kit::DISK],
        }
    }

    /// The file that an entry is not whole without.
    fn seal(self) -> &'static str {
        match self {
            Kind::Image => "manifest.json",
            Kind::Engine => kit::DISK,
        }
    }
}

/// An entry of the cache that holds bases.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) id: String,
}

impl Entry {
    /// The entry that `KIND/ID/FILE` lies in, and the file. None unless it is a plain path of a file that such entries
    /// have: manifests and archives come from other machines.
    pub(super) fn parse(base: &str) -> Option<(Entry, &'static str)> {
        let mut parts = base.split('/');
        let (kind, id, file) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let file = kind.files().iter().find(|known| **known == file)?;
        let fits = parts.next().is_none() && !id.is_empty() && !id.starts_with('.') && id.chars().all(plain);
        fits.then(|| (Entry { kind, id: id.to_owned() }, *file))
    }

    /// `KIND/ID`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.kind.as_str(), self.id)
    }

    /// Where it is, or would be.
    pub(super) fn directory(&self, home: &Home) -> PathBuf {
        home.cache().join(self.name())
    }

    /// Whether it is in the cache.
    pub(super) fn is_there(&self, home: &Home) -> bool {
        self.directory(home).join(self.kind.seal()).exists()
    }

    /// Digests of its bases as the cache recorded them.
    pub(super) fn recorded(&self, home: &Home) -> Result<BTreeMap<String, String>> {
        self.recorded_in(&self.directory(home))
    }

    /// The same for such an entry in this directory.
    pub(super) fn recorded_in(&self, directory: &Path) -> Result<BTreeMap<String, String>> {
        let files = match self.kind {
            Kind::Image => image::recorded_digests(directory)?,
            Kind::Engine => [(kit::DISK.to_owned(), kit::recorded_digest(directory)?)].into(),
        };
        Ok(files.into_iter().map(|(file, digest)| (format!("{}/{file}", self.name()), digest)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_those_of_image_and_engine() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = Home::new(directory.path());
        let uses = ["debian-12-a", "postgres-xc-a", "bookworm-a"].map(str::to_owned);
        let error = bases(&home, &uses).expect_err("the cache is empty");
        assert!(error.message().contains("debian-12-a"), "{error}");
        for entry in ["images/debian-12-a", "engines/postgres-xc-a", "builders/bookworm-a"] {
            fs::create_dir_all(home.cache().join(entry)).expect("it can be made");
        }
        let manifest = r#"{"name":"debian-12","packages":[],"files":{"root.ext4":"1","vmlinuz":"2","initrd.img":"3"}}"#;
        fs::write(home.cache().join("images/debian-12-a/manifest.json"), manifest).expect("it can be written");
        fs::write(home.cache().join("engines/postgres-xc-a/engine.ext4"), "abc").expect("it can be written");
        let found = bases(&home, &uses).expect("both are there");
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "engines/postgres-xc-a/engine.ext4",
                "images/debian-12-a/initrd.img",
                "images/debian-12-a/root.ext4",
                "images/debian-12-a/vmlinuz"
            ]
        );
        assert_eq!(found["images/debian-12-a/vmlinuz"], "2");
        assert_eq!(found["engines/postgres-xc-a/engine.ext4"], crate::digest::of_text("abc"));
    }

    #[test]
    fn only_plain_paths_of_known_files_are_bases() {
        let (entry, file) = Entry::parse("images/debian-12-a/root.ext4").expect("it is one");
        assert_eq!((entry.name().as_str(), file), ("images/debian-12-a", "root.ext4"));
        for wrong in [
            "images/../root.ext4",
            "images/./root.ext4",
            "images//root.ext4",
            "/images/a/root.ext4",
            "images/a/../root.ext4",
            "images/a/passwd",
            "images/a/root.ext4/b",
            "builders/a/root.ext4",
            "engines/a/root.ext4",
            "images/a",
            "",
        ] {
            assert!(Entry::parse(wrong).is_none(), "{wrong}");
        }
    }
}
