//! The timeline of a run as the report draws it: rows of bars, in per cent of the whole time. Pure.

use super::{
    record::{RunRecord, RunSpan},
    report::percent,
    trend::{busy, critical_path},
};
use crate::ui::{Ending, seconds};
use std::time::Duration;

/// Colours of phases; the phases that took least share the last one.
const COLOURS: usize = 8;
/// Height of a bar with the space below it, in pixels.
const LANE: usize = 24;
/// Distances of the marks in seconds.
const MARKS: [u64; 16] = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400];
/// Marks at most: so many labels stand beside each other on half of a wide page.
const MOST_MARKS: u64 = 10;
/// A label further right than this would leave the page.
const LAST_LABEL: f64 = 0.94;

/// The drawing.
pub(super) struct Timeline {
    pub tick_percent: String,
    pub ticks: Vec<Tick>,
    pub rows: Vec<Row>,
    pub phases: Vec<PhaseKey>,
    pub path: Vec<PathStep>,
    pub steps: Vec<Step>,
    pub failed: bool,
}

pub(super) struct Tick {
    pub left: String,
    pub label: String,
    pub odd: bool,
}

pub(super) struct Row {
    pub name: String,
    pub height: usize,
    pub bars: Vec<Bar>,
}

pub(super) struct Bar {
    pub class: String,
    pub left: String,
    pub width: String,
    pub top: usize,
    pub title: String,
    pub phase: String,
    /// How much room the name of the phase wants: `s`, `m` or `l`.
    pub size: &'static str,
}

pub(super) struct PhaseKey {
    pub class: String,
    pub name: String,
    pub took: String,
}

pub(super) struct PathStep {
    pub name: String,
    pub took: String,
    pub class: String,
    pub left: String,
    pub share: String,
}

pub(super) struct Step {
    pub name: String,
    pub phase: String,
    pub began: String,
    pub took: String,
    pub ending: String,
}

/// Draws a run; none: it had no steps.
pub(super) fn timeline(run: &RunRecord) -> Option<Timeline> {
    let last = run.spans.iter().map(|span| span.end_ms).max()?;
    let total = last.max(run.took_ms).max(1);
    let path = critical_path(&run.spans);
    let phases = phases(&run.spans);
    let colour = |span: &RunSpan| {
        let place = phases.iter().position(|(name, _)| *name == span.phase).unwrap_or(COLOURS);
        format!("p{}", place.min(COLOURS))
    };
    let share = |millis: u64| percent(millis as f64 / total as f64);
    let every = MARKS.iter().copied().find(|mark| total / 1000 / mark < MOST_MARKS).unwrap_or(86_400);
    let place = |name: &str| {
        let here: Vec<usize> = (0..run.spans.len()).filter(|index| run.spans[*index].place() == name).collect();
        let lanes = lanes(&run.spans, &here);
        let bars = here.iter().zip(&lanes).map(|(index, lane)| {
            let span = &run.spans[*index];
            let mut class = if span.ending == Ending::Failed { "failed".to_owned() } else { colour(span) };
            class.push_str(if path.contains(index) { " crit" } else { "" });
            Bar {
                class,
                left: share(span.start_ms),
                width: share(span.took_ms()),
                top: lane * LANE,
                title: format!("{}: {} from {}", span.step, took(span.took_ms()), took(span.start_ms)),
                phase: span.phase.clone(),
                size: match span.phase.chars().count() {
                    0..=5 => "s",
                    6..=9 => "m",
                    _ => "l",
                },
            }
        });
        Row {
            name: name.to_owned(),
            bars: bars.collect(),
            height: (lanes.iter().max().copied().unwrap_or_default() + 1) * LANE,
        }
    };
    Some(Timeline {
        tick_percent: share(every * 1000),
        ticks: (0..=total / 1000 / every)
            .map(|number| (number, number * every * 1000))
            .filter(|(_, at)| (*at as f64) < total as f64 * LAST_LABEL)
            .map(|(number, at)| Tick { left: share(at), label: mark(at / 1000), odd: number % 2 == 1 })
            .collect(),
        rows: places(run).into_iter().map(place).collect(),
        phases: keys(&phases),
        path: path
            .iter()
            .map(|index| &run.spans[*index])
            .map(|span| PathStep {
                name: span.step.clone(),
                took: took(span.took_ms()),
                class: colour(span),
                left: share(span.start_ms),
                share: share(span.took_ms()),
            })
            .collect(),
        steps: (0..run.spans.len()).map(|index| step(&run.spans[index], path.contains(&index))).collect(),
        failed: run.spans.iter().any(|span| span.ending == Ending::Failed),
    })
}

/// All phases, the one that was longest at work first.
fn phases(spans: &[RunSpan]) -> Vec<(&str, f64)> {
    let mut phases: Vec<(&str, f64)> = Vec::new();
    for span in spans {
        if !phases.iter().any(|(name, _)| *name == span.phase) {
            phases.push((&span.phase, busy(spans, &span.phase)));
        }
    }
    phases.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    phases
}

