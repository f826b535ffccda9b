//! What every command starts from: the home, the lab's directory, and the record that the last `up` left.

use crate::{
    cli::Arguments,
    config,
    engine::{self, Engine},
    error::{Class, Error, Result, ResultExt},
    file,
    fit::{self, Proportion},
    gtm::Prepared,
    guest::System,
    host::{Accelerator, Home, Host, LabDir, capacity},
    image::ImageDefinition,
    lab::{EngineKind, Failover, Lab, Node, Role, Spread},
    remote::Keys,
    source::Source,
    sql::Login,
};
use serde::{Deserialize, Serialize};
use std::{fs, path::PathBuf};

/// A source package that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedSource {
    /// The place that gave it.
    pub place: String,
    /// SHA-256 of its content.
    pub digest: String,
}

impl LockedSource {
    /// What there is to record of a package.
    pub fn of(source: &Source) -> LockedSource {
        LockedSource { place: source.place.clone(), digest: source.digest.clone() }
    }

    /// The package, known by its digest alone: good for naming what was built from it.
    pub fn source(&self) -> Source {
        Source { path: PathBuf::new(), digest: self.digest.clone(), place: self.place.clone() }
    }
}

/// What `up` decided, so that other commands know the lab as it runs, also without lab.yaml or after it changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The text of lab.yaml.
    pub lab_yaml: String,
    /// Where it lay.
    pub lab_file: PathBuf,
    /// Which engine was taken.
    pub engine: EngineKind,
    /// Name of the image.
    pub image: String,
    /// The source that the engine was built from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<LockedSource>,
    /// The source of the flex that it was built with, where the image's own is too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flex: Option<LockedSource>,
    /// What part of the memory the guests got.
    pub proportion: Proportion,
    /// Entries of the cache that the lab uses: they are never pruned.
    pub uses: Vec<String>,
    /// The accelerator's word.
    pub accelerator: Accelerator,
    /// The last failover of the GTM, unless it is where lab.yaml has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
    /// What was prepared when the standby was promoted, until the failover is done: the GTM that it becomes is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<Vec<Prepared>>,
    /// Where the nodes of a lab of several hosts are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
}

impl Record {
    /// The record of a lab, if it has one.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(dir: &LabDir) -> Result<Option<Record>> {
        let path = dir.record();
        let Some(text) = file::read_if_there(&path)? else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .or_error(Class::Host, || format!("cannot understand `{}`", path.display()))
    }

    /// A lab as it was fitted when it was brought up, with the GTM where a failover left it.
    ///
    /// # Errors
    /// When it cannot be fitted, or has no place for that GTM.
    pub fn fitted(&self, lab: &Lab) -> Result<Lab> {
        let mut lab = fit::fit(lab, capacity::memory()?, Some(self.proportion))?.lab;
        if self.accelerator == Accelerator::Tcg {
            fit::slow_down(&mut lab);
        }
        if let Some(spread) = &self.spread {
            lab.spread(spread);
        }
        self.failed_over(lab)
    }

    /// A lab with the GTM where a failover left it.
    ///
    /// # Errors
    /// When lab.yaml has neither the GTM nor its standby there any more: the other one would give GXIDs a second time.
    pub fn failed_over(&self, lab: Lab) -> Result<Lab> {
        let Some(failover) = &self.failover else { return Ok(lab) };
        let name = lab.name.clone();
        lab.with_gtm_on(failover.gtm().as_str()).ok_or_else(|| {
            Error::new(
                Class::LabFile,
                format!("the GTM of lab `{name}` is on `{}` since a failover, where lab.yaml has none", failover.gtm()),
            )
            .hint("give that node `gtm_standby` and the other one `gtm` again, or `pgxc-lab destroy` the lab")
        })
    }

    /// Refuses a lab whose failover did not end: perhaps it has no GTM at all.
    ///
    /// # Errors
    /// With the command that goes on with it.
    pub fn check_failover(&self) -> Result<()> {
        let Some(Failover::Begun { gtm }) = &self.failover else { return Ok(()) };
        Err(Error::new(Class::Cluster, format!("a failover of the GTM to `{gtm}` did not end"))
            .hint("`pgxc-lab failover gtm` goes on with it"))
    }

    /// Records how far a failover came. A GTM that is back where lab.yaml has it needs no record.
    ///
    /// # Errors
    /// When the disk refuses, or lab.yaml cannot be understood by this version.
    pub fn record_failover(mut self, dir: &LabDir, failover: Failover) -> Result<Record> {
        let lab = config::parse(&self.lab_yaml, &self.lab_file).map_err(config::Problems::into_error)?;
        let home = lab.placed(Role::Gtm).iter().any(|gtm| gtm.node.name == *failover.gtm());
        self.failover = Some(failover).filter(|failover| !(home && matches!(failover, Failover::Done { .. })));
        self.prepared = None;
        self.write(dir)?;
        Ok(self)
    }

    /// Records what a standby held open when it was promoted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn record_prepared(mut self, dir: &LabDir, prepared: Vec<Prepared>) -> Result<()> {
        self.prepared = Some(prepared);
        self.write(dir)
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, dir: &LabDir) -> Result<()> {
        let path = dir.record();
        let cannot = || format!("cannot write `{}`", path.display());
        let text = serde_json::to_string_pretty(self).or_error(Class::Internal, cannot)?;
        file::replace(&path, text)
    }
}

