//! One run: its record first, then admission, rebuild, judgement, evidence, notice. Whatever happens on the way, the
//! record tells it.

use super::{
    history::{BUNDLE, History},
    notify,
    record::{Outcome, Recorder, RunRecord},
    trend,
};
use crate::{
    error::{Class, Error, Result},
    event::Events,
    lab::{Nightly, Notify},
    ui::{self, Mode},
};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// How long a rebuild may take to end by itself after an interruption: its executor drains for 10 s.
pub const GRACE: Duration = Duration::from_secs(30);
/// How long the display may take to show the last events: something that was given up may still hold its end.
const DISPLAY: Duration = Duration::from_secs(5);

/// How the lab came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// `restored SNAPSHOT` or `built`.
    pub how: String,
    /// Key of the inputs.
    pub key: String,
}

/// What a run works with.
pub struct Night<'a> {
    /// Where it is recorded.
    pub history: &'a History,
    /// How it is shown.
    pub mode: Mode,
    /// Told of everything that happens.
    pub recorder: Recorder,
    /// How long the work may take to end after an interruption: [`GRACE`].
    pub grace: Duration,
}

/// What is done after a rebuild.
pub struct After<E> {
    /// What lab.yaml says; the default where it cannot be read.
    pub nightly: Nightly,
    /// Gathers evidence of a failure into the file; the record so far is its first argument.
    pub evidence: E,
}

impl Night<'_> {
    /// Does a run: `work` is admission and rebuild, `stop` ends when the run is to be given up. Gives the record and
    /// the failure, if nothing showed it yet.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub async fn run<W: Future<Output = Result<Made>>, E: FnOnce(&RunRecord, &Path) -> Result<PathBuf>>(
        self,
        work: impl FnOnce(Events) -> W,
        stop: impl Future<Output = ()>,
        after: impl FnOnce() -> After<E>,
    ) -> Result<(RunRecord, Option<Error>)> {
        let mut record = self.history.begin(Timestamp::now())?;
        record.versions = versions();
        let began = Instant::now();
        let (events, receiver) = Events::channel();
        let screen = tokio::spawn(ui::show(self.mode, self.recorder.tee(receiver)));
        let outcome = interruptible(work(events.clone()), events, stop, self.grace).await;
        let _ = tokio::time::timeout(DISPLAY, screen).await;
        record.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        record.end = Some(Timestamp::now());
        self.recorder.fill(&mut record);
        let failure = self.judge(&mut record, outcome);
        // On disk before anything else is tried: what follows may take minutes, or be killed.
        self.history.write(&record)?;
        self.follow_up(&mut record, after()).await?;
        Ok((record, failure.filter(|error| error.class() == Class::Interrupted || !self.recorder.saw_failure())))
    }

    fn judge(&self, record: &mut RunRecord, outcome: Result<Made>) -> Option<Error> {
        let failure = match outcome {
            Ok(made) => {
                record.how = Some(made.how);
                record.key = Some(made.key);
                record.outcome = Outcome::Succeeded;
                None
            }
            Err(error) => {
                record.outcome = self.recorder.failure(&error);
                Some(error)
            }
        };
        record.exit_code = Some(failure.as_ref().map_or(0, |error| error.class().exit_code()));
        record.slow = trend::slow(record, &self.history.list().0);
        failure
    }

    async fn follow_up<E: FnOnce(&RunRecord, &Path) -> Result<PathBuf>>(
        &self,
        record: &mut RunRecord,
        after: After<E>,
    ) -> Result<()> {
        if !record.succeeded() {
            let file = self.history.run(&record.id).join(BUNDLE);
            match (after.evidence)(record, &file) {
                Ok(_) => record.bundle = Some(BUNDLE.to_owned()),
                Err(error) => {
                    note(record, format!("no evidence was gathered: {}", error.to_string().replace('\n', " ")))
                }
            }
            self.history.write(record)?;
        }
        for text in tell(&after.nightly.notify, record, &self.history.run(&record.id)).await {
            note(record, text);
        }
        if let Err(error) = self.history.prune(after.nightly.keep) {
            note(record, format!("old runs stay: {}", error.message()));
        }
        self.history.write(record)
    }
}

