//! What it takes to make an image.

use crate::{event::Events, host::Accelerator};
use std::path::Path;

/// What it takes to make an image, besides what it is made of: none of it decides what comes out.
#[derive(Clone, Copy)]
pub struct Workshop<'a> {
    /// File for everything that is said meanwhile.
    pub log: &'a Path,
    /// How machines run.
    pub accelerator: Accelerator,
    /// Whether the network may not be used for downloads.
    pub offline: bool,
    /// Where progress is told.
    pub events: &'a Events,
    /// The step that it belongs to.
    pub step: &'a str,
}
