//! The section `mirrors`: where images and the packages of their guests come from.

use super::{checker::Checker, scalars};
use crate::{
    config::{
        problem::Place,
        shape::MirrorFile,
        typed::{Field, Placed},
    },
    lab::Mirror,
};

/// Checks all of them against the list of images.
pub(super) fn mirrors(check: &mut Checker, list: &[Placed<MirrorFile>], images: &[String]) -> Vec<Mirror> {
    check.unique("mirror of", list.iter().filter_map(|item| item.value.image.0.clone()));
    list.iter().filter_map(|item| mirror(check, item.place, &item.value, images)).collect()
}

fn mirror(check: &mut Checker, place: Place, file: &MirrorFile, images: &[String]) -> Option<Mirror> {
    let Some(named) = &file.image.0 else {
        check.report(place, "a mirror has no `image`", "write `image: ` and the name of an image of the list `image`");
        return None;
    };
    let image = check.value(&file.image, "", scalars::image)?;
    if !images.contains(&image) {
        let message = format!("a mirror of `{image}`, which is none of the lab's images");
        check.report(named.place, message, format!("the list `image` has `{}`", images.join("`, `")));
        return None;
    }
    if file.disk.value().is_none() && file.packages.value().is_none() {
        let hint = "write `disk` or `packages`, or take it out to use the places that the image names";
        check.report(place, format!("the mirror of `{image}` names no place"), hint);
        return None;
    }
    // An empty list would be no mirror at all, which is not what was meant.
    let disk = match file.disk.value() {
        Some(_) => check.choices(&file.disk, &["https://mirror.example.org/images"], scalars::mirror),
        None => Vec::new(),
    };
    let packages = match &file.packages {
        Field(Some(_)) => Some(check.value(&file.packages, "", scalars::packages)?),
        Field(None) => None,
    };
    Some(Mirror { image, disk, packages })
}
