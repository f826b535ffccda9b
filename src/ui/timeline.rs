//! Where the time of a run went: a span per step, grouped by node and phase.

use crate::event::{Event, Outcome};
use std::{collections::BTreeMap, time::Duration};

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It changed something.
    Changed,
    /// Everything was as it must be.
    Unchanged,
    /// It failed.
    Failed,
}

/// One step in time, counted from the begin of the run.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Span {
    /// Its id, e.g. `db3/init/datanode_1`.
    pub step: String,
    /// Its node; none: the host.
    pub node: Option<String>,
    /// What steps of several nodes have in common, e.g. `init`.
    pub phase: String,
    /// When it began.
    pub start: Duration,
    /// When it ended.
    pub end: Duration,
    /// How it ended.
    pub ending: Ending,
}

impl Span {
    /// How long it took.
    pub fn took(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }

    /// Its node's name, or `host`.
    pub fn place(&self) -> &str {
        self.node.as_deref().unwrap_or(HOST)
    }
}

/// Where steps without a node run.
pub(super) const HOST: &str = "host";

/// The same work on all nodes.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Its number of steps.
    pub steps: usize,
    /// Time of all its steps together.
    pub total: Duration,
    /// Time of its longest step.
    pub longest: Duration,
    /// Where that step ran.
    pub longest_on: String,
}

/// Spans of a run.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    nodes: Vec<String>,
    started: BTreeMap<String, Duration>,
    spans: Vec<Span>,
}

impl Timeline {
    /// Takes an event in that came `at` so long after the run began.
    pub fn record(&mut self, at: Duration, event: &Event) {
        match event {
            Event::Begin { nodes, .. } => self.nodes = nodes.iter().map(|(name, _)| name.clone()).collect(),
            Event::Started { step, .. } => {
                self.started.insert(step.clone(), at);
            }
            Event::Finished { step, node, outcome, took } => {
                let ending = match outcome {
                    Outcome::Changed(_) => Ending::Changed,
                    Outcome::Unchanged(_) => Ending::Unchanged,
                };
                self.end(at, step, node, *took, ending);
            }
            Event::Failed { step, node, took, .. } => self.end(at, step, node, *took, Ending::Failed),
            _ => {}
        }
    }

    fn end(&mut self, at: Duration, step: &str, node: &Option<String>, took: Duration, ending: Ending) {
        let start = self.started.remove(step).unwrap_or_else(|| at.saturating_sub(took));
        let phase = phase_of(step, node.as_deref()).to_owned();
        self.spans.push(Span { step: step.to_owned(), node: node.clone(), phase, start, end: at, ending });
    }

    /// All spans, in the order in which they ended.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Places that have spans: the host first, then nodes in the order of lab.yaml.
    pub fn places(&self) -> Vec<&str> {
        let mut places = vec![HOST];
        places.extend(self.nodes.iter().map(String::as_str));
        for span in &self.spans {
            if !places.contains(&span.place()) {
                places.push(span.place());
            }
        }
        places.retain(|place| self.spans.iter().any(|span| span.place() == *place));
        places
    }

    /// All phases, the one that took most time in all first.
    pub fn phases(&self) -> Vec<Phase> {
        let mut phases: Vec<Phase> = Vec::new();
        for span in &self.spans {
            let index = phases.iter().position(|phase| phase.name == span.phase).unwrap_or_else(|| {
                phases.push(Phase {
                    name: span.phase.clone(),
                    steps: 0,
                    total: Duration::ZERO,
                    longest: Duration::ZERO,
                    longest_on: span.place().to_owned(),
                });
                phases.len() - 1
            });
            let phase = &mut phases[index];
            phase.steps += 1;
            phase.total += span.took();
            if span.took() > phase.longest {
                phase.longest = span.took();
                phase.longest_on = span.place().to_owned();
            }
        }
        phases.sort_by_key(|phase| std::cmp::Reverse(phase.total));
        phases
    }

    /// The steps that took longest, the slowest first.
    pub fn slowest(&self, count: usize) -> Vec<&Span> {
        let mut spans: Vec<&Span> = self.spans.iter().collect();
        spans.sort_by_key(|span| std::cmp::Reverse(span.took()));
        spans.truncate(count);
        spans
    }

    /// When the last span ended.
    pub fn end_of_all(&self) -> Duration {
        self.spans.iter().map(|span| span.end).max().unwrap_or_default()
    }

    /// The run as text, at least 80 columns wide: a row per node, the phases' letters over time, what each letter
    /// means and cost, and the five slowest steps.
    pub fn chart(&self, width: usize) -> String {
        super::chart::draw(self, width)
    }
}

/// The phase of a step: the first part of its id after the node, so that `db3/init/datanode_1` and
/// `db4/init/datanode_2` belong together.
fn phase_of<'step>(step: &'step str, node: Option<&str>) -> &'step str {
    let place = node.unwrap_or(HOST);
    let rest = step.strip_prefix(place).and_then(|rest| rest.strip_prefix('/')).unwrap_or(step);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_leave_out_where_and_whom() {
        assert_eq!(phase_of("db3/init/datanode_1", Some("db3")), "init");
        assert_eq!(phase_of("db3/boot", Some("db3")), "boot");
        assert_eq!(phase_of("host/network", None), "network");
        assert_eq!(phase_of("image/debian-12", None), "image");
        assert_eq!(phase_of("proof", None), "proof");
    }

    #[test]
    fn spans_come_from_events() {
        let mut timeline = Timeline::default();
        for (at, event) in super::super::plain::tests::run() {
            timeline.record(Duration::from_millis(at), &event);
        }
        assert_eq!(timeline.places(), ["host", "db1"]);
        assert_eq!(timeline.end_of_all(), Duration::from_millis(71_200));
        let boot = timeline.slowest(1)[0];
        assert_eq!(
            (boot.step.as_str(), boot.took(), boot.ending),
            ("db1/boot", Duration::from_secs(60), Ending::Failed)
        );
        let phases: Vec<(String, usize)> =
            timeline.phases().into_iter().map(|phase| (phase.name, phase.steps)).collect();
        assert_eq!(phases, [("boot".to_owned(), 1), ("image".to_owned(), 1), ("keys".to_owned(), 1)]);
    }
}
