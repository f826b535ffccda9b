//! One JSON object per event, one per line, on stdout. Keys are only ever added.

use super::Screen;
use crate::event::{Event, Outcome};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

/// Time between two objects about the same step's bytes, unless all are there.
const BYTES_EVERY: Duration = Duration::from_millis(200);

/// The lines.
#[derive(Default)]
pub(super) struct Json {
    bytes_told: BTreeMap<String, Duration>,
}

impl Screen for Json {
    fn event(&mut self, at: Duration, event: &Event) {
        if let Event::Bytes { step, done, total } = event {
            let soon = self.bytes_told.get(step).is_some_and(|told| at.saturating_sub(*told) < BYTES_EVERY);
            if soon && Some(*done) != *total {
                return;
            }
            self.bytes_told.insert(step.clone(), at);
        }
        // A reader that went away must not end the run half-way: the lab still has to become whole.
        let mut stdout = io::stdout().lock();
        let _ = writeln!(stdout, "{}", object(at, event)).and_then(|()| stdout.flush());
    }
}

/// The event as an object: `event` and `at_ms` first, then what belongs to it.
fn object(at: Duration, event: &Event) -> Value {
    let (name, members) = match event {
        Event::Begin { verb, nodes, steps } => {
            let nodes: Vec<Value> = nodes.iter().map(|(name, role)| json!({ "name": name, "role": role })).collect();
            ("begin", json!({ "verb": verb, "nodes": nodes, "steps": steps }))
        }
        Event::Started { step, node, title } => ("started", json!({ "step": step, "node": node, "title": title })),
        Event::Progress { step, text } => ("progress", json!({ "step": step, "text": text })),
        Event::Bytes { step, done, total } => ("bytes", json!({ "step": step, "done": done, "total": total })),
        Event::Finished { step, node, outcome, took } => {
            let (outcome, text) = match outcome {
                Outcome::Changed(what) => ("changed", what),
                Outcome::Unchanged(why) => ("unchanged", why),
            };
            let took = millis(*took);
            ("finished", json!({ "step": step, "node": node, "outcome": outcome, "text": text, "took_ms": took }))
        }
        Event::Failed { step, node, error, took } => {
            let error = json!({
                "class": error.class(),
                "exit_code": error.class().exit_code(),
                "message": error.message(),
                "causes": error.causes(),
                "hint": error.hint_text(),
            });
            ("failed", json!({ "step": step, "node": node, "error": error, "took_ms": millis(*took) }))
        }
        Event::Skipped { step, because } => ("skipped", json!({ "step": step, "because": because })),
        Event::Note { text } => ("note", json!({ "text": text })),
        Event::End { succeeded, changed, unchanged, took } => (
            "end",
            json!({ "succeeded": succeeded, "changed": changed, "unchanged": unchanged, "took_ms": millis(*took) }),
        ),
    };
    let mut object = json!({ "event": name, "at_ms": millis(at) });
    if let (Value::Object(object), Value::Object(members)) = (&mut object, members) {
        object.extend(members);
    }
    object
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stable() {
        let lines: Vec<String> = super::super::plain::tests::run()
            .iter()
            .map(|(at, event)| object(Duration::from_millis(*at), event).to_string())
            .collect();
        assert_eq!(
            lines[0],
            r#"{"event":"begin","at_ms":0,"verb":"up","nodes":[{"name":"db1","role":"gtm"}],"steps":4}"#
        );
        assert_eq!(
            lines[2],
            r#"{"event":"started","at_ms":200,"step":"image","node":null,"title":"download the image"}"#
        );
        assert_eq!(lines[3], r#"{"event":"bytes","at_ms":300,"step":"image","done":1048576,"total":4194304}"#);
        assert_eq!(
            lines[8],
            "{\"event\":\"failed\",\"at_ms\":71000,\"step\":\"db1/boot\",\"node\":\"db1\",\
             \"error\":{\"class\":\"guest\",\"exit_code\":7,\"message\":\"port 22 does not answer\",\"causes\":[],\
             \"hint\":\"pgxc-lab logs db1\"},\"took_ms\":60000}"
        );
        assert_eq!(
            lines[11],
            "{\"event\":\"finished\",\"at_ms\":71200,\"step\":\"keys\",\"node\":null,\"outcome\":\"unchanged\",\
             \"text\":\"the key is there\",\"took_ms\":100}"
        );
    }
}
