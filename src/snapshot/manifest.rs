//! What a snapshot says of itself. Written last: a directory without it is no snapshot.

use super::Inputs;
use crate::context::Record;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Format of the manifests that this version writes and reads.
pub const FORMAT: u32 = 1;

/// A snapshot's manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] of the version that wrote it.
    pub format: u32,
    /// Name of the lab.
    pub lab: String,
    /// Name of the snapshot.
    pub name: String,
    /// The person's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the guests stood still.
    pub made: Timestamp,
    /// What it holds of the guests.
    pub kind: Kind,
    /// The inputs that decided the result, on a pristine snapshot of `rebuild`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pristine: Option<Inputs>,
    /// The lab as `up` had recorded it: lab.yaml, engine, proportion, used entries of the cache.
    pub record: Record,
    /// lab.lock as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lab_lock: Option<String>,
    /// Whether every step of `up` had ended well: then `up` has nothing to do after a restore.
    pub complete: bool,
    /// Whether every component answered just before.
    pub serving: bool,
    /// Every file of the snapshot below its directory, by its path, with its digest.
    pub files: BTreeMap<String, FileRecord>,
    /// Digests (SHA-256) of the read-only files of the cache that the guests' disks lie on: `images/ID/root.ext4`.
    pub bases: BTreeMap<String, String>,
    /// The nodes.
    pub nodes: Vec<NodeState>,
    /// How long the guests stood still.
    pub pause: Pause,
    /// Next GXID just before, where there is a GTM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gxid: Option<u32>,
    /// Who made it.
    pub versions: Versions,
}

/// What a snapshot holds of the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Memory and disks: sessions go on.
    Memory,
    /// Disks only: guests boot from them as after a power cut.
    DiskOnly,
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Length in bytes, holes included.
    pub length: u64,
    /// Digest of its content, see `sparse::digest`.
    pub digest: String,
}

/// A node of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: String,
    /// Whether its guest ran.
    pub running: bool,
    /// Digest of its machine, free of paths: memory fits only the same machine.
    pub machine: String,
    /// WAL position of each of its servers just before, by component name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wal: BTreeMap<String, String>,
}

/// How long guests stood still, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// From the first guest's pause to the last guest's.
    pub spread_ms: u64,
    /// From the first guest's pause to the last guest's resumption.
    pub longest_ms: u64,
}

/// Versions that decide whether memory can be read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// This program.
    pub pgxc_lab: String,
    /// libvirt, e.g. `11.3.0`.
    pub libvirt: String,
    /// The hypervisor, e.g. `10.0.2`.
    pub qemu: String,
}
