//! The timeline as text.

use super::{
    Table,
    text::{seconds, shortened},
    timeline::{Ending, Span, Timeline},
};
use std::{collections::BTreeMap, time::Duration};

/// A chart narrower than this tells nothing.
const NARROWEST: usize = 80;
/// Longest name in front of a row.
const LONGEST_PLACE: usize = 24;
/// Phases with a line of their own below the chart; the others are summed up.
const PHASES: usize = 12;
/// Slowest steps that are named.
const SLOWEST: usize = 5;
/// Columns between two marks of the time axis, at least: a label and a space.
const MARK_COLUMNS: f64 = 9.0;
/// Distances of the marks in seconds.
const MARKS: [u64; 14] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 86400];
/// A column in which a place had nothing to do.
const IDLE: char = '.';
/// A column in which a step failed.
const FAILED: char = '!';

/// Draws the timeline.
pub(super) fn draw(timeline: &Timeline, width: usize) -> String {
    if timeline.spans().is_empty() {
        return String::new();
    }
    let letters = letters(timeline);
    let places = timeline.places();
    let margin = places.iter().map(|place| place.chars().count()).max().unwrap_or(0).min(LONGEST_PLACE);
    let scale = Scale {
        columns: width.max(NARROWEST).saturating_sub(margin + 2),
        // Everything at once still needs a length to be divided by.
        total: timeline.end_of_all().max(Duration::from_millis(1)),
    };
    let mut text = format!("{:margin$}  {}\n", "", scale.axis());
    for place in places {
        let spans: Vec<&Span> = timeline.spans().iter().filter(|span| span.place() == place).collect();
        let row: String = (0..scale.columns).map(|column| scale.cell(column, &spans, &letters)).collect();
        text.push_str(&format!("{:<margin$}  {row}\n", shortened(place, margin)));
    }
    text.push('\n');
    text.push_str(&legend(timeline, &letters));
    text.push_str("\nslowest steps\n");
    let mut table = Table::new().left("").left("").right("").left("");
    for span in timeline.slowest(SLOWEST) {
        let from = format!("from {}", seconds(span.start));
        table.row([format!("  {}", span.place()), span.step.clone(), seconds(span.took()), from]);
    }
    text.push_str(&table.to_string());
    text
}

/// Columns and the time that they cover.
struct Scale {
    columns: usize,
    total: Duration,
}

impl Scale {
    /// What a place did during a column: the phase that filled most of it.
    fn cell(&self, column: usize, spans: &[&Span], letters: &BTreeMap<&str, char>) -> char {
        let length = self.total.as_secs_f64() / self.columns as f64;
        let (from, to) = (length * column as f64, length * (column + 1) as f64);
        let last = column + 1 == self.columns;
        let failed = |span: &&&Span| {
            let end = span.end.as_secs_f64();
            span.ending == Ending::Failed && from <= end && (end < to || last)
        };
        if spans.iter().any(|span| failed(&span)) {
            return FAILED;
        }
        let mut most = (0.0, IDLE);
        for span in spans {
            let overlap = span.end.as_secs_f64().min(to) - span.start.as_secs_f64().max(from);
            if overlap > most.0 {
                most = (overlap, letters.get(span.phase.as_str()).copied().unwrap_or('#'));
            }
        }
        most.1
    }

    /// Marks of time, each label beginning at its column.
    fn axis(&self) -> String {
        let per_second = self.columns as f64 / self.total.as_secs_f64();
        let every = MARKS.iter().find(|mark| **mark as f64 * per_second >= MARK_COLUMNS).copied();
        let mut axis = String::new();
        let mut mark = 0;
        while (mark as f64 * per_second) < self.columns as f64 {
            let column = (mark as f64 * per_second) as usize;
            let label = if mark < 60 { format!("{mark}s") } else { format!("{}m{:02}s", mark / 60, mark % 60) };
            if column + label.len() <= self.columns {
                axis.push_str(&" ".repeat(column.saturating_sub(axis.len())));
                axis.push_str(&label);
            }
            match every {
                Some(every) => mark += every,
                None => break,
            }
        }
        axis
    }
}

/// A letter for each phase: one of its own name if that is free.
fn letters(timeline: &Timeline) -> BTreeMap<&str, char> {
    let mut letters: BTreeMap<&str, char> = BTreeMap::new();
    for span in timeline.spans() {
        if letters.contains_key(span.phase.as_str()) {
            continue;
        }
        let own = span.phase.chars().filter(char::is_ascii_lowercase);
        let upper = span.phase.chars().filter(char::is_ascii_alphabetic).map(|letter| letter.to_ascii_uppercase());
        let others = ('a'..='z').chain('A'..='Z').chain('0'..='9');
        let free = own.chain(upper).chain(others).find(|letter| !letters.values().any(|taken| taken == letter));
        letters.insert(&span.phase, free.unwrap_or('#'));
    }
    letters
}

