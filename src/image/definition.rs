//! What an image is made of. The definitions of `images/` are part of this program, so that it works anywhere.

use super::{Sources, recipe::Recipe};
use crate::{
    error::{Class, Error, Result, ResultExt},
    guest::{GuestFile, System},
    source,
};
use include_dir::{Dir, DirEntry, File, include_dir};
use serde::Deserialize;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

static IMAGES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/images");

/// A definition, as its image.yaml says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ImageDefinition {
    /// Its name, the same as its folder's.
    pub name: String,
    /// The guest system.
    pub system: System,
    /// Release in the words of the package mirror.
    pub suite: String,
    /// How it is made.
    #[serde(flatten)]
    pub recipe: Recipe,
    /// Packages of every guest.
    pub packages: Vec<String>,
    /// Name of the image whose script `builder` makes the root in which engines are built for these guests; an image that
    /// does not say has none.
    #[serde(default)]
    pub builder: Option<String>,
    /// Version of the flex among its packages, said only where that is older than Postgres-XC wants: engines are built
    /// there with one from source.
    #[serde(default)]
    pub flex: Option<String>,
    /// Kernel command line.
    pub cmdline: String,
    /// CPU model under emulation, in qemu's words.
    pub cpu: String,
    /// Machine type.
    #[serde(default)]
    pub machine: Machine,
    /// How a guest becomes a template; an image that does not say is always booted.
    #[serde(default)]
    pub template: Option<TemplateDefinition>,
}

/// qemu's machine type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// With PCI Express.
    #[default]
    Q35,
    /// i440FX with PCI, for kernels that know virtio's first form only.
    Pc,
}

impl Machine {
    /// qemu's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Machine::Q35 => "q35",
            Machine::Pc => "pc",
        }
    }
}

/// How a guest of an image becomes a template: booted, without a network card, and nobody's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TemplateDefinition {
    /// What the kernel's command line has besides: it keeps the guest from looking for its seed, and has it wait for a
    /// card.
    pub cmdline: String,
    /// The line on its console that tells that it waits.
    pub ready: String,
}

impl ImageDefinition {
    /// The definition of this name.
    ///
    /// # Errors
    /// When there is none, with the names that there are.
    pub fn find(name: &str) -> Result<ImageDefinition> {
        let file = IMAGES.get_file(format!("{name}/image.yaml")).ok_or_else(|| {
            let names: Vec<String> = IMAGES.dirs().map(|dir| format!("`{}`", dir.path().display())).collect();
            Error::new(Class::Image, format!("this version has no image `{name}`"))
                .hint(format!("it has {}", names.join(", ")))
        })?;
        let text = file.contents_utf8().unwrap_or_default();
        serde_yaml::from_str(text).or_error(Class::Internal, || format!("images/{name}/image.yaml is damaged"))
    }

    /// Looks whether it can be had, at the least as a disk to make it of; an image of packages is made from whatever mirror
    /// this machine uses.
    ///
    /// # Errors
    /// When no mirror has the disk, each with the reason.
    pub async fn find_source(&self, sources: &Sources<'_>) -> Result<()> {
        match &self.recipe {
            Recipe::Bake | Recipe::Kickstart { .. } => Ok(()),
            Recipe::Cloud { disk, .. } => source::find_disk(&disk.request(sources)).await,
        }
    }

    /// Digest of every file of the definition: a change of any gives another image.
    pub fn digest(&self) -> String {
        let all = IMAGES.get_dir(&self.name).map(files_of).unwrap_or_default();
        let line = |file: &File<'_>| {
            let digest = crate::digest::of_text(&String::from_utf8_lossy(file.contents()));
            format!("{}\n{digest}\n", file.path().display())
        };
        crate::digest::of_text(&all.into_iter().map(line).collect::<String>())
    }

    /// The files below `files/`, as guests have them.
    pub fn files(&self) -> Vec<GuestFile> {
        let root = format!("{}/files", self.name);
        let all = IMAGES.get_dir(&root).map(files_of).unwrap_or_default();
        let guest = |file: &File<'_>| {
            let path = Path::new("/").join(file.path().strip_prefix(&root).unwrap_or(file.path()));
            let text = String::from_utf8_lossy(file.contents()).into_owned();
            GuestFile::text(path.display().to_string(), text).mode(mode_of(file.contents()))
        };
        all.into_iter().map(guest).collect()
    }

    /// Writes the definition's files into a directory, so that its `bake` can run.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn unpack(&self, into: &Path) -> Result<()> {
        let dir = IMAGES
            .get_dir(&self.name)
            .ok_or_else(|| Error::new(Class::Internal, format!("no files of image `{}`", self.name)))?;
        for file in files_of(dir) {
            let path = into.join(file.path().strip_prefix(&self.name).unwrap_or(file.path()));
            let cannot = || format!("cannot write `{}`", path.display());
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).or_error(Class::Host, cannot)?;
            }
            fs::write(&path, file.contents()).or_error(Class::Host, cannot)?;
            let mode = fs::Permissions::from_mode(mode_of(file.contents()));
            fs::set_permissions(&path, mode).or_error(Class::Host, cannot)?;
        }
        Ok(())
    }
}

/// All files below a directory, in the order in which it has them.
fn files_of<'d>(dir: &'d Dir<'d>) -> Vec<&'d File<'d>> {
    let below = |entry: &'d DirEntry<'d>| match entry {
        DirEntry::Dir(dir) => files_of(dir),
        DirEntry::File(file) => vec![file],
    };
    dir.entries().iter().flat_map(below).collect()
}

