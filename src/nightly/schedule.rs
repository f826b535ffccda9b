//! Has systemd call `nightly run`: a service and a timer. A change of the host outside the lab, so a list of it is
//! kept, written before the files, and undone from.

use super::unit::Units;
use crate::{
    error::{Class, Error, Result, ResultExt},
    file,
    host::run,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// Where an administrator's units lie.
const UNITS: &str = "etc/systemd/system";
/// There is systemd when this is there.
const RUNNING: &str = "run/systemd/system";

/// The host that is changed. Tests take another one than `/`.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its root.
    pub root: PathBuf,
    /// systemctl.
    pub systemctl: PathBuf,
}

impl Default for Target {
    fn default() -> Target {
        Target { root: "/".into(), systemctl: "systemctl".into() }
    }
}

/// What was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The timer's name.
    pub timer: String,
    /// Files that were written.
    pub files: Vec<PathBuf>,
}

/// What `install` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installation {
    /// These files were written, and the timer waits.
    Systemd(Installed),
    /// There is no systemd: nothing was written.
    NoSystemd,
}

impl Target {
    fn systemd_runs(&self) -> bool {
        self.root.join(RUNNING).is_dir()
    }

    async fn systemctl(&self, arguments: &[&str], what: &str) -> Result<()> {
        let mut command = Command::new(&self.systemctl);
        command.args(arguments);
        run(command, what, Class::Host).await.map(drop)
    }

    /// Writes the units and starts the timer; `list` is where what was written is noted down first. Can be repeated.
    ///
    /// # Errors
    /// When a file of somebody else is in the way, or the host refuses.
    pub async fn install(&self, units: &Units, list: &Path) -> Result<Installation> {
        if !self.systemd_runs() {
            return Ok(Installation::NoSystemd);
        }
        let directory = self.root.join(UNITS);
        let texts = [(units.service_name(), units.service()?), (units.timer_name(), units.timer()?)];
        let files: Vec<PathBuf> = texts.iter().map(|(name, _)| directory.join(name)).collect();
        let known = read(list)?.map(|installed| installed.files).unwrap_or_default();
        for file in files.iter().filter(|file| !known.contains(file)) {
            let theirs = fs::read_to_string(file).is_ok_and(|text| !text.starts_with(super::unit::MARK));
            if theirs {
                return Err(Error::new(Class::Host, format!("`{}` is not ours", file.display()))
                    .hint("move it away, then `pgxc-lab nightly install` again"));
            }
        }
        let installed = Installed { timer: units.timer_name(), files: files.clone() };
        write(
            list,
            &serde_json::to_string_pretty(&installed).or_error(Class::Internal, || "cannot write JSON".into())?,
        )?;
        for (file, (_, text)) in files.iter().zip(&texts) {
            write(file, text)?;
        }
        self.systemctl(&["daemon-reload"], "have systemd read its units anew").await?;
        self.systemctl(&["enable", "--now", &units.timer_name()], "start the timer").await.map_err(|error| {
            error
                .hint("`pgxc-lab nightly remove` takes back what was written; `systemd-analyze calendar` checks a time")
        })?;
        Ok(Installation::Systemd(installed))
    }

    /// Takes back what the list says; none: nothing was installed. Can be repeated.
    ///
    /// # Errors
    /// When the host refuses; the list stays then.
    pub async fn remove(&self, list: &Path) -> Result<Option<Installed>> {
        let Some(installed) = read(list)? else { return Ok(None) };
        if self.systemd_runs() && installed.files.iter().any(|file| file.exists()) {
            self.systemctl(&["disable", "--now", &installed.timer], "stop the timer").await?;
        }
        for file in &installed.files {
            match fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::caused(Class::Host, format!("cannot remove `{}`", file.display()), error));
                }
                _ => {}
            }
        }
        if self.systemd_runs() {
            self.systemctl(&["daemon-reload"], "have systemd read its units anew").await?;
        }
        fs::remove_file(list).or_error(Class::Host, || format!("cannot remove `{}`", list.display()))?;
        Ok(Some(installed))
    }
}

