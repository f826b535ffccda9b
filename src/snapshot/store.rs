//! The store: a directory per snapshot. Its name appears when it is whole, and vanishes before it is removed.

use super::{
    FORMAT, Manifest, Part,
    bases::directories,
    part::{make_directory, remove, sync},
};
use crate::{
    error::{Class, Error, Result, ResultExt},
    host::{Home, Lock, capacity},
    lab::NodeName,
};
use serde::Deserialize;
use std::{fs, path::PathBuf, time::Duration};

/// The manifest in a snapshot's directory.
pub(super) const MANIFEST: &str = "manifest.json";
/// Ends the dotted name of a snapshot that is being made.
const PART: &str = ".part";
/// Ends the dotted name of a snapshot that is being removed.
const GONE: &str = ".gone";

/// The snapshots of a lab.
#[derive(Clone, Debug)]
pub struct Store {
    lab: String,
    directory: PathBuf,
}

/// A snapshot in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Bytes that it takes on disk.
    pub bytes: u64,
    /// What it says of itself, or why that cannot be read.
    pub manifest: Result<Manifest>,
}

impl Store {
    /// The snapshots of this lab; the lab itself need not be there.
    pub fn new(home: &Home, lab: &str) -> Store {
        Store { lab: lab.to_owned(), directory: home.snapshots(lab) }
    }

    /// Name of the lab.
    pub fn lab(&self) -> &str {
        &self.lab
    }

    /// The directory of a snapshot, whether there is one or not.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Bytes that a snapshot takes on disk.
    pub fn bytes(&self, name: &str) -> u64 {
        capacity::allocated(&self.directory(name))
    }

    /// Names of all snapshots, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = directories(&self.directory);
        names.retain(|name| self.has_manifest(name));
        names.sort();
        names
    }

    /// All snapshots, the oldest first; those whose manifest cannot be read come last.
    pub fn list(&self) -> Vec<Listed> {
        let mut listed: Vec<Listed> = self
            .names()
            .into_iter()
            .map(|name| Listed { bytes: self.bytes(&name), manifest: self.read(&name), name })
            .collect();
        listed.sort_by_cached_key(|listed| {
            let made = listed.manifest.as_ref().map(|manifest| manifest.made).ok();
            (made.is_none(), made, listed.name.clone())
        });
        listed
    }

    /// The manifest of a snapshot.
    ///
    /// # Errors
    /// [`Class::Usage`] when there is none of this name, with those that there are; [`Class::Image`] when its manifest
    /// is damaged or of a newer version.
    pub fn find(&self, name: &str) -> Result<Manifest> {
        if self.has_manifest(name) {
            return self.read(name);
        }
        let names: Vec<String> = self.list().into_iter().map(|listed| listed.name).collect();
        Err(Error::new(Class::Usage, format!("lab `{}` has no snapshot `{name}`", self.lab)).hint(
            if names.is_empty() {
                "it has none; `pgxc-lab snapshot create NAME` takes one".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            },
        ))
    }

    /// Begins a snapshot. Until the part is dropped, no other run can begin, remove or clean up one of this lab.
    ///
    /// # Errors
    /// [`Class::Usage`] when there is one of this name, [`Class::Locked`] when another run has begun one.
    pub fn begin(&self, name: &str) -> Result<Part> {
        name.parse::<NodeName>().map_err(|problem| Error::new(Class::Usage, problem))?;
        let lock = self.lock()?;
        let named = self.directory(name);
        if named.exists() {
            return Err(Error::new(Class::Usage, format!("lab `{}` already has a snapshot `{name}`", self.lab)).hint(
                format!("take another name, or remove it: `pgxc-lab snapshot delete {name} --lab {}`", self.lab),
            ));
        }
        // We hold the lock, so whatever is half made belongs to a run that ended.
        self.sweep()?;
        Part::new(&self.lab, name, self.directory(&format!(".{name}{PART}")), named, lock)
    }

    /// Removes what runs that ended left half made or half removed; gives the names of what it removed. Nothing while
    /// another run is at work.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clean(&self) -> Result<Vec<String>> {
        if self.stale().is_empty() {
            return Ok(Vec::new());
        }
        match self.lock() {
            Ok(_lock) => self.sweep(),
            Err(error) if error.class() == Class::Locked => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Removes a snapshot, also a damaged one; gives how many bytes it took.
    ///
    /// # Errors
    /// [`Class::Usage`] when there is none of this name, [`Class::Locked`] while another run is at work.
    pub fn delete(&self, name: &str) -> Result<u64> {
        // A directory without a manifest is no snapshot, but in the way of one.
        if name.parse::<NodeName>().is_err() || !self.directory(name).is_dir() {
            self.find(name)?;
        }
        let _lock = self.lock()?;
        let (named, gone) = (self.directory(name), self.directory(&format!(".{name}{GONE}")));
        let bytes = self.bytes(name);
        self.sweep()?;
        // The name goes first: a run that ends half way leaves no half snapshot under it.
        fs::rename(&named, &gone).or_error(Class::Host, || format!("cannot rename `{}`", named.display()))?;
        sync(&self.directory)?;
        remove(&gone)?;
        Ok(bytes)
    }

    /// Takes the lock that keeps other runs from beginning, removing and cleaning up snapshots of this lab.
    ///
    /// # Errors
    /// [`Class::Locked`] while another run holds it.
    pub fn lock(&self) -> Result<Lock> {
        make_directory(&self.directory)?;
        let what = format!("the snapshots of lab `{}`", self.lab);
        Lock::take(&self.directory.join(".lock"), &what, Duration::ZERO)
    }

    fn has_manifest(&self, name: &str) -> bool {
        name.parse::<NodeName>().is_ok() && self.directory(name).join(MANIFEST).exists()
    }

    fn read(&self, name: &str) -> Result<Manifest> {
        let path = self.directory(name).join(MANIFEST);
        let text = fs::read(&path).or_error(Class::Image, || format!("cannot read `{}`", path.display()))?;
        parse(&text, &path.display().to_string()).map_err(|error| match error.hint_text() {
            Some(_) => error,
            None => error.hint(format!("`pgxc-lab snapshot delete {name} --lab {}` removes it", self.lab)),
        })
    }

    fn stale(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with('.') && (name.ends_with(PART) || name.ends_with(GONE))).collect()
    }

    /// Removes what is stale. The lock is held.
    fn sweep(&self) -> Result<Vec<String>> {
        let stale = self.stale();
        stale.iter().try_for_each(|name| remove(&self.directory(name)))?;
        Ok(stale)
    }
}

