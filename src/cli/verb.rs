//! The verbs and what each of them takes.

use super::{Ending, Endpoint, FaultVerb, Selection, manual};
use crate::{
    lab::{BootMode, NodeName, Role, Selector},
    verify::Suite,
};
use clap::{Subcommand, ValueEnum, builder::PossibleValue};
use std::{net::Ipv4Addr, path::PathBuf};

/// What to do.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Verb {
    /// Make the lab as lab.yaml says, from whatever is there
    ///
    /// Safe to repeat and to interrupt: a second run goes on where the first one ended, and changes nothing
    /// when everything is as it must be. Ends with a proof: rows go in through one coordinator and are counted
    /// through another.
    #[command(after_help = manual::UP)]
    Up {
        /// How new guests come to their first login [default: `boot` in lab.yaml, else auto]
        #[arg(long, value_name = "HOW")]
        boot: Option<BootMode>,
        /// Its end
        #[command(flatten)]
        ending: Ending,
    },

    /// Remove the lab and look for leftovers
    ///
    /// Works without lab.yaml and after any half-made `up`. Asks first on a terminal. Images and built engines
    /// stay in the cache; `image prune` removes those.
    #[command(after_help = manual::DESTROY)]
    Destroy {
        /// A host that never comes back: what the lab has there stays, and is told
        #[arg(long, value_name = "HOST", value_delimiter = ',')]
        forget: Vec<NodeName>,
    },

    /// Show nodes and components
    #[command(after_help = manual::STATUS)]
    Status {
        /// Show it again every two seconds, until interrupted
        #[arg(short, long)]
        watch: bool,
    },

    /// Show what `up` would do, and do nothing
    #[command(after_help = manual::PLAN)]
    Plan,

    /// Compare host, guests and cluster with lab.yaml, key by key
    #[command(after_help = manual::DOCTOR)]
    Doctor {
        /// Repair what differs where that needs no reboot
        #[arg(long)]
        apply: bool,
    },

    /// Check lab.yaml, report every problem at once, and touch nothing
    #[command(after_help = manual::VALIDATE)]
    Validate,

    /// Check that the cluster is right, claim by claim
    ///
    /// Asks over the wire, judges what it saw, and cleans up after itself. Harms nothing that was there before.
    /// Checks of your own stand in lab.yaml. Has exit codes of its own: see below.
    #[command(after_help = manual::VERIFY, after_long_help = manual::verify())]
    Verify {
        /// How much: `quick`, or `full`
        #[arg(long, value_name = "SUITE", default_value = "quick", conflicts_with = "only")]
        suite: Suite,
        /// Only the checks of these names
        #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',')]
        only: Vec<String>,
        /// Also write the results as JUnit XML
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// Print the results as TAP
        #[arg(long, conflicts_with = "json")]
        tap: bool,
    },

    /// Open a shell on a node, or run a command there
    #[command(after_help = manual::SSH)]
    Ssh {
        /// The node
        node: NodeName,
        /// The command; none: a shell
        #[arg(last = true, value_name = "CMD")]
        command: Vec<String>,
    },

    /// Run a command on many nodes
    ///
    /// Output lines carry the node's name. Fails when the command fails anywhere.
    #[command(after_help = manual::EXEC)]
    Exec {
        /// Where: `all`, a role, or names of nodes, with commas between
        #[arg(long, value_name = "SELECTOR", default_value = "all")]
        on: Selector,
        /// The command
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },

    /// Run SQL on a coordinator, from a string, a file or standard input
    #[command(after_help = manual::SQL)]
    Sql {
        /// A node with a coordinator or datanode [default: the first coordinator]
        #[arg(long, value_name = "NODE")]
        on: Option<NodeName>,
        /// The statements
        #[arg(short, long, value_name = "SQL", conflicts_with = "script")]
        command: Option<String>,
        /// A file of statements
        #[arg(short = 'f', long, value_name = "FILE")]
        script: Option<PathBuf>,
    },

    /// Show the logs of a node
    #[command(after_help = manual::LOGS)]
    Logs {
        /// The node
        node: NodeName,
        /// Go on showing what comes, until interrupted
        #[arg(long)]
        follow: bool,
        /// The log of this component, instead of console and installation
        #[arg(long, value_name = "ROLE")]
        component: Option<Role>,
    },

    /// Make a port of a node reachable on 127.0.0.1, until interrupted
    #[command(after_help = manual::FORWARD)]
    Forward {
        /// The node and its port
        #[arg(value_name = "NODE:PORT")]
        endpoint: Endpoint,
        /// The port on 127.0.0.1; 0: any free one [default: the node's port]
        local: Option<u16>,
        /// Connect standard input and output instead of a port, once
        #[arg(long, conflicts_with = "local")]
        stdio: bool,
    },

    /// Write the lab in the words of another tool
    ///
    /// Describes the lab as it was brought up; before the first `up`, as lab.yaml says. Nothing is asked of the lab.
    #[command(after_help = manual::EXPORT)]
    Export {
        /// What to write
        #[arg(value_name = "WHAT")]
        what: Export,
        /// The file [default: standard output]
        ///
        /// Replaced when an earlier export wrote it; any other file stays as it is.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },

    /// Compare parameters with lab.yaml, or bring them into effect
    #[command(subcommand, after_help = manual::CONFIG)]
    Config(ConfigVerb),

    /// Gather logs, journals and status of a lab in one file
    ///
    /// Works on a lab that is up, half up or broken, from whatever can be reached; the disks of guests that do not
    /// answer are read. There are no passwords in it; `MISSING` in it lists what could not be had. Prints its path.
    #[command(after_help = manual::COLLECT)]
    Collect {
        /// Only logs written to since then: a date, a time, or a span such as 2h
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// The file [default: pgxc-lab-LAB-TIME.tar.zst in this directory]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },

    /// Start components of a lab that is up
    ///
    /// From the GTM to the coordinators, each kind when the one before it serves. Ends when every component
    /// answers.
    #[command(after_help = manual::START)]
    Start(Selection),

    /// Stop components, and leave their guests running
    ///
    /// From the coordinators to the GTM, the fast way. Ends when no process of them is left. It is not remembered:
    /// `start`, `up` and a reboot of the guest bring them back.
    #[command(after_help = manual::STOP)]
    Stop(Selection),

    /// Stop components, then start them
    #[command(after_help = manual::RESTART)]
    Restart(Selection),

    /// Have a standby take over
    #[command(subcommand, after_help = manual::FAILOVER)]
    Failover(FailoverVerb),

    /// Make the lab larger or smaller
    #[command(subcommand, after_help = manual::SCALE)]
    Scale(ScaleVerb),

    /// Break something on purpose, and mend it again
    ///
    /// With `--for` it is mended after that time, or at once at Ctrl-C, and everything serves at the end. Without, it
    /// stays until `fault mend`. Whatever a run that was killed left broken is known, too: `fault list`, `status` and
    /// `up` tell, `fault mend` and `up` mend it.
    #[command(subcommand, after_help = manual::FAULT)]
    Fault(FaultVerb),

    /// Break something under load, and see that what must hold holds
    #[command(subcommand, after_help = manual::DRILL, after_long_help = manual::drill())]
    Drill(DrillVerb),

    /// Make and look after snapshots of the whole running lab
    #[command(subcommand, after_help = manual::SNAPSHOT)]
    Snapshot(SnapshotVerb),

    /// Bring the lab back to a snapshot, from whatever is there
    ///
    /// The snapshot is checked first; then everything that runs in the lab ends, and the guests go on where they
    /// were. Asks first on a terminal. Ends with a proof: rows go in through every coordinator.
    #[command(after_help = manual::RESTORE)]
    Restore {
        /// The snapshot
        name: NodeName,
        /// Its end
        #[command(flatten)]
        ending: Ending,
    },

    /// Bring the lab to what `up` on an empty machine would give
    ///
    /// Restores the pristine snapshot of the same inputs (image, engine, lab.yaml, this program's version); where
    /// there is none, builds the lab anew and takes one.
    #[command(after_help = manual::REBUILD)]
    Rebuild {
        /// Build the lab anew, whatever snapshots there are
        #[arg(long)]
        cold: bool,
        /// Only tell which inputs changed since the last pristine snapshot
        #[arg(long, conflicts_with_all = ["cold", "checks"])]
        why: bool,
        /// Its end
        #[command(flatten)]
        ending: Ending,
    },

    /// Rebuild the lab every night, and keep a record of each run
    #[command(subcommand, after_help = manual::NIGHTLY)]
    Nightly(NightlyVerb),

    /// Look after the cached guest images
    #[command(subcommand, after_help = manual::IMAGE)]
    Image(ImageVerb),

    /// Print a completion script for a shell
    #[command(after_help = manual::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Print the manual page, or write all pages into a directory
    #[command(after_help = manual::MAN)]
    Man {
        /// The directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },

    /// Print the JSON schema of lab.yaml
    #[command(hide = true)]
    Schema,

    /// Hold a lab's namespaces (started by `up`, never by a person)
    #[command(hide = true)]
    InternalHost {
        /// The lab's directory
        directory: PathBuf,
    },

    /// Let guests go on when `snapshot create` dies (started by it, never by a person)
    #[command(hide = true)]
    InternalGuardian {
        /// The lab's directory
        directory: PathBuf,
    },
}

/// What to take over.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum FailoverVerb {
    /// Promote the GTM's standby, and make the old GTM the standby
    ///
    /// The old GTM is stopped, or the power of its guest is cut when it does not answer, before anything else
    /// happens. Then the proxies are led to the new one. Refused when the standby does not follow. lab.yaml stays
    /// as it is: the lab itself remembers where its GTM is.
    Gtm {
        /// The node that is to have the GTM; nothing is done when it has it [default: that of the standby]
        #[arg(long, value_name = "NODE")]
        to: Option<NodeName>,
    },
}

/// How the lab is to grow or shrink.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum ScaleVerb {
    /// Write a node more into lab.yaml, and bring the lab up with it
    ///
    /// The node is written like the one before it, and everything else in the file stays as it is, comments too. The
    /// change is shown, and asked for on a terminal. Refused when the lab would break a rule, and, under Postgres-XC,
    /// when there are tables or other objects: 1.0 gives a new datanode or coordinator no catalogs.
    #[command(after_help = manual::SCALE)]
    Add {
        /// What runs on it [default: what runs on the last node]
        ///
        /// A datanode or coordinator brings its gtm_proxy.
        #[arg(value_name = "ROLE")]
        roles: Vec<Role>,
        /// Its name [default: that of the last node, counted on]
        #[arg(long, value_name = "NODE")]
        name: Option<NodeName>,
        /// Its address [default: the next free one after the last node's]
        #[arg(long, value_name = "ADDR")]
        ip: Option<Ipv4Addr>,
    },
    /// Take the last nodes out of the lab and out of lab.yaml
    ///
    /// Refused while they hold anything that nobody else has: tables with a part there, prepared transactions. The
    /// change is shown, and asked for on a terminal. Then coordinators forget the nodes, their components end, guest,
    /// disks and export are removed, and the lab is brought up without them. Only the last nodes can go: components
    /// are numbered by their place.
    #[command(after_help = manual::SCALE)]
    Remove {
        /// Their names
        #[arg(value_name = "NODE", required = true)]
        nodes: Vec<NodeName>,
    },
}

