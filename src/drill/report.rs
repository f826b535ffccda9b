//! What drills leave: stages with their times, what clients were told, what was otherwise than expected.

use super::{Drill, ledger::Audit};
use crate::ui;
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As expected.
    AsExpected,
    /// Otherwise.
    Otherwise,
    /// It was not begun, since an earlier one left the lab unhealthy.
    NotRun,
}

/// A part of a drill.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Stage {
    /// Its name.
    pub stage: &'static str,
    /// How long it took.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    /// What was seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub saw: Vec<String>,
}

/// What came of a drill.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// What it proves.
    pub proves: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// Its parts.
    pub stages: Vec<Stage>,
    /// The books, if they were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// Known defects of the engine that showed.
    #[serde(rename = "known_defects", skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<String>,
    /// What was otherwise than expected.
    pub wrong: Vec<String>,
    /// Where the evidence is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<PathBuf>,
}

impl Outcome {
    /// Of a drill that was not begun.
    pub fn not_run(drill: &Drill) -> Outcome {
        Outcome {
            name: drill.name,
            proves: drill.proves,
            verdict: Verdict::NotRun,
            stages: Vec::new(),
            audit: None,
            known: Vec::new(),
            wrong: Vec::new(),
            evidence: None,
        }
    }

    fn took(&self) -> Duration {
        self.stages.iter().map(|stage| stage.took).sum()
    }
}

/// The exit codes of `drill run`, which answers one question as `verify` does.
pub mod exit {
    /// Every drill ended as expected.
    pub const AS_EXPECTED: u8 = 0;
    /// One did not.
    pub const OTHERWISE: u8 = 1;
    /// Nothing was run.
    pub const NOTHING: u8 = 2;
    /// Every drill ended as expected, and a known defect of the engine showed.
    pub const KNOWN: u8 = 3;
}

/// The exit codes and what they mean, for help and README.
pub const EXIT_CODES: [(u8, &str); 4] = [
    (exit::AS_EXPECTED, "every drill ended as expected"),
    (exit::OTHERWISE, "a drill did not"),
    (exit::NOTHING, "nothing was run: the lab is not up or not healthy, or no drill applies"),
    (exit::KNOWN, "every drill ended as expected, and a known defect of the engine showed"),
];

/// The exit code of a run.
pub fn exit_code(outcomes: &[Outcome]) -> u8 {
    match outcomes {
        [] => exit::NOTHING,
        all if all.iter().any(|outcome| outcome.verdict != Verdict::AsExpected) => exit::OTHERWISE,
        all if all.iter().any(|outcome| !outcome.known.is_empty()) => exit::KNOWN,
        _ => exit::AS_EXPECTED,
    }
}

/// A drill, over several lines.
pub fn text(outcome: &Outcome, width: usize) -> String {
    let word = match outcome.verdict {
        Verdict::AsExpected => "ok",
        Verdict::Otherwise => "FAIL",
        Verdict::NotRun => "skip",
    };
    let took = if outcome.verdict == Verdict::NotRun { "-".to_owned() } else { ui::seconds(outcome.took()) };
    let mut text = format!("{word:<4}  {:<width$}  {took:>6}  {}\n", outcome.name, outcome.proves);
    for stage in &outcome.stages {
        let mut saw = stage.saw.iter();
        let first = saw.next().map_or("", String::as_str);
        text.push_str(format!("        {:<9}{:>6}  {first}", stage.stage, ui::seconds(stage.took)).trim_end());
        text.push('\n');
        saw.for_each(|line| text.push_str(&format!("{:25}{line}\n", "")));
    }
    for known in &outcome.known {
        text.push_str(&format!("        defect: {known}\n"));
    }
    for wrong in &outcome.wrong {
        text.push_str(&format!("        otherwise: {wrong}\n"));
    }
    if let Some(evidence) = &outcome.evidence {
        text.push_str(&format!("        evidence: {}\n", evidence.display()));
    }
    text
}

