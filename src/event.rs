//! What happens during a run, as data: the screen, the plain lines, the JSON and the timeline are consumers.

use crate::error::{Class, Error, Result, ResultExt};
use std::time::{Duration, Instant};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A run of a plan began.
    Begin {
        /// The verb, e.g. `up`.
        verb: &'static str,
        /// Names of the nodes with their roles, in the order of the file.
        nodes: Vec<(String, String)>,
        /// Number of steps to be run.
        steps: usize,
    },
    /// A step began.
    Started {
        /// Its id, e.g. `db3/boot`.
        step: String,
        /// Its node, if it belongs to one.
        node: Option<String>,
        /// What it does, as a person would say it, e.g. `boot`.
        title: String,
    },
    /// A running step has something to show: a rung that it waits on, an attempt.
    Progress {
        /// Its id.
        step: String,
        /// The text.
        text: String,
    },
    /// Bytes moved in a running step.
    Bytes {
        /// Its id.
        step: String,
        /// Bytes so far.
        done: u64,
        /// All bytes, if known.
        total: Option<u64>,
    },
    /// A step ended well.
    Finished {
        /// Its id.
        step: String,
        /// Its node.
        node: Option<String>,
        /// What it did, in the past tense or why nothing was to be done.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
    },
    /// A step failed.
    Failed {
        /// Its id.
        step: String,
        /// Its node.
        node: Option<String>,
        /// Why.
        error: Error,
        /// How long it took.
        took: Duration,
    },
    /// A step was not run because one that it needs did not end well.
    Skipped {
        /// Its id.
        step: String,
        /// The step that failed.
        because: String,
    },
    /// A fact for the person, e.g. which engine was taken and why.
    Note {
        /// The sentence.
        text: String,
    },
    /// The run ended.
    End {
        /// Whether all steps ended well.
        succeeded: bool,
        /// How many steps changed something.
        changed: usize,
        /// How many found everything as it must be.
        unchanged: usize,
        /// How long the run took.
        took: Duration,
    },
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It changed something; the text says what, in the past tense.
    Changed(String),
    /// Everything was as it must be; the text says why.
    Unchanged(String),
}

/// Where events go. Cheap to clone; sending never blocks and never fails.
#[derive(Clone)]
pub struct Events(tokio::sync::mpsc::UnboundedSender<Event>);

impl Events {
    /// A sender and the receiver for the one consumer.
    pub fn channel() -> (Events, tokio::sync::mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (Events(sender), receiver)
    }

    /// Tells the consumer; when it is gone, there is no one to tell.
    pub fn send(&self, event: Event) {
        let _ = self.0.send(event);
    }

    /// Does blocking work that no plan holds, shown as a step. Its failure is the caller's to tell.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn blocking_step(
        &self,
        step: &str,
        title: &str,
        work: impl FnOnce() -> Result<Outcome> + Send + 'static,
    ) -> Result<()> {
        let begun = Instant::now();
        self.send(Event::Started { step: step.to_owned(), node: None, title: title.to_owned() });
        let ended = tokio::task::spawn_blocking(work).await;
        let outcome = ended.or_error(Class::Internal, || format!("`{step}` ended in a mistake of this program"))??;
        self.send(Event::Finished { step: step.to_owned(), node: None, outcome, took: begun.elapsed() });
        Ok(())
    }

    /// Tells a fact.
    pub fn note(&self, text: impl Into<String>) {
        self.send(Event::Note { text: text.into() });
    }
}
