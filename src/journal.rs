//! The lab's journal: one JSON object a line, written before each change, never rewritten. A last line that was cut short by a
//! crash is no entry; any other line that cannot be understood is an error, for it may tell of a change that is to be taken back.
//!
//! It is what a later run needs to know that it cannot see: which step ended with which digest, and which run was
//! cut short.

use crate::{
    error::{Class, Error, Result, ResultExt},
    file,
    host::{Peer, system::Change},
    hypervisor::Reservation,
    lab::Fault,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "lowercase")]
pub enum Entry {
    /// A run began.
    Begin {
        /// Its verb.
        verb: String,
        /// The version of this program.
        version: String,
    },
    /// A step is about to change something.
    Intent {
        /// Its id.
        step: String,
    },
    /// A step ended well.
    Done {
        /// Its id.
        step: String,
        /// Digest of everything that decided what it did.
        digest: String,
    },
    /// A step failed.
    Failed {
        /// Its id.
        step: String,
        /// The first line of its error.
        error: String,
    },
    /// A fault is about to be made on purpose: from here on it is in force.
    Broken {
        /// The fault.
        fault: Fault,
    },
    /// It is in force no longer.
    Mended {
        /// The fault.
        fault: Fault,
    },
    /// Something of the machine that the lab lives on is about to be changed.
    Change {
        /// What.
        what: Change,
    },
    /// A change was taken back.
    Undone {
        /// Which.
        what: Change,
    },
    /// From here on the lab may have something on a host that is not this machine.
    Joined {
        /// The host.
        peer: Peer,
    },
    /// It has nothing there any more.
    Left {
        /// The host.
        peer: Peer,
    },
    /// The run ended.
    End {
        /// Whether every step ended well.
        succeeded: bool,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Seconds since 1970.
    at: u64,
    #[serde(flatten)]
    entry: Entry,
}

/// An open journal.
pub struct Journal {
    file: Mutex<Option<File>>,
    state: Mutex<State>,
}

/// When a step ended well, counted in steps that did.
#[derive(Clone, Copy)]
struct Ends {
    first: usize,
    last: usize,
}

/// What all entries together say.
#[derive(Default)]
struct State {
    /// Steps that are done, with the digests of what decided them.
    done: BTreeMap<String, String>,
    /// When steps ended well, of all that ever did.
    ends: BTreeMap<String, Ends>,
    /// How many steps ended well so far.
    count: usize,
    /// Faults that are in force.
    faults: BTreeSet<Fault>,
    /// Changes of the machine that were not taken back, in the order in which they were made.
    changes: Vec<Change>,
    /// Hosts that are not this machine and may have something of the lab.
    joined: Vec<Peer>,
}

impl Journal {
    /// Opens the journal and folds what is in it.
    ///
    /// # Errors
    /// When the file cannot be opened or understood.
    pub fn open(path: &Path) -> Result<Journal> {
        let cannot = || format!("cannot open the journal `{}`", path.display());
        let file = OpenOptions::new().create(true).append(true).open(path).or_error(Class::Host, cannot)?;
        let bytes = fs::read(path).or_error(Class::Host, cannot)?;
        let (entries, cut) = split(&bytes);
        let state = fold(entries, path)?;
        if !cut.is_empty() {
            file.set_len(entries.len() as u64).or_error(Class::Host, cannot)?;
        }
        Ok(Journal { file: Mutex::new(Some(file)), state: Mutex::new(state) })
    }

    /// What a journal says, for a command that changes nothing. One that is not there says nothing.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(path: &Path) -> Result<Journal> {
        let bytes = file::bytes_if_there(path)?.unwrap_or_default();
        Ok(Journal { file: Mutex::new(None), state: Mutex::new(fold(split(&bytes).0, path)?) })
    }