/// What to do with drills.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum DrillVerb {
    /// Show all drills, and which apply to the lab
    List,
    /// Run some, one after the other
    ///
    /// Clients move money through several coordinators all the while. What a drill breaks it mends, also after Ctrl-C;
    /// at the end what clients were told is compared with what the cluster has, and the cluster is checked. Evidence
    /// of a drill that ends otherwise than expected is kept in a file. Has exit codes of its own: see below.
    #[command(after_help = manual::DRILL, after_long_help = manual::drill())]
    Run {
        /// Their names
        #[arg(value_name = "NAME", required_unless_present = "all")]
        names: Vec<String>,
        /// All that apply to the lab
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
}

/// What to do with snapshots.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum SnapshotVerb {
    /// Take one: memory, disks and exports of the whole lab at one instant
    Create {
        /// Its name
        name: NodeName,
        /// Words that `list` and `show` repeat
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Without the guests' memory: they boot as after a power cut
        #[arg(long)]
        disk_only: bool,
    },
    /// Show all of the lab
    List,
    /// Show one in full
    Show {
        /// Its name
        name: NodeName,
    },
    /// Remove one
    Delete {
        /// Its name
        name: NodeName,
    },
    /// Read one whole, and what it lies on, and compare every digest
    Verify {
        /// Its name
        name: NodeName,
    },
    /// Write one, with what it lies on, into one file that another machine can restore from
    Export {
        /// Its name
        name: NodeName,
        /// The file
        file: PathBuf,
    },
    /// Read one from such a file
    Import {
        /// The file
        file: PathBuf,
    },
}