/// What each letter means and cost.
fn legend(timeline: &Timeline, letters: &BTreeMap<&str, char>) -> String {
    let phases = timeline.phases();
    let mut table = Table::new().left("").left("phase").right("steps").right("mean").right("longest").left("on");
    for phase in phases.iter().take(PHASES) {
        let letter = letters.get(phase.name.as_str()).copied().unwrap_or('#');
        let mean = phase.total / u32::try_from(phase.steps.max(1)).unwrap_or(u32::MAX);
        table.row([
            format!("  {letter}"),
            phase.name.clone(),
            phase.steps.to_string(),
            seconds(mean),
            seconds(phase.longest),
            phase.longest_on.clone(),
        ]);
    }
    let mut text = table.to_string();
    if phases.len() > PHASES {
        let rest: Duration = phases[PHASES..].iter().map(|phase| phase.total).sum();
        text.push_str(&format!("  {} shorter phases, {} in all\n", phases.len() - PHASES, seconds(rest)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::{Class, Error},
        event::{Event, Outcome},
    };

    fn timeline(spans: &[(&str, Option<&str>, u64, u64)]) -> Timeline {
        let mut timeline = Timeline::default();
        for (step, node, start, end) in spans {
            let node = node.map(str::to_owned);
            let (start, end) = (Duration::from_secs(*start), Duration::from_secs(*end));
            let title = "work".to_owned();
            timeline.record(start, &Event::Started { step: step.to_string(), node: node.clone(), title });
            let outcome = Outcome::Changed("worked".into());
            timeline.record(end, &Event::Finished { step: step.to_string(), node, outcome, took: end - start });
        }
        timeline
    }

    #[test]
    fn the_chart_is_readable() {
        let timeline = timeline(&[
            ("host/network", None, 0, 5),
            ("db1/boot", Some("db1"), 5, 45),
            ("db2/boot", Some("db2"), 5, 65),
            ("db1/init/gtm", Some("db1"), 45, 50),
            ("db2/init/datanode_1", Some("db2"), 65, 75),
        ]);
        assert_eq!(
            timeline.chart(81),
            "      0s        10s       20s       30s       40s       50s       1m00s     1m10s
host  nnnnn......................................................................
db1   .....bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbiiiii.........................
db2   .....bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbiiiiiiiiii

     phase    steps   mean  longest  on
  b  boot         2  50.0s   1m 00s  db2
  i  init         2   7.5s    10.0s  db2
  n  network      1   5.0s     5.0s  host

slowest steps
  db2   db2/boot             1m 00s  from 5.0s
  db1   db1/boot              40.0s  from 5.0s
  db2   db2/init/datanode_1   10.0s  from 1m 05s
  host  host/network           5.0s  from 0.0s
  db1   db1/init/gtm           5.0s  from 45.0s
"
        );
    }

    #[test]
    fn a_failure_is_marked() {
        let mut timeline = timeline(&[("db1/boot", Some("db1"), 0, 10)]);
        timeline.record(
            Duration::from_secs(20),
            &Event::Failed {
                step: "db1/tune".into(),
                node: Some("db1".into()),
                error: Error::new(Class::Guest, "no"),
                took: Duration::from_secs(10),
            },
        );
        let chart = timeline.chart(0);
        let row = chart.lines().nth(1).unwrap();
        assert_eq!(row.len(), NARROWEST);
        assert!(row.ends_with("ttt!"), "{row}");
    }

    #[test]
    fn phases_have_letters_of_their_own_and_nothing_breaks_when_they_run_out() {
        let names: Vec<String> = (0..70).map(|number| format!("db/step-{number}")).collect();
        let spans: Vec<_> = names.iter().map(|name| (name.as_str(), Some("db"), 0, 1)).collect();
        let timeline = timeline(&spans);
        let letters = letters(&timeline);
        let distinct: std::collections::BTreeSet<char> = letters.values().copied().collect();
        assert_eq!(distinct.len(), 62 + 1);
        assert!(timeline.chart(100).contains("58 shorter phases"));
    }

    #[test]
    fn a_run_without_steps_has_no_chart() {
        assert_eq!(Timeline::default().chart(80), "");
    }

    #[test]
    fn a_run_that_took_no_time_has_a_chart() {
        assert!(timeline(&[("keys", None, 0, 0)]).chart(80).starts_with("      0s"));
    }
}
