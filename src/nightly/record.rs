//! What a run leaves behind, and who writes it down while the run goes on.

use crate::{
    error::{Class, Error},
    event::{self, Event, Events},
    ui::{Ending, Timeline},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::mpsc::UnboundedReceiver;

/// Format of the records that this version writes and reads. Keys are only ever added within one.
pub const FORMAT: u32 = 1;
/// Steps whose unchanged end means that the cache had what they make.
const CACHED_STEPS: [&str; 2] = ["image", "build"];
/// The steps whose outcome is the proof: that of `up` and that of `restore`, and the checks after both.
const PROOF_STEPS: [&str; 3] = ["proof", "recover", "checks"];

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`FORMAT`] of the version that wrote it.
    pub format: u32,
    /// Its name: the UTC time at which it began, so that names sort like runs.
    pub id: String,
    /// Name of the lab.
    pub lab: String,
    /// When it began.
    pub begin: Timestamp,
    /// When it ended; none: it did not.
    pub end: Option<Timestamp>,
    /// How long it took by a clock that nobody sets.
    pub took_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The exit code that told it.
    pub exit_code: Option<u8>,
    /// How the lab came to be: `restored SNAPSHOT` or `built`.
    pub how: Option<String>,
    /// Key of the inputs.
    pub key: Option<String>,
    /// What the proof found.
    pub proof: Option<String>,
    /// Names of the nodes, in the order of lab.yaml.
    pub nodes: Vec<String>,
    /// Every step with its place in time.
    pub spans: Vec<RunSpan>,
    /// What was not made because the cache had it.
    pub cache_hits: Vec<String>,
    /// What was told to the person.
    pub notes: Vec<String>,
    /// Versions by name: `pgxc-lab`, `libvirt`, `qemu`.
    pub versions: BTreeMap<String, String>,
    /// The evidence of a failure: a file beside the record.
    pub bundle: Option<String>,
    /// Set when it was slower than the spread of earlier runs explains.
    pub slow: Option<Slow>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Outcome {
    /// It goes on, or was cut short by `kill -9` or a power cut.
    Unfinished,
    /// The lab stands and was proved.
    Succeeded,
    /// It failed.
    Failed {
        /// Class of the failure.
        class: Class,
        /// The first line of the error.
        message: String,
        /// Its causes.
        causes: Vec<String>,
        /// What to do.
        hint: Option<String>,
        /// The first step that failed.
        step: Option<String>,
        /// Its node.
        node: Option<String>,
    },
}

/// A step in time, in milliseconds from the begin of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpan {
    /// Its id, e.g. `db3/boot`.
    pub step: String,
    /// Its node; none: the host.
    pub node: Option<String>,
    /// What steps of several nodes have in common, e.g. `boot`.
    pub phase: String,
    /// When it began.
    pub start_ms: u64,
    /// When it ended.
    pub end_ms: u64,
    /// How it ended.
    pub ending: Ending,
}

impl RunSpan {
    /// How long it took.
    pub fn took_ms(&self) -> u64 {
        self.end_ms.saturating_sub(self.start_ms)
    }

    /// Its node's name, or `host`.
    pub fn place(&self) -> &str {
        self.node.as_deref().unwrap_or("host")
    }
}

/// A run that is slower than noise explains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// How long it took.
    pub seconds: f64,
    /// How long earlier runs took: their median.
    pub expected: f64,
    /// The phase that grew most against its own median, if one did.
    pub phase: Option<String>,
    /// By how many seconds.
    pub phase_grew_by: f64,
}

impl RunRecord {
    /// A run that begins now.
    pub fn begin(id: String, lab: String, begin: Timestamp) -> RunRecord {
        RunRecord {
            format: FORMAT,
            id,
            lab,
            begin,
            end: None,
            took_ms: 0,
            outcome: Outcome::Unfinished,
            exit_code: None,
            how: None,
            key: None,
            proof: None,
            nodes: Vec::new(),
            spans: Vec::new(),
            cache_hits: Vec::new(),
            notes: Vec::new(),
            versions: BTreeMap::new(),
            bundle: None,
            slow: None,
        }
    }

    /// Whether it ended well.
    pub fn succeeded(&self) -> bool {
        self.outcome == Outcome::Succeeded
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        Duration::from_millis(self.took_ms)
    }

    /// The first word of [`RunRecord::how`]: runs of one way are comparable.
    pub fn way(&self) -> Option<&str> {
        self.how.as_deref().and_then(|how| how.split_whitespace().next())
    }
}

/// Writes down what happens.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Seen>>);

#[derive(Clone, Default)]
struct Seen {
    timeline: Timeline,
    nodes: Vec<String>,
    notes: Vec<String>,
    cache_hits: Vec<String>,
    proof: Option<String>,
    failed: Option<(String, Option<String>)>,
}