    /// Writes an entry; it is on disk when this returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, entry: Entry) -> Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut line = serde_json::to_string(&Line { at, entry: entry.clone() })
            .or_error(Class::Internal, || "cannot write a journal line".into())?;
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let file = file.as_mut().ok_or_else(|| Error::new(Class::Internal, "a journal that was opened for reading"))?;
        let cannot = || "cannot write the journal".to_owned();
        let length = file.metadata().or_error(Class::Host, cannot)?.len();
        if let Err(error) = file.write_all(line.as_bytes()).and_then(|()| file.sync_data()) {
            // The next entry must not go on behind half of this one.
            let _ = file.set_len(length);
            return Err(error).or_error(Class::Host, cannot);
        }
        crate::fault::journal_line_written();
        apply(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner), entry);
        Ok(())
    }

    /// The digest with which a step last ended well, unless it was begun again since.
    pub fn done(&self, step: &str) -> Option<String> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).done.get(step).cloned()
    }

    /// Whether a step ended well at any time, though it may have been begun again since.
    pub fn was_done(&self, step: &str) -> bool {
        self.ends(step).is_some()
    }

    /// Whether a step that had ended well before another one last did has ended well again since.
    pub fn is_again_since(&self, step: &str, other: &str) -> bool {
        let (step, other) = (self.ends(step), self.ends(other));
        step.zip(other).is_some_and(|(step, other)| step.first < other.last && other.last < step.last)
    }

    fn ends(&self, step: &str) -> Option<Ends> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).ends.get(step).copied()
    }

    /// Faults that were made on purpose and not mended yet.
    pub fn faults(&self) -> BTreeSet<Fault> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).faults.clone()
    }

    /// Reservations that this lab made, and did not take back.
    pub fn reservations(&self) -> Vec<Reservation> {
        let changes = self.changes().into_iter();
        changes.filter_map(|change| if let Change::Reserved(own) = change { Some(own) } else { None }).collect()
    }

    /// Hosts that are not this machine and may have something of the lab.
    pub fn joined(&self) -> Vec<Peer> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).joined.clone()
    }

    /// Changes of the machine that were begun and not taken back, the oldest first.
    pub fn changes(&self) -> Vec<Change> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).changes.clone()
    }
}

/// Whole lines, and what of a last one was written before a crash.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1))
}

fn fold(entries: &[u8], path: &Path) -> Result<State> {
    let mut state = State::default();
    for (number, line) in (1..).zip(entries.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.is_empty()) {
        let line: Line = serde_json::from_slice(line).map_err(|error| {
            Error::caused(Class::Host, format!("cannot understand line {number} of the journal `{}`", path.display()), error)
                .evidence(String::from_utf8_lossy(line))
                .hint(
                    "a newer pgxc-lab may have written it: use that one; if the file is damaged, undo by hand what the line tells \
                     of, and take it out",
                )
        })?;
        apply(&mut state, line.entry);
    }
    Ok(state)
}

