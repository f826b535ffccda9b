//! A shell on a guest.

mod keys;
mod ssh;

pub use keys::Keys;
pub use ssh::{Output, Ssh};
