//! Somebody who lets the guests go on when the run that made them stand still is gone: a process of its own, since
//! `kill -9` asks nobody.
//!
//! It waits at a pipe. A word through it means that all is well; its end without the word means that the run died or
//! failed, and then every guest that ran before runs again.

use crate::{
    error::{Class, Error, Result, ResultExt},
    host::{Exports, Host, LabDir},
    hypervisor::{DomainState, Libvirt, memory},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::Stdio,
    thread,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

/// The word that all is well.
const DISMISSED: &str = "dismissed";
/// How long the guardian may take to let everything go on.
const RECOVERS: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Charge {
    /// Domains that ran.
    running: Vec<String>,
}

/// A guardian at its post.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
}

impl Guardian {
    /// Posts a guardian for these domains of a lab. From here on they may be paused.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn post(lab: &LabDir, running: &[String]) -> Result<Guardian> {
        let program = std::env::current_exe().or_error(Class::Host, || "cannot find this program's own file".into())?;
        let log = lab.join("logs/guardian.log");
        let cannot = || "cannot start the guests' guardian".to_owned();
        let errors = File::options().create(true).append(true).open(&log).or_error(Class::Host, cannot)?;
        let mut child = Command::new(program)
            .args(["internal-guardian".as_ref(), lab.path().as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(errors)
            // An interruption of the terminal is for the run; the guardian only hears of its end.
            .process_group(0)
            .spawn()
            .or_error(Class::Host, cannot)?;
        let mut charge =
            serde_json::to_string(&Charge { running: running.to_vec() }).or_error(Class::Internal, cannot)?;
        charge.push('\n');
        if let Some(pipe) = &mut child.stdin {
            pipe.write_all(charge.as_bytes()).await.or_error(Class::Host, cannot)?;
        }
        Ok(Guardian { child })
    }

    /// All guests run again: nothing is left to guard.
    pub async fn dismiss(mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            // A guardian that is gone needs no word.
            let _ = pipe.write_all(DISMISSED.as_bytes()).await;
        }
        let _ = self.child.wait().await;
    }

    /// Has the guardian let everything go on, and waits until it did.
    ///
    /// # Errors
    /// When it could not: its words.
    pub async fn recover(mut self, lab: &LabDir) -> Result<()> {
        drop(self.child.stdin.take());
        let failed = |what: String| {
            let log = std::fs::read_to_string(lab.join("logs/guardian.log")).unwrap_or_default();
            Error::new(Class::Guest, what)
                .evidence(crate::host::last_lines(&log, 10))
                .hint("`pgxc-lab status` shows which guests are paused; `pgxc-lab up` lets them go on")
        };
        match tokio::time::timeout(RECOVERS, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(_) => Err(failed("not every guest goes on".into())),
            Err(_) => Err(failed(format!("not every guest goes on within {} s", RECOVERS.as_secs()))),
        }
    }
}

/// The guardian's own life, in a process of its own.
///
/// # Errors
/// When a guest cannot be let go on.
pub fn watch(directory: &Path) -> Result<()> {
    let cannot = || "cannot hear what to guard".to_owned();
    let mut pipe = BufReader::new(std::io::stdin());
    let mut line = String::new();
    pipe.read_line(&mut line).or_error(Class::Internal, cannot)?;
    let charge: Charge = serde_json::from_str(&line).or_error(Class::Internal, cannot)?;
    let mut word = String::new();
    pipe.read_to_string(&mut word).or_error(Class::Internal, cannot)?;
    if word == DISMISSED {
        return Ok(());
    }
    let lab = LabDir::at(directory);
    let Some(host) = Host::find(&lab) else { return Ok(()) };
    eprintln!("the run ended in the middle: {} go on", charge.running.join(", "));
    // The exports first: a guest that runs again writes to them.
    let thawed = Exports::new(&lab, &host).thaw_blocking();
    let guests: Vec<_> = charge
        .running
        .into_iter()
        .map(|name| {
            let uri = host.libvirt_uri();
            // One that does not listen must not hold up the others.
            thread::spawn(move || let_go_on(&uri, &name))
        })
        .collect();
    let mut outcome = thawed;
    for guest in guests {
        let ended = guest.join().unwrap_or_else(|_| Err(Error::new(Class::Internal, "the guardian made a mistake")));
        outcome = outcome.and(ended);
    }
    outcome
}

fn let_go_on(uri: &str, name: &str) -> Result<()> {
    let libvirt = Libvirt::open(uri)?;
    let seen = libvirt.state(name)?;
    if !matches!(seen, DomainState::Running | DomainState::Paused) {
        return Ok(());
    }
    memory::cancel(&libvirt, name)?;
    if libvirt.state(name)? == DomainState::Paused {
        libvirt.resume(name)?;
    }
    Ok(())
}
