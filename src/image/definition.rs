//! What an image is made of. The definitions of `images/` are part of this program, so that it works anywhere.

use crate::{
    error::{Class, Error, Result, ResultExt},
    guest::System,
};
use include_dir::{Dir, DirEntry, include_dir};
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
    /// Packages of every guest.
    pub packages: Vec<String>,
    /// Kernel command line.
    pub cmdline: String,
    /// CPU model under emulation, in qemu's words.
    pub cpu: String,
    /// How a guest becomes a template; an image that does not say is always booted.
    #[serde(default)]
    pub template: Option<TemplateDefinition>,
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

    /// Digest of every file of the definition: a change of any gives another image.
    pub fn digest(&self) -> String {
        let mut text = String::new();
        if let Some(dir) = IMAGES.get_dir(&self.name) {
            collect(dir, &mut text);
        }
        crate::digest::of_text(&text)
    }

    /// Writes the definition's files into a directory, so that its `bake` can run.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn unpack(&self, into: &Path) -> Result<()> {
        let dir = IMAGES
            .get_dir(&self.name)
            .ok_or_else(|| Error::new(Class::Internal, format!("no files of image `{}`", self.name)))?;
        write(dir, Path::new(&self.name), into)
    }
}

fn collect(dir: &Dir<'_>, text: &mut String) {
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(dir) => collect(dir, text),
            DirEntry::File(file) => {
                text.push_str(&format!(
                    "{}\n{}\n",
                    file.path().display(),
                    crate::digest::of_text(&String::from_utf8_lossy(file.contents()))
                ));
            }
        }
    }
}

fn write(dir: &Dir<'_>, root: &Path, into: &Path) -> Result<()> {
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(dir) => write(dir, root, into)?,
            DirEntry::File(file) => {
                let path = into.join(file.path().strip_prefix(root).unwrap_or(file.path()));
                let cannot = || format!("cannot write `{}`", path.display());
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).or_error(Class::Host, cannot)?;
                }
                fs::write(&path, file.contents()).or_error(Class::Host, cannot)?;
                // Embedding forgets modes; what is a script says so in its first line.
                let mode = if file.contents().starts_with(b"#!") { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).or_error(Class::Host, cannot)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_is_defined_and_an_unknown_one_is_explained() {
        let debian = ImageDefinition::find("debian-12").expect("it is part of the program");
        assert_eq!(debian.system, System::Debian);
        assert_eq!(debian.digest().len(), 64);
        let unknown = ImageDefinition::find("centos-4").expect_err("nobody has it");
        assert!(unknown.hint_text().is_some_and(|hint| hint.contains("`debian-12`")), "{unknown}");
    }

    #[test]
    fn unpacked_scripts_can_run() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        ImageDefinition::find("debian-12").and_then(|image| image.unpack(directory.path())).expect("it unpacks");
        let mode = fs::metadata(directory.path().join("bake")).expect("bake is there").permissions().mode();
        assert_eq!(mode & 0o111, 0o111);
    }
}
