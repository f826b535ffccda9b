//! Archives from another home, whole and tampered with.

use super::{
    super::{
        Depth, FileRecord, export,
        fixture::{EXPORTS, USES, home, manifest, on_disk, take},
        verify,
    },
    archive::Base,
    *,
};
use std::{io::Write, os::unix::fs::MetadataExt};
use tar::EntryType;
use tempfile::TempDir;

/// An entry of an archive: its name, kind and content.
type Item<'a> = (&'a str, EntryType, &'a str);
/// An archive by hand.
type ByHand<'a> = (Manifest, Contents, Vec<Item<'a>>);

/// A directory with a home `old`, a snapshot `one` of lab `x` in it, and an export of that.
fn exported() -> (TempDir, Home, Manifest, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let old = home(&directory.path().join("old"), "a");
    let manifest = take(&old, "x", "one");
    let file = directory.path().join("one.pgxcsnap");
    export(&Store::new(&old, "x"), &old, &manifest, &file, &mut |_, _| {}).expect("it can be exported");
    (directory, old, manifest, file)
}

/// Nothing of a refused import stays.
fn untouched(home: &Home) {
    let left: Vec<_> = fs::read_dir(home.snapshots("x"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name != ".lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_export_is_imported_into_another_home() {
    let (directory, _, manifest, file) = exported();
    let archive = fs::metadata(&file).expect("it is there");
    assert!(archive.len() < 1 << 20, "{} bytes", archive.len());
    assert_eq!(archive.mode() & 0o777, 0o600);
    let new = Home::new(directory.path().join("new"));
    let imported = import(&new, &file).expect("it is whole");
    let store = Store::new(&new, "x");
    verify(&store, &new, &store.find("one").expect("it is there"), Depth::Bases).expect("it is whole");
    let at = |name: &str| store.directory("one").join(name);
    let exports = at("exports.img");
    assert_eq!(fs::metadata(&exports).expect("it is there").len(), EXPORTS);
    assert!(on_disk(&exports) < 1 << 20, "{} bytes", on_disk(&exports));
    // All is the same but the overlay, which names the new home.
    for (name, record) in &manifest.files {
        assert_eq!(imported.files[name] == *record, name != "disks/db1.qcow2", "{name}");
    }
    let root = new.cache().join("images").join(USES[0]).join("root.ext4");
    assert_eq!(overlay::backing(&at("disks/db1.qcow2")).expect("it is an overlay"), root);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
    assert_eq!((mode(&at("keys")), mode(&at("keys/id"))), (0o700, 0o600));
    assert_eq!((mode(&root), mode(root.parent().expect("it has one")) & 0o555), (0o444, 0o555));
    assert!(on_disk(&root) < 1 << 20);
    assert!(!at("bases").exists());
    assert_eq!(fs::read_dir(new.cache().join("images")).expect("it is there").count(), 1);
    // A second time: there is one of this name.
    assert_eq!(import(&new, &file).expect_err("it is there").class(), Class::Usage);
    // After a removal: the cache has the bases already.
    store.delete("one").expect("it is there");
    import(&new, &file).expect("the bases are the same");
}

#[test]
fn an_export_overwrites_nothing_and_exports_no_damage() {
    let (directory, old, manifest, file) = exported();
    let store = Store::new(&old, "x");
    let again = export(&store, &old, &manifest, &file, &mut |_, _| {});
    assert_eq!(again.expect_err("there is a file").class(), Class::Usage);
    fs::write(store.directory("one").join("memory/db1"), "memory of db2").expect("it can be written");
    let other = directory.path().join("other");
    let damaged = export(&store, &old, &manifest, &other, &mut |_, _| {});
    assert_eq!(damaged.expect_err("it is damaged").class(), Class::Image);
    let mut names: Vec<_> = fs::read_dir(directory.path()).expect("it is there").flatten().collect();
    names.retain(|entry| entry.path().is_file());
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn damaged_archives_are_refused() {
    let (directory, _, _, file) = exported();
    let new = Home::new(directory.path().join("new"));
    let whole = fs::read(&file).expect("it can be read");
    let broken = directory.path().join("broken");
    let refused = |content: &[u8]| {
        fs::write(&broken, content).expect("it can be written");
        let error = import(&new, &broken).expect_err("it is damaged");
        untouched(&new);
        error
    };
    refused(b"no archive");
    refused(&whole[..whole.len() / 2]);
    refused(&whole[..whole.len() - 2]);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    refused(&flipped);
    // Somebody who repairs the checksums changes a content.
    let mut plain = zstd::decode_all(whole.as_slice()).expect("it is zstd");
    let place = plain.windows(13).position(|window| window == b"memory of db1").expect("it is in there");
    plain[place] = b'M';
    let error = refused(&zstd::encode_all(plain.as_slice(), 1).expect("it can be packed"));
    assert!(error.to_string().contains("memory/db1: its content changed"), "{error}");
    assert!(!new.cache().join("images").exists(), "damaged archives bring no bases");
}

#[test]
fn another_content_under_the_same_name_is_a_conflict() {
    let (directory, _, _, file) = exported();
    let new = home(&directory.path().join("new"), "b");
    let error = import(&new, &file).expect_err("the images differ");
    assert!(error.message().contains("differs"), "{error}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("image prune")), "{error}");
    untouched(&new);
    fs::remove_dir_all(new.cache()).expect("it is there");
    import(&new, &file).expect("nothing is in the way");
}

/// An archive by hand: whatever manifest, whatever entries.
fn by_hand(file: &Path, manifest: &Manifest, contents: &Contents, entries: &[Item]) {
    let mut text = vec![
        (MANIFEST, EntryType::Regular, serde_json::to_string(manifest).expect("it can be written")),
        (CONTENTS, EntryType::Regular, serde_json::to_string(contents).expect("it can be written")),
    ];
    text.extend(entries.iter().map(|(name, kind, content)| (*name, *kind, (*content).to_owned())));
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, content) in text {
        let mut header = tar::Header::new_gnu();
        // Past the crate, which writes no path with `..`.
        header.as_gnu_mut().expect("it is one").name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        if kind == EntryType::Symlink {
            header.set_link_name("/etc").expect("it is short");
        }
        header.set_cksum();
        archive.append(&header, content.as_bytes()).expect("it can be written");
    }
    let plain = archive.into_inner().expect("it can be written");
    let packed = zstd::encode_all(plain.as_slice(), 1).expect("it can be packed");
    File::create(file).and_then(|mut file| file.write_all(&packed)).expect("it can be written");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (new, file) = (Home::new(directory.path().join("new")), directory.path().join("file"));
    let path = directory.path().join("content");
    fs::write(&path, "x").expect("it can be written");
    let record: FileRecord = sparse::digest(&path).expect("it can be read");
    let with = |names: &[&str]| Manifest {
        files: names.iter().map(|name| ((*name).to_owned(), record.clone())).collect(),
        ..manifest("x", "one")
    };
    let none = Contents { bytes: 0, bases: BTreeMap::new() };
    let one: Item = ("memory/db1", EntryType::Regular, "x");
    by_hand(&file, &with(&["memory/db1"]), &none, &[one]);
    import(&new, &file).expect("by hand is no sin");
    Store::new(&new, "x").delete("one").expect("it is there");

    let absolute = directory.path().join("evil").display().to_string();
    let mut wrong: Vec<ByHand> = Vec::new();
    // Names that the manifest itself gives.
    for name in ["../evil", "memory/../../evil", &absolute, "./evil", "bases/evil", "manifest.json", "a//b", ""] {
        wrong.push((with(&["memory/db1", name]), none.clone(), vec![one, (name, EntryType::Regular, "x")]));
    }
    wrong.push((Manifest { name: "../evil".into(), ..with(&["memory/db1"]) }, none.clone(), vec![one]));
    wrong.push((Manifest { lab: "..".into(), ..with(&["memory/db1"]) }, none.clone(), vec![one]));
    let base = |name: &str| Contents { bases: [(name.to_owned(), Base { length: 1, bytes: 1 })].into(), bytes: 0 };
    for name in ["../evil", "images/../../evil", "images/a/evil", "builders/a/root.ext4"] {
        let bases = [(name.to_owned(), "1".to_owned())].into();
        wrong.push((Manifest { bases, ..with(&["memory/db1"]) }, none.clone(), vec![one]));
        wrong.push((with(&["memory/db1"]), base(name), vec![one]));
    }
    // Entries that nothing foresees.
    for name in ["../evil", &absolute, "evil", "bases/images/a/root.ext4"] {
        wrong.push((with(&["memory/db1"]), none.clone(), vec![(name, EntryType::Regular, "x"), one]));
    }
    wrong.push((with(&["memory/db1"]), none.clone(), vec![("memory", EntryType::Symlink, ""), one]));
    wrong.push((with(&["memory/db1"]), none.clone(), vec![("memory/db1", EntryType::Symlink, "")]));
    wrong.push((with(&["memory/db1"]), none.clone(), vec![("memory/db1", EntryType::Link, "")]));
    wrong.push((with(&["memory/db1"]), none.clone(), vec![("memory/db1", EntryType::Fifo, "")]));
    // Too many, too few, too long.
    wrong.push((with(&["memory/db1"]), none.clone(), vec![one, one]));
    wrong.push((with(&["memory/db1", "memory/db2"]), none.clone(), vec![one]));
    wrong.push((with(&["memory/db1"]), none.clone(), vec![("memory/db1", EntryType::Regular, "xx")]));
    wrong.push((Manifest { format: 2, ..with(&["memory/db1"]) }, none.clone(), vec![one]));
    wrong.push((with(&["memory/db1"]), Contents { bytes: u64::MAX, ..none.clone() }, vec![one]));
    for (number, (manifest, contents, entries)) in wrong.into_iter().enumerate() {
        by_hand(&file, &manifest, &contents, &entries);
        let error = import(&new, &file).map(|_| ()).expect_err(&format!("archive {number}: {entries:?}"));
        assert!([Class::Image, Class::Host].contains(&error.class()), "{error}");
        untouched(&new);
    }
    let mut names: Vec<_> = fs::read_dir(directory.path()).expect("it is there").flatten().collect();
    names.retain(|entry| entry.file_name() == "evil");
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn an_overlay_on_a_file_of_this_machine_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let old = home(&directory.path().join("old"), "a");
    let mut manifest = take(&old, "x", "one");
    let store = Store::new(&old, "x");
    let path = store.directory("one").join("disks/db1.qcow2");
    overlay::rebase(&path, Path::new("/etc/shadow")).expect("it can be rebased");
    manifest.files = [("disks/db1.qcow2".to_owned(), sparse::digest(&path).expect("readable"))].into();
    manifest.bases.clear();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in [
        (MANIFEST, serde_json::to_string(&manifest).expect("it can be written")),
        (CONTENTS, r#"{"bytes":0,"bases":{}}"#.to_owned()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).expect("it can be written");
    }
    archive.append_path_with_name(&path, "disks/db1.qcow2").expect("it can be written");
    let file = directory.path().join("file");
    let plain = archive.into_inner().expect("it can be written");
    fs::write(&file, zstd::encode_all(plain.as_slice(), 1).expect("it can be packed")).expect("it can be written");
    let new = Home::new(directory.path().join("new"));
    let error = import(&new, &file).expect_err("it would read a file of ours");
    assert!(error.message().contains("which is no base"), "{error}");
    untouched(&new);
}
