//! What the live screen holds, without a terminal: rows from events, and lines that scroll away above them.

use super::{
    text::{counted, end, first_line, moved, seconds, shortened, whole_seconds},
    timeline::HOST,
};
use crate::event::{Event, Outcome};
use std::time::Duration;

/// Rows on the screen; labs with more nodes hide those that have nothing to do.
const MOST_ROWS: usize = 20;
/// Widest columns of names and roles: what is left belongs to the step.
const NAME_WIDTH: usize = 28;
const ROLE_WIDTH: usize = 22;
/// Columns of a byte bar.
const BAR_WIDTH: usize = 16;
/// Bytes that did not move for so long have no bar.
const BYTES_STALE: Duration = Duration::from_secs(2);
/// A fact that took less than this does not tell how long.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// The screen.
#[derive(Default)]
pub(super) struct Board {
    verb: &'static str,
    steps: usize,
    done: usize,
    failed: usize,
    skipped: usize,
    rows: Vec<Row>,
    /// In the order in which they began: the last one of a node is shown.
    running: Vec<Running>,
}

struct Row {
    name: String,
    role: String,
    failed: Option<String>,
}

struct Running {
    step: String,
    place: String,
    title: String,
    since: Duration,
    text: String,
    bytes: Option<Bytes>,
}

struct Bytes {
    done: u64,
    total: Option<u64>,
    at: Duration,
}

/// A fact that scrolls away above the rows.
#[derive(Debug, PartialEq)]
pub(super) enum Fact {
    /// Something was done.
    Done(String),
    /// Something failed.
    Failed(String),
}

impl Board {
    /// Takes an event in.
    pub(super) fn event(&mut self, at: Duration, event: &Event) -> Option<Fact> {
        match event {
            Event::Begin { verb, nodes, steps } => {
                self.verb = verb;
                self.steps = *steps;
                self.rows = vec![Row { name: HOST.to_owned(), role: String::new(), failed: None }];
                self.rows.extend(nodes.iter().map(|(name, role)| Row {
                    name: name.clone(),
                    role: role.clone(),
                    failed: None,
                }));
                None
            }
            Event::Started { step, node, title } => {
                let place = node.clone().unwrap_or_else(|| HOST.to_owned());
                self.row(&place);
                let (step, title) = (step.clone(), title.clone());
                self.running.push(Running { step, place, title, since: at, text: String::new(), bytes: None });
                None
            }
            Event::Progress { step, text } => {
                if let Some(running) = self.find(step) {
                    first_line(text).clone_into(&mut running.text);
                }
                None
            }
            Event::Bytes { step, done, total } => {
                if let Some(running) = self.find(step) {
                    running.bytes = Some(Bytes { done: *done, total: *total, at });
                }
                None
            }
            Event::Finished { step, node, outcome, took } => {
                self.done += 1;
                self.remove(step);
                match outcome {
                    Outcome::Changed(what) if *took >= WORTH_TELLING => {
                        Some(Fact::Done(format!("{}{what} ({})", subject(node), seconds(*took))))
                    }
                    Outcome::Changed(what) => Some(Fact::Done(format!("{}{what}", subject(node)))),
                    // What was already right is no news.
                    Outcome::Unchanged(_) => None,
                }
            }
            Event::Failed { step, node, error, .. } => {
                self.done += 1;
                self.failed += 1;
                let title = self.remove(step).unwrap_or_else(|| step.clone());
                let place = node.clone().unwrap_or_else(|| HOST.to_owned());
                self.row(&place).failed = Some(title.clone());
                Some(Fact::Failed(format!("{}{title} failed: {}", subject(node), first_line(error.message()))))
            }
            Event::Skipped { .. } => {
                self.done += 1;
                self.skipped += 1;
                None
            }
            Event::Note { text } => Some(Fact::Done(text.clone())),
            Event::End { succeeded, changed, unchanged, took } => {
                let line = end(self.verb, *succeeded, *changed, *unchanged, *took);
                Some(if *succeeded { Fact::Done(line) } else { Fact::Failed(line) })
            }
        }
    }

