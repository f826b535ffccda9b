//! Init scripts of the components, for guests without systemd: the same frame as the units of unit.rs, from the same
//! description. What they have in common is `service.sh`, a file of every such guest.

use super::unit::{Stop, Unit};
use crate::{
    guest::{GuestFile, SCRIPTS, quoted, script_name},
    lab::{Lab, Role},
};

/// The common part in a guest.
const FRAME: &str = "/usr/lib/pgxc-lab/service.sh";
/// Numbers of the first script: behind netfs (25), which mounts the export, and sshd (55); scripts of later kinds follow.
const FIRST_START: u8 = 91;
/// The last one to be stopped, before netfs (75).
const LAST_STOP: u8 = 9;

/// An init script with its place among the others.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct InitScript {
    /// Its text.
    pub text: String,
    /// Two digits: scripts start in the order of these.
    pub starts: u8,
    /// Two digits: and end in that of these.
    pub stops: u8,
}

impl Unit<'_> {
    /// The init script of this unit, which has this name. Limits are those of limits.conf: `runuser` asks PAM for them.
    pub(crate) fn script(&self, unit: &str, lab: &Lab) -> InitScript {
        let name = script_name(unit);
        let place = Role::ALL.iter().position(|role| *role == self.role).unwrap_or_default() as u8;
        let (starts, stops) = (FIRST_START + place, LAST_STOP - place);
        let after: String = self.after.iter().map(|unit| format!(" {}", script_name(unit))).collect();
        let stale: String = self.stale.iter().map(|file| format!(" {}/{file}", self.directory)).collect();
        let environment: String = self.environment.iter().map(|variable| format!(" {}", quoted(variable))).collect();
        let (signal, restart) = match self.stop {
            Stop::Fast => ("INT", "on-failure"),
            Stop::Terminate => ("TERM", "always"),
        };
        let text = format!(
            "#!/bin/bash\n# Written by pgxc-lab.\n#\n# chkconfig: 345 {starts} {stops:02}\n# description: {description}\n\
             ### BEGIN INIT INFO\n# Provides: {name}\n# Required-Start: $network $remote_fs{after}\n\
             # Required-Stop: $network $remote_fs{after}\n# Default-Start: 3 4 5\n# Default-Stop: 0 1 2 6\n\
             # Short-Description: {description}\n### END INIT INFO\n\
             name={name}\nuser={user}\ndirectory={directory}\nsignal={signal}\nrestart={restart}\nstale=({stale})\n\
             environment=({environment})\ncommand={command}\nbeside={beside}\n\
             ready() {{\n  {checks}\n  {wait}\n}}\n. \"${{ROOT-}}{FRAME}\"\n",
            description = self.description,
            user = lab.guest.user,
            directory = self.directory,
            stale = stale.trim_start(),
            environment = environment.trim_start(),
            command = quoted(&self.command),
            beside = quoted(self.beside.as_deref().unwrap_or_default()),
            checks = self.checks(lab),
            wait = self.wait.as_deref().unwrap_or(":"),
        );
        InitScript { text, starts, stops }
    }
}