fn keys(phases: &[(&str, f64)]) -> Vec<PhaseKey> {
    let key = |class: usize, name: &str, secs: f64| PhaseKey {
        class: format!("p{class}"),
        name: name.to_owned(),
        took: seconds(Duration::from_secs_f64(secs)),
    };
    let (own, rest) = phases.split_at(phases.len().min(COLOURS));
    let mut keys: Vec<PhaseKey> = own.iter().enumerate().map(|(place, (name, secs))| key(place, name, *secs)).collect();
    match rest {
        [] => {}
        [(name, secs)] => keys.push(key(COLOURS, name, *secs)),
        rest => {
            let name = format!("{} shorter phases", rest.len());
            keys.push(key(COLOURS, &name, rest.iter().map(|(_, secs)| secs).sum()));
        }
    }
    keys
}

/// Places that have steps: the host first, then the nodes in their order, then whatever else there is.
fn places(run: &RunRecord) -> Vec<&str> {
    let mut places = vec!["host"];
    places.extend(run.nodes.iter().map(String::as_str));
    for span in &run.spans {
        if !places.contains(&span.place()) {
            places.push(span.place());
        }
    }
    places.retain(|place| run.spans.iter().any(|span| span.place() == *place));
    places
}

/// Steps of one place that overlap lie in lanes below each other.
fn lanes(spans: &[RunSpan], here: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..here.len()).collect();
    order.sort_by_key(|at| (spans[here[*at]].start_ms, spans[here[*at]].end_ms));
    let mut ends: Vec<u64> = Vec::new();
    let mut lanes = vec![0; here.len()];
    for at in order {
        let span = &spans[here[at]];
        let lane = ends.iter().position(|end| *end <= span.start_ms).unwrap_or_else(|| {
            ends.push(0);
            ends.len() - 1
        });
        ends[lane] = span.end_ms;
        lanes[at] = lane;
    }
    lanes
}

fn step(span: &RunSpan, critical: bool) -> Step {
    let ending = match span.ending {
        Ending::Changed => "changed",
        Ending::Unchanged => "unchanged",
        Ending::Failed => "failed",
    };
    Step {
        name: span.step.clone(),
        phase: span.phase.clone(),
        began: took(span.start_ms),
        took: took(span.took_ms()),
        ending: format!("{ending}{}", if critical { ", on the critical path" } else { "" }),
    }
}

fn took(millis: u64) -> String {
    seconds(Duration::from_millis(millis))
}

/// A mark of the axis.
fn mark(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        secs if secs % 60 == 0 => format!("{} min", secs / 60),
        secs => format!("{}:{:02} min", secs / 60, secs % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn span(node: Option<&str>, phase: &str, start_ms: u64, end_ms: u64) -> RunSpan {
        let step = node.map_or(phase.to_owned(), |node| format!("{node}/{phase}"));
        RunSpan { step, node: node.map(str::to_owned), phase: phase.into(), start_ms, end_ms, ending: Ending::Changed }
    }

    fn run(spans: Vec<RunSpan>) -> RunRecord {
        let mut run = RunRecord::begin("x".into(), "pgxc".into(), Timestamp::UNIX_EPOCH);
        run.nodes = vec!["db2".into(), "db1".into()];
        run.took_ms = spans.iter().map(|span| span.end_ms).max().unwrap_or_default();
        run.spans = spans;
        run
    }

    #[test]
    fn rows_are_places_and_bars_are_steps() {
        let run = run(vec![
            span(None, "image", 0, 10_000),
            span(None, "network", 2_000, 4_000),
            span(Some("db1"), "boot", 10_000, 40_000),
            span(Some("db2"), "boot", 10_000, 20_000),
        ]);
        let drawn = timeline(&run).expect("a drawing");
        let names: Vec<(&str, usize)> = drawn.rows.iter().map(|row| (row.name.as_str(), row.height)).collect();
        assert_eq!(names, [("host", 2 * LANE), ("db2", LANE), ("db1", LANE)], "lab.yaml's order, overlaps in lanes");
        let bar = &drawn.rows[2].bars[0];
        assert_eq!((bar.left.as_str(), bar.width.as_str(), bar.class.as_str()), ("25.000", "75.000", "p0 crit"));
        assert_eq!(bar.title, "db1/boot: 30.0s from 10.0s");
        assert_eq!(drawn.rows[1].bars[0].class, "p0");
        let path: Vec<&str> = drawn.path.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(path, ["image", "db1/boot"]);
        let ticks: Vec<&str> = drawn.ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(ticks, ["0 s", "5 s", "10 s", "15 s", "20 s", "25 s", "30 s", "35 s"]);
        assert_eq!(drawn.tick_percent, "12.500");
    }

    #[test]
    fn many_phases_share_the_last_colour() {
        let spans = (0..12).map(|n| span(None, &format!("phase-{n}"), n * 1000, n * 2000 + 500)).collect();
        let drawn = timeline(&run(spans)).expect("a drawing");
        assert_eq!(drawn.phases.len(), COLOURS + 1);
        assert_eq!(drawn.phases[COLOURS].name, "4 shorter phases");
        assert!(timeline(&run(Vec::new())).is_none());
    }

    #[test]
    fn marks_are_few_however_long_the_run() {
        for took in [1, 900, 5_000, 61_000, 3_599_000, 40_000_000] {
            let drawn = timeline(&run(vec![span(None, "a", 0, took)])).expect("a drawing");
            assert!((1..=10).contains(&drawn.ticks.len()), "{took}: {}", drawn.ticks.len());
        }
        assert_eq!([mark(45), mark(120), mark(90)], ["45 s", "2 min", "1:30 min"]);
    }
}
