//! Verifying: everything that a restore will read is compared with what the manifest says, before anything is touched.

use super::{
    FileRecord, Manifest, Store,
    bases::{self, Entry},
    overlay, sparse,
};
use crate::{
    digest,
    error::{Class, Error, Result},
    host::Home,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All files of the snapshot; of the files that they lie on, what the cache recorded of them.
    Snapshot,
    /// The files that they lie on, too.
    Bases,
}

/// What was compared and found right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files of the snapshot.
    pub files: usize,
    /// Their bytes, holes included.
    pub bytes: u64,
    /// Files of the cache.
    pub bases: usize,
}

/// Compares a snapshot with its manifest.
///
/// # Errors
/// [`Class::Image`] with every file that is damaged, gone, or lies on another one than the manifest says.
pub fn verify(store: &Store, home: &Home, manifest: &Manifest, depth: Depth) -> Result<Verified> {
    let directory = store.directory(&manifest.name);
    // Reading a base is one core's work, the files of the snapshot take what the others have.
    let (damaged, wrong) = std::thread::scope(|scope| {
        let wrong = scope.spawn(|| recorded_bases(home, manifest, depth));
        let damaged = files(&directory, &manifest.files);
        (damaged, wrong.join().expect("comparing does not panic"))
    });
    let overlays = overlays(&directory, home, manifest, &damaged);
    let hint = if wrong.is_empty() {
        format!(
            "`pgxc-lab snapshot delete {} --lab {}` removes it; an export of it can be imported again",
            manifest.name, manifest.lab
        )
    } else {
        "import an export of it again: that brings what it lies on, too".to_owned()
    };
    let problems: Vec<String> = damaged.into_values().chain(overlays).chain(wrong).collect();
    if problems.is_empty() {
        return Ok(Verified {
            files: manifest.files.len(),
            bytes: manifest.files.values().map(|file| file.length).sum(),
            bases: manifest.bases.len(),
        });
    }
    Err(damage(manifest, problems).hint(hint))
}

/// The error for a snapshot with these problems.
pub(super) fn damage(manifest: &Manifest, problems: Vec<String>) -> Error {
    Error::new(Class::Image, format!("snapshot `{}` of lab `{}` is damaged", manifest.name, manifest.lab))
        .evidence(problems.join("\n"))
}

/// What is wrong with which of these files. One after the other: each is read by all cores.
pub(super) fn files<'a>(directory: &Path, files: &'a BTreeMap<String, FileRecord>) -> BTreeMap<&'a str, String> {
    let mut damaged = BTreeMap::new();
    for (name, record) in files {
        let path = directory.join(name);
        let problem = match path.metadata() {
            Ok(data) if data.len() != record.length => {
                Some(format!("it has {} bytes instead of {}", data.len(), record.length))
            }
            Ok(_) => match sparse::digest(&path) {
                Ok(found) if found == *record => None,
                Ok(_) => Some("its content changed".to_owned()),
                Err(error) => Some(error.to_string()),
            },
            Err(error) => Some(error.to_string()),
        };
        damaged.extend(problem.map(|problem| (name.as_str(), format!("{name}: {problem}"))));
    }
    damaged
}

/// What is wrong with the bases as they are below this directory: `KIND/ID/FILE`.
pub(super) fn base_files(directory: &Path, bases: &BTreeMap<String, String>) -> Vec<String> {
    let problem = |(base, wanted): (&String, &String)| match digest::of_file(&directory.join(base)) {
        Ok(found) if found == *wanted => None,
        Ok(_) => Some(format!("cache/{base}: its content changed")),
        Err(error) => Some(format!("cache/{base}: {error}")),
    };
    bases.iter().filter_map(problem).collect()
}

/// Compares the bases with what the cache recorded of them, and reads them if that is wanted.
fn recorded_bases(home: &Home, manifest: &Manifest, depth: Depth) -> Vec<String> {
    let entries: BTreeSet<Entry> =
        manifest.bases.keys().filter_map(|base| Entry::parse(base)).map(|(entry, _)| entry).collect();
    let mut recorded = BTreeMap::new();
    let mut problems = Vec::new();
    for entry in &entries {
        if !entry.is_there(home) {
            problems.push(format!("cache/{}: it is not there", entry.name()));
            continue;
        }
        match entry.recorded(home) {
            Ok(digests) => recorded.extend(digests),
            Err(error) => problems.push(format!("cache/{}: {}", entry.name(), error.message())),
        }
    }
    let mut same = BTreeMap::new();
    for (base, wanted) in &manifest.bases {
        match recorded.get(base) {
            Some(found) if found != wanted => problems.push(format!(
                "cache/{base}: it is another file than the snapshot was taken on (SHA-256 {} instead of {})",
                digest::short(found),
                digest::short(wanted)
            )),
            Some(_) if bases::path(home, base).exists() => {
                same.insert(base.clone(), wanted.clone());
            }
            Some(_) => problems.push(format!("cache/{base}: it is not there")),
            // Said of its entry already, unless its name is none of the cache's.
            None if Entry::parse(base).is_some_and(|(entry, _)| entries.contains(&entry)) => {}
            None => problems.push(format!("cache/{base}: the cache has no such files")),
        }
    }
    if depth == Depth::Bases {
        problems.extend(base_files(&home.cache(), &same));
    }
    problems
}

