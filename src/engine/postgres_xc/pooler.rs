//! The pooler of a coordinator, when a server has lost its power.
//!
//! Its connections to that server look alive until something is sent over them. A session that used `SET` and is given one
//! waits for ever, with its locks: the pooler sends the setting (`PGXCNodeSendSetQuery` in pgxcnode.c), which finds the
//! connection broken and closes it, tells nobody, and hands over a socket that is -1 (`pool_sendfds` in poolcomm.c), which
//! fails, and is told to nobody either. Neither a timeout nor `pg_terminate_backend` ends such a session.

/// How often a new pooler is looked for after the old one was told to end, ten times a second at the most.
const ENDS: usize = 30;
/// The same after it was killed: a coordinator that starts afresh takes seconds in an emulated guest.
const RESTARTS: usize = 150;

/// A script that has the postmaster of a coordinator start another pooler, which has no connections. Told to end, the pooler
/// closes its sockets (`PoolerLoop` in poolmgr.c): sessions that wait for it fail ("Failed to get pooled connections"), those
/// that have their connections go on until they need another one, and to the postmaster it is an orderly end. One that waits for
/// an answer that never comes (`PQgetResult` without a limit) does not listen; killed, it has the postmaster end all
/// sessions of the coordinator and start afresh (`HandleChildCrash` in postmaster.c).
pub(super) fn renew(directory: &str) -> String {
    script(directory, ENDS, RESTARTS)
}

fn script(directory: &str, ends: usize, restarts: usize) -> String {
    format!(
        "(
read -r postmaster _ <{directory}/postmaster.pid
pooler() {{ pgrep -P \"$postmaster\" -f 'pooler process'; }}
before=$(pooler)
for signal in TERM:{ends} QUIT:{restarts}; do
    [ -z \"$before\" ] || kill -s ${{signal%:*}} \"$before\" 2>/dev/null
    n=0
    while [ $n -lt ${{signal#*:}} ]; do
        now=$(pooler) && [ \"$now\" != \"$before\" ] && exit 0
        n=$((n + 1))
        sleep 0.1
    done
done
echo 'the pooler of {directory} does not end' >&2
exit 1
) || exit 1
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        process::Command,
        time::{Duration, Instant},
    };

    /// A postmaster of which the tests need only that it starts another pooler when one ends. With job control, since bash has
    /// its other children ignore SIGQUIT.
    const POSTMASTER: &str = "set -m; trap 'kill $!' EXIT; while :; do \
        bash -c 'trap \"\" $0; exec -a \"postgres: pooler process\" sleep 60' \"$0\" & wait; done";

    /// Looks for a new pooler, where one is to come: it comes late where all cores are busy.
    const PATIENT: usize = 300;
    /// Looks where none is to come.
    const FEW: usize = 10;

    /// Whether another pooler takes over from one that is deaf to a signal, with so many looks after TERM and after QUIT.
    fn takes_over(deaf_to: &str, ends: usize, restarts: usize) -> bool {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().display().to_string();
        // Whoever runs the tests in the background of a shell has it ignore SIGQUIT, which bash then cannot undo.
        let bash = ["--default-signal=QUIT", "bash", "-c", POSTMASTER, deaf_to];
        let mut postmaster = Command::new("env").args(bash).spawn().expect("a postmaster");
        fs::write(directory.path().join("postmaster.pid"), format!("{}\n{path}\n", postmaster.id())).expect("a file");
        let pooler = || {
            let parent = postmaster.id().to_string();
            let found = Command::new("pgrep").args(["-P", &parent, "-f", "^postgres: pooler"]).output();
            String::from_utf8(found.expect("pgrep runs").stdout).expect("a number").trim().to_owned()
        };
        let begun = Instant::now();
        while pooler().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "no pooler begins");
        }
        let before = pooler();
        let status = Command::new("sh").args(["-c", &script(&path, ends, restarts)]).status().expect("sh runs");
        let parent = postmaster.id().to_string();
        let after = pooler();
        assert!(Command::new("kill").arg(&parent).status().expect("kill runs").success());
        // Its trap ends the pooler.
        let _ = Command::new("kill").args(["-s", "KILL", &after]).status();
        postmaster.wait().expect("it ends");
        status.success() && before != after
    }

    #[test]
    fn another_pooler_takes_over() {
        assert!(takes_over("USR1", PATIENT, FEW));
    }

    #[test]
    fn a_pooler_that_does_not_listen_is_killed() {
        assert!(takes_over("TERM", FEW, PATIENT));
    }

    #[test]
    fn one_that_cannot_be_ended_is_told() {
        assert!(!takes_over("TERM QUIT", FEW, FEW));
    }
}
