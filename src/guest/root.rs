//! For tests: a guest that is a directory, with programs that play their part.

use super::{Finding, GuestFile, System, Verdict, parse_report};
use crate::{
    engine::{GUARD, fixture::document},
    lab::Lab,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

/// Programs that every guest system has, taken from this machine. Nothing else of it is on the guest's PATH.
const COMMON: [&str; 13] =
    ["cat", "chmod", "chown", "find", "grep", "head", "id", "ln", "mkdir", "mv", "rm", "sed", "sleep"];
/// What EL5 lacks.
const NEWER: [&str; 1] = ["sha256sum"];

/// A guest's root, and the script for it.
pub(super) struct Root {
    root: tempfile::TempDir,
    script: String,
}

/// What a run of the script reported.
#[derive(Debug)]
pub(super) struct Report(pub Vec<Finding>);

impl Report {
    #[track_caller]
    pub(super) fn verdict(&self, item: &str) -> Verdict {
        let found = self.0.iter().find(|finding| finding.item == item);
        found.unwrap_or_else(|| panic!("no {item} in {:#?}", self.0)).verdict
    }
}

impl Root {
    /// The third node of a lab, with one more file on its export.
    pub(super) fn new(system: System, lab: &Lab) -> Root {
        let (guest, node) = (system.guest(), &lab.nodes[2]);
        let mut files = guest.files(lab, node);
        files.push(GuestFile::text("/data02/it's.conf", "quote ' and \\ and $HOME\n").mode(0o600));
        let root = Root { root: tempfile::tempdir().unwrap(), script: guest.tune_script(lab, node, &files) };
        fs::create_dir(root.path().join("bin")).unwrap();
        let newer = NEWER.iter().filter(|_| system != System::El5);
        for name in COMMON.iter().chain(newer) {
            let real = ["/bin", "/usr/bin"].map(|directory| Path::new(directory).join(name));
            let real = real.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("this machine has no {name}"));
            symlink(real, root.path().join("bin").join(name)).unwrap();
        }
        root.program("getent", "echo pgxc:x:1921:1921::/home/pgxc:/bin/bash");
        root.program("locale", "echo UTF-8");
        root.program("hostname", "");
        root
    }

    /// The document's lab without a firewall, on a kernel with some of its keys, with the programs that systems with systemd
    /// are asked by.
    pub(super) fn modern(system: System) -> Root {
        let mut lab = document();
        lab.guest.iptables.clear();
        let root = Root::new(system, &lab);
        root.put("proc/sys/kernel/sem", "250\t32000\t32\t128\n");
        root.put("proc/sys/net/netfilter/nf_conntrack_max", "65536\n");
        root.program("systemctl", "case $1 in list-unit-files) echo 'bluetooth.service enabled enabled' ;; esac");
        root.program("chronyc", "echo 0A000001,10.0.0.1,3,1.0,Normal");
        root
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Writes a file.
    pub(super) fn put(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Installs a program, a shell script.
    pub(super) fn program(&self, name: &str, text: &str) {
        self.put(&format!("bin/{name}"), &format!("#!/bin/sh\n{text}\n"));
        let path = self.path().join("bin").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// As if its export were mounted.
    pub(super) fn mount(&self) {
        self.put(&format!("data02/{GUARD}"), "");
    }

    /// Runs the script in a shell of this machine.
    pub(super) fn run(&self, shell: &str, apply: &str) -> Report {
        let script = self.path().join("tune");
        fs::write(&script, &self.script).unwrap();
        let shell = ["/bin", "/usr/bin"].map(|directory| Path::new(directory).join(shell));
        let shell = shell.iter().find(|path| path.exists()).expect("a shell");
        let output = Command::new(shell)
            .arg(script)
            .env_clear()
            .env("PATH", self.path().join("bin"))
            .env("APPLY", apply)
            .env("ROOT", self.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        Report(parse_report(&String::from_utf8(output.stdout).unwrap()))
    }
}
