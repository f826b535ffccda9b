//! What lab.yaml says about nightly runs.

/// Runs that are kept unless lab.yaml says otherwise: two weeks of nights, enough to tell a trend from noise.
const KEEP: usize = 14;

/// The sections `nightly` and `notify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nightly {
    /// How many of the last runs are kept, 1 at least; the last good one is kept besides.
    pub keep: usize,
    /// Who is told of each run.
    pub notify: Notify,
}

impl Default for Nightly {
    fn default() -> Nightly {
        Nightly { keep: KEEP, notify: Notify::default() }
    }
}

/// Who is told of each run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// A program and its arguments: it gets the run's record as JSON on its standard input.
    pub command: Option<Vec<String>>,
    /// An http(s) URL that the same is posted to.
    pub webhook: Option<String>,
}
