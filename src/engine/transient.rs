//! Trouble of an engine's own that is over when it is asked again: one rule, for the proof and for `verify`.

use crate::error::{Error, Result};
use std::time::Duration;

/// What Postgres-XC 1.0.2 says when the connection to the GTM broke since the last statement of a process (seen when the
/// host stalls, and once in ten first starts); it connects anew for the next one.
const TRANSIENT: &str = "GTM error, could not obtain";
/// How often something begins at the most that can begin anew.
const TRIES: usize = 3;
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

    #[tokio::test]
    async fn only_passing_trouble_is_tried_again_and_not_for_ever() {
        let passing = "ERROR: GTM error, could not obtain snapshot (XX000)";
        assert_eq!(tries(passing, 1).await, (2, true));
        assert_eq!(tries(passing, 9).await, (TRIES, false));
        assert_eq!(tries("ERROR: out of memory (53200)", 1).await, (1, false));
    }
}
