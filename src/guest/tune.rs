//! The script that compares a running guest with lab.yaml, and sets it right when asked to.

use super::{Content, GuestFile};
use crate::{
    engine::GUARD,
    lab::{Guest, Lab, Selinux},
};
use sha2::{Digest, Sha256};

/// What the scripts of the systems differ in.
pub(super) struct Dialect {
    /// Shell functions that take the place of those of tune.sh.
    pub functions: &'static str,
    /// Paths whose kind in the report is another than `file`.
    pub kinds: &'static [(&'static str, &'static str)],
    /// Kernel parameters that this system's kernel no longer has.
    pub superseded: &'static [Superseded],
    /// File with the firewall's rules.
    pub rules_file: &'static str,
    /// The line that sets `units`: what `service` in the functions looks things up in.
    pub units: fn(&Guest) -> String,
    /// Last lines: what must be told of files that were changed.
    pub after: String,
}

/// A kernel parameter that went: its successor below /proc/sys, when there is one, and why.
pub(super) struct Superseded {
    /// Its name.
    pub key: &'static str,
    /// Path of its successor below /proc/sys; empty when there is none.
    pub successor: &'static str,
    /// What became of it.
    pub reason: &'static str,
}

/// The script.
pub(super) fn script(dialect: &Dialect, lab: &Lab, files: &[GuestFile]) -> String {
    let guest = &lab.guest;
    let mut text = format!(
        "#!/bin/sh\nmount={}\nguard={}\n{}\n{}",
        quoted(&lab.nfs.mount),
        quoted(GUARD),
        include_str!("tune.sh").trim_end(),
        dialect.functions,
    );
    text.push_str(&read_all(dialect, lab, files));
    for file in files {
        text.push_str(&check_file(dialect, file));
    }
    for (key, value) in &guest.sysctl {
        let went = dialect.superseded.iter().find(|went| went.key == key);
        let (successor, reason) = went.map_or(("", ""), |went| (went.successor, went.reason));
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        text.push_str(&line("sysctl_key", &[key, &key.replace('.', "/"), &value, successor, reason]));
    }
    for (services, wanted) in [(&guest.services_off, "off"), (&guest.services_on, "on")] {
        for service in services {
            text.push_str(&line("service", &[service, wanted]));
        }
    }
    if files.iter().any(|file| file.path == dialect.rules_file) {
        let tables: Vec<&str> = guest.iptables.lines().filter_map(|rule| rule.trim().strip_prefix('*')).collect();
        text.push_str(&line("iptables_rules", &[&[dialect.rules_file], tables.as_slice()].concat()));
    }
    text.push_str(&line("cluster_user", &[guest.user.as_str(), &guest.uid.to_string()]));
    text.push_str(&line("selinux", &[selinux(guest.selinux)]));
    text.push_str(&line("locale_exists", &[&guest.locale]));
    text.push_str("export_mounted\n");
    text.push_str(&dialect.after);
    text.push_str(&line("clock", &[&lab.network.gateway.to_string()]));
    text
}

/// A mode in the words of SELinux.
pub(super) fn selinux(mode: Selinux) -> &'static str {
    match mode {
        Selinux::Disabled => "disabled",
        Selinux::Permissive => "permissive",
        Selinux::Enforcing => "enforcing",
    }
}

/// Reads everything that there is to compare, in as few processes as can be.
fn read_all(dialect: &Dialect, lab: &Lab, files: &[GuestFile]) -> String {
    let paths = |wanted: &dyn Fn(&Content) -> bool| -> String {
        files
            .iter()
            .filter(|file| wanted(&file.content))
            .map(|file| format!(" \"$ROOT\"{}", quoted(&file.path)))
            .collect()
    };
    let mut keys: Vec<String> = Vec::new();
    for (key, _) in &lab.guest.sysctl {
        keys.push(key.replace('.', "/"));
        let went = dialect.superseded.iter().filter(|went| went.key == key && !went.successor.is_empty());
        keys.extend(went.map(|went| went.successor.to_owned()));
    }
    let keys: String = keys.iter().map(|key| format!(" \"$ROOT\"/proc/sys/{}", quoted(key))).collect();
    let mut text = format!(
        "sums=$(sha256sum --{} </dev/null 2>/dev/null)\nstats=$(find{} -maxdepth 0 -printf '%y:%m:%U:%G:%p>%l\\n' 2>/dev/null)\n",
        paths(&|content| matches!(content, Content::Text(_))),
        paths(&|_| true),
    );
    // Not with `read`: dash reads byte by byte, and /proc/sys gives a number only to the first read.
    text.push_str(&format!("all_values=$(grep -s ''{keys} /dev/null)\nvalues=$all_values\n"));
    text.push_str(&(dialect.units)(&lab.guest));
    text
}