/// State = fold(entries): a step is done until it is begun again, a fault in force until it is mended, a change there until it
/// is taken back.
fn apply(state: &mut State, entry: Entry) {
    match entry {
        Entry::Done { step, digest } => {
            state.count += 1;
            let count = state.count;
            state.ends.entry(step.clone()).or_insert(Ends { first: count, last: count }).last = count;
            state.done.insert(step, digest);
        }
        Entry::Intent { step } | Entry::Failed { step, .. } => {
            state.done.remove(&step);
        }
        Entry::Broken { fault } => {
            state.faults.insert(fault);
        }
        Entry::Mended { fault } => {
            state.faults.remove(&fault);
        }
        Entry::Change { what } => {
            if !state.changes.contains(&what) {
                state.changes.push(what);
            }
        }
        Entry::Joined { peer } => {
            if !state.joined.contains(&peer) {
                state.joined.push(peer);
            }
        }
        Entry::Left { peer } => state.joined.retain(|joined| *joined != peer),
        Entry::Undone { what } => state.changes.retain(|change| *change != what),
        Entry::Begin { .. } | Entry::End { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_done_until_it_is_begun_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal.jsonl");
        let journal = Journal::open(&path).expect("it opens");
        let done = |digest: &str| Entry::Done { step: "a".into(), digest: digest.into() };
        journal.write(done("1")).expect("it writes");
        assert_eq!(journal.done("a").as_deref(), Some("1"));
        journal.write(Entry::Intent { step: "a".into() }).expect("it writes");
        assert_eq!((journal.done("a"), journal.was_done("a"), journal.was_done("b")), (None, true, false));
        journal.write(done("2")).expect("it writes");
        assert_eq!(Journal::open(&path).expect("it opens again").done("a").as_deref(), Some("2"));
    }

    #[test]
    fn a_step_comes_again_since_another() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let journal = Journal::open(&directory.path().join("journal.jsonl")).expect("it opens");
        let end = |step: &str| {
            journal.write(Entry::Done { step: step.into(), digest: String::new() }).expect("it writes");
            (journal.is_again_since("a", "z"), journal.is_again_since("b", "z"))
        };
        assert_eq!(end("a"), (false, false));
        assert_eq!(end("a"), (false, false), "nothing was before");
        assert_eq!(end("z"), (false, false));
        assert_eq!(end("b"), (false, false), "for the first time");
        assert_eq!(end("a"), (true, false));
        assert_eq!(end("b"), (true, false), "twice, but not before");
        assert_eq!(end("z"), (false, false));
    }

    #[test]
    fn a_fault_is_in_force_until_it_is_mended() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal.jsonl");
        let (stall, pause) = (Fault::StallNfs, Fault::Pause { node: "db1".parse().expect("a name") });
        let journal = Journal::open(&path).expect("it opens");
        for fault in [&stall, &pause, &stall] {
            journal.write(Entry::Broken { fault: fault.clone() }).expect("it writes");
        }
        journal.write(Entry::Mended { fault: stall.clone() }).expect("it writes");
        assert_eq!(journal.faults(), [pause.clone()].into());
        assert_eq!(Journal::read(&path).expect("it reads").faults(), [pause].into(), "and from the file");
    }

    #[test]
    fn a_change_is_there_until_it_is_taken_back() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal.jsonl");
        let journal = Journal::open(&path).expect("it opens");
        let mounted = |point: &str| Change::Mounted { point: point.into() };
        for point in ["/a", "/b", "/a"] {
            journal.write(Entry::Change { what: mounted(point) }).expect("it writes");
        }
        assert_eq!(journal.changes(), [mounted("/a"), mounted("/b")]);
        journal.write(Entry::Undone { what: mounted("/a") }).expect("it writes");
        assert_eq!(Journal::read(&path).expect("it reads").changes(), [mounted("/b")]);
    }

    #[test]
    fn a_host_is_joined_until_it_is_left() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal.jsonl");
        let journal = Journal::open(&path).expect("it opens");
        let peer = |name: &str| Peer {
            name: name.parse().expect("a name"),
            connection: format!("qemu+ssh://{name}/system").parse().expect("a connection"),
        };
        for name in ["alpha", "beta", "alpha"] {
            journal.write(Entry::Joined { peer: peer(name) }).expect("it writes");
        }
        assert_eq!(journal.joined(), [peer("alpha"), peer("beta")]);
        journal.write(Entry::Left { peer: peer("alpha") }).expect("it writes");
        assert_eq!(Journal::read(&path).expect("it reads").joined(), [peer("beta")], "and from the file");
    }

    #[test]
    fn a_line_cut_short_by_a_crash_is_no_entry_and_spoils_no_later_one() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal.jsonl");
        std::fs::write(
            &path,
            "{\"at\":1,\"entry\":\"done\",\"step\":\"a\",\"digest\":\"1\"}\n{\"at\":2,\"entry\":\"do",
        )
        .expect("it writes");
        let read = Journal::read(&path).expect("it reads");
        let journal = Journal::open(&path).expect("it opens");
        assert_eq!([read.done("a"), journal.done("a")], [Some("1".to_owned()), Some("1".to_owned())]);
        journal.write(Entry::Done { step: "b".into(), digest: "2".into() }).expect("it writes");
        assert_eq!(Journal::open(&path).expect("it opens again").done("b").as_deref(), Some("2"));
    }

    #[test]
    fn a_line_that_cannot_be_understood_is_not_passed_over() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal.jsonl");
        assert!(Journal::read(&path).expect("none is there").faults().is_empty());
        let good = "{\"at\":1,\"entry\":\"intent\",\"step\":\"a\"}\n";
        for bad in [
            "{\"at\":2,\"entry\":\"unheard-of\"}\n".as_bytes(),
            b"{\"at\":2,\"entry\":\"intent\",\"step\":\"\xff\"}\n",
            b"\0\0\n",
        ] {
            let text = [good.as_bytes(), bad, good.as_bytes()].concat();
            fs::write(&path, &text).expect("it writes");
            let failed = [Journal::read(&path).map(drop), Journal::open(&path).map(drop)];
            for error in failed.map(|failed| failed.expect_err("it may tell of anything")) {
                assert!(error.message().contains("line 2 of the journal"), "{error}");
            }
            assert_eq!(fs::read(&path).expect("it reads"), text, "nothing was touched");
        }
    }
}
