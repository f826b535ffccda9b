//! What was observed: the answers to a script, in its order.

use super::judgement::Finding;
use crate::engine::Row;
use serde::{Deserialize, Serialize};

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The question's name.
    pub key: String,
    /// Who answered.
    pub at: String,
    /// The answer.
    pub rows: Vec<Row>,
}

/// All answers of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seen(pub Vec<Sight>);

impl Seen {
    /// The answer to a question.
    ///
    /// # Errors
    /// When it was not asked: a mistake of the check, told as a finding.
    pub fn get(&self, key: &str) -> Result<&Sight, Finding> {
        self.0.iter().find(|sight| sight.key == key).ok_or_else(|| {
            Finding::wrong("pgxc-lab", format!("an answer to `{key}`"), "none", "this is a mistake in pgxc-lab itself")
        })
    }

    /// The answers to all questions whose name begins so.
    pub fn all<'seen>(&'seen self, prefix: &'seen str) -> impl Iterator<Item = &'seen Sight> {
        self.0.iter().filter(move |sight| sight.key.starts_with(prefix))
    }

    /// The first value of an answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn value(&self, key: &str) -> Result<&str, Finding> {
        self.get(key)?.value()
    }

    /// The first value of an answer, as a number.
    ///
    /// # Errors
    /// When there is none.
    pub fn number(&self, key: &str) -> Result<i64, Finding> {
        self.get(key)?.number()
    }
}

impl Sight {
    /// Its first value.
    ///
    /// # Errors
    /// When it has none.
    pub fn value(&self) -> Result<&str, Finding> {
        let value = self.rows.first().and_then(|row| row.first()).and_then(|value| value.as_deref());
        value.ok_or_else(|| Finding::wrong(&self.at, format!("a value for `{}`", self.key), "no row", LOOK))
    }

    /// Its first value as a number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self) -> Result<i64, Finding> {
        let value = self.value()?;
        value.trim().parse().map_err(|_| Finding::wrong(&self.at, format!("a number for `{}`", self.key), value, LOOK))
    }

    /// Its rows as lines, columns with `|` between, as `psql -At` prints them.
    pub fn text(&self) -> String {
        let line =
            |row: &Row| row.iter().map(|value| value.as_deref().unwrap_or_default()).collect::<Vec<_>>().join("|");
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// What to do about an answer that makes no sense.
const LOOK: &str = "`pgxc-lab sql` and `pgxc-lab logs` look closer";
