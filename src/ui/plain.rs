//! One line per event, each with the seconds since the run began: for logs, for pipes and for `--verbose`.

use super::{Screen, say, text};
use crate::event::{Event, Outcome};
use std::{collections::BTreeMap, time::Duration};

/// Time between two lines about the same step's bytes: a download must not fill a log.
const BYTES_EVERY: Duration = Duration::from_secs(10);

/// The lines.
#[derive(Default)]
pub(super) struct Plain {
    verb: &'static str,
    running: BTreeMap<String, Running>,
}

struct Running {
    node: Option<String>,
    title: String,
    bytes_said: Duration,
}

impl Screen for Plain {
    fn event(&mut self, at: Duration, event: &Event) {
        if let Some(line) = self.line(at, event) {
            say(&line);
        }
    }
}

impl Plain {
    fn line(&mut self, at: Duration, event: &Event) -> Option<String> {
        let text = self.text(at, event)?;
        Some(format!("[{:>3}.{}s] {text}", at.as_secs(), at.subsec_millis() / 100))
    }

    fn text(&mut self, at: Duration, event: &Event) -> Option<String> {
        Some(match event {
            Event::Begin { verb, nodes, steps } => {
                self.verb = verb;
                format!("{verb}: {} on {}", text::counted(*steps, "step"), text::counted(nodes.len(), "node"))
            }
            Event::Started { step, node, title } => {
                let running = Running { node: node.clone(), title: title.clone(), bytes_said: at };
                self.running.insert(step.clone(), running);
                format!("{}: {title}", place(node))
            }
            Event::Progress { step, text } => format!("{}: {}", self.subject(step), text::first_line(text)),
            Event::Bytes { step, done, total } => {
                let running = self.running.get_mut(step)?;
                if at.saturating_sub(running.bytes_said) < BYTES_EVERY {
                    return None;
                }
                running.bytes_said = at;
                format!("{}: {}", self.subject(step), text::moved(*done, *total))
            }
            Event::Finished { step, node, outcome, took } => {
                let running = self.running.remove(step);
                match outcome {
                    Outcome::Changed(what) => format!("{}: {what} ({})", place(node), text::seconds(*took)),
                    Outcome::Unchanged(why) => {
                        let title = running.map_or_else(|| step.clone(), |running| running.title);
                        format!("{}: {title}: unchanged, {why}", place(node))
                    }
                }
            }
            Event::Failed { step, error, took, .. } => {
                let subject = self.subject(step);
                self.running.remove(step);
                format!("{subject}: failed after {}: {}", text::seconds(*took), error.message())
            }
            Event::Skipped { step, because } => format!("{step}: skipped, because {because} failed"),
            Event::Note { text } => text.clone(),
            Event::End { succeeded, changed, unchanged, took } => {
                text::end(self.verb, *succeeded, *changed, *unchanged, *took)
            }
        })
    }

    /// Node and title of a step, or its id when it never said that it started.
    fn subject(&self, step: &str) -> String {
        match self.running.get(step) {
            Some(running) => format!("{}: {}", place(&running.node), running.title),
            None => step.to_owned(),
        }
    }
}

fn place(node: &Option<String>) -> &str {
    node.as_deref().unwrap_or("host")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::error::{Class, Error};

    /// A short run with everything in it, for the tests of all consumers.
    pub(in crate::ui) fn run() -> Vec<(u64, Event)> {
        let (boot, node) = ("db1/boot".to_owned(), Some("db1".to_owned()));
        vec![
            (0, Event::Begin { verb: "up", nodes: vec![("db1".into(), "gtm".into())], steps: 4 }),
            (100, Event::Note { text: "KVM does not work here: guests are emulated".into() }),
            (200, Event::Started { step: "image".into(), node: None, title: "download the image".into() }),
            (300, Event::Bytes { step: "image".into(), done: 1 << 20, total: Some(4 << 20) }),
            (10_400, Event::Bytes { step: "image".into(), done: 3 << 20, total: Some(4 << 20) }),
            (
                11_000,
                Event::Finished {
                    step: "image".into(),
                    node: None,
                    outcome: Outcome::Changed("downloaded the image".into()),
                    took: Duration::from_millis(10_800),
                },
            ),
            (11_000, Event::Started { step: boot.clone(), node: node.clone(), title: "boot".into() }),
            (12_000, Event::Progress { step: boot.clone(), text: "waiting for port 22".into() }),
            (
                71_000,
                Event::Failed {
                    step: boot.clone(),
                    node: node.clone(),
                    error: Error::new(Class::Guest, "port 22 does not answer").hint("pgxc-lab logs db1"),
                    took: Duration::from_secs(60),
                },
            ),
            (71_000, Event::Skipped { step: "db1/tune".into(), because: boot }),
            (71_100, Event::Started { step: "keys".into(), node: None, title: "make the lab's key".into() }),
            (
                71_200,
                Event::Finished {
                    step: "keys".into(),
                    node: None,
                    outcome: Outcome::Unchanged("the key is there".into()),
                    took: Duration::from_millis(100),
                },
            ),
            (71_300, Event::End { succeeded: false, changed: 1, unchanged: 1, took: Duration::from_millis(71_300) }),
        ]
    }

    #[test]
    fn each_event_is_a_line() {
        let mut plain = Plain::default();
        let lines: Vec<String> =
            run().iter().filter_map(|(at, event)| plain.line(Duration::from_millis(*at), event)).collect();
        assert_eq!(
            lines.join("\n"),
            "\
[  0.0s] up: 4 steps on 1 node
[  0.1s] KVM does not work here: guests are emulated
[  0.2s] host: download the image
[ 10.4s] host: download the image: 3.0 MiB of 4.0 MiB
[ 11.0s] host: downloaded the image (10.8s)
[ 11.0s] db1: boot
[ 12.0s] db1: boot: waiting for port 22
[ 71.0s] db1: boot: failed after 1m 00s: port 22 does not answer
[ 71.0s] db1/tune: skipped, because db1/boot failed
[ 71.1s] host: make the lab's key
[ 71.2s] host: make the lab's key: unchanged, the key is there
[ 71.3s] up failed: 1 changed, 1 unchanged, 1m 11s"
        );
    }
}
