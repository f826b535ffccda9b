//! What checks leave behind, found by its name and removed: before the first check, for a run that was killed, and after
//! the last one.

use super::{script::Script, seen::Seen};
use crate::lab::Lab;

/// How an engine's checks are cleaned up after. Both halves are pure.
pub struct Sweep {
    /// Asks for everything whose name begins with [`super::check::PREFIX`].
    pub look: fn(&Lab) -> Script,
    /// Removes what the answers name, or some of it: it is asked again until nothing is left. Empty when they name nothing.
    pub remove: fn(&Lab, &Seen) -> Script,
}

/// How often it looks at the most: once more than there can be coordinators that know nothing of each other.
pub(super) const ROUNDS: usize = 64;

/// How often it begins anew after an error.
pub(super) const TRIES: usize = 2;
