//! `host: private`: the lab's own namespaces, from the outside.

use super::{holder::HolderId, paths::LabDir};
use crate::{
    error::{Class, Error, Result, ResultExt},
    file,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

/// How long the holder may take to prepare its mounts: milliseconds of work on an idle host.
const HOLDER_READY: Duration = Duration::from_secs(20);
/// How long the kernel may take to end everything in the pid namespace.
const HOLDER_GONE: Duration = Duration::from_secs(20);

/// A running private host.
#[derive(Clone, Debug)]
pub struct Private {
    lab: LabDir,
    id: HolderId,
}

impl Private {
    /// The lab's namespaces, if they exist.
    pub fn find(lab: &LabDir) -> Option<Private> {
        let text = fs::read_to_string(lab.holder()).ok()?;
        let id: HolderId = serde_json::from_str(&text).ok()?;
        (id.runs() && lab.run().join("ready").exists()).then(|| Private { lab: lab.clone(), id })
    }

    /// Makes the lab's namespaces.
    ///
    /// # Errors
    /// When the kernel refuses, with the holder's own words.
    pub async fn start(lab: &LabDir) -> Result<Private> {
        // A holder that was started but never became ready is of no use.
        end_holder(lab)?;
        for directory in ["logs", "disks", "keys"] {
            let directory = lab.join(directory);
            fs::create_dir_all(&directory)
                .or_error(Class::Host, || format!("cannot make `{}`", directory.display()))?;
        }
        let _ = fs::remove_file(lab.run().join("ready"));
        let program = std::env::current_exe().or_error(Class::Host, || "cannot find this program's own file".into())?;
        let output = tokio::process::Command::new(program)
            .args(["internal-host".as_ref(), lab.path().as_os_str()])
            .stdin(Stdio::null())
            .output()
            .await
            .or_error(Class::Host, || "cannot start the lab's holder".into())?;
        if !output.status.success() {
            return Err(Error::new(Class::Host, "the lab's namespaces could not be made")
                .evidence(String::from_utf8_lossy(&output.stderr).trim().to_owned())
                .hint("`pgxc-lab doctor` checks what this host allows"));
        }
        let deadline = Instant::now() + HOLDER_READY;
        loop {
            if let Some(host) = Private::find(lab) {
                return Ok(host);
            }
            if Instant::now() > deadline {
                let log = fs::read_to_string(lab.join("logs/holder.log")).unwrap_or_default();
                end_holder(lab)?;
                return Err(Error::new(Class::Host, "the lab's namespaces did not become ready")
                    .evidence(log.trim().to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The holder's process id, seen from the host.
    pub fn pid(&self) -> i32 {
        self.id.pid
    }

    /// An identity of this incarnation of the host: changes whenever the namespaces are made anew.
    pub fn incarnation(&self) -> String {
        self.id.incarnation()
    }

    /// A command that runs inside the lab.
    pub fn command(&self, program: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("nsenter");
        command
            .arg(format!("--target={}", self.id.pid))
            .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--wd=/", "--", program]);
        command
    }

    /// A path inside the lab's mount namespace, reachable from outside.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let mut outside = PathBuf::from(format!("/proc/{}/root", self.id.pid));
        outside.extend(path.components().skip(1));
        outside
    }

    /// The libvirt connection of the lab.
    pub fn libvirt_uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.lab.libvirt_socket().display())
    }
}

/// Ends the holder of a lab, if there is one, and with it everything that the lab runs.
///
/// # Errors
/// When it does not end.
pub fn end_holder(lab: &LabDir) -> Result<()> {
    let Some(text) = file::read_if_there(&lab.holder())? else { return Ok(()) };
    let Ok(id) = serde_json::from_str::<HolderId>(&text) else {
        return Err(Error::new(Class::Host, format!("`{}` is damaged", lab.holder().display()))
            .evidence(text)
            .hint("find the process `pgxc-lab internal-host` of this lab, end it, and remove the file"));
    };
    let deadline = Instant::now() + HOLDER_GONE;
    if id.runs() {
        kill(Pid::from_raw(id.pid), Signal::SIGKILL)
            .or_error(Class::Host, || format!("cannot end the lab's holder {}", id.pid))?;
    }
    while id.runs() {
        if Instant::now() > deadline {
            return Err(Error::new(Class::Host, format!("the lab's holder {} does not end", id.pid)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    fs::remove_file(lab.holder()).or_error(Class::Host, || format!("cannot remove `{}`", lab.holder().display()))
}

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// When it cannot be started or fails: what it was for and its last lines.
pub async fn run(mut command: tokio::process::Command, what: &str, class: Class) -> Result<String> {
    command.kill_on_drop(true);
    let output = command.output().await.or_error(class, || format!("cannot {what}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(Error::new(class, format!("cannot {what}: {}", output.status)).evidence(last_lines(&text, 20)))
}

/// The last lines of a text.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