/// The files of a guest that has these scripts, by the names of their units: each with its links of the runlevels.
pub(crate) fn files(scripts: Vec<(String, InitScript)>) -> Vec<GuestFile> {
    let mut files = vec![GuestFile::text(FRAME, include_str!("service.sh"))];
    for (unit, script) in scripts {
        let name = script_name(&unit);
        for level in 0..=6 {
            let (letter, number) = if matches!(level, 3..=5) { ('S', script.starts) } else { ('K', script.stops) };
            let link = format!("/etc/rc.d/rc{level}.d/{letter}{number:02}{name}");
            files.push(GuestFile::link(link, format!("../init.d/{name}")));
        }
        files.push(GuestFile::text(format!("{SCRIPTS}/{name}"), script.text).mode(0o755));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{self, Engine, PostgresXc, fixture::document, unit::GUARD},
        guest::{Content, System},
    };
    use std::{
        fs,
        os::unix::fs::PermissionsExt,
        path::Path,
        process::{Command, Output},
        time::{Duration, Instant},
    };

    /// A guest without systemd that is a directory, with one component whose server is a `sleep` by the name of `gtm`.
    struct Guest {
        root: tempfile::TempDir,
    }

    impl Guest {
        fn new() -> Guest {
            let guest = Guest { root: tempfile::tempdir().expect("a directory") };
            let root = guest.root.path().display().to_string();
            let mut lab = document();
            lab.nfs.mount = format!("{root}/data02");
            let me = Command::new("id").arg("-un").output().expect("id is there").stdout;
            lab.guest.user = String::from_utf8_lossy(&me).trim().parse().expect("a user");
            let directory = format!("{root}/data02/gtm");
            let unit = Unit {
                role: Role::Gtm,
                description: "a test".into(),
                after: Vec::new(),
                mounts: Vec::new(),
                directory: &directory,
                proof: "gtm.conf",
                pid_file: "gtm.pid",
                stale: vec!["gtm.opts"],
                environment: vec!["GREETING=it's so".into(), "LANG=C".into()],
                wait: None,
                command: format!("sh -c 'cd {directory} && echo \"$GREETING\" >greeting && exec {root}/bin/gtm 600'"),
                beside: Some(format!("sh -c 'echo beside >{directory}/beside'")),
                listening: None,
                stop: Stop::Terminate,
                stack_depth: None,
            };
            let script = unit.script("pgxc-gtm.service", &lab);
            for file in files(vec![("pgxc-gtm.service".into(), script)]) {
                if let Content::Text(text) = file.content {
                    guest.put(&file.path, &text, file.mode);
                }
            }
            // As the real one it stays beside its command.
            guest.put("/bin/runuser", "#!/bin/bash\n[ \"$1$2$4\" = -s/bin/bash-c ] && bash -c \"$5\"\n", 0o755);
            guest.put("/data02/gtm/gtm.conf", "port = 1\n", 0o644);
            guest.put("/data02/gtm/gtm.opts", "left\n", 0o644);
            fs::copy("/bin/sleep", guest.path("/bin/gtm")).expect("a program");
            guest
        }

        fn path(&self, path: &str) -> std::path::PathBuf {
            self.root.path().join(path.trim_start_matches('/'))
        }

        fn put(&self, path: &str, text: &str, mode: u32) {
            let path = self.path(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(&path, text).expect("a file");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
        }

        fn call(&self, verb: &str) -> Output {
            let path = format!("{}:{}", self.path("/bin").display(), std::env::var("PATH").unwrap_or_default());
            let script = self.path("/etc/rc.d/init.d/pgxc-gtm");
            let mut command = Command::new(script);
            command.arg(verb).env("PATH", path).env("ROOT", self.root.path()).env("PGXC_LAB_PAUSE", "0.1");
            command.output().expect("it runs")
        }

        /// The server's process.
        fn server(&self) -> Option<String> {
            let pid = fs::read_to_string(self.path("/var/run/pgxc-lab/pgxc-gtm.server")).ok()?.trim().to_owned();
            let stat = fs::read_to_string(Path::new("/proc").join(&pid).join("stat")).ok()?;
            stat.contains(" (gtm) ").then_some(pid)
        }

        fn log(&self) -> String {
            fs::read_to_string(self.path("/var/log/pgxc-lab/pgxc-gtm.log")).unwrap_or_default()
        }

        #[track_caller]
        fn until(&self, what: &str, holds: impl Fn() -> bool) {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !holds() {
                assert!(Instant::now() < deadline, "{what} is awaited in vain; the log:\n{}", self.log());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    impl Drop for Guest {
        fn drop(&mut self) {
            self.call("kill");
        }
    }

    #[test]
    fn a_script_keeps_its_server_until_it_is_told_to_stop() {
        let guest = Guest::new();
        let said = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let status = guest.call("status");
        assert_eq!((status.status.code(), said(&status)), (Some(3), "stopped".into()));

        // Not before the export is mounted, and as long as it takes.
        let started = guest.call("start");
        assert!(started.status.success(), "{started:?}");
        guest.until("the refusal", || guest.log().matches("is not this node's export").count() > 1);
        assert_eq!(guest.server(), None);
        assert_eq!(said(&guest.call("status")), "running");

        guest.put(&format!("/data02/{GUARD}"), "", 0o644);
        guest.until("the server", || guest.server().is_some());
        assert!(!guest.path("/data02/gtm/gtm.opts").exists(), "what a crash left is still there");
        guest.until("its environment", || {
            fs::read_to_string(guest.path("/data02/gtm/greeting")).is_ok_and(|text| text == "it's so\n")
        });
        guest.until("what runs beside it", || guest.path("/data02/gtm/beside").exists());
        assert!(guest.path("/var/lock/subsys/pgxc-gtm").exists(), "without it no shutdown would stop the server");

        // A second start is none; a server that ends is started again.
        let first = guest.server().expect("it runs");
        guest.call("start");
        assert_eq!(guest.server().as_ref(), Some(&first));
        Command::new("kill").args(["-9", &first]).status().expect("kill is there");
        guest.until("another server", || guest.server().is_some_and(|pid| pid != first));

        guest.put("/data02/gtm/gtm.opts", "it listens\n", 0o644);
        let second = guest.server().expect("it runs");
        let stopped = guest.call("stop");
        assert!(stopped.status.success(), "{stopped:?}");
        assert!(!Path::new("/proc").join(second).exists() && guest.server().is_none());
        assert!(!guest.path("/data02/gtm/gtm.opts").exists() && !guest.path("/var/lock/subsys/pgxc-gtm").exists());
        assert_eq!(guest.call("status").status.code(), Some(3));

        guest.call("start");
        guest.until("the server", || guest.server().is_some());
        let third = guest.server().expect("it runs");
        assert!(guest.call("kill").status.success());
        // A signal that cannot be caught still takes a moment.
        guest.until("its end", || !Path::new("/proc").join(&third).exists());
        assert_eq!(guest.call("status").status.code(), Some(3));
    }

    /// Links of a runlevel in their order, without letter and number.
    fn order(files: &[GuestFile], level: u8) -> Vec<String> {
        let directory = format!("/etc/rc.d/rc{level}.d/");
        let mut links: Vec<&str> = files.iter().filter_map(|file| file.path.strip_prefix(&directory)).collect();
        links.sort_unstable();
        links.iter().map(|link| link[3..].to_owned()).collect()
    }

    #[test]
    fn scripts_start_and_stop_in_order() {
        let lab = document();
        let files = engine::guest_files(&PostgresXc, System::El5, &lab, &lab.nodes[2]);
        let expected = ["pgxc-gtm-proxy", "pgxc-datanode", "pgxc-coordinator"];
        assert_eq!(order(&files, 3), expected);
        let stops: Vec<&str> = expected.iter().rev().copied().collect();
        for level in [0, 1, 6] {
            assert_eq!(order(&files, level), stops);
        }
        // chkconfig tells the same of itself.
        let text = &PostgresXc.component(&lab, lab.placed(Role::Datanode)[0]).script.text;
        assert!(text.contains("\n# chkconfig: 345 94 06\n"), "{text}");
        for file in &files {
            assert!(!file.path.contains("systemd"), "{}", file.path);
        }
    }

    #[test]
    fn shellcheck_is_content_with_every_script() {
        let lab = document();
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("shellcheck");
        command.arg("--severity=warning");
        for node in &lab.nodes[..3] {
            for component in engine::components(&PostgresXc, &lab, node) {
                let (own, _) = component.script.text.split_once("\n. \"").expect("it sources the frame");
                let path = directory.path().join(format!("{}-{}", node.name, component.unit));
                fs::write(&path, format!("{own}\n{}", include_str!("service.sh"))).expect("a file");
                command.arg(path);
            }
        }
        match command.output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
            Err(_) => eprintln!("shellcheck is not installed: not checked"),
        }
    }
}
