//! Guest images: declarative definitions under `images/`, baked once and cached by the digest of their inputs, and
//! templates: guests of them that were booted once.

mod bake;
mod definition;
mod template;

pub use bake::{Image, list, prune};
pub(crate) use bake::{recorded_digests, take_lock};
pub use definition::{ImageDefinition, TemplateDefinition};
pub use template::{SEED_LENGTH, Template};
