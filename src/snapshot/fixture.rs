//! What the tests of this room share: a home with a cache, and a small snapshot with all kinds of files.

use super::{FORMAT, FileRecord, Kind, Manifest, NodeState, Pause, Store, Versions, bases, overlay, sparse};
use crate::{context::Record, digest, fit::Proportion, host::Accelerator, host::Home, lab::EngineKind};
use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

/// Length of the exports: what it is in a real lab.
pub(super) const EXPORTS: u64 = 64 << 30;
/// The entries of the cache.
pub(super) const USES: [&str; 2] = ["debian-12-a", "postgres-xc-a"];

/// A home whose cache has an image and an engine with contents that hang on `seed`.
pub(super) fn home(directory: &Path, seed: &str) -> Home {
    let home = Home::new(directory);
    let image = home.cache().join("images").join(USES[0]);
    let engine = home.cache().join("engines").join(USES[1]);
    for directory in [&image, &engine] {
        fs::create_dir_all(directory).expect("it can be made");
    }
    long(&image.join("root.ext4"), 2 << 20, &[(1 << 20, seed.as_bytes())]);
    fs::write(image.join("vmlinuz"), format!("kernel {seed}")).expect("it can be written");
    fs::write(image.join("initrd.img"), format!("initrd {seed}")).expect("it can be written");
    let files: BTreeMap<&str, String> = ["root.ext4", "vmlinuz", "initrd.img"]
        .map(|name| (name, digest::of_file(&image.join(name)).expect("it can be read")))
        .into();
    let manifest = serde_json::json!({ "name": "debian-12", "packages": [], "files": files });
    fs::write(image.join("manifest.json"), manifest.to_string()).expect("it can be written");
    fs::write(engine.join("engine.ext4"), format!("engine {seed}")).expect("it can be written");
    fs::write(engine.join("facts"), "version 1\n").expect("it can be written");
    home
}

/// A manifest without files.
pub(super) fn manifest(lab: &str, name: &str) -> Manifest {
    let state = NodeState {
        name: "db1".into(),
        mac: "52:54:00:00:00:01".into(),
        running: true,
        machine: "m".into(),
        wal: BTreeMap::new(),
    };
    Manifest {
        format: FORMAT,
        lab: lab.into(),
        name: name.into(),
        note: Some("words".into()),
        made: "2026-01-02T03:04:05Z".parse().expect("it is a time"),
        kind: Kind::Memory,
        pristine: None,
        record: Record {
            image: "debian-12".into(),
            source: None,
            flex: None,
            lab_yaml: "name: x\n".into(),
            lab_file: "/lab.yaml".into(),
            engine: EngineKind::PostgresXc,
            proportion: Proportion::WHOLE,
            uses: USES.map(str::to_owned).to_vec(),
            accelerator: Accelerator::Tcg,
            failover: None,
            prepared: None,
            spread: None,
        },
        lab_lock: None,
        complete: true,
        serving: true,
        files: BTreeMap::new(),
        bases: BTreeMap::new(),
        nodes: vec![state],
        pause: Pause { spread_ms: 12, longest_ms: 345 },
        gxid: Some(10_000),
        versions: Versions { pgxc_lab: "0.1.0".into(), libvirt: "11.3.0".into(), qemu: "10.0.2".into() },
    }
}

/// Takes a snapshot: sparse exports, an overlay on the image of the cache, memory, a key, a journal.
pub(super) fn take(home: &Home, lab: &str, name: &str) -> Manifest {
    let part = Store::new(home, lab).begin(name).expect("there is none");
    let at = |name: &str| part.path().join(name);
    for directory in ["disks", "memory", "keys"] {
        fs::create_dir(at(directory)).expect("it can be made");
    }
    long(&at("exports.img"), EXPORTS, &[(0, b"superblock"), (40 << 30, &[5; 70_000]), (EXPORTS - 4096, b"tail")]);
    let root = home.cache().join("images").join(USES[0]).join("root.ext4");
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(&root)
        .arg(at("disks/db1.qcow2"))
        .status();
    assert!(made.expect("qemu-img is installed").success());
    for (name, content) in [
        ("disks/db1-seed.tar", "seed"),
        ("memory/db1", "memory of db1"),
        ("keys/id", "secret"),
        ("journal.jsonl", "{}\n"),
    ] {
        fs::write(at(name), content).expect("it can be written");
    }
    fs::set_permissions(at("keys/id"), Permissions::from_mode(0o600)).expect("it is ours");
    let mut manifest = manifest(lab, name);
    for file in ["exports.img", "disks/db1.qcow2", "disks/db1-seed.tar", "memory/db1", "keys/id", "journal.jsonl"] {
        let record: FileRecord = sparse::digest(&at(file)).expect("it can be read");
        manifest.files.insert(file.into(), record);
        assert_eq!(overlay::is_one(file), file == "disks/db1.qcow2");
    }
    manifest.bases = bases(home, &manifest.record.uses).expect("the cache has them");
    part.commit(manifest.clone()).expect("it can be committed");
    manifest
}

/// Writes pieces of content, (offset, content) each, into a long file with holes.
pub(super) fn long(path: &Path, length: u64, pieces: &[(u64, &[u8])]) {
    let file = File::create(path).expect("it can be made");
    file.set_len(length).expect("it can be long");
    for (offset, content) in pieces {
        file.write_all_at(content, *offset).expect("it can be written");
    }
}

/// Bytes that a file takes.
pub(super) fn on_disk(path: &Path) -> u64 {
    fs::metadata(path).expect("it is there").blocks() * 512
}
