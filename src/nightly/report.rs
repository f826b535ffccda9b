//! The runs as one HTML page that needs nothing else.

use super::{
    columns::{Trend, trends},
    link::relative,
    picture::{Timeline, timeline},
    record::{Outcome, RunRecord},
};
use crate::{
    error::{Class, Result, ResultExt},
    ui::seconds,
};
use askama::Template;
use jiff::Timestamp;
use std::{path::Path, time::Duration};

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    lab: String,
    counted: String,
    last: Option<Last>,
    trends: Vec<Trend>,
    failures: Vec<FailureClass>,
    runs: Vec<Run>,
    version: &'static str,
    written: String,
}

/// How a run ended: a word, and the class of its badge.
pub(super) struct State {
    pub word: &'static str,
    class: &'static str,
}

struct Last {
    state: State,
    began: String,
    failure: Option<FailureText>,
    slow: Option<String>,
    bundle: Option<String>,
    facts: Vec<Fact>,
    timeline: Option<Timeline>,
}

struct FailureText {
    headline: String,
    causes: Vec<String>,
    hint: Option<String>,
}

struct Fact {
    name: &'static str,
    value: String,
    wide: bool,
}

struct FailureClass {
    class: &'static str,
    meaning: &'static str,
    count: usize,
    last: String,
    share: String,
}

struct Run {
    state: State,
    began: String,
    how: String,
    took: String,
    what: String,
    bundle: Option<String>,
}

/// The page about these runs, the oldest first; links to bundles below `history` are as seen from the directory
/// `page`.
///
/// # Errors
/// None that the runs could cause; askama's type asks for it.
pub fn render(lab: &str, runs: &[RunRecord], history: &Path, page: &Path, now: Timestamp) -> Result<String> {
    let bundle = |run: &RunRecord| run.bundle.as_ref().map(|name| relative(page, &history.join(&run.id).join(name)));
    // A run that goes on just now has nothing to show yet.
    let shown = runs.iter().rev().find(|run| run.outcome != Outcome::Unfinished).or(runs.last());
    let page = Page {
        lab: lab.to_owned(),
        counted: counted(runs),
        last: shown.map(|run| last(run, bundle(run))),
        trends: trends(runs),
        failures: failures(runs),
        runs: runs.iter().rev().map(|run| row(run, bundle(run))).collect(),
        version: env!("CARGO_PKG_VERSION"),
        written: minute(now),
    };
    page.render().or_error(Class::Internal, || "cannot write the report".into())
}

fn counted(runs: &[RunRecord]) -> String {
    let good = runs.iter().filter(|run| run.succeeded()).count();
    let failed = runs.iter().filter(|run| matches!(run.outcome, Outcome::Failed { .. })).count();
    let slow = runs.iter().filter(|run| run.slow.is_some()).count();
    match (runs.first(), runs.last()) {
        (Some(first), Some(last)) => format!(
            "{} run{} from {} to {} (UTC): {good} good, {failed} failed, {slow} flagged as slow.",
            runs.len(),
            if runs.len() == 1 { "" } else { "s" },
            day(first.begin),
            day(last.begin)
        ),
        _ => "There were no runs yet: `pgxc-lab nightly run` does one.".to_owned(),
    }
}

pub(super) fn state(run: &RunRecord) -> State {
    match (&run.outcome, &run.slow) {
        (Outcome::Unfinished, _) => State { word: "unfinished", class: "quiet" },
        (Outcome::Failed { .. }, _) => State { word: "failed", class: "bad" },
        (Outcome::Succeeded, Some(_)) => State { word: "good, but slow", class: "slow" },
        (Outcome::Succeeded, None) => State { word: "good", class: "good" },
    }
}

fn last(run: &RunRecord, bundle: Option<String>) -> Last {
    let failure = match &run.outcome {
        Outcome::Failed { message, causes, hint, .. } => Some(FailureText {
            headline: format!("{}: {message}", place(&run.outcome)),
            causes: causes.iter().map(|cause| crate::host::last_lines(cause, 20)).collect(),
            hint: hint.clone(),
        }),
        _ => None,
    };
    let fact = |name, value: Option<String>, wide| {
        value.filter(|value| !value.is_empty()).map(|value| Fact { name, value, wide })
    };
    let versions: Vec<String> = run.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let facts = [
        fact("Took", Some(seconds(run.took())), false),
        fact("How", run.how.clone(), false),
        fact("Versions", Some(versions.join(", ")), false),
        fact("Exit code", run.exit_code.map(|code| code.to_string()), false),
        fact("Proof", run.proof.clone(), true),
        fact("Already in the cache", Some(run.cache_hits.join("; ")), true),
        fact("Notes", Some(run.notes.join("; ")), true),
    ];
    Last {
        state: state(run),
        began: format!("{} UTC", minute(run.begin)),
        failure,
        slow: run.slow.as_ref().map(slow_text),
        bundle,
        facts: facts.into_iter().flatten().collect(),
        timeline: timeline(run),
    }
}

/// Where it failed, and the class.
fn place(outcome: &Outcome) -> String {
    let Outcome::Failed { class, step, .. } = outcome else { return String::new() };
    match step {
        Some(step) => format!("Failed in {step} ({})", class_name(*class)),
        None => format!("Failed ({})", class_name(*class)),
    }
}

/// A flag in words.
pub fn slow_text(slow: &super::record::Slow) -> String {
    let secs = |value: f64| seconds(Duration::try_from_secs_f64(value).unwrap_or_default());
    let grew = match &slow.phase {
        Some(phase) => format!("phase {phase} grew most, by {}", secs(slow.phase_grew_by)),
        None => "no phase grew: the time went by between steps".to_owned(),
    };
    format!("It took {}, earlier runs {}; {grew}.", secs(slow.seconds), secs(slow.expected))
}

