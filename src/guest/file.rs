//! A file in a guest.

/// A file that a guest must have, with owner and mode.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct GuestFile {
    /// Absolute path in the guest.
    pub path: String,
    /// Permission bits, e.g. `0o644`.
    pub mode: u32,
    /// uid and gid of the owner.
    pub owner: u32,
    /// What is in it.
    pub content: Content,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub enum Content {
    /// A regular file with this text.
    Text(String),
    /// A symbolic link to this path.
    Link(String),
    /// A directory.
    Directory,
}

impl GuestFile {
    /// A file of root's that everyone may read.
    pub fn text(path: impl Into<String>, text: impl Into<String>) -> GuestFile {
        GuestFile { path: path.into(), mode: 0o644, owner: 0, content: Content::Text(text.into()) }
    }

    /// A symbolic link.
    pub fn link(path: impl Into<String>, target: impl Into<String>) -> GuestFile {
        GuestFile { path: path.into(), mode: 0o777, owner: 0, content: Content::Link(target.into()) }
    }

    /// A directory with a mode.
    pub fn directory(path: impl Into<String>, mode: u32) -> GuestFile {
        GuestFile { path: path.into(), mode, owner: 0, content: Content::Directory }
    }

    /// The same with another mode.
    pub fn mode(self, mode: u32) -> GuestFile {
        GuestFile { mode, ..self }
    }

    /// The same with another owner (uid = gid).
    pub fn owned_by(self, owner: u32) -> GuestFile {
        GuestFile { owner, ..self }
    }
}
