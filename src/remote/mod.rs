//! A shell on a guest.

mod keys;
mod profile;
mod ssh;

pub use keys::Keys;
pub use profile::SshProfile;
pub use ssh::{Output, Ssh};
