//! A host that a test plays: `host.sh` in namespaces of its own.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

/// It.
pub struct Host {
    script: Child,
    pid: String,
    directory: tempfile::TempDir,
    play: [String; 2],
}

impl Host {
    /// One that a script beside this file, with an argument, makes something of.
    pub fn start(script: &str, argument: &str) -> Host {
        let directory = tempfile::Builder::new().prefix("e2ehost").tempdir_in("/var/tmp").expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let play = [format!("{}/tests/e2e/{script}", env!("CARGO_MANIFEST_DIR")), argument.to_owned()];
        let (script, pid) = started(&directory, &play);
        Host { script, pid, directory, play }
    }

    /// The same after a crash.
    pub fn crash_and_start(&mut self) {
        self.crash();
        (self.script, self.pid) = started(&self.directory, &self.play);
    }

    /// Whatever runs on it ends at once.
    pub fn crash(&mut self) {
        // The end of its input is its end.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }

    /// Its first process, seen from here.
    pub fn pid(&self) -> &str {
        &self.pid
    }

    /// How a command comes to run on it.
    pub fn entry(&self) -> Vec<String> {
        let target = format!("--target={}", self.pid);
        ["nsenter", &target, "--net", "--mount", "--pid", "--ipc", "--uts", "--wd=/", "--"].map(str::to_owned).to_vec()
    }

    /// Runs a script on it.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        let entry = self.entry();
        let output = Command::new(&entry[0]).args(&entry[1..]).args(["bash", "-c", script]).output().expect("it runs");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn started(directory: &tempfile::TempDir, play: &[String]) -> (Child, String) {
    let mut script = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "bash"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/host.sh"))
        .arg(directory.path())
        .args(play)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    let mut ready = String::new();
    BufReader::new(script.stdout.take().expect("a pipe")).read_line(&mut ready).expect("it says something");
    assert_eq!(ready.trim(), "ready", "the host does not come up");
    let child = Command::new("pgrep").args(["-P", &script.id().to_string()]).output().expect("pgrep runs");
    let pid = String::from_utf8_lossy(&child.stdout).trim().to_owned();
    (script, pid)
}

impl Drop for Host {
    fn drop(&mut self) {
        self.crash();
    }
}
