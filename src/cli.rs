//! The command line: its raw shape. What a verb does is under `commands`.

mod ending;
mod endpoint;
mod fault;
mod manual;
mod selection;
mod verb;

pub use ending::{Checks, Ending};
pub use endpoint::Endpoint;
pub use fault::{FaultVerb, Lasting};
pub use manual::{completions, man_pages};
pub use selection::Selection;
pub use verb::{ConfigVerb, DrillVerb, Export, FailoverVerb, ImageVerb, NightlyVerb, ScaleVerb, SnapshotVerb, Verb};

use crate::{
    lab::{BootMode, NodeName},
    ui,
};
use clap::Parser;
use std::{env, ffi::OsString, path::PathBuf};

/// Environment variable in place of `--file`.
pub const FILE_VARIABLE: &str = "PGXC_LAB_FILE";
/// Environment variable in place of `--home`.
pub const HOME_VARIABLE: &str = "PGXC_LAB_HOME";
/// The lab file that is taken when nothing says otherwise.
const DEFAULT_FILE: &str = "lab.yaml";
/// The home that is taken when nothing says otherwise.
const DEFAULT_HOME: &str = "/var/lib/pgxc-lab";

/// A whole distributed-PostgreSQL lab on libvirt VMs with one command
///
/// pgxc-lab reads lab.yaml and makes what it says: virtual machines, their network and NFS exports, and a
/// Postgres-XC cluster on them. Everything lives in namespaces of the lab's own; nothing else on this machine
/// changes, and `destroy` leaves nothing behind.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pgxc-lab",
    version,
    max_term_width = 80,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = manual::EXAMPLES,
    after_long_help = manual::long_help(),
)]
pub struct Arguments {
    /// The lab file [default: lab.yaml]
    #[arg(short = 'F', long, global = true, value_name = "LAB.YAML", help_heading = "Global options")]
    file: Option<PathBuf>,

    /// Where labs and the cache are kept [default: /var/lib/pgxc-lab]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    home: Option<PathBuf>,

    /// The lab of this name, as its last `up` saw it: no lab file is read
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options", conflicts_with = "file")]
    pub lab: Option<NodeName>,

    /// Print data as JSON on stdout; a run prints one event a line
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,

    /// Print one line per event, also for what was already right
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,

    /// Ask nothing
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub yes: bool,

    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

impl Arguments {
    /// The lab file: `--file`, else `PGXC_LAB_FILE`, else `lab.yaml`.
    pub fn file(&self) -> PathBuf {
        first(self.file.clone(), env::var_os(FILE_VARIABLE), DEFAULT_FILE)
    }

    /// Where labs and the cache are kept: `--home`, else `PGXC_LAB_HOME`, else `/var/lib/pgxc-lab`.
    pub fn home(&self) -> PathBuf {
        first(self.home.clone(), env::var_os(HOME_VARIABLE), DEFAULT_HOME)
    }

    /// How new guests are to boot, where the command line says so.
    pub fn boot(&self) -> Option<BootMode> {
        match self.verb {
            Verb::Up { boot, .. } => boot,
            _ => None,
        }
    }

    /// How a run is shown.
    pub fn mode(&self) -> ui::Mode {
        ui::Mode::choose(self.json, self.verbose)
    }
}

/// An option before a variable before the default; an empty variable is as good as none.
fn first(option: Option<PathBuf>, variable: Option<OsString>, default: &str) -> PathBuf {
    let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    option.or(variable).unwrap_or_else(|| PathBuf::from(default))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Role;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Arguments, clap::error::ErrorKind> {
        Arguments::try_parse_from(line.split(' ')).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_come_before_variables_before_defaults() {
        let default = PathBuf::from(DEFAULT_FILE);
        assert_eq!(first(None, None, DEFAULT_FILE), default);
        assert_eq!(first(None, Some("".into()), DEFAULT_FILE), default);
        assert_eq!(first(None, Some("b.yaml".into()), DEFAULT_FILE), PathBuf::from("b.yaml"));
        assert_eq!(first(Some("a.yaml".into()), Some("b.yaml".into()), DEFAULT_FILE), PathBuf::from("a.yaml"));
    }

    #[test]
    fn global_options_stand_anywhere() {
        let arguments = parse("pgxc-lab up -F two.yaml --json").unwrap();
        assert_eq!(arguments.file(), PathBuf::from("two.yaml"));
        assert_eq!(arguments.mode(), ui::Mode::Json);
        assert_eq!(parse("pgxc-lab --lab lab1 destroy -y").unwrap().lab.unwrap().as_str(), "lab1");
        assert!(parse("pgxc-lab up --lab lab1 --file lab.yaml").is_err());
    }

    #[test]
    fn commands_for_guests_follow_two_hyphens() {
        let Verb::Ssh { node, command } = parse("pgxc-lab ssh db1 -- ls --all -v").unwrap().verb else { panic!() };
        assert_eq!((node.as_str(), command.join(" ").as_str()), ("db1", "ls --all -v"));
        let Verb::Exec { on, command } = parse("pgxc-lab exec --on gtm,db3 -- uptime").unwrap().verb else { panic!() };
        assert_eq!((on.words().join(" ").as_str(), command.len()), ("gtm db3", 1));
        assert!(parse("pgxc-lab exec").is_err());
    }

    #[test]
    fn sql_comes_from_one_place() {
        assert!(parse("pgxc-lab sql").is_ok());
        assert!(parse("pgxc-lab sql --on db3 -f a.sql -F lab.yaml").is_ok());
        assert!(parse("pgxc-lab sql -c SELECT -f a.sql").is_err());
    }

    #[test]
    fn wrong_words_are_refused() {
        for line in ["pgxc-lab ssh DB_1", "pgxc-lab forward db1", "pgxc-lab logs db1 --component proxy", "pgxc-lab"] {
            assert!(parse(line).is_err(), "{line}");
        }
        let logs = parse("pgxc-lab logs db1 --component gtm_proxy").unwrap().verb;
        assert!(matches!(logs, Verb::Logs { component: Some(Role::GtmProxy), .. }));
        let hold = parse("pgxc-lab internal-host /var/lib/pgxc-lab/labs/a").unwrap().verb;
        assert!(matches!(hold, Verb::InternalHost { .. }));
    }
}
