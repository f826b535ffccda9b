//! Trouble of an engine's own that is over when it is asked again: one rule, for the proof and for `verify`.

use crate::error::{Error, Result};
use std::time::{Duration, Instant};

/// What Postgres-XC 1.0.2 says when the connection to the GTM broke since the last statement of a process (seen when the
/// host stalls, and once in ten first starts); it connects anew for the next one.
const TRANSIENT: &str = "GTM error, could not obtain";
/// What a coordinator of Postgres-XC 1.0.2 says when its pooler gave it a connection to a server that is not there any more: one
/// to a guest that lost its power breaks only when it is used, and goes then.
const STALE: [&str; 2] = ["Could not begin transaction on", "Failed to get pooled connections"];
/// How often something begins at the most that can begin anew.
pub const TRIES: usize = 3;
/// How long before it begins anew.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether words of a server tell of such trouble.
pub fn is_transient(words: &str) -> bool {
    words.contains(TRANSIENT)
}

/// Makes an attempt, and again when it met with such trouble. Whatever it does must begin anew as if nothing had been.
///
/// # Errors
/// Of the last attempt.
pub async fn retried<T, F: Future<Output = Result<T>>>(
    mut attempt: impl FnMut() -> F,
    told: impl Fn(&Error),
) -> Result<T> {
    let mut left = TRIES;
    loop {
        left -= 1;
        match attempt().await {
            Err(error) if left > 0 && is_transient(&error.to_string()) => {
                told(&error);
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

/// The same, and as long as it meets with connections of before in a coordinator's pool; for so long at the most.
///
/// # Errors
/// Of the last attempt.
pub async fn reached<T, F: Future<Output = Result<T>>>(
    patience: Duration,
    mut attempt: impl FnMut() -> F,
    told: impl Fn(&Error),
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match retried(&mut attempt, &told).await {
            Err(error) if Instant::now() < deadline && is_stale(&error.to_string()) => {
                told(&error);
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

fn is_stale(words: &str) -> bool {
    STALE.iter().any(|stale| words.contains(stale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;

    async fn tries(words: &str, bad: usize) -> (usize, bool) {
        let mut made = 0;
        let outcome = retried(
            || {
                made += 1;
                let error = Error::new(Class::Cluster, "`drop table` failed").evidence(words);
                std::future::ready(if made <= bad { Err(error) } else { Ok(()) })
            },
            |_| {},
        );
        let good = outcome.await.is_ok();
        (made, good)
    }

    /// How often it was tried when the first ones met with these words, and whether it went well.
    async fn reaches(words: &str, bad: usize, patience: Duration) -> (usize, bool) {
        let mut made = 0;
        let attempt = || {
            made += 1;
            let error = Error::new(Class::Cluster, "`drop table` failed").evidence(words);
            std::future::ready(if made <= bad { Err(error) } else { Ok(()) })
        };
        let good = reached(patience, attempt, |_| {}).await.is_ok();
        (made, good)
    }

    #[tokio::test]
    async fn connections_of_before_are_used_up_and_nothing_else_is_waited_for() {
        let long = Duration::from_secs(60);
        assert_eq!(reaches("ERROR: Could not begin transaction on Datanodes (XX000)", 4, long).await, (5, true));
        assert_eq!(reaches("ERROR: Failed to get pooled connections (53000)", 5, Duration::ZERO).await, (1, false));
        assert_eq!(reaches("ERROR: permission denied", 1, long).await, (1, false));
    }

    #[tokio::test]
    async fn only_passing_trouble_is_tried_again_and_not_for_ever() {
        let passing = "ERROR: GTM error, could not obtain snapshot (XX000)";
        assert_eq!(tries(passing, 1).await, (2, true));
        assert_eq!(tries(passing, 9).await, (TRIES, false));
        assert_eq!(tries("ERROR: out of memory (53200)", 1).await, (1, false));
    }
}
