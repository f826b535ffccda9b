//! A check: a pure description, and a pure judgement of what was observed.

use super::{
    judgement::Judgement,
    script::{Act, Script},
    seen::Seen,
};
use crate::lab::{Lab, Role};
use std::{str::FromStr, time::Duration};

/// How much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// What takes seconds.
    Quick,
    /// Everything.
    Full,
}

impl Suite {
    /// Both.
    pub const ALL: [Suite; 2] = [Suite::Quick, Suite::Full];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Suite::Quick => "quick",
            Suite::Full => "full",
        }
    }
}

impl FromStr for Suite {
    type Err = String;

    fn from_str(text: &str) -> Result<Suite, String> {
        Suite::ALL.into_iter().find(|suite| suite.as_str() == text).ok_or_else(|| format!("`{text}` is no suite"))
    }
}

/// A check of an engine's catalogue.
pub struct Check {
    /// Its name on the command line.
    pub id: &'static str,
    /// What it proves, a sentence about a cluster that is well.
    pub proves: &'static str,
    /// How.
    pub how: &'static str,
    /// What must be seen.
    pub expected: &'static str,
    /// The smaller suite that it belongs to.
    pub suite: Suite,
    /// What the lab must have for it.
    pub needs: Needs,
    /// Tables that it reads; they are made once for all checks.
    pub tables: &'static [Table],
    /// What is asked.
    pub script: fn(&Lab) -> Script,
    /// What the answers say.
    pub judge: fn(&Lab, &Seen) -> Judgement,
}

/// What a lab must have for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing beyond what every lab has.
    Nothing,
    /// A second datanode.
    TwoDatanodes,
    /// A standby of the GTM.
    Standby,
    /// lab.yaml, and not only the record of the last `up`.
    LabFile,
}

impl Needs {
    /// Why a lab does not have it.
    pub fn lacking(self, lab: &Lab, lab_file: LabFile) -> Option<&'static str> {
        match self {
            Needs::TwoDatanodes if lab.placed(Role::Datanode).len() < 2 => Some("the lab has a single datanode"),
            Needs::Standby if lab.placed(Role::GtmStandby).is_empty() => Some("the lab has no standby of the GTM"),
            Needs::LabFile if lab_file == LabFile::Unknown => Some("lab.yaml was not read, because of `--lab`"),
            _ => None,
        }
    }
}

/// Whether lab.yaml is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabFile {
    /// It is.
    Known,
    /// It is not: only what the last `up` recorded.
    Unknown,
}

/// A table that several checks read.
pub struct Table {
    /// Its name, which begins with [`PREFIX`].
    pub name: &'static str,
    /// How it is made and filled.
    pub make: fn(&Lab) -> Script,
}

/// What the names of everything that a check makes begin with; nothing else in a cluster may be called so.
pub const PREFIX: &str = "pgxc_lab_verify_";

/// A check as it is run: one of a catalogue, or one of lab.yaml.
pub struct Task {
    /// Its name on the command line.
    pub id: String,
    /// What it proves.
    pub proves: String,
    /// How.
    pub how: String,
    /// What must be seen.
    pub expected: String,
    /// Why it does not apply to this lab.
    pub skip: Option<&'static str>,
    /// Tables that it reads.
    pub tables: &'static [Table],
    /// What is asked.
    pub script: Script,
    /// What the answers say.
    pub judge: Box<dyn Fn(&Seen) -> Judgement + Send + Sync>,
    /// How long an answer may take; `None`: what the cluster's statements may take.
    pub within: Option<Duration>,
}

impl Task {
    /// Whether it wants to know what `up` would do.
    pub fn plans(&self) -> bool {
        self.script.0.iter().flatten().flatten().any(|ask| ask.act == Act::Plan)
    }
}

impl Check {
    /// The check for this lab; with a reason to skip it nothing is asked.
    pub fn task(&self, lab: &Lab, skip: Option<&'static str>) -> Task {
        let (judge, of) = (self.judge, lab.clone());
        Task {
            id: self.id.to_owned(),
            proves: self.proves.to_owned(),
            how: self.how.to_owned(),
            expected: self.expected.to_owned(),
            skip,
            tables: self.tables,
            script: if skip.is_none() { (self.script)(lab) } else { Script::default() },
            judge: Box::new(move |seen| judge(&of, seen)),
            within: None,
        }
    }
}
