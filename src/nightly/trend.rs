//! Is a run slower than noise explains, and where did its time go. Pure.

use super::record::{RunRecord, RunSpan, Slow};
use std::collections::BTreeSet;

/// Fewer earlier runs tell no spread.
const FEWEST: usize = 5;
/// How many spreads a run may lie above the median. The spread is the median absolute deviation, scaled so that it
/// is the standard deviation where noise is normal; one slow night among the earlier ones does not widen it.
const SPREADS: f64 = 4.0;
/// Makes a median absolute deviation a standard deviation.
const SCALE: f64 = 1.4826;
/// The spread of few runs is a poor estimate: it is widened by this share, divided by their number.
const FEW: f64 = 4.0;
/// Growth below this share of the median is nobody's concern, however even earlier runs were.
const LEAST_SHARE: f64 = 0.2;
/// Nor is growth below this many seconds.
const LEAST_SECONDS: f64 = 5.0;
/// Steps that end this close together, in milliseconds, end together: the order of their events is chance.
const TOGETHER: u64 = 50;

/// Whether a run is slower than the spread of earlier good runs of the same way explains.
pub fn slow(run: &RunRecord, earlier: &[RunRecord]) -> Option<Slow> {
    if !run.succeeded() {
        return None;
    }
    let comparable: Vec<&RunRecord> =
        earlier.iter().filter(|other| other.succeeded() && other.way() == run.way() && other.id != run.id).collect();
    if comparable.len() < FEWEST {
        return None;
    }
    let times: Vec<f64> = comparable.iter().map(|other| other.took().as_secs_f64()).collect();
    let seconds = run.took().as_secs_f64();
    let expected = median(&times);
    if seconds <= limit(&times) {
        return None;
    }
    let mut names: Vec<&str> = run.spans.iter().map(|span| span.phase.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let grown = names
        .into_iter()
        .map(|phase| {
            let before: Vec<f64> = comparable.iter().map(|other| busy(&other.spans, phase)).collect();
            (phase, busy(&run.spans, phase) - median(&before))
        })
        .filter(|(_, grew)| *grew > 0.0)
        .max_by(|(_, left), (_, right)| left.total_cmp(right));
    let (phase, phase_grew_by) = grown.map_or((None, 0.0), |(phase, grew)| (Some(phase.to_owned()), grew));
    Some(Slow { seconds, expected, phase, phase_grew_by })
}

/// The longest time that is still noise.
fn limit(times: &[f64]) -> f64 {
    let middle = median(times);
    let deviations: Vec<f64> = times.iter().map(|time| (time - middle).abs()).collect();
    let spread = SCALE * median(&deviations) * (1.0 + FEW / times.len() as f64);
    middle + (SPREADS * spread).max(LEAST_SHARE * middle).max(LEAST_SECONDS)
}

/// The value in the middle; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// Seconds in which a phase was at work anywhere. Not the sum of its steps: eight nodes that boot at once do not make
/// a run eight times longer.
pub fn busy(spans: &[RunSpan], phase: &str) -> f64 {
    let mut times: Vec<(u64, u64)> =
        spans.iter().filter(|span| span.phase == phase).map(|span| (span.start_ms, span.end_ms)).collect();
    times.sort_unstable();
    let (mut total, mut reached) = (0, 0);
    for (start, end) in times {
        total += end.saturating_sub(start.max(reached));
        reached = reached.max(end);
    }
    total as f64 / 1000.0
}

/// The critical path, as places in `spans`, first step first: from the step that ended last back to the one that ended
/// last before it began, and so on. Only what lies on it makes a run shorter.
pub fn critical_path(spans: &[RunSpan]) -> Vec<usize> {
    let mut path = Vec::new();
    let mut seen = BTreeSet::new();
    let mut current = (0..spans.len()).max_by_key(|index| spans[*index].end_ms);
    while let Some(index) = current {
        seen.insert(index);
        path.push(index);
        let span = &spans[index];
        let before: Vec<usize> =
            (0..spans.len()).filter(|other| !seen.contains(other) && spans[*other].end_ms <= span.start_ms).collect();
        let latest = before.iter().map(|other| spans[*other].end_ms).max();
        // Of those that ended together the one of the same node is the likelier cause.
        current = before
            .into_iter()
            .filter(|other| latest.is_some_and(|latest| spans[*other].end_ms + TOGETHER >= latest))
            .max_by_key(|other| (spans[*other].node == span.node, spans[*other].end_ms, spans[*other].took_ms()));
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{nightly::record::Outcome, ui::Ending};
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn span(step: &str, start: u64, end: u64) -> RunSpan {
        let (node, phase) = step.split_once('/').map_or((None, step), |(node, phase)| (Some(node.to_owned()), phase));
        RunSpan {
            step: step.to_owned(),
            node,
            phase: phase.to_owned(),
            start_ms: start,
            end_ms: end,
            ending: Ending::Changed,
        }
    }

    /// A run of two nodes: boot takes `boot` and tune `tune` seconds on each, one after the other.
    fn run(id: usize, way: &str, boot: f64, tune: f64) -> RunRecord {
        let mut record = RunRecord::begin(format!("{id:05}"), "pgxc".into(), Timestamp::UNIX_EPOCH);
        let (boot, tune) = ((boot * 1000.0) as u64, (tune * 1000.0) as u64);
        record.outcome = Outcome::Succeeded;
        record.how = Some(way.to_owned());
        record.took_ms = boot + tune;
        record.spans = ["db1", "db2"]
            .iter()
            .flat_map(|node| [span(&format!("{node}/boot"), 0, boot), span(&format!("{node}/tune"), boot, boot + tune)])
            .collect();
        record
    }

    fn flagged(earlier: &[(f64, f64)], now: (f64, f64)) -> Option<Slow> {
        let earlier: Vec<RunRecord> =
            earlier.iter().enumerate().map(|(id, (boot, tune))| run(id, "built", *boot, *tune)).collect();
        slow(&run(9999, "built", now.0, now.1), &earlier)
    }

    #[test]
    fn growth_is_flagged_with_its_phase_and_noise_is_not() {
        let even = [(60.0, 20.0), (61.0, 20.5), (59.5, 19.0), (60.5, 20.0), (60.0, 21.0), (62.0, 20.0)];
        for (now, phase) in [
            ((60.0, 20.0), None),
            ((66.0, 22.0), None),
            ((60.0, 35.0), None),
            ((60.0, 40.0), Some("tune")),
            ((90.0, 20.0), Some("boot")),
            ((80.0, 45.0), Some("tune")),
            ((30.0, 10.0), None),
        ] {
            let slow = flagged(&even, now);
            assert_eq!(slow.as_ref().and_then(|slow| slow.phase.as_deref()), phase, "{now:?}: {slow:?}");
        }
        let slow = flagged(&even, (90.0, 20.0)).expect("it is slow");
        assert_eq!((slow.seconds, slow.expected), (110.0, 80.75));
        assert!((slow.phase_grew_by - 29.75).abs() < 1e-9, "{slow:?}");
    }

    #[test]
    fn seconds_of_a_short_run_are_noise() {
        assert_eq!(flagged(&[(5.0, 5.0); 8], (9.0, 5.0)), None);
        assert!(flagged(&[(5.0, 5.0); 8], (11.0, 5.0)).is_some());
    }

    #[test]
    fn a_wide_spread_explains_more_than_a_narrow_one() {
        let wide = [(40.0, 0.0), (80.0, 0.0), (55.0, 0.0), (62.0, 0.0), (70.0, 0.0), (48.0, 0.0)];
        assert_eq!(flagged(&wide, (95.0, 0.0)), None);
        assert!(flagged(&wide, (300.0, 0.0)).is_some());
    }

    #[test]
    fn one_slow_night_before_excuses_nothing() {
        let mut earlier = vec![(60.0, 20.0); 7];
        earlier.push((600.0, 20.0));
        assert!(flagged(&earlier, (100.0, 20.0)).is_some());
    }

    #[test]
    fn only_comparable_runs_count() {
        let mut earlier: Vec<RunRecord> = (0..4).map(|id| run(id, "restored a", 5.0, 5.0)).collect();
        let now = run(99, "restored b", 50.0, 5.0);
        assert_eq!(slow(&now, &earlier), None, "four are too few");
        earlier.extend((4..20).map(|id| run(id, "built", 500.0, 5.0)));
        assert_eq!(slow(&now, &earlier), None, "those were built");
        let mut failed = run(30, "restored a", 5.0, 5.0);
        failed.outcome = Outcome::Unfinished;
        earlier.push(failed);
        assert_eq!(slow(&now, &earlier), None, "that one failed");
        earlier.push(run(31, "restored c", 5.0, 5.0));
        assert!(slow(&now, &earlier).is_some(), "five are enough");
    }

    #[test]
    fn time_between_steps_has_no_phase() {
        let earlier: Vec<RunRecord> = (0..6).map(|id| run(id, "built", 10.0, 10.0)).collect();
        let mut now = run(9, "built", 10.0, 10.0);
        now.took_ms = 60_000;
        let slow = slow(&now, &earlier).expect("it is slow");
        assert_eq!((slow.phase, slow.phase_grew_by), (None, 0.0));
    }

    /// Normal noise, from a generator with a fixed seed: false alarms in a thousand nights.
    #[test]
    fn noise_raises_few_alarms() {
        let mut state = 42u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        for (deviation, history, most) in [(0.02, 5, 0), (0.05, 14, 0), (0.10, 14, 5), (0.20, 14, 8), (0.20, 5, 30)] {
            let mut night = || {
                let noise: f64 = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
                (200.0 * (1.0 + deviation * noise), 20.0)
            };
            let alarms = (0..1000)
                .filter(|_| {
                    let earlier: Vec<(f64, f64)> = (0..history).map(|_| night()).collect();
                    flagged(&earlier, night()).is_some()
                })
                .count();
            assert!(alarms <= most, "{alarms} alarms at {deviation} after {history} nights");
        }
    }

    proptest! {
        #[test]
        fn bounded_noise_is_never_flagged(base in 10.0f64..1000.0, noise in prop::collection::vec(-0.08f64..0.08, 6..30)) {
            let nights: Vec<(f64, f64)> = noise.iter().map(|noise| (base * (1.0 + noise), 1.0)).collect();
            let (now, earlier) = nights.split_last().expect("six at least");
            prop_assert_eq!(flagged(earlier, *now), None);
        }

        #[test]
        fn a_phase_that_doubles_is_found(base in 20.0f64..1000.0, noise in prop::collection::vec(-0.05f64..0.05, 5..30), boots in any::<bool>()) {
            let nights: Vec<(f64, f64)> = noise.iter().map(|noise| (base * (1.0 + noise), base * (1.0 - noise))).collect();
            let now = if boots { (2.5 * base, base) } else { (base, 2.5 * base) };
            let slow = flagged(&nights, now);
            prop_assert_eq!(slow.and_then(|slow| slow.phase), Some(if boots { "boot" } else { "tune" }.to_owned()));
        }

        #[test]
        fn a_critical_path_goes_forward_in_time(times in prop::collection::vec((0u64..1000, 0u64..300), 0..40)) {
            let spans: Vec<RunSpan> = times.iter().map(|(start, took)| span("a/b", *start, start + took)).collect();
            let path = critical_path(&spans);
            prop_assert_eq!(path.is_empty(), spans.is_empty());
            for pair in path.windows(2) {
                prop_assert!(spans[pair[0]].end_ms <= spans[pair[1]].start_ms);
            }
        }
    }

    #[test]
    fn the_critical_path_is_walked_back() {
        let spans = [
            span("image", 0, 10_000),
            span("network", 0, 3_000),
            span("db1/boot", 10_001, 50_000),
            span("db2/boot", 10_001, 70_000),
            span("db1/serve", 50_002, 55_000),
            span("db2/serve", 70_003, 75_000),
            span("db3/serve", 60_000, 70_002),
            span("proof", 75_001, 76_000),
        ];
        let steps: Vec<&str> = critical_path(&spans).into_iter().map(|index| spans[index].step.as_str()).collect();
        assert_eq!(steps, ["image", "db2/boot", "db2/serve", "proof"]);
        assert!(critical_path(&[]).is_empty());
    }

    #[test]
    fn a_phase_is_busy_once_however_many_nodes_work() {
        let spans = [
            span("a/boot", 0, 10_000),
            span("b/boot", 5_000, 12_000),
            span("c/boot", 20_000, 21_000),
            span("x", 0, 99),
        ];
        assert_eq!(busy(&spans, "boot"), 13.0);
        assert_eq!(busy(&spans, "none"), 0.0);
    }
}