/// A note in the record, and for whoever watches.
fn note(record: &mut RunRecord, text: String) {
    eprintln!("nightly: {text}");
    record.notes.push(text);
}

/// What is told of a run: its record, and where that lies.
async fn tell(who: &Notify, record: &RunRecord, directory: &Path) -> Vec<String> {
    let Ok(mut value) = serde_json::to_value(record) else { return vec!["the run cannot be told as JSON".into()] };
    value["directory"] = directory.display().to_string().into();
    notify::tell(who, &value.to_string()).await
}

/// The rebuild's end. It hears of signals itself and ends in its own way; one that does not is given up.
async fn interruptible(
    work: impl Future<Output = Result<Made>>,
    events: Events,
    stop: impl Future<Output = ()>,
    grace: Duration,
) -> Result<Made> {
    tokio::pin!(work);
    let interrupted = || {
        Error::new(Class::Interrupted, "the nightly run was interrupted")
            .hint("`pgxc-lab up` goes on where it ended, `pgxc-lab nightly run` begins anew")
    };
    tokio::select! {
        outcome = &mut work => return outcome,
        () = stop => {}
    }
    events.note(format!("interrupted: the rebuild gets {} s to end", grace.as_secs()));
    match tokio::time::timeout(grace, work).await {
        // It got everything done all the same.
        Ok(Ok(made)) => Ok(made),
        Ok(Err(error)) if error.class() == Class::Interrupted => Err(error),
        // What fails after a signal was interrupted by it.
        Ok(Err(error)) => Err(interrupted().evidence(error.message())),
        Err(_) => Err(interrupted().evidence("the rebuild did not end by itself")),
    }
}