/// The lab that lab.yaml or `--lab` names, as it was brought up.
pub struct Standing {
    /// The lab, fitted as it runs.
    pub lab: Lab,
    /// Its directory.
    pub dir: LabDir,
    /// Its record.
    pub record: Record,
    /// Its engine.
    pub engine: Box<dyn Engine>,
    /// Its host, if it lives there.
    pub host: Option<Host>,
}

impl Standing {
    /// Finds it.
    ///
    /// # Errors
    /// When there is no such lab.
    pub fn find(arguments: &Arguments) -> Result<Standing> {
        let home = home(arguments)?;
        let name = lab_name(arguments, &home)?;
        let dir = home.lab(&name);
        let none = || Error::new(Class::Host, format!("lab `{name}` is not up")).hint("`pgxc-lab up` makes it");
        let record = Record::read(&dir)?.ok_or_else(none)?;
        let lab = config::parse(&record.lab_yaml, &record.lab_file).map_err(config::Problems::into_error)?;
        let lab = record.fitted(&lab)?;
        let host = Host::find(&dir);
        Ok(Standing { engine: engine::of(record.engine), lab, dir, record, host })
    }

    /// Its host.
    ///
    /// # Errors
    /// When they are gone.
    pub fn host(&self) -> Result<&Host> {
        self.host.as_ref().ok_or_else(|| {
            Error::new(Class::Host, format!("lab `{}` is not running", self.lab.name)).hint("`pgxc-lab up` starts it")
        })
    }

    /// A node of it.
    ///
    /// # Errors
    /// When it has none of this name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.lab.node(name).ok_or_else(|| {
            let names: Vec<&str> = self.lab.nodes.iter().map(|node| node.name.as_str()).collect();
            Error::new(Class::Usage, format!("lab `{}` has no node `{name}`", self.lab.name))
                .hint(format!("it has {}", names.join(", ")))
        })
    }

    /// The guests' system.
    ///
    /// # Errors
    /// When this version does not have their image any more.
    pub fn system(&self) -> Result<System> {
        Ok(ImageDefinition::find(&self.record.image)?.system)
    }

    /// Its keys.
    pub fn keys(&self) -> Keys {
        Keys::new(&self.dir)
    }

    /// The superuser of its cluster.
    ///
    /// # Errors
    /// When the password was never made.
    pub fn login(&self) -> Result<Login> {
        login(&self.lab, &self.dir)
    }
}

/// The home of all labs, as an absolute path: daemons of the lab change directories.
///
/// # Errors
/// When the current directory is gone.
pub fn home(arguments: &Arguments) -> Result<Home> {
    let path = arguments.home();
    std::path::absolute(&path).map(Home::new).or_error(Class::Host, || format!("cannot find `{}`", path.display()))
}