/// The books in a line.
pub fn books(audit: &Audit) -> String {
    let mut text = format!(
        "{} transfers acknowledged, {} refused, {} in doubt ({} of them there)",
        audit.acknowledged,
        audit.refused,
        audit.in_doubt_there + audit.in_doubt_gone,
        audit.in_doubt_there
    );
    if audit.values > 0 {
        text.push_str(&format!(", {} sequence values", audit.values));
    }
    if audit.gxids > 0 {
        text.push_str(&format!(", {} GXIDs", audit.gxids));
    }
    if audit.wrong.is_empty() {
        text.push_str(": nothing lost, nothing twice");
    }
    text
}

/// Transfers that are there by half, if any, in words.
pub fn halved(transfers: &[i64]) -> Option<String> {
    let ids: Vec<String> = transfers.iter().map(i64::to_string).collect();
    (!ids.is_empty()).then(|| {
        format!(
            "{} × there by half, and no client was told of a commit: datanodes of 1.0 take what is prepared for aborted when \
             the GTM has forgotten it: {}",
            ids.len(),
            ids.join(", ")
        )
    })
}

/// The last line.
pub fn footer(outcomes: &[Outcome]) -> String {
    let count = |verdict| outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
    let mut parts = vec![format!("{} as expected", count(Verdict::AsExpected))];
    for (verdict, words) in [(Verdict::Otherwise, "otherwise"), (Verdict::NotRun, "not run")] {
        if count(verdict) > 0 {
            parts.push(format!("{} {words}", count(verdict)));
        }
    }
    let known: usize = outcomes.iter().map(|outcome| outcome.known.len()).sum();
    if known > 0 {
        parts.push(format!("{known} known defects of the engine"));
    }
    let took: Duration = outcomes.iter().map(Outcome::took).sum();
    format!("{} in {}\n", parts.join(", "), ui::seconds(took))
}

/// All of it as data.
pub fn json(lab: &str, engine: &str, outcomes: &[Outcome]) -> Value {
    json!({ "lab": lab, "engine": engine, "exit_code": exit_code(outcomes), "drills": outcomes })
}

fn millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::CATALOGUE;

    fn outcome(verdict: Verdict) -> Outcome {
        let stage = |stage, millis, saw: &[&str]| Stage {
            stage,
            took: Duration::from_millis(millis),
            saw: saw.iter().map(|line| (*line).to_owned()).collect(),
        };
        let wrong = if verdict == Verdict::Otherwise { vec!["1 × lost: 7".to_owned()] } else { Vec::new() };
        Outcome {
            verdict,
            stages: vec![stage("load", 1200, &["4 clients"]), stage("see", 8000, &["a halts", "b goes on"])],
            wrong,
            ..Outcome::not_run(&CATALOGUE[0])
        }
    }

    #[test]
    fn a_drill_tells_stages_and_mistakes() {
        let proves = CATALOGUE[0].proves;
        assert_eq!(
            text(&outcome(Verdict::Otherwise), 14),
            format!(
                "FAIL  clock-skewed      9.2s  {proves}\n        load       1.2s  4 clients\n        see        8.0s  a halts\n\
                 {:25}b goes on\n        otherwise: 1 × lost: 7\n",
                ""
            )
        );
    }

    #[test]
    fn exit_codes() {
        let of = |verdicts: &[Verdict]| exit_code(&verdicts.iter().map(|one| outcome(*one)).collect::<Vec<_>>());
        assert_eq!(of(&[]), 2);
        assert_eq!(of(&[Verdict::AsExpected]), 0);
        assert_eq!(of(&[Verdict::AsExpected, Verdict::Otherwise, Verdict::NotRun]), 1);
        let known = Outcome { known: vec!["1 × there by half".into()], ..outcome(Verdict::AsExpected) };
        assert_eq!(exit_code(&[outcome(Verdict::AsExpected), known]), 3);
    }
}
