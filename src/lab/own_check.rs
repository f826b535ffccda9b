//! Checks that a lab.yaml brings for `verify`.

use super::NodeName;
use regex_lite::Regex;
use std::{fmt, str::FromStr, time::Duration};

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnCheck {
    /// Its name, different from all others.
    pub name: NodeName,
    /// What is asked.
    pub ask: OwnAsk,
    /// Names of the nodes that are asked; for SQL each has a coordinator or a datanode. Never empty.
    pub on: Vec<String>,
    /// What each must answer.
    pub expected: Expected,
    /// How long an answer may take.
    pub within: Duration,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnAsk {
    /// Statements; the answer is their rows, columns with `|` between.
    Sql(String),
    /// A line for the shell, as root; the answer is its output.
    Command(String),
}

/// What must be answered.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Exactly this, without white space around it.
    Text(String),
    /// Something in which this is found.
    Pattern(Regex),
}

impl Expected {
    /// Whether an answer, without white space around it, is as expected.
    pub fn fits(&self, answer: &str) -> bool {
        match self {
            Expected::Text(text) => text == answer,
            Expected::Pattern(pattern) => pattern.is_match(answer),
        }
    }
}

impl FromStr for Expected {
    type Err = String;

    /// A text; between slashes it is a regular expression.
    fn from_str(text: &str) -> Result<Expected, String> {
        let text = text.trim();
        match text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            Some(pattern) => Regex::new(pattern).map(Expected::Pattern).map_err(|_| {
                format!("`{text}` is not a regular expression: a text without slashes around it is taken as it stands")
            }),
            None => Ok(Expected::Text(text.to_owned())),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Text(text) => f.write_str(text),
            Expected::Pattern(pattern) => write!(f, "/{pattern}/"),
        }
    }
}

impl PartialEq for Expected {
    fn eq(&self, other: &Expected) -> bool {
        self.to_string() == other.to_string()
    }
}