fn check_file(dialect: &Dialect, file: &GuestFile) -> String {
    let kind = dialect.kinds.iter().find(|(path, _)| *path == file.path).map_or("file", |(_, kind)| kind);
    let (mode, owner) = (format!("{:o}", file.mode), file.owner.to_string());
    match &file.content {
        Content::Text(content) => {
            let digest: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            line("text_file", &[kind, &file.path, &mode, &owner, &digest, content])
        }
        Content::Link(target) => line("link_file", &[kind, &file.path, target]),
        Content::Directory => line("directory", &[kind, &file.path, &mode, &owner]),
    }
}

pub(super) fn line(command: &str, words: &[&str]) -> String {
    let words: String = words.iter().map(|word| format!(" {}", quoted(word))).collect();
    format!("{command}{words}\n")
}

/// A word of POSIX shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use crate::{
        engine::fixture::document,
        guest::{System, Verdict, root::Root},
    };
    use std::{fs, process::Command};

    /// A guest made of files: a kernel with some of the keys, programs that play their part.
    fn root() -> Root {
        let root = Root::modern(System::Debian);
        root.put("proc/sys/net/ipv4/ip_local_port_range", "9000\t65000\n");
        root.put("proc/sys/vm/overcommit_memory", "0\n");
        root
    }

    #[test]
    fn reports_applies_and_is_content() {
        let root = root();
        let first = root.run("sh", "0");
        for (item, verdict) in [
            ("/etc/hosts", Verdict::Drift),
            ("kernel.sem", Verdict::Drift),
            ("net.ipv4.ip_local_port_range", Verdict::Ok),
            ("net.ipv4.tcp_tw_recycle", Verdict::Superseded),
            ("net.ipv4.ip_conntrack_max", Verdict::Drift),
            ("acpid", Verdict::Absent),
            ("bluetooth", Verdict::Drift),
            ("mode", Verdict::Absent),
            ("pgxc", Verdict::Ok),
            // The export is not there: nothing may be written below its mount point.
            ("/data02/it's.conf", Verdict::Failed),
        ] {
            assert_eq!(first.verdict(item), verdict, "{item} in {first:#?}");
        }
        assert!(!root.path().join("etc/hosts").exists(), "APPLY=0 changes nothing");

        root.mount();
        let second = root.run("sh", "1");
        for item in [
            "/etc/hosts",
            "/etc/localtime",
            "kernel.sem",
            "net.ipv4.ip_conntrack_max",
            "/data02/it's.conf",
            "bluetooth",
        ] {
            assert_eq!(second.verdict(item), Verdict::Applied, "{item} in {second:#?}");
        }
        assert!(second.0.iter().all(|finding| !finding.verdict.is_wrong()), "{second:#?}");
        let text = fs::read_to_string(root.path().join("data02/it's.conf")).unwrap();
        assert_eq!(text, "quote ' and \\ and $HOME\n");

        let third = root.run("sh", "1");
        let changed: Vec<_> = third
            .0
            .iter()
            .filter(|finding| finding.verdict == Verdict::Applied && finding.item != "bluetooth")
            .collect();
        assert!(changed.is_empty(), "{changed:#?}");
    }

    #[test]
    fn shellcheck_is_content() {
        let lab = document();
        for system in [System::Debian, System::Ubuntu, System::El5, System::El6, System::El7, System::El9] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("tune.sh");
            let (guest, node) = (system.guest(), &lab.nodes[2]);
            fs::write(&path, guest.tune_script(&lab, node, &guest.files(&lab, node))).unwrap();
            match Command::new("shellcheck").arg("--severity=warning").arg(&path).output() {
                Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
                Err(_) => eprintln!("shellcheck is not installed: not checked"),
            }
        }
    }
}
