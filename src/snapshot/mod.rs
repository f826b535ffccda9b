//! Snapshots: the whole lab at one instant, kept outside the lab's directory so that they outlive it.

mod archive;
mod bases;
mod capture;
mod files;
#[cfg(test)]
mod fixture;
pub mod guardian;
mod import;
mod manifest;
mod overlay;
mod part;
mod pristine;
pub mod replace;
pub mod restore;
pub mod sparse;
mod store;
mod verify;

pub use archive::export;
pub use bases::{bases, users};
pub use capture::{Capture, plan};
pub use guardian::Guardian;
pub use import::import;
pub use manifest::{FORMAT, FileRecord, Kind, Manifest, NodeState, Pause, Versions};
pub use part::Part;
pub use pristine::Inputs;
pub use store::{Listed, Store};
pub use verify::{Depth, Verified, verify};