/// Versions of what decides how fast a run is, as far as the programs tell.
fn versions() -> BTreeMap<String, String> {
    let mut versions = BTreeMap::from([("pgxc-lab".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    for (name, program) in [("libvirt", "libvirtd"), ("qemu", "qemu-system-x86_64")] {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        if let Some(version) = text.split_whitespace().find(number) {
            versions.insert(name.to_owned(), version.trim_end_matches([',', ')']).to_owned());
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Event, host::Home};
    use std::future::pending;

    fn made() -> Made {
        Made { how: "built".into(), key: "k1".into() }
    }

    fn history() -> (tempfile::TempDir, History) {
        let home = tempfile::tempdir().expect("a directory");
        let history = History::new(&Home::new(home.path()), "pgxc");
        (home, history)
    }

    fn night(history: &History) -> Night<'_> {
        Night { history, mode: Mode::Plain, recorder: Recorder::default(), grace: Duration::from_millis(50) }
    }

    fn evidence(_: &RunRecord, file: &Path) -> Result<PathBuf> {
        std::fs::write(file, "evidence").expect("a file");
        Ok(file.to_owned())
    }

    type Evidence = fn(&RunRecord, &Path) -> Result<PathBuf>;

    fn after(nightly: Nightly) -> impl FnOnce() -> After<Evidence> {
        || After { nightly, evidence }
    }

    #[tokio::test]
    async fn a_good_night() {
        let (home, history) = history();
        let told = home.path().join("told");
        let command = ["sh", "-c", &format!("cat > '{}'", told.display())].map(str::to_owned).to_vec();
        let nightly = Nightly { keep: 14, notify: Notify { command: Some(command), webhook: None } };
        let work = |events: Events| async move {
            events.note("guests are emulated");
            Ok(made())
        };
        let (record, failure) = night(&history).run(work, pending(), after(nightly)).await.expect("a record");
        assert!(failure.is_none());
        assert_eq!((record.outcome.clone(), record.exit_code), (Outcome::Succeeded, Some(0)));
        assert_eq!(record.how.as_deref(), Some("built"));
        assert_eq!((record.notes.len(), record.bundle.clone()), (1, None));
        assert!(record.versions.contains_key("pgxc-lab") && record.end.is_some());
        assert_eq!(history.load(&record.id).expect("it is on disk"), record);
        let told: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(told).expect("it was told")).expect("JSON");
        assert_eq!(told["id"], record.id.as_str());
        assert_eq!(told["directory"], history.run(&record.id).display().to_string());
    }

    #[tokio::test]
    async fn a_bad_night_leaves_evidence_and_its_class() {
        let (_home, history) = history();
        let notify = Notify { command: Some(vec!["/no/such/program".into()]), webhook: None };
        let work = |_| async { Err(Error::new(Class::Cluster, "wrong rows").hint("look at it")) };
        let (record, failure) =
            night(&history).run(work, pending(), after(Nightly { keep: 14, notify })).await.expect("a record");
        assert_eq!(failure.map(|error| error.class()), Some(Class::Cluster));
        assert_eq!((record.exit_code, record.bundle.as_deref()), (Some(8), Some(BUNDLE)));
        assert!(history.run(&record.id).join(BUNDLE).exists());
        assert!(record.notes[0].starts_with("notify.command `/no/such/program` cannot be started"), "{record:?}");
        assert_eq!(history.load(&record.id).expect("it is on disk"), record);
    }

    #[tokio::test]
    async fn what_the_screen_showed_is_not_told_twice() {
        let (_home, history) = history();
        let work = |events: Events| async move {
            let error = Error::new(Class::Guest, "no answer");
            let (step, node) = ("db1/boot".to_owned(), Some("db1".to_owned()));
            events.send(Event::Failed { step, node, error: error.clone(), took: Duration::from_secs(1) });
            Err(error)
        };
        let (record, failure) =
            night(&history).run(work, pending(), after(Nightly::default())).await.expect("a record");
        assert!(failure.is_none());
        let Outcome::Failed { class, step, .. } = record.outcome else { panic!("a failure") };
        assert_eq!((class, step.as_deref()), (Class::Guest, Some("db1/boot")));
    }

    #[tokio::test]
    async fn an_interrupted_night_has_a_record() {
        let (_home, history) = history();
        let work = |_| pending::<Result<Made>>();
        let stop = tokio::time::sleep(Duration::from_millis(20));
        let (record, failure) = night(&history).run(work, stop, after(Nightly::default())).await.expect("a record");
        assert_eq!(failure.map(|error| error.class()), Some(Class::Interrupted));
        assert_eq!(record.exit_code, Some(130));
        assert!(matches!(record.outcome, Outcome::Failed { class: Class::Interrupted, .. }));
        assert!(record.notes[0].starts_with("interrupted: "), "{:?}", record.notes);
    }

    #[tokio::test]
    async fn a_slow_night_is_flagged_and_old_ones_go() {
        let (_home, history) = history();
        let start = Timestamp::now() - Duration::from_secs(86_400);
        for number in 0..6 {
            let mut record = history.begin(start + Duration::from_secs(number * 60)).expect("it begins");
            record.outcome = Outcome::Succeeded;
            record.how = Some("built".into());
            history.write(&record).expect("it is written");
        }
        let work = |_| async {
            // The median is 0 s: the floor of 5 s counts.
            tokio::time::sleep(Duration::from_millis(5_200)).await;
            Ok(made())
        };
        let nightly = Nightly { keep: 2, ..Nightly::default() };
        let (record, _) = night(&history).run(work, pending(), after(nightly)).await.expect("a record");
        let slow = record.slow.expect("it is slow");
        assert!(slow.seconds > 5.0 && slow.expected == 0.0, "{slow:?}");
        assert_eq!(history.list().0.len(), 2);
    }
}
