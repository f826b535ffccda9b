//! Images made of a publisher's disk: downloaded, checked, booted once in a machine of its own with a NoCloud seed, and
//! copied there to a root filesystem like that of any other image. Guests never see the disk itself, nor cloud-init.

mod machine;
mod repositories;
mod volume;

use super::{
    Workshop,
    definition::ImageDefinition,
    recipe::{Publication, Recipe},
};
use crate::{
    error::{Class, Error, Result, ResultExt},
    lab::Size,
    source::{self, Disk},
};
use machine::Job;
use std::{
    fs::{self, File},
    path::Path,
};
use tokio::process::Command;
use volume::Wanted;

/// Least size of the disk that is booted; publishers' own are as small as can be, and cloud-init lets the root grow.
const BOOT_SIZE: Size = Size::mib(8 << 10);
/// Room on the disk by which the machine hands out kernel and initrd.
const OUT_SIZE: u64 = 256 << 20;
/// What a root filesystem may have that Linux 2.6.32 is to mount.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,\
                        dir_nlink,extra_isize";

/// What an image is made of besides its definition: user and packages.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub definition: &'a ImageDefinition,
    pub packages: &'a [String],
    pub user: &'a str,
    pub uid: u32,
}

impl<'a> Inputs<'a> {
    fn wanted(&self) -> Wanted<'a> {
        let Inputs { definition, packages, user, uid } = *self;
        Wanted { system: definition.system, suite: &definition.suite, packages, user, uid }
    }

    /// Digest of everything in it that the definition's own digest does not have.
    pub(super) fn digest(&self) -> String {
        volume::inputs(&self.wanted()).expect("packing files into memory cannot fail")
    }
}

/// Makes root.ext4, vmlinuz and initrd.img in `out`; `part` is for everything else, and removed by the caller.
///
/// # Errors
/// When no mirror has the disk, it is damaged, or the machine does not get through: with the end of its console.
pub(super) async fn make(
    inputs: &Inputs<'_>,
    workshop: &Workshop<'_>,
    part: &Path,
    out: &Path,
    size: &str,
) -> Result<()> {
    let Inputs { definition, .. } = inputs;
    let Recipe::Cloud { disk: publication, repository } = &definition.recipe else {
        return Err(Error::new(Class::Internal, format!("image `{}` is not made of a disk", definition.name)));
    };
    let disk = obtain(publication, workshop).await?;
    workshop.tell("looks through the disk");
    check(&disk).await?;

    let volume = part.join("volume");
    fs::create_dir_all(&volume).or_error(Class::Host, || format!("cannot make `{}`", volume.display()))?;
    let repository = workshop.sources.mirror.and_then(|mirror| mirror.packages.as_ref()).or(repository.as_ref());
    for (name, bytes) in volume::volume(&inputs.wanted(), repository.map(String::as_str))? {
        let path = volume.join(name);
        fs::write(&path, bytes).or_error(Class::Host, || format!("cannot write `{}`", path.display()))?;
    }
    let (boot, handed_out, root) = (part.join("boot.qcow2"), part.join("out.tar"), out.join("root.ext4"));
    overlay(&disk, &boot).await?;
    File::create(&handed_out)
        .and_then(|file| file.set_len(OUT_SIZE))
        .or_error(Class::Host, || format!("cannot make `{}`", handed_out.display()))?;
    filesystem(&root, size).await?;

    let job = Job {
        accelerator: workshop.accelerator,
        machine: definition.machine,
        cpu: &definition.cpu,
        boot: &boot,
        disks: &[(root.clone(), "pgxc-root"), (handed_out.clone(), "pgxc-out")],
        directory: (&volume, volume::LABEL),
        mac: volume::MAC,
        console: workshop.log,
    };
    workshop.tell("boots the disk");
    machine::run(&job, |stage| workshop.tell(stage)).await?;
    take_out(&handed_out, out)?;
    let mut fsck = Command::new("e2fsck");
    fsck.args(["-f", "-n"]).arg(&root);
    crate::host::run(fsck, "find the new root filesystem whole", Class::Image).await.map(drop)
}

async fn obtain(publication: &Publication, workshop: &Workshop<'_>) -> Result<Disk> {
    source::obtain_disk(&publication.request(&workshop.sources), workshop.events, workshop.step).await
}