impl Recorder {
    /// Hands every event on to the receiver that it gives, and writes it down on the way. What was seen can be had at
    /// any time: a run that is cut short has a record too.
    pub fn tee(&self, mut receiver: UnboundedReceiver<Event>) -> UnboundedReceiver<Event> {
        let (events, second) = Events::channel();
        let recorder = self.clone();
        let began = Instant::now();
        tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                recorder.event(began.elapsed(), &event);
                events.send(event);
            }
        });
        second
    }

    /// Takes in an event that came `at` so long after the run began.
    pub fn event(&self, at: Duration, event: &Event) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.timeline.record(at, event);
        match event {
            Event::Begin { nodes, .. } => seen.nodes = nodes.iter().map(|(name, _)| name.clone()).collect(),
            Event::Note { text } => seen.notes.push(text.clone()),
            Event::Finished { step, outcome, .. } => match outcome {
                event::Outcome::Unchanged(why) if CACHED_STEPS.contains(&step.as_str()) => {
                    seen.cache_hits.push(format!("{step}: {why}"));
                }
                event::Outcome::Changed(text) | event::Outcome::Unchanged(text)
                    if PROOF_STEPS.contains(&step.as_str()) =>
                {
                    // The checks come after a proof.
                    let before = seen.proof.take().map(|before| format!("{before}; ")).unwrap_or_default();
                    seen.proof = Some(format!("{before}{text}"));
                }
                _ => {}
            },
            Event::Failed { step, node, .. } if seen.failed.is_none() => {
                seen.failed = Some((step.clone(), node.clone()));
            }
            _ => {}
        }
    }

    /// Whether a step failed: then the screen has told why.
    pub fn saw_failure(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failed.is_some()
    }

    /// Writes what was seen so far into a record.
    pub fn fill(&self, record: &mut RunRecord) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        record.spans = seen
            .timeline
            .spans()
            .iter()
            .map(|span| RunSpan {
                step: span.step.clone(),
                node: span.node.clone(),
                phase: span.phase.clone(),
                start_ms: millis(span.start),
                end_ms: millis(span.end),
                ending: span.ending,
            })
            .collect();
        record.nodes = seen.nodes;
        record.notes = seen.notes;
        record.cache_hits = seen.cache_hits;
        record.proof = seen.proof;
    }

    /// A failure as the record has it, with the step that failed first.
    pub fn failure(&self, error: &Error) -> Outcome {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (step, node) = seen.failed.clone().map_or((None, None), |(step, node)| (Some(step), node));
        Outcome::Failed {
            class: error.class(),
            message: error.message().to_owned(),
            causes: error.causes().to_vec(),
            hint: error.hint_text().map(str::to_owned),
            step,
            node,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(step: &str, node: Option<&str>, outcome: event::Outcome) -> Event {
        let node = node.map(str::to_owned);
        Event::Finished { step: step.into(), node, outcome, took: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn events_reach_the_record_and_the_screen() {
        let (events, receiver) = Events::channel();
        let recorder = Recorder::default();
        let mut screen = recorder.tee(receiver);
        events.send(Event::Begin { verb: "up", nodes: vec![("db1".into(), "gtm".into())], steps: 3 });
        events.note("guests are emulated");
        events.send(finished("image", None, event::Outcome::Unchanged("debian-12 is made".into())));
        events.send(finished("proof", None, event::Outcome::Changed("proved: 100 rows".into())));
        events.send(finished("checks", None, event::Outcome::Unchanged("18 passed in 13.6s".into())));
        events.send(Event::Failed {
            step: "db1/boot".into(),
            node: Some("db1".into()),
            error: Error::new(Class::Guest, "no answer"),
            took: Duration::from_secs(2),
        });
        drop(events);
        let mut shown = 0;
        while screen.recv().await.is_some() {
            shown += 1;
        }
        assert_eq!(shown, 6);
        let mut record = RunRecord::begin("20250102T023000Z".into(), "pgxc".into(), Timestamp::UNIX_EPOCH);
        recorder.fill(&mut record);
        assert_eq!(record.nodes, ["db1"]);
        assert_eq!(record.notes, ["guests are emulated"]);
        assert_eq!(record.cache_hits, ["image: debian-12 is made"]);
        assert_eq!(record.proof.as_deref(), Some("proved: 100 rows; 18 passed in 13.6s"));
        assert_eq!(record.spans.len(), 4);
        assert_eq!((record.spans[3].phase.as_str(), record.spans[3].ending), ("boot", Ending::Failed));
        let Outcome::Failed { class, step, node, .. } = recorder.failure(&Error::new(Class::Guest, "no answer")) else {
            panic!("a failure")
        };
        assert_eq!((class, step.as_deref(), node.as_deref()), (Class::Guest, Some("db1/boot"), Some("db1")));
    }

    #[test]
    fn a_record_reads_what_it_wrote_and_its_keys_are_stable() {
        let mut record = RunRecord::begin("20250102T023000Z".into(), "pgxc".into(), Timestamp::UNIX_EPOCH);
        record.how = Some("restored pristine-1".into());
        record.outcome = Recorder::default().failure(&Error::new(Class::Host, "no memory").hint("buy some"));
        let text = serde_json::to_string(&record).expect("JSON");
        assert!(text.starts_with(
            r#"{"format":1,"id":"20250102T023000Z","lab":"pgxc","begin":"1970-01-01T00:00:00Z","end":null,"took_ms":0,"outcome":{"result":"failed","class":"host","message":"no memory","causes":[],"hint":"buy some","step":null,"node":null}"#
        ), "{text}");
        assert_eq!(serde_json::from_str::<RunRecord>(&text).expect("it reads"), record);
        assert_eq!(record.way(), Some("restored"));
    }
}
