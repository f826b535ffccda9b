//! Guest images: declarative definitions under `images/`, baked once and cached by the digest of their inputs, and
//! templates: guests of them that were booted once.

mod attend;
mod bake;
mod cloud;
mod cpio;
mod definition;
mod install;
mod kickstart;
mod recipe;
mod template;
mod tree;
mod workshop;

pub use bake::{Image, list, prune};
pub(crate) use bake::{recorded_digests, take_lock};
pub use cpio::{Entry, initrd_with};
pub use definition::{ImageDefinition, Machine, TemplateDefinition};
pub use recipe::{Publication, Recipe};
pub use template::{SEED_LENGTH, Template};
pub use tree::TREE_VARIABLE;
pub use workshop::{Sources, Workshop};
