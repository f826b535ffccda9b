//! Runs tasks one after the other: cleans, makes tables, asks, judges, cleans.

use super::{
    check::Task,
    judgement::{Finding, Findings, Verdict},
    observe::{Broken, Close, Observer},
    report::{Report, Result as CheckResult},
    script::Script,
    seen::{Seen, Sight},
    sweep::{self, Sweep},
};
use crate::engine::{Row, TRIES, is_transient};
use std::{collections::BTreeSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// Runs all tasks and tells each result when it is there. When `stop` is cancelled the check that runs is given up, the
/// cluster is cleaned all the same, and the report holds what was done before.
pub async fn run(
    observer: &Observer,
    tasks: Vec<Task>,
    sweep: &Sweep,
    stop: &CancellationToken,
    mut tell: impl FnMut(&CheckResult),
) -> Report {
    let begun = Instant::now();
    let mut report = Report::default();
    let mut run = Run { observer, sweep, stop, made: BTreeSet::new() };
    run.forget().await;
    let mut tasks = tasks.into_iter();
    for task in tasks.by_ref() {
        let begun = Instant::now();
        let Some((verdict, seen)) = run.check(&task).await else {
            report.undone.push(task.id);
            break;
        };
        let failed = matches!(verdict, Verdict::Failed { .. });
        let result = CheckResult {
            id: task.id,
            proves: task.proves,
            how: task.how,
            expected: task.expected,
            verdict,
            took: begun.elapsed(),
            seen,
        };
        tell(&result);
        report.results.push(result);
        observer.close(if failed { Close::All } else { Close::Apart }).await;
    }
    report.undone.extend(tasks.map(|task| task.id));
    if stop.is_cancelled() {
        observer.close(Close::All).await;
    }
    report.left = clean(observer, sweep).await.err().unwrap_or_default().0;
    observer.close(Close::All).await;
    report.took = begun.elapsed();
    report
}

/// What to do about it.
const AGAIN: &str = "it went well when it was asked again; if it comes often, look why connections to the GTM break";

/// A run of checks.
struct Run<'a> {
    observer: &'a Observer,
    sweep: &'a Sweep,
    stop: &'a CancellationToken,
    /// Names of the tables that are there.
    made: BTreeSet<&'static str>,
}

impl Run<'_> {
    /// One check, begun again when the GTM was not there for a moment, twice at the most: then it passes with a warning at
    /// best. Nothing when it was interrupted.
    async fn check(&mut self, task: &Task) -> Option<(Verdict, Seen)> {
        let mut left = TRIES;
        let mut told = Vec::new();
        loop {
            left -= 1;
            let (verdict, seen) = self.attempt(task).await?;
            let passing = verdict.findings().iter().filter(|finding| is_transient(&finding.seen));
            let passing: Vec<Finding> = passing.cloned().collect();
            match verdict {
                Verdict::Passed { .. } if !told.is_empty() => return Some((Verdict::Warned { findings: told }, seen)),
                verdict if passing.is_empty() || left == 0 => return Some((verdict, seen)),
                _ => {
                    told.extend(passing.into_iter().map(|seen| Finding { remedy: AGAIN.into(), ..seen }.doubtful()));
                    self.forget().await;
                }
            }
        }
    }

    /// One try of a check; nothing when it was interrupted.
    async fn attempt(&mut self, task: &Task) -> Option<(Verdict, Seen)> {
        if self.stop.is_cancelled() {
            return None;
        }
        if let Some(because) = task.skip {
            return Some((Verdict::Skipped { because: because.into() }, Seen::default()));
        }
        for table in task.tables {
            if self.made.insert(table.name) {
                match self.observer.observe(&(table.make)(&self.observer.lab), None, self.stop).await {
                    Ok(_) => {}
                    Err(Broken::Interrupted) => return None,
                    Err(Broken::Findings(findings)) => {
                        // The next check that needs it shall see for itself, and not stumble over half a table.
                        self.forget().await;
                        return Some((Verdict::Failed { findings }, Seen::default()));
                    }
                }
            }
        }
        match self.observer.observe(&task.script, task.within, self.stop).await {
            Ok(seen) => Some((Verdict::from((task.judge)(&seen)), seen)),
            Err(Broken::Interrupted) => None,
            Err(Broken::Findings(findings)) => Some((Verdict::Failed { findings }, Seen::default())),
        }
    }

    /// Begins anew after a failure: with other sessions, and without tables that may be half made.
    async fn forget(&mut self) {
        self.observer.close(Close::All).await;
        // What cannot be cleaned is told by the checks that need it, and in the end.
        let _ = clean(self.observer, self.sweep).await;
        self.made.clear();
    }
}

