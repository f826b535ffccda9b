//! Where an image comes from in this lab, instead of the places that its definition names.

/// Places for one image. What comes out of a bake does not depend on them, so no digest has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Name of the image.
    pub image: String,
    /// Where the publisher's disk is mirrored, in order of preference: URLs, or directories of this host. Empty: where the
    /// definition says.
    pub disk: Vec<String>,
    /// The http(s) URL below which the guests' packages are, in the form of the distribution's own mirrors; `None`: where
    /// the definition says.
    pub packages: Option<String>,
}
