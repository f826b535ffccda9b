//! What a person or a program sees of a run: consumers of [`Event`], nothing else.
//!
//! stdout is data, stderr is talk: only [`Mode::Json`] writes to stdout.

mod board;
mod chart;
mod failure;
mod json;
mod live;
mod plain;
pub mod table;
mod text;
mod timeline;

pub use failure::{Failure, print_error};
pub use table::Table;
pub use text::{bytes, seconds};
pub use timeline::{Ending, Phase, Span, Timeline};

use crate::event::Event;
use std::{
    env,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};
use tokio::sync::mpsc::UnboundedReceiver;

/// How often the screen is drawn anew: often enough to look alive, seldom enough to cost nothing beside emulated
/// guests that fight for the same cores.
const TICK: Duration = Duration::from_millis(250);

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One row per node, drawn in place.
    Live,
    /// One line per event.
    Plain,
    /// One JSON object per event, on stdout.
    Json,
}

impl Mode {
    /// Chooses: JSON when asked for, rows when a person watches, else lines.
    pub fn choose(json: bool, verbose: bool) -> Mode {
        Mode::decide(json, verbose, io::stderr().is_terminal(), env::var("TERM").ok().as_deref())
    }

    /// The same for a given terminal.
    fn decide(json: bool, verbose: bool, terminal: bool, term: Option<&str>) -> Mode {
        if json {
            Mode::Json
        } else if terminal && !verbose && term != Some("dumb") {
            Mode::Live
        } else {
            Mode::Plain
        }
    }
}

/// What is left of a run when it is over.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Where the time went.
    pub timeline: Timeline,
    /// Steps that failed, in the order of their failure.
    pub failures: Vec<Failure>,
    /// How many steps were not run because one that they need failed.
    pub skipped: usize,
}

impl Summary {
    /// Takes an event in.
    fn record(&mut self, at: Duration, event: &Event) {
        self.timeline.record(at, event);
        match event {
            Event::Failed { step, node, error, took } => self.failures.push(Failure {
                step: step.clone(),
                node: node.clone(),
                error: error.clone(),
                took: *took,
            }),
            Event::Skipped { .. } => self.skipped += 1,
            _ => {}
        }
    }
}

/// One way to show events.
trait Screen: Send {
    /// Shows an event that came `at` so long after the run began.
    fn event(&mut self, at: Duration, event: &Event);

    /// Time went by.
    fn tick(&mut self, _at: Duration) {}

    /// Nothing comes any more.
    fn close(&mut self) {}
}

/// Shows events until the channel closes, then every failure with its causes and its hint.
pub async fn show(mode: Mode, mut receiver: UnboundedReceiver<Event>) -> Summary {
    let began = Instant::now();
    let mut summary = Summary::default();
    let mut screen: Box<dyn Screen> = match mode {
        Mode::Live => Box::new(live::Live::new()),
        Mode::Plain => Box::new(plain::Plain::default()),
        Mode::Json => Box::new(json::Json::default()),
    };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = receiver.recv() => {
                let Some(event) = event else { break };
                let at = began.elapsed();
                summary.record(at, &event);
                screen.event(at, &event);
            }
            _ = ticks.tick() => screen.tick(began.elapsed()),
        }
    }
    screen.close();
    if mode != Mode::Json {
        failure::print(&summary.failures, summary.skipped);
    }
    summary
}

/// Writes a line of talk. Nobody is left to be told when stderr is closed.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether colours are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    Allowed,
    Forbidden,
}

impl Colours {
    /// On stderr. NO_COLOR forbids them when it is set and not empty (the convention of no-color.org).
    fn of_stderr() -> Colours {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if io::stderr().is_terminal() && !refused && !dumb { Colours::Allowed } else { Colours::Forbidden }
    }

    /// Something went wrong. Colour only underlines what the words already say.
    fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Something that can be done.
    fn cyan(self, text: &str) -> String {
        self.paint("1;36", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Colours::Allowed => format!("\x1b[{code}m{text}\x1b[0m"),
            Colours::Forbidden => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Class, Error};

    #[test]
    fn rows_need_a_person_who_did_not_ask_for_more() {
        assert_eq!(Mode::decide(false, false, true, Some("xterm")), Mode::Live);
        assert_eq!(Mode::decide(false, true, true, Some("xterm")), Mode::Plain);
        assert_eq!(Mode::decide(false, false, false, Some("xterm")), Mode::Plain);
        assert_eq!(Mode::decide(false, false, true, Some("dumb")), Mode::Plain);
        assert_eq!(Mode::decide(true, true, true, None), Mode::Json);
    }

    #[tokio::test]
    async fn the_summary_keeps_failures_and_spans() {
        let (events, receiver) = crate::event::Events::channel();
        let failed = |step: &str| Event::Failed {
            step: step.to_owned(),
            node: Some("db1".to_owned()),
            error: Error::new(Class::Guest, "no answer"),
            took: Duration::from_secs(2),
        };
        events.send(failed("db1/boot"));
        events.send(Event::Skipped { step: "db1/tune".to_owned(), because: "db1/boot".to_owned() });
        drop(events);
        let summary = show(Mode::Plain, receiver).await;
        assert_eq!(summary.failures.len(), 1);
        assert_eq!(summary.failures[0].step, "db1/boot");
        assert_eq!(summary.skipped, 1);
        assert_eq!(summary.timeline.spans().len(), 1);
    }
}