/// Says who holds what could not be removed.
fn blamed(findings: Findings, holders: Seen) -> Findings {
    let told = |sight: &Sight| {
        let row =
            |row: &Row| Some(format!("`{}` has {} locked by {}", sight.at, row[0].as_ref()?, row.get(1)?.as_ref()?));
        sight.rows.iter().filter_map(row).collect::<Vec<_>>()
    };
    let held: Vec<String> = holders.all("holders/").flat_map(told).collect();
    if held.is_empty() {
        return findings;
    }
    let blame = |finding: Finding| Finding {
        seen: format!("{}; {}", finding.seen, held.join("; ")),
        remedy: "`pgxc-lab up` ends what a crash left prepared; a session ends with its client".into(),
        ..finding
    };
    Findings(findings.0.into_iter().map(blame).collect())
}

/// Looks and removes until nothing is left.
async fn clean(observer: &Observer, sweep: &Sweep) -> Result<(), Findings> {
    // A run that is interrupted cleans up like any other.
    let never = CancellationToken::new();
    let observe = async |script: &Script| match observer.observe(script, None, &never).await {
        Ok(seen) => Ok(seen),
        Err(Broken::Findings(findings)) => Err(Findings(findings)),
        Err(Broken::Interrupted) => Ok(Seen::default()),
    };
    let mut refused = 0;
    for _ in 0..sweep::ROUNDS {
        let left = async {
            let seen = observe(&(sweep.look)(&observer.lab)).await?;
            let script = (sweep.remove)(&observer.lab, &seen);
            let left = script.0.iter().flatten().flatten().count();
            observe(&script).await.map(|_| left)
        };
        match left.await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Sessions may have been broken by what was checked: new ones are tried.
            Err(findings) => {
                observer.close(Close::All).await;
                refused += 1;
                // A server that waited until it gave up would do so again.
                let waited = findings.0.iter().any(|finding| finding.seen.contains(sweep::GIVEN_UP));
                if refused == sweep::TRIES || waited {
                    return Err(blamed(findings, observe(&(sweep.holders)(&observer.lab)).await.unwrap_or_default()));
                }
            }
        }
    }
    let remedy = format!("drop what begins with `{}` by hand", super::check::PREFIX);
    Err(Finding::wrong("the cluster", "nothing is left of the checks", "something comes back", remedy).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_what_cannot_be_removed_is_told() {
        let stuck = || Findings(vec![Finding::wrong("coordinate_1", "`drop table x` works", "it gave up", "look")]);
        assert_eq!(blamed(stuck(), Seen::default()), stuck());
        let row = |holder: &str| vec![Some("pgxc_lab_verify_x".to_owned()), Some(holder.to_owned())];
        let sight = |at: &str, rows| Sight { key: format!("holders/{at}"), at: at.into(), rows };
        let seen = Seen(vec![
            sight("coordinate_1", Vec::new()),
            sight("datanode_2", vec![row("prepared transaction `T7`"), row("the session of process 9")]),
        ]);
        assert_eq!(
            blamed(stuck(), seen).0[0].seen,
            "it gave up; `datanode_2` has pgxc_lab_verify_x locked by prepared transaction `T7`; \
             `datanode_2` has pgxc_lab_verify_x locked by the session of process 9"
        );
    }
}
