//! The store of runs: HOME/nightly/LAB/ID/{record.json,bundle.tar.zst}.

use super::record::{FORMAT, Outcome, RunRecord};
use crate::{
    error::{Class, Error, Result, ResultExt},
    file,
    host::Home,
};
use jiff::Timestamp;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Name of a record below its run's directory.
const RECORD: &str = "record.json";
/// Name of the evidence below its run's directory.
pub const BUNDLE: &str = "bundle.tar.zst";
/// Runs that may claim to have begun in one second: only a clock that was set back makes more than one.
const SAME_SECOND: u32 = 999;

/// Runs of a lab.
#[derive(Clone, Debug)]
pub struct History {
    directory: PathBuf,
    lab: String,
}

impl History {
    /// Those of this lab.
    pub fn new(home: &Home, lab: &str) -> History {
        History { directory: home.nightly(lab), lab: lab.to_owned() }
    }

    /// Where they are kept.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The directory of a run.
    pub fn run(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    /// Begins a run: its record is on disk before anything is done, so that a run that is cut short is one too.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin(&self, now: Timestamp) -> Result<RunRecord> {
        let id = self.free_id(now)?;
        let record = RunRecord::begin(id, self.lab.clone(), now);
        self.write(&record)?;
        Ok(record)
    }

    /// A name after all names that there are: a clock that was set back must not put a run before its elders.
    fn free_id(&self, now: Timestamp) -> Result<String> {
        let wanted = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let Some(last) = self.ids().pop().filter(|last| *last >= wanted) else { return Ok(wanted) };
        let (base, number) = last.split_once('-').unwrap_or((&last, "001"));
        let number = number.parse::<u32>().unwrap_or(1) + 1;
        if number > SAME_SECOND {
            return Err(Error::new(Class::Host, format!("run `{last}` lies in the future"))
                .hint("set the clock of this host, or remove that run's directory"));
        }
        Ok(format!("{base}-{number:03}"))
    }

    /// Writes a record, by rename: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, record: &RunRecord) -> Result<()> {
        let directory = self.run(&record.id);
        let cannot = || format!("cannot write the record of run `{}` below `{}`", record.id, directory.display());
        let mut text = serde_json::to_string_pretty(record).or_error(Class::Internal, cannot)?;
        text.push('\n');
        fs::create_dir_all(&directory).or_error(Class::Host, cannot)?;
        file::replace(&directory.join(RECORD), text)
    }

    /// A run.
    ///
    /// # Errors
    /// When there is none of this name, or its record cannot be understood.
    pub fn load(&self, id: &str) -> Result<RunRecord> {
        let path = self.run(id).join(RECORD);
        let text = fs::read_to_string(&path).or_error(Class::Host, || format!("cannot read `{}`", path.display()))?;
        let cannot = || format!("cannot understand `{}`", path.display());
        let record: RunRecord = serde_json::from_str(&text).or_error(Class::Host, cannot)?;
        if record.format > FORMAT {
            return Err(Error::new(Class::Host, cannot())
                .evidence(format!("it has format {}, this version reads {FORMAT}", record.format))
                .hint("a newer pgxc-lab wrote it: use that one"));
        }
        Ok(record)
    }

    /// All runs, the oldest first, and what is wrong with those that cannot be read: one damaged record must not hide
    /// the others.
    pub fn list(&self) -> (Vec<RunRecord>, Vec<Error>) {
        let (mut records, mut errors) = (Vec::new(), Vec::new());
        for id in self.ids() {
            match self.load(&id) {
                Ok(record) => records.push(record),
                Err(error) => errors.push(error),
            }
        }
        (records, errors)
    }

    /// Names of all runs that have a directory, sorted.
    fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut ids: Vec<String> = entries
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_id(name))
            .collect();
        ids.sort();
        ids
    }

    /// Removes all but the last `keep` runs and the last good one; gives the names of those that went.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn prune(&self, keep: usize) -> Result<Vec<String>> {
        let ids = self.ids();
        let (records, _) = self.list();
        let good = records.iter().rev().find(|record| record.outcome == Outcome::Succeeded);
        let old = ids.len().saturating_sub(keep.max(1));
        let mut removed = Vec::new();
        for id in ids.into_iter().take(old).filter(|id| good.is_none_or(|good| good.id != *id)) {
            let directory = self.run(&id);
            fs::remove_dir_all(&directory)
                .or_error(Class::Host, || format!("cannot remove the old run `{}`", directory.display()))?;
            removed.push(id);
        }
        Ok(removed)
    }
}

