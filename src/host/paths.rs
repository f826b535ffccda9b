//! Where pgxc-lab keeps things. Everything of a lab lies below one directory, everything shared below the cache.

use std::path::{Path, PathBuf};

/// The directory of all labs and of the cache, e.g. `/var/lib/pgxc-lab`.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// At this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Home {
        Home(directory.into())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What labs share: images, built engines, downloads; named by digest and never changed after they were made.
    pub fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// Disks of publishers that were downloaded.
    pub fn disks(&self) -> PathBuf {
        self.cache().join("disks")
    }

    /// Snapshots of a lab: outside the lab's directory, since `destroy` removes that whole.
    pub fn snapshots(&self, lab: &str) -> PathBuf {
        self.0.join("snapshots").join(lab)
    }

    /// Records of a lab's nightly runs.
    pub fn nightly(&self, lab: &str) -> PathBuf {
        self.0.join("nightly").join(lab)
    }

    /// The directory of one lab.
    pub fn lab(&self, name: &str) -> LabDir {
        LabDir(self.0.join("labs").join(name))
    }

    /// Names of the labs that have a directory, sorted.
    pub fn labs(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.0.join("labs"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// The directory of one lab. `destroy` removes it whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabDir(PathBuf);

impl LabDir {
    /// The lab whose directory this is.
    pub fn at(directory: &Path) -> LabDir {
        LabDir(directory.to_owned())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Name of the lab.
    pub fn name(&self) -> &str {
        self.0.file_name().and_then(|name| name.to_str()).unwrap_or("lab")
    }

    /// A file or directory in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Who holds the lab's namespaces.
    pub fn holder(&self) -> PathBuf {
        self.join("holder.json")
    }

    /// The boot of the machine since which the lab lives on the machine itself.
    pub fn system_mark(&self) -> PathBuf {
        self.join("system-host")
    }

    /// What the lab sees as `/run`: libvirt's socket is below it.
    pub fn run(&self) -> PathBuf {
        self.join("run")
    }

    /// libvirt's socket, seen from outside the lab.
    pub fn libvirt_socket(&self) -> PathBuf {
        self.run().join("libvirt/libvirt-sock")
    }

    /// What libvirt found out about the hypervisor: it asks half a second long, and looks itself whether that still holds.
    /// All labs of a home share it.
    pub fn libvirt_cache(&self) -> PathBuf {
        let home = self.0.parent().and_then(Path::parent).unwrap_or(&self.0);
        Home::new(home).cache().join("libvirt")
    }

    /// The filesystem image that holds the exports.
    pub fn exports_image(&self) -> PathBuf {
        self.join("exports.img")
    }

    /// Where that image is mounted, inside the lab's mount namespace.
    pub fn exports(&self) -> PathBuf {
        self.join("exports")
    }

    /// Where the guest image is mounted read-only for native work, inside the lab's mount namespace.
    pub fn native_root(&self) -> PathBuf {
        self.join("native")
    }

    /// A node's overlay on the image.
    pub fn overlay(&self, node: &str) -> PathBuf {
        self.join("disks").join(format!("{node}.qcow2"))
    }

    /// A node's seed: a tar archive that the guest reads as a disk.
    pub fn seed(&self, node: &str) -> PathBuf {
        self.join("disks").join(format!("{node}-seed.tar"))
    }

    /// A node's serial console.
    pub fn console(&self, node: &str) -> PathBuf {
        self.join("logs").join(format!("{node}-console.log"))
    }

    /// What we did on a node.
    pub fn node_log(&self, node: &str) -> PathBuf {
        self.join("logs").join(format!("{node}.log"))
    }

    /// Keys: the lab's ssh key and the host keys of the guests.
    pub fn keys(&self) -> PathBuf {
        self.join("keys")
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.join("journal.jsonl")
    }

    /// The lab as the last `up` saw it, for commands that run without lab.yaml.
    pub fn record(&self) -> PathBuf {
        self.join("lab.json")
    }
}
