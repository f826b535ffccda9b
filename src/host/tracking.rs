//! What a guest's chronyd says of its clock, asked from the gateway: without a login, which costs an emulated guest seconds,
//! and also where no database is.

use super::{Host, run};
use crate::{
    error::{Class, Result},
    lab::Node,
};

/// How right a clock is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracking {
    /// When a time server was last looked at, in seconds since 1970 by the guest's own clock.
    pub looked: f64,
    /// How far off the clock is, in seconds.
    pub offset: f64,
    /// Whether a time server is followed.
    pub follows: bool,
}

impl Tracking {
    /// Asks a guest; the answer is chronyd's report as it came.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ask(host: &Host, node: &Node) -> Result<String> {
        let mut ask = host.command("chronyc");
        ask.args(["-n", "-c", "-h", &node.address.to_string(), "tracking"]);
        run(ask, &format!("ask `{}` for its time", node.name), Class::Guest).await
    }

    /// Reads a report (`tracking` as CSV): reference id, its name, stratum, time of the last look, offset of the system's
    /// clock, …, and whether somebody is followed.
    pub fn read(report: &str) -> Option<Tracking> {
        let fields: Vec<&str> = report.trim().split(',').collect();
        let number = |place: usize| fields.get(place)?.parse().ok();
        Some(Tracking { looked: number(3)?, offset: number(4)?, follows: *fields.last()? != "Not synchronised" })
    }
}
