//! What comes of a check.

use serde::Serialize;
use std::fmt::Display;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Somebody should look, but what was promised holds.
    Doubtful,
    /// The check fails.
    Wrong,
}

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub weight: Weight,
    /// Which component or node.
    pub place: String,
    /// What should have been seen.
    pub expected: String,
    /// What was.
    pub seen: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// A finding that fails the check.
    pub fn wrong(place: impl Display, expected: impl Display, seen: impl Display, remedy: impl Display) -> Finding {
        let (place, expected) = (place.to_string(), expected.to_string());
        Finding { weight: Weight::Wrong, place, expected, seen: seen.to_string(), remedy: remedy.to_string() }
    }

    /// The same as a warning.
    pub fn doubtful(self) -> Finding {
        Finding { weight: Weight::Doubtful, ..self }
    }
}

/// Findings of one check, while it is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Adds a finding unless both are the same.
    pub fn same<T: PartialEq + Display>(&mut self, place: &str, expected: T, seen: T, remedy: &str) {
        if expected != seen {
            self.add(Finding::wrong(place, expected, seen, remedy));
        }
    }

    /// The judgement: these findings or, when there are none, what was found good.
    ///
    /// # Errors
    /// The findings.
    pub fn or(self, good: impl Into<String>) -> Judgement {
        if self.0.is_empty() { Ok(good.into()) } else { Err(self) }
    }
}

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Findings {
        Findings(vec![finding])
    }
}

/// What was found good, in a few words, or what was not.
pub type Judgement = Result<String, Findings>;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// All is as it must be.
    Passed {
        /// What was seen, in a few words.
        saw: String,
    },
    /// Only warnings.
    Warned {
        /// They; never empty.
        findings: Vec<Finding>,
    },
    /// It failed.
    Failed {
        /// Why; never empty, warnings may be among them.
        findings: Vec<Finding>,
    },
    /// It does not apply to this lab.
    Skipped {
        /// Why.
        because: String,
    },
}

impl Verdict {
    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Passed { .. } => "ok",
            Verdict::Warned { .. } => "warn",
            Verdict::Failed { .. } => "FAIL",
            Verdict::Skipped { .. } => "skip",
        }
    }

    /// What was found; nothing when it passed or does not apply.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Verdict::Warned { findings } | Verdict::Failed { findings } => findings,
            Verdict::Passed { .. } | Verdict::Skipped { .. } => &[],
        }
    }
}

impl From<Judgement> for Verdict {
    fn from(judgement: Judgement) -> Verdict {
        match judgement {
            Ok(saw) => Verdict::Passed { saw },
            Err(Findings(findings)) if findings.iter().any(|finding| finding.weight == Weight::Wrong) => {
                Verdict::Failed { findings }
            }
            Err(Findings(findings)) => Verdict::Warned { findings },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_finding_fails_and_doubts_alone_warn() {
        let wrong = || Finding::wrong("a", 1, 2, "look");
        let verdict = |findings: Vec<Finding>| Verdict::from(Findings(findings).or("good")).word();
        assert_eq!(verdict(vec![]), "ok");
        assert_eq!(verdict(vec![wrong().doubtful()]), "warn");
        assert_eq!(verdict(vec![wrong().doubtful(), wrong()]), "FAIL");
    }

    #[test]
    fn equal_values_are_no_finding() {
        let mut findings = Findings::default();
        findings.same("a", 1, 1, "look");
        assert!(findings.0.is_empty());
        findings.same("a", 1, 2, "look");
        assert_eq!(findings.0[0], Finding::wrong("a", "1", "2", "look"));
    }
}