/// Embedding forgets modes; what is a script says so in its first line.
fn mode_of(contents: &[u8]) -> u32 {
    if contents.starts_with(b"#!") { 0o755 } else { 0o644 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Checksum, Proof};

    #[test]
    fn debian_is_defined_and_an_unknown_one_is_explained() {
        let debian = ImageDefinition::find("debian-12").expect("it is part of the program");
        assert_eq!(debian.system, System::Debian);
        assert_eq!(debian.digest().len(), 64);
        let unknown = ImageDefinition::find("centos-4").expect_err("nobody has it");
        assert!(unknown.hint_text().is_some_and(|hint| hint.contains("`debian-12`")), "{unknown}");
    }

    #[test]
    fn every_definition_can_be_read_and_is_named_as_its_folder() {
        let mut disks = 0;
        for dir in IMAGES.dirs() {
            let name = dir.path().display().to_string();
            let definition = ImageDefinition::find(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(definition.name, name);
            assert!(definition.cmdline.contains("root=") && definition.cmdline.contains("console=ttyS0"), "{name}");
            match &definition.recipe {
                Recipe::Bake => assert!(dir.get_file(format!("{name}/bake")).is_some(), "{name} has no script"),
                Recipe::Kickstart { tree, kernel, initrd } => {
                    assert!(tree.starts_with("http") && !kernel.starts_with('/') && !initrd.starts_with('/'), "{name}");
                }
                Recipe::Cloud { disk, .. } => {
                    disks += 1;
                    assert!(!disk.mirrors.is_empty() && !disk.file.contains('/'), "{name}: {disk:?}");
                    if let Proof::Sha256(hex) = &disk.proof {
                        assert!(matches!(hex.parse(), Ok(Checksum::Sha256(_))), "{name}: {hex}");
                    }
                }
            }
            if let Some(builder) = &definition.builder {
                assert!(IMAGES.get_file(format!("{builder}/builder")).is_some(), "{name}: `{builder}` has no builder");
            }
        }
        assert_eq!(disks, 5);
    }

    #[test]
    fn an_old_flex_is_that_of_centos_5_only() {
        for dir in IMAGES.dirs() {
            let name = dir.path().display().to_string();
            let definition = ImageDefinition::find(&name).expect("it is part of the program");
            let old = (definition.system == System::El5).then(|| "2.5.4a".to_owned());
            assert_eq!(definition.flex, old, "{name}");
            // Building it takes m4, and unpacking what the project published takes bzip2.
            let has = |package: &str| definition.packages.iter().any(|one| one == package);
            assert!(definition.flex.is_none() || (has("m4") && has("bzip2")), "{name}");
        }
    }

    #[test]
    fn unpacked_scripts_can_run() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        ImageDefinition::find("debian-12").and_then(|image| image.unpack(directory.path())).expect("it unpacks");
        let mode = fs::metadata(directory.path().join("bake")).expect("bake is there").permissions().mode();
        assert_eq!(mode & 0o111, 0o111);
    }

    /// What finds the seed in a guest that knows no serial numbers, run on files: a disk without one, the engine's, a seed.
    #[test]
    fn a_seed_is_known_by_what_is_on_the_disk() {
        let definition = ImageDefinition::find("centos-5.9").expect("it is part of the program");
        let files = definition.files();
        let script = files.iter().find(|file| file.path == "/usr/lib/pgxc-lab/seed-apply").expect("it has one");
        assert_eq!(script.mode, 0o755);
        let crate::guest::Content::Text(script) = &script.content else { panic!("{script:?}") };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("root")).expect("a directory");
        fs::write(path("empty"), [0; 4096]).expect("a file");
        let seed = |entries: &[(&str, &str)]| {
            let mut builder = tar::Builder::new(Vec::new());
            for (name, text) in entries {
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len() as u64);
                header.set_mode(0o644);
                builder.append_data(&mut header, name, text.as_bytes()).expect("it packs");
            }
            let mut bytes = builder.into_inner().expect("it packs");
            bytes.resize(256 << 10, 0);
            fs::write(path("seed"), bytes).expect("a file");
        };
        let apply = |shell: &str, disks: &[&str]| {
            let mut command = std::process::Command::new(shell);
            command.args(["-s", "--"]).args(disks.iter().map(|name| path(name))).env("ROOT", path("root"));
            let mut child = command
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("a shell");
            std::io::Write::write_all(child.stdin.as_mut().expect("it reads"), script.as_bytes()).expect("it reads");
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{shell}: {output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        // /bin/sh of EL5 is a bash.
        for shell in ["sh", "bash"] {
            let there = |name: &str| path("root").join(name).exists();
            assert!(apply(shell, &["empty"]).contains("no disk holds a seed"));
            seed(&[("etc/rc.d/init.d/pgxc-gtm", "#!/bin/bash\n"), ("etc/hosts", "one\n")]);
            assert!(apply(shell, &["none", "empty", "seed"]).contains("took the seed"));
            assert!(there("etc/rc.d/init.d/pgxc-gtm"));
            assert_eq!(apply(shell, &["empty", "seed"]), "", "the same seed is not taken twice");
            // What the next seed does not have goes where it would be started; nothing else does.
            seed(&[("etc/hostname", "db1\n")]);
            apply(shell, &["seed"]);
            assert!(!there("etc/rc.d/init.d/pgxc-gtm") && there("etc/hosts") && there("etc/hostname"));
            fs::remove_dir_all(path("root")).and_then(|()| fs::create_dir(path("root"))).expect("a directory");
        }
    }
}
