//! The verbs and what each of them takes.

use super::{Endpoint, Selector, manual};
use crate::lab::{NodeName, Role};
use clap::{Subcommand, ValueEnum, builder::PossibleValue};
use std::path::PathBuf;

/// What to do.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Verb {
    /// Make the lab as lab.yaml says, from whatever is there
    ///
    /// Safe to repeat and to interrupt: a second run goes on where the first one ended, and changes nothing
    /// when everything is as it must be. Ends with a proof: rows go in through one coordinator and are counted
    /// through another.
    #[command(after_help = manual::UP)]
    Up,

    /// Remove the lab and look for leftovers
    ///
    /// Works without lab.yaml and after any half-made `up`. Asks first on a terminal. Images and built engines
    /// stay in the cache; `image prune` removes those.
    #[command(after_help = manual::DESTROY)]
    Destroy,

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
    },

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

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Role] {
        &Role::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}
