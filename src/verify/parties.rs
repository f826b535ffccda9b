//! Whom checks of either engine ask, and what they call what they make.

use super::{check::PREFIX, script::Session};
use crate::lab::{Lab, Placed, Role};

pub(super) fn coordinators(lab: &Lab) -> Vec<Placed<'_>> {
    lab.placed(Role::Coordinator)
}

/// A session with the first coordinator.
pub(super) fn first(lab: &Lab) -> Session {
    coordinator(lab, 0)
}

/// A session with the last coordinator.
pub(super) fn last(lab: &Lab) -> Session {
    coordinator(lab, usize::MAX)
}

/// A session with a coordinator, counted from 0, or with the last one.
pub(super) fn coordinator(lab: &Lab, place: usize) -> Session {
    let coordinators = coordinators(lab);
    Session::with(&coordinators[place.min(coordinators.len() - 1)])
}

/// The name of something that a check makes.
pub(super) fn own(name: &str) -> String {
    format!("{PREFIX}{name}")
}
