//! The filesystem image that holds one export per node.
//!
//! An image and not loose directories: a file handle names an inode, so only restoring the filesystem itself keeps
//! the files that a guest has open good (a copied tree gives new inodes, and ESTALE).

use super::{paths::LabDir, place::Host};
use crate::{
    engine::GUARD,
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    lab::{Lab, Node},
};
use std::path::{Path, PathBuf};

/// The file that takes space while the rest is kept, below the mount point of the exports.
const FILLER: &str = ".pgxc-lab-filler";

/// The exports of a lab, seen from outside.
#[derive(Clone, Debug)]
pub struct Exports {
    lab: LabDir,
    host: Host,
}

impl Exports {
    /// Those of this lab.
    pub fn new(lab: &LabDir, host: &Host) -> Exports {
        Exports { lab: lab.clone(), host: host.clone() }
    }

    /// The directory of a node's export, inside the lab's mount namespace.
    pub fn directory(&self, node: &str) -> PathBuf {
        self.lab.exports().join(node)
    }

    /// The same, reachable from outside.
    pub fn outside(&self, node: &str) -> PathBuf {
        self.host.inside(&self.directory(node))
    }

    /// A path of a node's guest below the mount point there, as it lies on its export, reachable from outside.
    ///
    /// # Errors
    /// When the path is elsewhere: a mistake of whoever asks.
    pub fn file(&self, lab: &Lab, node: &Node, path: &str) -> Result<PathBuf> {
        let mount = &lab.nfs.mount;
        let below = Path::new(path).strip_prefix(mount);
        let below = below.or_error(Class::Internal, || format!("`{path}` is not below `{mount}`"))?;
        Ok(self.outside(node.name.as_str()).join(below))
    }

    /// Whether the image is mounted and every node has its export.
    pub fn holds(&self, lab: &Lab) -> bool {
        lab.nodes.iter().all(|node| self.outside(node.name.as_str()).join(GUARD).exists())
    }

    /// Makes and mounts the image, with a directory and a guard file for every node.
    ///
    /// # Errors
    /// When the image cannot be made or mounted.
    pub async fn ensure(&self, lab: &Lab) -> Result<Outcome> {
        let image = self.lab.exports_image();
        let made = !image.exists();
        if made {
            let new = image.with_extension("new");
            let _ = std::fs::remove_file(&new);
            let file =
                std::fs::File::create(&new).or_error(Class::Host, || format!("cannot make `{}`", new.display()))?;
            file.set_len(lab.nfs.size.as_bytes())
                .or_error(Class::Host, || format!("cannot size `{}`", new.display()))?;
            let mut format = tokio::process::Command::new("mkfs.ext4");
            // Lazy initialisation keeps a 64 GiB image sparse; no reserved blocks, since root writes it anyway.
            format
                .args([
                    "-q",
                    "-F",
                    "-m",
                    "0",
                    "-L",
                    "pgxc-exports",
                    "-E",
                    "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
                ])
                .arg(&new);
            super::private::run(format, "format the exports' filesystem image", Class::Host).await?;
            std::fs::rename(&new, &image).or_error(Class::Host, || format!("cannot name `{}`", image.display()))?;
        }
        let mounted = self.host.inside(&self.lab.exports()).join(".mounted").exists();
        let mut script = String::new();
        if !mounted {
            let (image, exports) = (image.display(), self.lab.exports());
            let exports = exports.display();
            script.push_str(&format!("mkdir -p '{exports}'\nmount -o loop,noatime '{image}' '{exports}'\n"));
            // The namespaces of a fault may be gone; what it did to the image is still there.
            script.push_str(&format!(
                "if ! dumpe2fs -h '{image}' 2>/dev/null | grep -q '^Reserved block count: *0$'; then (\n{}{}) fi\n",
                self.release_script(),
                take_back(Path::new("."), lab.guest.uid)
            ));
            script.push_str(&format!("touch '{exports}/.mounted'\n"));
        }
        let missing: Vec<PathBuf> = lab
            .nodes
            .iter()
            .filter(|node| !mounted || !self.outside(node.name.as_str()).join(GUARD).exists())
            .map(|node| self.directory(node.name.as_str()))
            .collect();
        for directory in &missing {
            let directory = directory.display();
            script.push_str(&format!("mkdir -p '{directory}'\nchmod 755 '{directory}'\necho 'this export is mounted' > '{directory}/{GUARD}'\n"));
        }
        self.host.script("mount the exports", Class::Host, &script).await.map_err(|error| self.explain(error))?;
        Ok(Outcome::Changed(format!(
            "{} the exports' filesystem image ({}), {} exports",
            if made { "made" } else { "mounted" },
            lab.nfs.size,
            lab.nodes.len()
        )))
    }

