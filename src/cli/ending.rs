//! With what a run that makes a lab ends.

use crate::verify::Suite;
use clap::{Args, ValueEnum, builder::PossibleValue};

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Ending {
    /// End with checks, of which a failed one fails the run; `auto`: the quick ones but those of lab.yaml, if anything changed
    #[arg(long = "verify", value_name = "SUITE", default_value = "auto")]
    pub checks: Checks,
}

/// The checks at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// The quick ones that come with the program, where the run changed something and the cluster is to serve. Those of
    /// lab.yaml wait until they are asked for: they may be about data that comes after `up`.
    Auto,
    /// Those of a suite of `verify`.
    Of(Suite),
    /// None: the run's own proof is enough.
    None,
}

impl ValueEnum for Checks {
    fn value_variants<'a>() -> &'a [Checks] {
        &[Checks::Auto, Checks::Of(Suite::Quick), Checks::Of(Suite::Full), Checks::None]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Checks::Auto => PossibleValue::new("auto"),
            Checks::Of(suite) => PossibleValue::new(suite.as_str()),
            Checks::None => PossibleValue::new("none"),
        })
    }
}
