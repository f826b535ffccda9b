//! Overlays: the nodes' disks in a snapshot. Each names the image that it lies on by an absolute path.

use crate::error::{Class, Error, Result, ResultExt};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Whether a file of a snapshot is one.
pub(super) fn is_one(name: &str) -> bool {
    name.starts_with("disks/") && name.ends_with(".qcow2")
}

/// The file that an overlay lies on.
///
/// # Errors
/// When it is no overlay, or keeps its data in yet another file.
pub(super) fn backing(overlay: &Path) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Information {
        #[serde(rename = "backing-filename")]
        backing: Option<PathBuf>,
        #[serde(rename = "full-backing-filename")]
        full: Option<PathBuf>,
        #[serde(rename = "format-specific")]
        specific: Option<Specific>,
    }
    #[derive(Deserialize)]
    struct Specific {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        #[serde(rename = "data-file")]
        data_file: Option<String>,
    }
    let output = qemu_img(Command::new("qemu-img").args(["info", "--output=json", "-f", "qcow2"]).arg(overlay))?;
    let cannot = || format!("cannot understand what `qemu-img` says of `{}`", overlay.display());
    let found: Information = serde_json::from_slice(&output.stdout).or_error(Class::Image, cannot)?;
    if let Some(file) = found.specific.and_then(|specific| specific.data.data_file) {
        return Err(Error::new(Class::Image, format!("`{}` keeps its data in `{file}`", overlay.display())));
    }
    let backing = found.full.or(found.backing);
    backing.ok_or_else(|| Error::new(Class::Image, format!("`{}` lies on no image", overlay.display())))
}

/// Has an overlay name another file, which must have the same content.
///
/// # Errors
/// When it cannot be written.
pub(super) fn rebase(overlay: &Path, backing: &Path) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b"]).arg(backing).arg(overlay);
    qemu_img(&mut command).map(|_| ())
}

fn qemu_img(command: &mut Command) -> Result<Output> {
    let output = command.output().map_err(|error| {
        Error::caused(Class::Host, "cannot run `qemu-img`", error).hint("`scripts/setup` installs it")
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(Class::Image, text.lines().last().unwrap_or("`qemu-img` failed").to_owned()))
}
