//! What is wrong with a lab.yaml, where, and what to do about it.

use crate::error::{Class, Error};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A place in the file; both numbers start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl Place {
    /// The start of the file: the place of what is missing altogether.
    pub const START: Place = Place { line: 1, column: 1 };
}

/// One problem of a lab.yaml.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong, with the value in backticks.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: Place, message: impl Into<String>, hint: impl Into<String>) -> Problem {
        // A value of several lines must not look like several problems.
        let one_line = |text: String| text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
        let (message, hint) = (one_line(message.into()), one_line(hint.into()));
        Problem { line: place.line, column: place.column, message, hint }
    }
}

/// All problems of a lab.yaml, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    path: PathBuf,
    list: Vec<Problem>,
}

impl Problems {
    /// Sorts them and drops repetitions.
    pub(super) fn new(path: &Path, mut list: Vec<Problem>) -> Problems {
        if list.is_empty() {
            // A lab was refused without a word: our own mistake, but still not a crash.
            list.push(Problem::new(
                Place::START,
                "was refused without a reason",
                "this is a mistake in pgxc-lab: report it",
            ));
        }
        list.sort();
        list.dedup();
        Problems { path: path.to_owned(), list }
    }

    /// The problems.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The program's error: one message with all of them.
    pub fn into_error(self) -> Error {
        let count = match self.list.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        Error::new(Class::LabFile, format!("{} has {count}; nothing was touched\n{self}", self.path.display()))
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Error {
        problems.into_error()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (number, Problem { line, column, message, hint }) in self.list.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{path}:{line}:{column}: {message}\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