/// Understands a manifest that was read at this place.
pub(super) fn parse(text: &[u8], place: &str) -> Result<Manifest> {
    /// What manifests of all versions have.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let damaged = || format!("`{place}` is damaged: it is no manifest of a snapshot");
    let Version { format } = serde_json::from_slice(text).or_error(Class::Image, damaged)?;
    if format != FORMAT {
        return Err(Error::new(
            Class::Image,
            format!("`{place}` has format {format}, this version of pgxc-lab reads format {FORMAT}"),
        )
        .hint("take the version that made it, or a newer one"));
    }
    serde_json::from_slice(text).or_error(Class::Image, damaged)
}

#[cfg(test)]
mod tests {
    use super::{
        super::fixture::{home, manifest},
        *,
    };
    use std::{os::unix::fs::PermissionsExt, path::Path};

    fn names(store: &Store) -> Vec<String> {
        store.list().into_iter().map(|listed| listed.name).collect()
    }

    fn take(store: &Store, name: &str, made: &str) {
        let part = store.begin(name).expect("there is none");
        let made = made.parse().expect("it is a time");
        part.commit(Manifest { made, ..manifest(store.lab(), name) }).expect("it can be committed");
    }

    #[test]
    fn snapshots_are_listed_by_time_and_found_by_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(&home(directory.path(), "a"), "x");
        assert!(store.list().is_empty());
        assert!(store.find("late").expect_err("there is none").hint_text().is_some_and(|hint| hint.contains("create")));
        take(&store, "late", "2026-01-02T00:00:00Z");
        take(&store, "early", "2026-01-01T00:00:00Z");
        assert_eq!(names(&store), ["early", "late"]);
        assert_eq!(store.find("late").expect("it is there").name, "late");
        let error = store.find("other").expect_err("there is none");
        assert_eq!((error.class(), error.hint_text()), (Class::Usage, Some("it has early, late")));
        assert!(store.find("../x/late").is_err());
        assert!(store.bytes("late") > 0);
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&store.directory("late")), 0o700);
        assert_eq!(mode(&store.directory("late").join(MANIFEST)), 0o600);
    }

    #[test]
    fn damage_is_shown_and_no_snapshot_is_none() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(&home(directory.path(), "a"), "x");
        take(&store, "whole", "2026-01-02T00:00:00Z");
        for (name, text) in [("broken", r#"{"format": 1, "lab""#), ("newer", r#"{"format": 2, "what": 1}"#)] {
            fs::create_dir(store.directory(name)).expect("it can be made");
            fs::write(store.directory(name).join(MANIFEST), text).expect("it can be written");
        }
        fs::create_dir(store.directory("empty")).expect("it can be made");
        assert_eq!(names(&store), ["whole", "broken", "newer"]);
        assert!(store.find("empty").is_err());
        assert!(store.find("broken").expect_err("it is damaged").message().contains("is damaged"));
        let newer = store.find("newer").expect_err("it is newer");
        assert!(newer.message().contains("format 2") && newer.message().contains("format 1"), "{newer}");
        for name in ["broken", "newer", "empty"] {
            store.delete(name).expect("damaged ones can be removed, too");
        }
        assert_eq!(names(&store), ["whole"]);
    }

    #[test]
    fn a_part_is_dropped_or_committed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = home(directory.path(), "a");
        let store = Store::new(&home, "x");
        let part = store.begin("one").expect("there is none");
        fs::write(part.path().join("exports.img"), "x").expect("it can be written");
        let path = part.path().to_owned();
        assert_eq!(store.begin("two").expect_err("another run is at work").class(), Class::Locked);
        assert_eq!(store.clean().expect("it leaves it alone"), Vec::<String>::new());
        assert!(path.exists() && names(&store).is_empty());
        Store::new(&home, "y").begin("one").expect("labs do not wait for each other");
        drop(part);
        assert!(!path.exists());
        take(&store, "one", "2026-01-02T00:00:00Z");
        let error = store.begin("one").expect_err("there is one");
        assert_eq!(error.class(), Class::Usage);
        assert!(error.hint_text().is_some_and(|hint| hint.contains("snapshot delete one")));
        let wrong = store.begin("two").expect("there is none").commit(manifest("x", "three"));
        assert_eq!(wrong.expect_err("the names differ").class(), Class::Internal);
        assert_eq!(names(&store), ["one"]);
        for name in ["", "..", ".one", "a/b", "A"] {
            assert!(store.begin(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_killed_runs_left_is_removed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(&home(directory.path(), "a"), "x");
        assert_eq!(store.clean().expect("there is nothing"), Vec::<String>::new());
        take(&store, "one", "2026-01-02T00:00:00Z");
        for name in [".two.part", ".three.gone"] {
            fs::create_dir_all(store.directory(name).join("disks")).expect("it can be made");
        }
        assert_eq!(names(&store), ["one"]);
        let mut removed = store.clean().expect("nobody is at work");
        removed.sort();
        assert_eq!(removed, [".three.gone", ".two.part"]);
        fs::create_dir_all(store.directory(".two.part").join("disks")).expect("it can be made");
        let part = store.begin("two").expect("a stale part is in nobody's way");
        assert_eq!(fs::read_dir(part.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn delete_frees_and_forgets() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::new(&home(directory.path(), "a"), "x");
        assert_eq!(store.delete("one").expect_err("there is none").class(), Class::Usage);
        take(&store, "one", "2026-01-02T00:00:00Z");
        let part = store.begin("two").expect("there is none");
        assert_eq!(store.delete("one").expect_err("another run is at work").class(), Class::Locked);
        drop(part);
        assert!(store.delete("one").expect("it is there") > 0);
        assert!(names(&store).is_empty() && !store.directory("one").exists());
        assert!(store.delete("..").is_err());
    }
}
