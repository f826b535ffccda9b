//! What it takes to make an image.

use crate::{
    event::{Event, Events},
    host::Accelerator,
    lab::{Lab, Mirror},
};
use std::path::Path;

/// What it takes to make an image, besides what it is made of: none of it decides what comes out.
#[derive(Clone, Copy)]
pub struct Workshop<'a> {
    /// File for everything that is said meanwhile.
    pub log: &'a Path,
    /// How machines run.
    pub accelerator: Accelerator,
    /// Where it comes from.
    pub sources: Sources<'a>,
    /// Where progress is told.
    pub events: &'a Events,
    /// The step that it belongs to.
    pub step: &'a str,
}

impl Workshop<'_> {
    /// Tells how far it is.
    pub(super) fn tell(&self, text: impl Into<String>) {
        self.events.send(Event::Progress { step: self.step.to_owned(), text: text.into() });
    }
}

/// Where what an image is made of comes from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// What the lab says of it.
    pub mirror: Option<&'a Mirror>,
    /// Where relative paths of mirrors start: the directory of lab.yaml.
    pub base: &'a Path,
    /// Where downloaded disks are kept.
    pub disks: &'a Path,
    /// Whether the network may not be used for downloads.
    pub offline: bool,
}

impl<'a> Sources<'a> {
    /// Those of an image in a lab.
    pub fn new(lab: &'a Lab, image: &str, disks: &'a Path, offline: bool) -> Sources<'a> {
        let mirror = lab.mirrors.iter().find(|mirror| mirror.image == image);
        Sources { mirror, base: &lab.directory, disks, offline }
    }
}
