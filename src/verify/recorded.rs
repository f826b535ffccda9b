//! Observations of real clusters, and what becomes of a check when one of them is altered as a broken cluster would.
//!
//! Recorded on the lab of tests/labs/four.yaml, all right, by `scripts/record-checks`. A check whose script changed needs a
//! new recording, and says so.

use super::{Check, Verdict, catalogue, seen::Seen};
use crate::{
    engine::fixture::smaller,
    lab::{EngineKind, Lab},
};
use std::collections::BTreeMap;

/// An alteration of one check's observation, and the place that the check must name.
pub(super) struct Break {
    pub id: &'static str,
    pub what: &'static str,
    pub alter: fn(&mut Seen),
    pub place: &'static str,
}

pub(super) fn lab() -> Lab {
    smaller(2)
}

fn recordings(text: &str) -> BTreeMap<String, Seen> {
    serde_json::from_str(text).expect("a recording")
}

/// Every check is satisfied with what was recorded, and not with any of its breaks; and every check has one.
pub(super) fn hold(engine: EngineKind, recorded: &str, breaks: &[Break]) {
    let (lab, recorded) = (lab(), recordings(recorded));
    for check in catalogue(engine) {
        let id = check.id;
        let seen = recorded.get(id).unwrap_or_else(|| panic!("`{id}` was never recorded: run scripts/record-checks"));
        let asked: Vec<String> = keys(check, &lab);
        let answered: Vec<&str> = seen.0.iter().map(|sight| sight.key.as_str()).collect();
        assert_eq!(asked, answered, "`{id}` asks other things than were recorded: run scripts/record-checks");
        let verdict = Verdict::from((check.judge)(&lab, seen));
        assert!(matches!(verdict, Verdict::Passed { .. }), "{id}: {verdict:?}");
        let mut breaks = breaks.iter().filter(|known| known.id == id).peekable();
        assert!(breaks.peek().is_some(), "nothing shows that `{id}` can fail");
        for Break { what, alter, place, .. } in breaks {
            let mut broken = seen.clone();
            alter(&mut broken);
            let verdict = Verdict::from((check.judge)(&lab, &broken));
            assert!(!matches!(verdict, Verdict::Passed { .. }), "{id} does not see it: {what}");
            assert!(
                verdict.findings().iter().any(|finding| finding.place.contains(place)),
                "{id}, {what}: {place} is not named in {verdict:?}"
            );
            let complete = |finding: &super::Finding| !finding.remedy.is_empty() && finding.expected != finding.seen;
            assert!(verdict.findings().iter().all(complete), "{id}, {what}: {verdict:?}");
        }
    }
    for known in breaks {
        assert!(catalogue(engine).any(|check| check.id == known.id), "there is no check `{}`", known.id);
    }
}

fn keys(check: &Check, lab: &Lab) -> Vec<String> {
    (check.script)(lab).0.into_iter().flatten().flatten().map(|ask| ask.key).collect()
}

impl Seen {
    /// Alters one value of an answer.
    #[track_caller]
    pub(super) fn set(&mut self, key: &str, column: usize, value: &str) {
        self.set_where(key, |_| true, column, value);
    }

    /// The same in the row whose first value this is.
    #[track_caller]
    pub(super) fn set_of(&mut self, key: &str, name: &str, column: usize, value: &str) {
        self.set_where(key, |row| row[0].as_deref() == Some(name) || row[1].as_deref() == Some(name), column, value);
    }

    #[track_caller]
    fn set_where(&mut self, key: &str, is: impl Fn(&crate::engine::Row) -> bool, column: usize, value: &str) {
        let sight = self.0.iter_mut().find(|sight| sight.key == key).unwrap_or_else(|| panic!("no answer to `{key}`"));
        let row = sight.rows.iter_mut().find(|row| is(row)).unwrap_or_else(|| panic!("no such row of `{key}`"));
        row[column] = Some(value.to_owned());
    }

    /// Takes out a row of an answer.
    #[track_caller]
    pub(super) fn lose(&mut self, key: &str, row: usize) {
        let sight = self.0.iter_mut().find(|sight| sight.key == key).unwrap_or_else(|| panic!("no answer to `{key}`"));
        sight.rows.remove(row);
    }

    /// Adds a row to an answer.
    #[track_caller]
    pub(super) fn gain(&mut self, key: &str, row: &[&str]) {
        let sight = self.0.iter_mut().find(|sight| sight.key == key).unwrap_or_else(|| panic!("no answer to `{key}`"));
        sight.rows.push(row.iter().map(|value| Some((*value).to_owned())).collect());
    }
}