fn failures(runs: &[RunRecord]) -> Vec<FailureClass> {
    let of = |wanted: Class| {
        let mut count = 0;
        let mut last = String::new();
        for run in runs {
            if matches!(&run.outcome, Outcome::Failed { class, .. } if *class == wanted) {
                count += 1;
                last = day(run.begin);
            }
        }
        (wanted, count, last)
    };
    let mut counts: Vec<(Class, usize, String)> =
        Class::ALL.into_iter().map(of).filter(|(_, count, _)| *count > 0).collect();
    counts.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    let most = counts.first().map_or(1, |(_, count, _)| *count);
    counts
        .into_iter()
        .map(|(class, count, last)| FailureClass {
            class: class_name(class),
            meaning: class.meaning(),
            count,
            last,
            share: percent(count as f64 / most as f64),
        })
        .collect()
}

fn row(run: &RunRecord, bundle: Option<String>) -> Run {
    let what = match (&run.outcome, &run.slow) {
        (Outcome::Failed { message, .. }, _) => format!("{}: {message}", place(&run.outcome)),
        (_, Some(slow)) => slow_text(slow),
        (Outcome::Unfinished, _) => "it goes on, or was cut short without a word".to_owned(),
        (Outcome::Succeeded, None) => String::new(),
    };
    Run {
        state: state(run),
        began: minute(run.begin),
        how: run.how.clone().unwrap_or_default(),
        took: if run.end.is_some() { seconds(run.took()) } else { String::new() },
        what,
        bundle,
    }
}

/// A class as JSON and the report call it.
pub fn class_name(class: Class) -> &'static str {
    match class {
        Class::Internal => "internal",
        Class::Usage => "usage",
        Class::LabFile => "lab-file",
        Class::Host => "host",
        Class::Image => "image",
        Class::Infrastructure => "infrastructure",
        Class::Guest => "guest",
        Class::Cluster => "cluster",
        Class::Locked => "locked",
        Class::Leftovers => "leftovers",
        Class::Interrupted => "interrupted",
    }
}

/// A share as CSS wants it.
pub(super) fn percent(share: f64) -> String {
    format!("{:.3}", share.clamp(0.0, 1.0) * 100.0)
}

pub(super) fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

pub(super) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{nightly::record::RunSpan, ui::Ending};

    fn run(number: i64, outcome: Outcome) -> RunRecord {
        let begin = Timestamp::from_second(1_750_000_000 + number * 86_400).expect("a time");
        let mut run = RunRecord::begin(begin.strftime("%Y%m%dT%H%M%SZ").to_string(), "pgxc".into(), begin);
        run.end = Some(begin);
        run.took_ms = 80_000;
        run.how = matches!(outcome, Outcome::Succeeded).then(|| "built".to_owned());
        run.outcome = outcome;
        run
    }

    fn failed(class: Class) -> Outcome {
        Outcome::Failed {
            class,
            message: "<b>no</b> & answer".into(),
            causes: vec!["\"quoted\" <script>alert(1)</script>".into()],
            hint: Some("pgxc-lab logs db3".into()),
            step: Some("db3/boot".into()),
            node: Some("db3".into()),
        }
    }

    fn page(runs: &[RunRecord]) -> String {
        let home = Path::new("/home/nightly/pgxc");
        render("pgxc", runs, home, home, Timestamp::UNIX_EPOCH).expect("a page")
    }

    #[test]
    fn every_text_is_escaped_and_nothing_is_loaded() {
        let mut bad = run(1, failed(Class::Guest));
        bad.bundle = Some("bundle.tar.zst".into());
        bad.notes = vec!["<img src=x>".into()];
        bad.spans = vec![RunSpan {
            step: "db3/<i>boot".into(),
            node: Some("\"db3\"".into()),
            phase: "<i>boot".into(),
            start_ms: 0,
            end_ms: 9_000,
            ending: Ending::Failed,
        }];
        let page = page(&[run(0, Outcome::Succeeded), bad]);
        for raw in ["<b>no", "<script", "<img", "<i>boot", "src=", "http://", "https://", "url(", "@import", "<link"] {
            let raw_in_page = page.matches(raw).count();
            let allowed = page.matches(&format!("&#60;img {raw}")).count();
            assert_eq!(raw_in_page, allowed, "{raw}");
        }
        assert!(page.contains("href=\"20250616T150640Z/bundle.tar.zst\""), "the link is relative");
    }

    #[test]
    fn failures_are_counted_by_class() {
        let runs = [
            run(0, failed(Class::Guest)),
            run(1, failed(Class::Host)),
            run(2, failed(Class::Guest)),
            run(3, Outcome::Unfinished),
        ];
        let counted: Vec<(&str, usize, String)> =
            failures(&runs).into_iter().map(|class| (class.class, class.count, class.last)).collect();
        assert_eq!(counted, [("guest", 2, "2025-06-17".to_owned()), ("host", 1, "2025-06-16".to_owned())]);
        assert!(
            page(&runs).contains("4 runs from 2025-06-15 to 2025-06-18 (UTC): 0 good, 3 failed, 0 flagged as slow.")
        );
        assert!(page(&[]).contains("There were no runs yet"));
    }

    #[test]
    fn classes_are_called_as_in_json() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_value(class).expect("JSON"), class_name(class));
        }
    }
}