/// Whether a name is that of a run: nothing else below the directory is ever removed.
fn is_id(name: &str) -> bool {
    let (time, number) = name.split_once('-').unwrap_or((name, "000"));
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((date, clock)) = time.strip_suffix('Z').and_then(|time| time.split_once('T')) else { return false };
    digits(date, 8) && digits(clock, 6) && digits(number, 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> (tempfile::TempDir, History) {
        let home = tempfile::tempdir().expect("a directory");
        let history = History::new(&Home::new(home.path()), "pgxc");
        (home, history)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_750_000_000 + seconds).expect("a time")
    }

    #[test]
    fn a_run_is_there_from_its_first_moment() {
        let (_home, history) = history();
        let mut record = history.begin(at(0)).expect("it begins");
        assert_eq!(record.id, "20250615T150640Z");
        assert_eq!(history.load(&record.id).expect("it is there").outcome, Outcome::Unfinished);
        record.outcome = Outcome::Succeeded;
        history.write(&record).expect("it is written");
        assert_eq!(history.list().0, [record]);
    }

    #[test]
    fn a_clock_that_is_set_back_changes_no_order() {
        let (_home, history) = history();
        let ids: Vec<String> =
            [at(0), at(0), at(-3600), at(5)].map(|now| history.begin(now).expect("it begins").id).into();
        assert_eq!(ids, ["20250615T150640Z", "20250615T150640Z-002", "20250615T150640Z-003", "20250615T150645Z"]);
    }

    #[test]
    fn the_last_ones_and_the_last_good_one_are_kept() {
        let (_home, history) = history();
        for number in 0..8 {
            let mut record = history.begin(at(number)).expect("it begins");
            if number < 3 {
                record.outcome = Outcome::Succeeded;
            }
            history.write(&record).expect("it is written");
        }
        fs::write(history.path().join("report.html"), "").expect("a file");
        fs::create_dir(history.path().join("mine")).expect("a directory");
        let removed = history.prune(3).expect("it prunes");
        assert_eq!(removed.len(), 4);
        let left: Vec<Timestamp> = history.list().0.into_iter().map(|record| record.begin).collect();
        assert_eq!(left, [at(2), at(5), at(6), at(7)]);
        assert!(history.path().join("report.html").exists() && history.path().join("mine").exists());
        assert_eq!(history.prune(3).expect("again"), Vec::<String>::new());
    }

    #[test]
    fn a_damaged_record_hides_no_other() {
        let (_home, history) = history();
        history.begin(at(0)).expect("it begins");
        let second = history.begin(at(1)).expect("it begins");
        fs::write(history.run(&second.id).join(RECORD), "{\"format\": 1").expect("a file");
        let (records, errors) = history.list();
        assert_eq!((records.len(), errors.len()), (1, 1));
        assert!(errors[0].message().contains(&second.id), "{}", errors[0]);
    }

    #[test]
    fn names_of_runs_are_told_from_others() {
        for (name, expected) in [
            ("20250615T150640Z", true),
            ("20250615T150640Z-002", true),
            ("20250615T150640", false),
            ("20250615T150640Z-2", false),
            ("report.html", false),
            ("mine-001", false),
        ] {
            assert_eq!(is_id(name), expected, "{name}");
        }
    }
}
