//! Total time over the runs as the report draws it: charts of columns. Pure.

use super::{
    record::{Outcome, RunRecord},
    report::{day, minute, percent, state},
    trend,
};
use crate::ui::seconds;
use std::time::Duration;

/// Columns of a trend: more are thinner than a pixel on a phone.
const COLUMNS: usize = 90;

/// A chart.
pub(super) struct Trend {
    pub title: String,
    pub summary: String,
    pub most: String,
    pub median_percent: String,
    pub first: String,
    pub last: String,
    pub slots: Vec<Slot>,
}

/// A run in it.
pub(super) struct Slot {
    pub title: String,
    pub class: &'static str,
    pub style: String,
    pub drawn: bool,
}

/// One chart per way: to restore takes seconds, to build takes minutes.
pub(super) fn trends(runs: &[RunRecord]) -> Vec<Trend> {
    let runs = &runs[runs.len().saturating_sub(COLUMNS)..];
    let mut ways: Vec<&str> = runs.iter().filter(|run| run.succeeded()).filter_map(RunRecord::way).collect();
    ways.sort_unstable();
    ways.dedup();
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Vec::new() };
    let chart = |way: &str| {
        let times: Vec<f64> = runs
            .iter()
            .filter(|run| run.succeeded() && run.way() == Some(way))
            .map(|run| run.took().as_secs_f64())
            .collect();
        let most = times.iter().copied().fold(0.001, f64::max);
        let median = trend::median(&times);
        let secs = |value: f64| seconds(Duration::from_secs_f64(value));
        Trend {
            title: format!("{}{}", way[..1].to_uppercase(), &way[1..]),
            summary: format!(
                "{} good run{}: median {}, from {} to {}.",
                times.len(),
                if times.len() == 1 { "" } else { "s" },
                secs(median),
                secs(times.iter().copied().fold(f64::INFINITY, f64::min)),
                secs(most)
            ),
            most: secs(most),
            median_percent: percent(median / most),
            first: day(first.begin),
            last: day(last.begin),
            slots: runs.iter().map(|run| slot(run, way, most)).collect(),
        }
    };
    ways.into_iter().filter(|way| way.is_char_boundary(1)).map(chart).collect()
}

/// A run in the chart of a way: failures stand in each, since a failed run has no way.
fn slot(run: &RunRecord, way: &str, most: f64) -> Slot {
    let took = seconds(run.took());
    let title = |word: &str| format!("{} UTC: {word}, {took}", minute(run.begin));
    match &run.outcome {
        Outcome::Succeeded if run.way() == Some(way) => Slot {
            title: title(state(run).word),
            class: if run.slow.is_some() { "late" } else { "ok" },
            style: format!("height: {}%", percent(run.took().as_secs_f64() / most)),
            drawn: true,
        },
        Outcome::Failed { .. } => Slot { title: title("failed"), class: "cross", style: String::new(), drawn: true },
        _ => Slot { title: String::new(), class: "", style: String::new(), drawn: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::{Class, Error},
        nightly::{
            record::{Recorder, Slow},
            report,
        },
    };
    use jiff::Timestamp;

    fn failed() -> Outcome {
        Recorder::default().failure(&Error::new(Class::Guest, "no answer"))
    }

    fn run(number: i64, outcome: Outcome) -> RunRecord {
        let begin = Timestamp::from_second(1_750_000_000 + number * 86_400).expect("a time");
        let mut run = RunRecord::begin(number.to_string(), "pgxc".into(), begin);
        run.took_ms = 80_000;
        run.how = matches!(outcome, Outcome::Succeeded).then(|| "built".to_owned());
        run.outcome = outcome;
        run
    }

    #[test]
    fn each_way_has_a_chart_and_failures_stand_in_all() {
        let mut runs = vec![run(0, Outcome::Succeeded), run(1, failed()), run(2, Outcome::Succeeded)];
        runs[2].how = Some("restored pristine-1".into());
        runs[2].slow = Some(Slow { seconds: 80.0, expected: 20.0, phase: Some("boot".into()), phase_grew_by: 55.5 });
        let charts = trends(&runs);
        let seen: Vec<(&str, Vec<&str>)> = charts
            .iter()
            .map(|chart| (chart.title.as_str(), chart.slots.iter().map(|slot| slot.class).collect()))
            .collect();
        assert_eq!(seen, [("Built", vec!["ok", "cross", ""]), ("Restored", vec!["", "cross", "late"])]);
        let slow = runs[2].slow.as_ref().map(report::slow_text);
        assert_eq!(slow.as_deref(), Some("It took 1m 20s, earlier runs 20.0s; phase boot grew most, by 55.5s."));
    }
}
