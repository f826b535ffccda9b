//! Guest images: declarative definitions under `images/`, baked once and cached by the digest of their inputs.

mod bake;
mod definition;

pub(crate) use bake::take_lock;
pub use bake::{Image, list, prune};
pub use definition::ImageDefinition;