/// The name of the lab that a command is about: `--lab`, else that of lab.yaml, also of one with mistakes, else the
/// only lab that there is.
///
/// # Errors
/// When nothing names one.
pub fn lab_name(arguments: &Arguments, home: &Home) -> Result<String> {
    if let Some(name) = &arguments.lab {
        return Ok(name.to_string());
    }
    let text = fs::read_to_string(arguments.file()).unwrap_or_default();
    let named = text
        .lines()
        .find_map(|line| line.strip_prefix("name:"))
        .map(|name| name.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']));
    if let Some(name) = named.filter(|name| name.parse::<crate::lab::NodeName>().is_ok()) {
        return Ok(name.to_owned());
    }
    match home.labs().as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::new(
            Class::Usage,
            format!(
                "no lab: `{}` names none, and there is none below `{}`",
                arguments.file().display(),
                home.path().display()
            ),
        )
        .hint("`pgxc-lab up` makes one from lab.yaml")),
        several => Err(Error::new(
            Class::Usage,
            format!("`{}` names no lab, and there are several", arguments.file().display()),
        )
        .hint(format!("take `--lab NAME` with one of {}", several.join(", ")))),
    }
}

/// The superuser's login: the password of lab.yaml, else one that was made at the first `up`.
///
/// # Errors
/// When the password was never made.
pub fn login(lab: &Lab, dir: &LabDir) -> Result<Login> {
    let password = match &lab.cluster.password {
        Some(password) => password.clone(),
        None => {
            let path = dir.join("keys/password");
            fs::read_to_string(&path)
                .or_error(Class::Host, || format!("cannot read `{}`", path.display()))?
                .trim()
                .to_owned()
        }
    };
    Ok(Login { user: lab.cluster.superuser.to_string(), password, database: "postgres".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = include_str!("../tests/labs/four.yaml");

    fn record(lab_yaml: &str) -> Record {
        Record {
            lab_yaml: lab_yaml.into(),
            lab_file: "/four.yaml".into(),
            engine: EngineKind::PostgresXc,
            image: "debian-12".into(),
            source: None,
            flex: None,
            proportion: Proportion::WHOLE,
            uses: Vec::new(),
            accelerator: Accelerator::Kvm,
            failover: None,
            prepared: None,
            spread: None,
        }
    }

    fn name(last: u8) -> crate::lab::NodeName {
        format!("db-192-168-122-{last}").parse().expect("a name")
    }

    fn gtm_of(record: &Record) -> Result<String> {
        let lab = config::parse(&record.lab_yaml, &record.lab_file).map_err(config::Problems::into_error)?;
        let lab = record.failed_over(lab)?;
        Ok(lab.placed(Role::Gtm)[0].node.name.to_string())
    }

    #[test]
    fn a_failover_is_remembered_until_the_gtm_is_home_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let dir = LabDir::at(directory.path());
        let begun = record(LAB).record_failover(&dir, Failover::Begun { gtm: name(172) }).expect("it writes");
        assert!(begun.check_failover().is_err());
        let prepared = serde_json::from_str("[]").expect("a list");
        begun.record_prepared(&dir, prepared).expect("it writes");
        let begun = Record::read(&dir).expect("it reads").expect("it is there");
        assert!(begun.check_failover().is_err() && begun.prepared == Some(Vec::new()));
        let done = begun.record_failover(&dir, Failover::Done { gtm: name(172) }).expect("it writes");
        done.check_failover().expect("it ended");
        assert_eq!(done.prepared, None, "the GTM has it");
        let read = Record::read(&dir).expect("it reads").expect("it is there");
        assert_eq!(gtm_of(&read).expect("a GTM"), "db-192-168-122-172");
        let home = read.record_failover(&dir, Failover::Begun { gtm: name(171) }).expect("it writes");
        assert!(home.check_failover().is_err(), "also on the way home");
        let home = home.record_failover(&dir, Failover::Done { gtm: name(171) }).expect("it writes");
        assert_eq!((home.failover.as_ref(), gtm_of(&home).expect("a GTM")), (None, "db-192-168-122-171".into()));
    }

    #[test]
    fn a_lab_without_a_place_for_its_gtm_is_refused() {
        let moved = LAB.replace("roles: [gtm_standby]", "roles: []");
        let record = Record { failover: Some(Failover::Done { gtm: name(172) }), ..record(&moved) };
        let error = gtm_of(&record).expect_err("no GTM can be there");
        assert_eq!(error.class(), Class::LabFile);
        assert!(error.message().contains("on `db-192-168-122-172` since a failover"), "{error}");
    }
}