    /// The rows at this moment, and the bottom line.
    pub(super) fn lines(&self, at: Duration) -> Vec<String> {
        let busy = |row: &&Row| self.running.iter().any(|running| running.place == row.name);
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        let mut hidden = 0;
        if rows.len() > MOST_ROWS {
            rows.retain(busy);
            hidden = rows.len().saturating_sub(MOST_ROWS);
            rows.truncate(MOST_ROWS);
        }
        // Widths come from all rows, not from the visible ones: columns must not jump.
        let names = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).min(NAME_WIDTH);
        let roles = self.rows.iter().map(|row| row.role.chars().count()).max().unwrap_or(0).min(ROLE_WIDTH);
        let mut lines: Vec<String> = rows
            .into_iter()
            .map(|row| {
                let (name, role) = (shortened(&row.name, names), shortened(&row.role, roles));
                format!("{name:<names$}  {role:<roles$}  {}", self.work(row, at)).trim_end().to_owned()
            })
            .collect();
        if hidden > 0 {
            lines.push(format!("… and {hidden} more at work"));
        }
        if !self.verb.is_empty() {
            lines.push(self.bottom(at));
        }
        lines
    }

    /// What a row's place does.
    fn work(&self, row: &Row, at: Duration) -> String {
        let mut here = self.running.iter().rev().filter(|running| running.place == row.name);
        let Some(running) = here.next() else {
            return row.failed.as_ref().map_or_else(String::new, |title| format!("{:>7}  {title} failed", ""));
        };
        let elapsed = whole_seconds(at.saturating_sub(running.since));
        let mut line = format!("{elapsed:>7}  {}", running.title);
        let others = here.count();
        if others > 0 {
            line.push_str(&format!(" (+{others})"));
        }
        if let Some(bytes) = running.bytes.as_ref().filter(|bytes| at.saturating_sub(bytes.at) < BYTES_STALE) {
            line.push_str(&format!("  {}", bar(bytes)));
        }
        if !running.text.is_empty() {
            line.push_str(&format!("  {}", running.text));
        }
        line
    }

    fn bottom(&self, at: Duration) -> String {
        let mut line = format!("{}: {}/{} steps", self.verb, self.done, self.steps.max(self.done));
        if self.failed > 0 {
            line.push_str(&format!(", {} failed", self.failed));
        }
        if self.skipped > 0 {
            line.push_str(&format!(", {} not run", counted(self.skipped, "step")));
        }
        format!("{line}, {}", whole_seconds(at))
    }

    /// The row of a place, made when nobody announced it.
    fn row(&mut self, place: &str) -> &mut Row {
        let index = self.rows.iter().position(|row| row.name == place).unwrap_or_else(|| {
            self.rows.push(Row { name: place.to_owned(), role: String::new(), failed: None });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    fn find(&mut self, step: &str) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.step == step)
    }

    /// Takes a step off its row and gives its title.
    fn remove(&mut self, step: &str) -> Option<String> {
        let index = self.running.iter().position(|running| running.step == step)?;
        Some(self.running.remove(index).title)
    }
}

fn subject(node: &Option<String>) -> String {
    node.as_ref().map_or_else(String::new, |node| format!("{node}: "))
}

fn bar(bytes: &Bytes) -> String {
    let text = moved(bytes.done, bytes.total);
    let Some(total) = bytes.total.filter(|total| *total > 0) else { return text };
    let share = (bytes.done as f64 / total as f64).clamp(0.0, 1.0);
    let full = (share * BAR_WIDTH as f64) as usize;
    format!("[{}{}] {text}", "=".repeat(full), " ".repeat(BAR_WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn rows_follow_events() {
        let mut board = Board::default();
        let mut facts = Vec::new();
        let mut screens = Vec::new();
        for (millis, event) in super::super::plain::tests::run() {
            facts.extend(board.event(at(millis), &event));
            screens.push(board.lines(at(millis + 400)).join("\n"));
        }
        assert_eq!(
            screens[3],
            "host            0s  download the image  [====            ] 1.0 MiB of 4.0 MiB\ndb1   gtm\nup: 0/4 steps, 0s"
        );
        assert_eq!(screens[7], "host\ndb1   gtm       1s  boot  waiting for port 22\nup: 1/4 steps, 12s");
        assert_eq!(
            screens[9],
            "host\ndb1   gtm           boot failed\nup: 3/4 steps, 1 failed, 1 step not run, 1m 11s"
        );
        assert_eq!(
            facts,
            [
                Fact::Done("KVM does not work here: guests are emulated".into()),
                Fact::Done("downloaded the image (10.8s)".into()),
                Fact::Failed("db1: boot failed: port 22 does not answer".into()),
                Fact::Failed("up failed: 1 changed, 1 unchanged, 1m 11s".into()),
            ]
        );
    }

    #[test]
    fn bytes_that_stand_still_have_no_bar() {
        let mut board = Board::default();
        board.event(at(0), &Event::Started { step: "image".into(), node: None, title: "download".into() });
        board.event(at(0), &Event::Bytes { step: "image".into(), done: 10, total: None });
        assert!(board.lines(at(1000))[0].ends_with("download  10 B"));
        assert!(board.lines(at(3000))[0].ends_with("download"));
    }

    #[test]
    fn large_labs_show_only_what_works() {
        let mut board = Board::default();
        let nodes: Vec<(String, String)> = (0..40).map(|n| (format!("db{n}"), "datanode".to_owned())).collect();
        board.event(at(0), &Event::Begin { verb: "up", nodes, steps: 80 });
        assert_eq!(board.lines(at(0)), ["up: 0/80 steps, 0s"]);
        for n in 0..25 {
            let (step, node) = (format!("db{n}/boot"), Some(format!("db{n}")));
            board.event(at(0), &Event::Started { step, node, title: "boot".into() });
        }
        let lines = board.lines(at(0));
        assert_eq!(lines.len(), MOST_ROWS + 2);
        assert_eq!(lines[MOST_ROWS], "… and 5 more at work");
    }

    #[test]
    fn steps_beside_each_other_are_counted() {
        let mut board = Board::default();
        for step in ["a", "b", "c"] {
            board.event(at(0), &Event::Started { step: step.into(), node: None, title: format!("do {step}") });
        }
        assert!(board.lines(at(0))[0].ends_with("do c (+2)"));
    }
}
