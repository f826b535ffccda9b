//! Daemons of a lab on a machine that may run others of the same name: known by an argument that no other has,
//! since it names the lab's directory.

use crate::error::{Class, Error, Result, ResultExt};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs, thread,
    time::{Duration, Instant},
};

/// How long one may take to end by itself.
const ENDS: Duration = Duration::from_secs(10);

/// A daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// Its program, as its first argument names it.
    pub program: String,
    /// Another argument, or the end of one: a path in the lab's directory.
    pub word: String,
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "daemon {} with `{}`", self.program, self.word)
    }
}

impl Daemon {
    /// Its processes.
    pub fn processes(&self) -> Vec<i32> {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| self.is(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())).collect()
    }

    /// Whether it is who was started with this command line.
    fn is(&self, command_line: &[u8]) -> bool {
        let mut words = command_line.split(|byte| *byte == 0);
        let program = words.next().unwrap_or_default().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        program == self.program.as_bytes()
            && words.any(|word| {
                // chronyd takes its directives apart where they stand.
                word.strip_suffix(self.word.as_bytes())
                    .is_some_and(|before| before.is_empty() || before.ends_with(b" "))
            })
    }

    /// Ends it: at first it is asked.
    ///
    /// # Errors
    /// When a process of it does not end.
    pub fn end(&self) -> Result<()> {
        let mut signal = Signal::SIGTERM;
        loop {
            let deadline = Instant::now() + ENDS;
            for pid in self.processes() {
                match kill(Pid::from_raw(pid), signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    refused => refused.or_error(Class::Host, || format!("cannot end the {self}"))?,
                }
            }
            while !self.processes().is_empty() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(20));
            }
            match (self.processes().is_empty(), signal) {
                (true, _) => return Ok(()),
                (false, Signal::SIGTERM) => signal = Signal::SIGKILL,
                (false, _) => return Err(Error::new(Class::Host, format!("the {self} does not end"))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_one_of_the_same_program_is_not_it() {
        let daemon = Daemon { program: "chronyd".into(), word: "/labs/a/chrony.conf".into() };
        for (ours, command_line) in [
            (true, "/usr/sbin/chronyd\0-x\0-f\0/labs/a/chrony.conf\0"),
            (true, "chronyd\0-f\0/labs/a/chrony.conf\0"),
            (true, "chronyd\0allow 10.0.0.0 8\0logdir /labs/a/chrony.conf\0"),
            (false, "chronyd\0logdir /other/labs/a/chrony.conf\0"),
            (false, "/usr/sbin/chronyd\0-n\0"),
            (false, "/usr/sbin/chronyd\0-f\0/labs/a/chrony.conf.old\0"),
            (false, "vi\0/labs/a/chrony.conf\0"),
            (false, ""),
        ] {
            assert_eq!(daemon.is(command_line.as_bytes()), ours, "{command_line:?}");
        }
    }

    #[test]
    fn only_the_daemon_of_this_configuration_is_ended() {
        let start = |name: &str| {
            let mut command = std::process::Command::new("sleep");
            // `sleep` adds up what it is given.
            std::os::unix::process::CommandExt::arg0(&mut command, "lab-sleep").args(["1000", name]);
            command.spawn().expect("sleep runs")
        };
        let (mut ours, mut theirs) = (start("2000"), start("3000"));
        let daemon = Daemon { program: "lab-sleep".into(), word: "2000".into() };
        let until = Instant::now() + ENDS;
        while daemon.processes().is_empty() {
            assert!(Instant::now() < until, "the process does not show");
        }
        let reaper = thread::spawn(move || ours.wait().expect("it ends"));
        daemon.end().expect("it can be ended");
        assert!(!reaper.join().expect("no panic").success());
        assert!(theirs.try_wait().expect("it can be asked").is_none(), "the other one runs");
        theirs.kill().and_then(|()| theirs.wait().map(drop)).expect("it ends");
    }
}
