//! Guest images: declarative definitions under `images/`, baked once and cached by the digest of their inputs.

mod bake;
mod definition;

pub use bake::{Image, list, prune};
pub(crate) use bake::{recorded_digests, take_lock};
pub use definition::ImageDefinition;
