//! How an image is made.

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
}
