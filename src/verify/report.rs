//! What a run of checks leaves: a result for each, and the exit code that sums them up.

use super::{
    judgement::{Finding, Verdict},
    seen::Seen,
};
use serde_json::{Value, json};
use std::time::Duration;

/// The result of one check.
pub struct Result {
    /// Its name.
    pub id: String,
    /// What it proves.
    pub proves: String,
    /// How.
    pub how: String,
    /// What must be seen.
    pub expected: String,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took, with the tables that it was the first to need.
    pub took: Duration,
    /// What was observed; nothing where a question had no answer.
    pub seen: Seen,
}

/// The results of a run.
#[derive(Default)]
pub struct Report {
    /// In the order in which they were had.
    pub results: Vec<Result>,
    /// Names of checks that an interruption came before.
    pub undone: Vec<String>,
    /// What could not be cleaned up.
    pub left: Vec<Finding>,
    /// The whole run, with cleaning up.
    pub took: Duration,
}

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Right.
    pub passed: usize,
    /// With warnings only.
    pub warned: usize,
    /// Wrong.
    pub failed: usize,
    /// Not for this lab.
    pub skipped: usize,
}

/// The exit codes of `verify`: its own, for jobs that ask "is the cluster right?" and nothing else.
pub mod exit {
    /// Everything is right.
    pub const RIGHT: u8 = 0;
    /// A check failed.
    pub const FAILED: u8 = 1;
    /// Nothing could be checked.
    pub const NOTHING: u8 = 2;
    /// Nothing failed, but there are warnings.
    pub const WARNED: u8 = 3;
}

/// The exit codes and what they mean, for help and README.
pub const EXIT_CODES: [(u8, &str); 4] = [
    (exit::RIGHT, "everything is right"),
    (exit::FAILED, "a check failed"),
    (exit::NOTHING, "nothing could be checked: the lab is not up, or no check applies"),
    (exit::WARNED, "nothing failed, but there are warnings"),
];

impl Report {
    /// Counts.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for result in &self.results {
            *match result.verdict {
                Verdict::Passed { .. } => &mut tally.passed,
                Verdict::Warned { .. } => &mut tally.warned,
                Verdict::Failed { .. } => &mut tally.failed,
                Verdict::Skipped { .. } => &mut tally.skipped,
            } += 1;
        }
        tally
    }

    /// What is wrong, with the check that found it.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Finding)> {
        let failed = self.results.iter().filter(|result| matches!(result.verdict, Verdict::Failed { .. }));
        failed.flat_map(|result| result.verdict.findings().iter().map(|finding| (result.id.as_str(), finding)))
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self.tally() {
            Tally { failed: 1.., .. } => exit::FAILED,
            Tally { passed: 0, warned: 0, .. } => exit::NOTHING,
            Tally { warned: 1.., .. } => exit::WARNED,
            _ if !self.left.is_empty() => exit::WARNED,
            _ => exit::RIGHT,
        }
    }

    /// As data; `observed` also tells what was seen, answer by answer.
    pub fn json(&self, about: &About, observed: Observed) -> Value {
        let checks: Vec<Value> = self
            .results
            .iter()
            .map(|result| {
                let mut check = json!({
                    "id": result.id,
                    "proves": result.proves,
                    "how": result.how,
                    "expected": result.expected,
                    "took_ms": millis(result.took),
                });
                let verdict = serde_json::to_value(&result.verdict).unwrap_or_default();
                if let (Value::Object(check), Value::Object(verdict)) = (&mut check, verdict) {
                    check.extend(verdict);
                    if observed == Observed::Told {
                        check.insert("observed".into(), serde_json::to_value(&result.seen).unwrap_or_default());
                    }
                }
                check
            })
            .collect();
        json!({
            "lab": about.lab,
            "engine": about.engine,
            "suite": about.suite,
            "exit_code": self.exit_code(),
            "tally": self.tally(),
            "took_ms": millis(self.took),
            "checks": checks,
            "undone": self.undone,
            "left": self.left,
        })
    }
}

/// What a report is about.
#[derive(Clone, Debug, serde::Serialize)]
pub struct About {
    /// The lab.
    pub lab: String,
    /// Its engine.
    pub engine: &'static str,
    /// The suite, or `chosen`.
    pub suite: &'static str,
}

/// Whether the answers are told, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Yes.
    Told,
    /// No.
    Left,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report with one result of each verdict in this list.
    pub(in crate::verify) fn report(verdicts: Vec<Verdict>) -> Report {
        let results = verdicts
            .into_iter()
            .enumerate()
            .map(|(place, verdict)| Result {
                id: format!("check-{place}"),
                proves: "something <holds> & lasts".into(),
                how: "by looking".into(),
                expected: "it holds".into(),
                verdict,
                took: Duration::from_millis(1250),
                seen: Seen::default(),
            })
            .collect();
        Report { results, undone: Vec::new(), left: Vec::new(), took: Duration::from_millis(5400) }
    }

    pub(in crate::verify) fn passed() -> Verdict {
        Verdict::Passed { saw: "all".into() }
    }

    pub(in crate::verify) fn failed() -> Verdict {
        Verdict::Failed {
            findings: vec![Finding::wrong("datanode_2", "3 rows", "2 rows\n# of \u{1} them", "look <there>")],
        }
    }

    pub(in crate::verify) fn warned() -> Verdict {
        Verdict::Warned { findings: vec![Finding::wrong("one", "nothing", "something", "wait").doubtful()] }
    }

    /// A report of a run that was interrupted and could not clean up.
    pub(in crate::verify) fn cut_short() -> Report {
        let left = vec![Finding::wrong("the cluster", "nothing is left", "a <table>", "drop it")];
        Report { undone: vec!["check-8".into(), "check-9".into()], left, ..report(vec![passed()]) }
    }

    pub(in crate::verify) fn skipped() -> Verdict {
        Verdict::Skipped { because: "the lab has a single datanode".into() }
    }

    #[test]
    fn exit_codes() {
        for (verdicts, code) in [
            (vec![passed(), skipped()], 0),
            (vec![passed(), warned(), failed()], 1),
            (vec![], 2),
            (vec![skipped()], 2),
            (vec![passed(), warned()], 3),
            (vec![warned()], 3),
        ] {
            assert_eq!(report(verdicts).exit_code(), code);
        }
        let mut dirty = report(vec![passed()]);
        dirty.left.push(Finding::wrong("the cluster", "nothing", "a table", "drop it"));
        assert_eq!(dirty.exit_code(), 3);
    }

    #[test]
    fn json_has_what_a_program_needs() {
        let about = About { lab: "two".into(), engine: "postgres-xc", suite: "full" };
        let json = report(vec![passed(), failed()]).json(&about, Observed::Left);
        assert_eq!(json["exit_code"], 1);
        assert_eq!(json["checks"][0]["verdict"], "passed");
        assert_eq!(json["checks"][1]["findings"][0]["place"], "datanode_2");
        assert!(json["checks"][0].get("observed").is_none());
    }
}