fn read(list: &Path) -> Result<Option<Installed>> {
    let Some(text) = file::read_if_there(list)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::caused(Class::Host, format!("cannot understand `{}`", list.display()), error).hint(
            "remove pgxc-lab-nightly-* below /etc/systemd/system and this file by hand, then `systemctl daemon-reload`",
        )
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).or_error(Class::Host, || format!("cannot make `{}`", parent.display()))?;
    file::replace(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Bench {
        directory: tempfile::TempDir,
        target: Target,
    }

    /// A root of its own, and a systemctl that writes down what it is asked and fails when there is a file `broken`.
    fn bench() -> Bench {
        let directory = tempfile::tempdir().expect("a directory");
        let systemctl = directory.path().join("systemctl");
        let here = directory.path().display();
        let script = format!("#!/bin/sh\necho \"$@\" >> '{here}/calls'\n[ ! -e '{here}/broken' ]\n");
        fs::write(&systemctl, script).expect("a script");
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("a script");
        let root = directory.path().join("root");
        fs::create_dir_all(root.join(RUNNING)).expect("a directory");
        Bench { target: Target { root, systemctl }, directory }
    }

    impl Bench {
        fn list(&self) -> PathBuf {
            self.directory.path().join("home/nightly/two/installed.json")
        }

        fn calls(&self) -> String {
            fs::read_to_string(self.directory.path().join("calls")).unwrap_or_default()
        }

        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(self.target.root.join(UNITS)).into_iter().flatten().flatten();
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    fn units() -> Units {
        Units {
            lab: "two".into(),
            at: "*-*-* 02:30:00".into(),
            program: "/bin/true".into(),
            home: "/var/lib/pgxc-lab".into(),
            file: "/srv/lab.yaml".into(),
            variables: Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_was_installed_is_removed() {
        let bench = bench();
        let done = bench.target.install(&units(), &bench.list()).await.expect("it installs");
        assert!(matches!(done, Installation::Systemd(_)));
        assert_eq!(bench.files(), ["pgxc-lab-nightly-two.service", "pgxc-lab-nightly-two.timer"]);
        assert_eq!(bench.calls(), "daemon-reload\nenable --now pgxc-lab-nightly-two.timer\n");
        assert_eq!(bench.target.install(&units(), &bench.list()).await.expect("again"), done);
        let removed = bench.target.remove(&bench.list()).await.expect("it removes").expect("something");
        assert_eq!(removed.files.len(), 2);
        assert!(bench.calls().ends_with("disable --now pgxc-lab-nightly-two.timer\ndaemon-reload\n"));
        assert!(bench.files().is_empty() && !bench.list().exists());
        assert_eq!(bench.target.remove(&bench.list()).await.expect("again"), None);
    }

    #[tokio::test]
    async fn without_systemd_nothing_is_written() {
        let bench = bench();
        fs::remove_dir(bench.target.root.join(RUNNING)).expect("it goes");
        let done = bench.target.install(&units(), &bench.list()).await.expect("no failure");
        assert_eq!(done, Installation::NoSystemd);
        assert!(bench.files().is_empty() && !bench.list().exists() && bench.calls().is_empty());
    }

    #[tokio::test]
    async fn a_half_made_installation_can_be_removed() {
        let bench = bench();
        fs::write(bench.directory.path().join("broken"), "").expect("a file");
        bench.target.install(&units(), &bench.list()).await.expect_err("systemctl fails");
        assert!(bench.list().exists());
        bench.target.remove(&bench.list()).await.expect_err("systemctl still fails");
        assert!(bench.list().exists());
        fs::remove_file(bench.directory.path().join("broken")).expect("it goes");
        bench.target.remove(&bench.list()).await.expect("it removes").expect("something");
        assert!(bench.files().is_empty() && !bench.list().exists());
    }

    #[tokio::test]
    async fn files_of_others_stay() {
        let bench = bench();
        let theirs = bench.target.root.join(UNITS).join("pgxc-lab-nightly-two.timer");
        fs::create_dir_all(theirs.parent().expect("a parent")).expect("a directory");
        fs::write(&theirs, "[Timer]\n").expect("a file");
        let refused = bench.target.install(&units(), &bench.list()).await.expect_err("it is in the way");
        assert!(refused.message().ends_with("is not ours"), "{refused}");
        assert_eq!((bench.files().len(), bench.list().exists()), (1, false));
    }
}
