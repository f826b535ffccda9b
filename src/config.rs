//! Reads lab.yaml: from text to a valid [`Lab`], or to every problem of the file at once.
//!
//! The way of a file: [`document`] reads any YAML with places; [`shape`] says which keys there are (it is the
//! source of lab.schema.json too); [`keys`] compares both and takes out what does not fit; [`typed`] turns the
//! rest into the raw [`shape::LabFile`]; [`checks`] turns that into a [`Lab`], with [`defaults`] for what is
//! not written. No step stops at its first problem.

mod append;
mod checks;
mod cut;
mod defaults;
mod document;
mod items;
mod keys;
mod problem;
mod schema;
mod shape;
pub(crate) mod suggest;
mod typed;

pub use append::{Refusal, with_node};
pub use cut::without_last;
pub use problem::{Place, Problem, Problems};
pub use schema::schema;

use crate::lab::Lab;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A lab.yaml that holds every rule.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The lab.
    pub lab: Lab,
    /// The file, as it was named.
    pub path: PathBuf,
    /// SHA-256 of the file's bytes in hexadecimal.
    pub digest: String,
}

/// Reads and checks a file.
///
/// # Errors
/// All problems of the file; turn them into the program's error with [`Problems::into_error`].
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let bytes = std::fs::read(path).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "name the file with `--file`, or start from the lab.yaml of this repository"
            }
            _ => "the file must be readable text",
        };
        Problems::new(path, vec![Problem::new(Place::START, format!("cannot be read: {error}"), hint)])
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        let wrong = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        let message = format!("byte `0x{wrong:02x}` is not UTF-8");
        Problems::new(path, vec![Problem::new(Place { line, column }, message, "save the file as UTF-8")])
    })?;
    let lab = parse(text, path)?;
    let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Loaded { lab, path: path.to_owned(), digest })
}

/// Checks a text; `path` only names it in problems and gives the directory of its relative paths.
///
/// # Errors
/// All problems of the text.
pub fn parse(text: &str, path: &Path) -> Result<Lab, Problems> {
    let directory = std::path::absolute(path).ok().and_then(|file| file.parent().map(Path::to_owned));
    let mut tree = document::read(text).map_err(|problem| Problems::new(path, vec![problem]))?;
    let mut problems = Vec::new();
    keys::prune(&mut tree, &mut problems);
    let lab = match typed::from_tree(tree) {
        Ok(file) => checks::lab(&file, directory.unwrap_or_default(), &mut problems),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    match lab {
        Some(lab) if problems.is_empty() => Ok(lab),
        _ => Err(Problems::new(path, problems)),
    }
}