/// What to do about nightly rebuilds.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum NightlyVerb {
    /// Have systemd rebuild the lab every night; without systemd, print a line for cron
    Install {
        /// When, as systemd's OnCalendar says it
        #[arg(long, value_name = "WHEN", default_value = "*-*-* 02:30:00")]
        at: String,
    },
    /// Remove what `install` wrote
    Remove,
    /// Rebuild, prove and record: what the timer calls
    Run,
    /// List the runs
    History {
        /// Only runs since then: a date, a time, or a span such as 7d
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
    },
    /// Write one HTML page about the runs
    Report {
        /// Only runs since then: a date, a time, or a span such as 7d
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// The page [default: report.html in the directory of the lab's runs]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// What to do about parameters.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum ConfigVerb {
    /// Show what runs otherwise than lab.yaml says, and what it needs
    ///
    /// Every coordinator and datanode is asked; of the GTM and its proxies the files are compared.
    Diff,
    /// Write lab.yaml's parameters, and reload or restart what needs it
    ///
    /// One node after the other, each until it serves again; ends with the proof. Lab.yaml may differ from the lab in
    /// parameters and lines of `hba` only: for anything else there is `up`.
    Apply,
}

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Export {
    /// For Ansible: hosts, groups by role, and how to reach them
    Inventory,
    /// For ssh and scp from outside of the lab
    SshConfig,
    /// Lines of /etc/hosts
    Hosts,
    /// The superuser's password for libpq, mode 0600
    Pgpass,
    /// A picture (SVG) of nodes, roles, ports, and who talks to whom
    Diagram,
}

/// What to do with images.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum ImageVerb {
    /// Show images, with their digests, sizes and whether they are made
    List,
    /// Make images now instead of at the next `up`
    Build {
        /// Their names [default: what lab.yaml asks for]
        #[arg(value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Remove cached images that no lab uses
    Prune,
}

impl ValueEnum for BootMode {
    fn value_variants<'a>() -> &'a [BootMode] {
        &[BootMode::Auto, BootMode::Warm, BootMode::Cold]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            BootMode::Auto => PossibleValue::new("auto").help("from a template where guests would share one"),
            BootMode::Warm => PossibleValue::new("warm").help("from a template, even for a single guest"),
            BootMode::Cold => PossibleValue::new("cold").help("by booting"),
        })
    }
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Role] {
        &Role::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}

impl ValueEnum for Suite {
    fn value_variants<'a>() -> &'a [Suite] {
        &Suite::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}
