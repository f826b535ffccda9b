//! The pooler of a coordinator, when a server has lost its power.
//!
//! Its connections to that server look alive until something is sent over them. A session that used `SET` and is given one
//! waits for ever, with its locks: the pooler sends the setting (`PGXCNodeSendSetQuery` in pgxcnode.c), which finds the
//! connection broken and closes it, tells nobody, and hands over a socket that is -1 (`pool_sendfds` in poolcomm.c), which
//! fails, and is told to nobody either. Neither a timeout nor `pg_terminate_backend` ends such a session.

/// A script that has the postmaster of a coordinator start another pooler, which has no connections. Told to end, the pooler
/// closes its sockets (`PoolerLoop` in poolmgr.c): sessions that wait for it fail ("Failed to get pooled connections"), those
/// that have their connections go on until they need another one. An orderly end of the pooler is no crash to the postmaster.
pub(super) fn renew(directory: &str) -> String {
    format!(
        "read -r postmaster _ <{directory}/postmaster.pid
pooler() {{ pgrep -P \"$postmaster\" -f 'pooler process'; }}
before=$(pooler) && kill -s TERM \"$before\"
n=0
until now=$(pooler) && [ \"$now\" != \"$before\" ]; do
    n=$((n + 1))
    [ $n -le 300 ] || {{ echo 'the pooler of {directory} does not end' >&2; exit 1; }}
    sleep 0.1
done
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    /// A postmaster of which the test needs only that it starts another pooler when one ends.
    const POSTMASTER: &str =
        "for pooler in 1 2; do bash -c 'exec -a \"postgres: pooler process\" sleep 60' & wait; done";

    #[test]
    fn another_pooler_takes_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().display().to_string();
        let mut postmaster = Command::new("bash").args(["-c", POSTMASTER]).spawn().expect("a postmaster");
        fs::write(directory.path().join("postmaster.pid"), format!("{}\n{path}\n", postmaster.id())).expect("a file");
        let poolers = || {
            let found = Command::new("pgrep").args(["-P", &postmaster.id().to_string()]).output().expect("pgrep runs");
            String::from_utf8(found.stdout).expect("numbers")
        };
        let script = renew(&path);
        // Until the first one has its name.
        let begun = std::time::Instant::now();
        while !Command::new("pgrep")
            .args(["-P", &postmaster.id().to_string(), "-f", "pooler process"])
            .status()
            .expect("pgrep runs")
            .success()
        {
            assert!(begun.elapsed().as_secs() < 10, "no pooler");
        }
        let before = poolers();
        assert!(Command::new("sh").args(["-euc", &script]).status().expect("sh runs").success());
        let after = poolers();
        assert_ne!(before, after);
        assert_eq!(after.lines().count(), 1);
        postmaster.kill().expect("it ends");
        postmaster.wait().expect("it ends");
        let _ = Command::new("kill").arg(after.trim()).status();
    }
}
