//! Checks that a lab.yaml brings for `verify`.

use super::{Lab, NodeName, Role, Selector};
use crate::error::Result;
use regex_lite::Regex;
use std::{fmt, str::FromStr, time::Duration};

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnCheck {
    /// Its name, different from all others.
    pub name: NodeName,
    /// What is asked.
    pub ask: OwnAsk,
    /// Which nodes are asked. As it was written: a failover changes which node a role means.
    pub on: Selector,
    /// What each must answer.
    pub expected: Expected,
    /// How long an answer may take.
    pub within: Duration,
}

impl OwnCheck {
    /// Names of the nodes of a lab that are asked; for SQL those with a coordinator or a datanode.
    ///
    /// # Errors
    /// A word that means nothing in this lab.
    pub fn places(&self, lab: &Lab) -> Result<Vec<String>> {
        let mut names = self.on.pick(lab)?;
        if let OwnAsk::Sql(_) = self.ask {
            names.retain(|name| lab.node(name).is_some_and(|node| has_database(node.roles.keys())));
        }
        Ok(names)
    }
}

/// Whether a node with these roles can be asked in SQL.
pub fn has_database<'a>(mut roles: impl Iterator<Item = &'a Role>) -> bool {
    roles.any(|role| matches!(role, Role::Coordinator | Role::Datanode))
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
