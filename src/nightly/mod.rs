//! Nightly rebuilds: what a run leaves behind, and what many runs tell together.
//!
//! [`run`] does one run, [`record`] is what it leaves, [`history`] keeps it, [`trend`] judges it, [`report`] shows it,
//! [`notify`] tells of it, [`crate::evidence`] gathers what a failure leaves, [`schedule`] has all of it happen every night.

pub mod admission;
mod columns;
pub mod history;
mod link;
pub mod notify;
mod picture;
pub mod record;
pub mod report;
pub mod run;
pub mod schedule;
pub mod since;
pub mod trend;
pub mod unit;

pub use history::History;
pub use record::{Outcome, Recorder, RunRecord, RunSpan, Slow};
