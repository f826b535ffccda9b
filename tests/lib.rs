//! All tests above the units, in one binary.

mod config;
mod download;
mod e2e;
mod help;