/// What is wrong with what the overlays lie on. Those whose content is wrong are not asked.
fn overlays(directory: &Path, home: &Home, manifest: &Manifest, damaged: &BTreeMap<&str, String>) -> Vec<String> {
    let roots: Vec<PathBuf> = manifest.bases.keys().map(|base| real(&bases::path(home, base))).collect();
    let overlays = manifest.files.keys().filter(|name| overlay::is_one(name) && !damaged.contains_key(name.as_str()));
    let problem = |name: &String| match overlay::backing(&directory.join(name)) {
        Ok(backing) if roots.contains(&real(&backing)) => None,
        Ok(backing) => Some(format!("{name}: it lies on `{}`, which is no base of the snapshot", backing.display())),
        Err(error) => Some(format!("{name}: {}", error.message())),
    };
    overlays.filter_map(problem).collect()
}

/// The same file by another path is the same file.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{
        super::fixture::{USES, home, take},
        *,
    };
    use std::{
        fs::{self, OpenOptions},
        os::unix::fs::FileExt,
    };

    fn flip(path: &Path, place: u64) {
        let file = OpenOptions::new().write(true).open(path).expect("it is there");
        file.write_all_at(b"!", place).expect("it can be written");
    }

    fn problems(store: &Store, home: &Home, manifest: &Manifest, depth: Depth) -> Vec<String> {
        let error = verify(store, home, manifest, depth).expect_err("it is damaged");
        assert_eq!(error.class(), Class::Image);
        error.causes()[0].lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_whole_snapshot_is_whole() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = home(directory.path(), "a");
        let manifest = take(&home, "x", "one");
        let store = Store::new(&home, "x");
        for depth in [Depth::Snapshot, Depth::Bases] {
            let verified = verify(&store, &home, &manifest, depth).expect("it is whole");
            assert_eq!((verified.files, verified.bases), (6, 4));
        }
    }

    #[test]
    fn all_damage_is_told_at_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = home(directory.path(), "a");
        let manifest = take(&home, "x", "one");
        let store = Store::new(&home, "x");
        let at = |name: &str| store.directory("one").join(name);
        flip(&at("exports.img"), 40 << 30);
        let memory = OpenOptions::new().write(true).open(at("memory/db1")).expect("it is there");
        memory.set_len(5).expect("it can be cut");
        fs::remove_file(at("journal.jsonl")).expect("it is there");
        let problems = problems(&store, &home, &manifest, Depth::Snapshot);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert_eq!(problems[0], "exports.img: its content changed");
        assert!(problems[1].starts_with("journal.jsonl: "), "{problems:?}");
        assert_eq!(problems[2], "memory/db1: it has 5 bytes instead of 13");
    }

    #[test]
    fn bases_are_believed_or_read() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = home(directory.path(), "a");
        let manifest = take(&home, "x", "one");
        let store = Store::new(&home, "x");
        flip(&home.cache().join("images").join(USES[0]).join("root.ext4"), 0);
        flip(&home.cache().join("engines").join(USES[1]).join("engine.ext4"), 0);
        verify(&store, &home, &manifest, Depth::Snapshot).expect("the records are the same");
        let changed = ["engines/postgres-xc-a/engine.ext4", "images/debian-12-a/root.ext4"];
        let expected = changed.map(|base| format!("cache/{base}: its content changed"));
        assert_eq!(problems(&store, &home, &manifest, Depth::Bases), expected);
    }

    #[test]
    fn bases_that_are_gone_or_others_are_told() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = home(directory.path(), "a");
        let manifest = take(&home, "x", "one");
        let store = Store::new(&home, "x");
        super::super::fixture::home(directory.path(), "b");
        fs::remove_dir_all(home.cache().join("engines").join(USES[1])).expect("it is there");
        let problems = problems(&store, &home, &manifest, Depth::Snapshot);
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert_eq!(problems[0], "cache/engines/postgres-xc-a: it is not there");
        assert!(problems[1].contains("initrd.img: it is another file"), "{problems:?}");
        fs::remove_dir_all(home.cache()).expect("it is there");
        let gone = self::problems(&store, &home, &manifest, Depth::Bases);
        assert_eq!(
            gone,
            ["images/debian-12-a", "engines/postgres-xc-a"].map(|e| format!("cache/{e}: it is not there"))
        );
    }

    #[test]
    fn an_overlay_on_another_file_is_told() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = home(directory.path(), "a");
        let mut manifest = take(&home, "x", "one");
        let store = Store::new(&home, "x");
        let path = store.directory("one").join("disks/db1.qcow2");
        overlay::rebase(&path, &home.cache().join("other.ext4")).expect("it can be rebased");
        manifest.files.insert("disks/db1.qcow2".into(), sparse::digest(&path).expect("readable"));
        let problems = problems(&store, &home, &manifest, Depth::Snapshot);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("disks/db1.qcow2: it lies on `"), "{problems:?}");
    }
}