    /// Holds back every write to the exports, with all earlier ones in the image. Only while no guest runs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn freeze(&self) -> Result<()> {
        let script = format!("fsfreeze --freeze '{}'", self.lab.exports().display());
        self.host.script("freeze the exports", Class::Host, &script).await.map(drop)
    }

    /// Lets writes go on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn thaw(&self) -> Result<()> {
        let script = format!("fsfreeze --unfreeze '{}'", self.lab.exports().display());
        self.host.script("thaw the exports", Class::Host, &script).await.map(drop)
    }

    /// The same without a runtime. Exports that were not frozen are left as they are.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn thaw_blocking(&self) -> Result<()> {
        let mut command = self.host.command("fsfreeze").into_std();
        command.arg("--unfreeze").arg(self.lab.exports());
        command.output().map(drop).or_error(Class::Host, || "cannot run `fsfreeze` in the lab".into())
    }

    /// Writes out what is still in memory, so that a freeze has little left to do.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn sync(&self) -> Result<()> {
        let script = format!("sync -f '{}'", self.lab.exports().display());
        self.host.script("write the exports out", Class::Host, &script).await.map(drop)
    }

    /// Keeps all space that is free for the group of the guests' user: nobody else gets any, and the NFS server has nodes
    /// whose disk is to be full ask as somebody else (see [`Services::export_all`](super::Services::export_all)).
    ///
    /// All exports share one filesystem, so it cannot just be filled; and quotas of projects, which would be the way for a
    /// directory, are not in every kernel. ext4 keeps at most half of its blocks for somebody: a file without content
    /// takes what is too much.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn reserve(&self, gid: u32) -> Result<()> {
        let script = format!(
            "cd '{exports}'\ndevice=$(findmnt -n -o SOURCE -T .)\nblocks=$(stat -f -c %b .)\nsize=$(stat -f -c %S .)\n\
             filler=$(( ($(stat -f -c %f .) - blocks * 2 / 5) * size ))\n\
             if [ \"$filler\" -gt 0 ]; then fallocate -l \"$filler\" {FILLER}; fi\n\
             mount -o remount,resgid={gid} .\ntune2fs -r $((blocks / 2)) \"$device\" >/dev/null\n",
            exports = self.lab.exports().display()
        );
        self.host.script("keep the free space of the exports", Class::Host, &script).await.map(drop)
    }

    /// Lets everybody have the space again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn release(&self) -> Result<()> {
        self.host.script("release the space of the exports", Class::Host, &self.release_script()).await.map(drop)
    }

    fn release_script(&self) -> String {
        format!(
            "cd '{}'\ndevice=$(findmnt -n -o SOURCE -T .)\ntune2fs -r 0 \"$device\" >/dev/null\n\
             mount -o remount,resgid=0 .\nrm -f {FILLER}\n",
            self.lab.exports().display()
        )
    }

    /// Files that a node made while its disk was full get the group that they would have.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn give_back(&self, node: &str, gid: u32) -> Result<()> {
        self.host.script("give files back", Class::Host, &take_back(&self.directory(node), gid)).await.map(drop)
    }

    fn explain(&self, error: Error) -> Error {
        error.hint("the exports need a free loop device and an ext4 kernel driver: `losetup --find` tells; a damaged image can be checked with `e2fsck`")
    }
}

/// Gives what was made below a directory while its disk was full the group that it would have.
fn take_back(directory: &Path, gid: u32) -> String {
    format!("find '{}' -gid {} -exec chgrp -h {gid} {{}} +\n", directory.display(), super::services::NOBODY)
}