/// Its digest says that it is the publisher's, its header that it stands for itself; this, that qemu finds it whole.
async fn check(disk: &Disk) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["check", "-q", "-f", "qcow2"]).arg(&disk.path);
    crate::host::run(command, &format!("find the disk from `{}` whole", disk.place), Class::Image).await.map(drop)
}

/// The machine writes to a disk of its own.
async fn overlay(disk: &Disk, file: &Path) -> Result<()> {
    let size = disk.header.size.max(BOOT_SIZE).as_bytes().to_string();
    // The overlay names the disk below it, from wherever it is opened.
    let below =
        std::path::absolute(&disk.path).or_error(Class::Host, || format!("cannot find `{}`", disk.path.display()))?;
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).arg(below).arg(file).arg(size);
    crate::host::run(command, &format!("make the disk `{}`", file.display()), Class::Host).await.map(drop)
}

async fn filesystem(file: &Path, size: &str) -> Result<()> {
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-L", "pgxc-root", "-m", "0", "-i", "32768", "-I", "256", "-O", FEATURES]);
    command.args(["-E", "root_owner=0:0"]).arg(file).arg(size);
    crate::host::run(command, "make the root filesystem", Class::Host).await.map(drop)
}

/// Kernel and initrd from the tar archive that the machine wrote to its disk. Nothing else of it is believed.
fn take_out(archive: &Path, out: &Path) -> Result<()> {
    let cannot = || format!("cannot read what the machine left in `{}`", archive.display());
    let mut archive = tar::Archive::new(File::open(archive).or_error(Class::Image, cannot)?);
    let mut left = vec!["vmlinuz", "initrd.img"];
    for entry in archive.entries().or_error(Class::Image, cannot)? {
        let mut entry = entry.or_error(Class::Image, cannot)?;
        let path = entry.path().or_error(Class::Image, cannot)?.into_owned();
        let Some(place) = left.iter().position(|name| path == Path::new(name)) else { continue };
        let name = left.swap_remove(place);
        let mut file = File::create(out.join(name)).or_error(Class::Host, || format!("cannot write `{name}`"))?;
        let length = std::io::copy(&mut entry, &mut file).or_error(Class::Image, cannot)?;
        if length == 0 {
            return Err(Error::new(Class::Image, format!("the machine left an empty `{name}`")));
        }
    }
    match left.as_slice() {
        [] => Ok(()),
        missing => Err(Error::new(Class::Image, format!("the machine left no `{}`", missing.join("`, `")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive on a disk: zeros follow it.
    fn disk(directory: &Path, files: &[(&str, &[u8])]) -> std::path::PathBuf {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).expect("it packs");
        }
        let mut bytes = builder.into_inner().expect("it packs");
        bytes.resize(bytes.len() + 8192, 0);
        let path = directory.join("out.tar");
        fs::write(&path, bytes).expect("it can be written");
        path
    }

    #[test]
    fn kernel_and_initrd_and_nothing_else_are_taken() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = disk(directory.path(), &[("evil", b"x"), ("vmlinuz", b"kernel"), ("initrd.img", b"initrd")]);
        take_out(&path, directory.path()).expect("both are there");
        assert_eq!(fs::read(directory.path().join("vmlinuz")).expect("it is there"), b"kernel");
        assert!(!directory.path().join("evil").exists());
        for (files, why) in [
            (&[("vmlinuz", b"k".as_slice())][..], "no `initrd.img`"),
            (&[("vmlinuz", b"".as_slice()), ("initrd.img", b"i")][..], "an empty `vmlinuz`"),
            (&[][..], "no `vmlinuz`, `initrd.img`"),
        ] {
            let error = take_out(&disk(directory.path(), files), directory.path()).expect_err(why);
            assert!(error.message().contains(why), "{error}");
        }
    }

    #[tokio::test]
    async fn a_root_filesystem_has_what_old_kernels_know() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("root.ext4");
        filesystem(&path, "64M").await.expect("mke2fs knows all of it");
        let output = std::process::Command::new("dumpe2fs").arg("-h").arg(&path).output().expect("e2fsprogs has it");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let features = text.lines().find(|line| line.starts_with("Filesystem features:")).expect("features");
        for newer in ["metadata_csum", "64bit", "orphan_file", "inline_data", "verity"] {
            assert!(!features.contains(newer), "{features}");
        }
        assert!(features.contains("extent") && text.contains("pgxc-root"), "{text}");
    }
}
