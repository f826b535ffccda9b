//! With what a run that makes a lab ends.

use crate::verify::Suite;
use clap::{Args, ValueEnum, builder::PossibleValue};

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Ending {
    /// End with checks, of which a failed one fails the run
    #[arg(long = "verify", value_name = "SUITE", default_value = "none")]
    pub checks: Checks,
}

/// The checks at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// None: the run's own proof is enough.
    None,
    /// Those of a suite of `verify`.
    Of(Suite),
}

impl ValueEnum for Checks {
    fn value_variants<'a>() -> &'a [Checks] {
        &[Checks::Of(Suite::Quick), Checks::Of(Suite::Full), Checks::None]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Checks::Of(suite) => PossibleValue::new(suite.as_str()),
            Checks::None => PossibleValue::new("none"),
        })
    }
}
