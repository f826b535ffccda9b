//! How an image is made.

use super::Sources;
use crate::source::{DiskRequest, Proof};
use serde::Deserialize;

/// A way to make an image. Whatever the way, what comes out is the same: a root filesystem, a kernel, and an initrd that
/// unpacks a seed or leaves that to the root.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "recipe", rename_all = "kebab-case")]
pub enum Recipe {
    /// From packages, on this machine: the script `bake` beside image.yaml.
    Bake,
    /// By the release's own installer, from an installation tree.
    Kickstart {
        /// URL or directory of the tree.
        tree: String,
        /// The installer's kernel, from there.
        kernel: String,
        /// Its initial RAM disk.
        initrd: String,
    },
    /// From a publisher's disk, which is booted once with a NoCloud seed.
    Cloud {
        /// The disk.
        disk: Publication,
        /// Where its packages are, in the form of the distribution's own mirrors; unsaid: where the disk says.
        #[serde(default)]
        repository: Option<String>,
    },
}

/// A disk that somebody publishes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// Directories in which it lies, in order of preference.
    pub mirrors: Vec<String>,
    /// Its name in there.
    pub file: String,
    /// What it must be.
    pub proof: Proof,
}

impl Publication {
    /// Where it is looked for: where the lab says, else where it is published.
    pub(super) fn request<'a>(&'a self, sources: &Sources<'a>) -> DiskRequest<'a> {
        let named = sources.mirror.map(|mirror| mirror.disk.as_slice()).filter(|disk| !disk.is_empty());
        DiskRequest {
            mirrors: named.unwrap_or(&self.mirrors),
            file: &self.file,
            proof: &self.proof,
            base: sources.base,
            cache: sources.disks,
            offline: sources.offline,
        }
    }
}
