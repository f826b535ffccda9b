//! The script that compares a running guest with lab.yaml, and sets it right when asked to.

use super::{Content, GuestFile};
use crate::{
    engine::GUARD,
    lab::{Lab, Selinux},
};
use sha2::{Digest, Sha256};

pub(super) const SYSCTL_FILE: &str = "/etc/sysctl.d/60-pgxc-lab.conf";
pub(super) const LIMITS_FILE: &str = "/etc/security/limits.d/60-pgxc-lab.conf";
pub(super) const CHRONY_FILE: &str = "/etc/chrony/chrony.conf";
pub(super) const RULES_FILE: &str = "/etc/iptables/rules.v4";

/// Kernel parameters of the document that newer kernels do not have: the successor, when there is one, and why.
const SUPERSEDED: [(&str, &str, &str); 3] = [
    ("net.ipv4.tcp_tw_recycle", "", "removed in Linux 4.12: it broke clients behind NAT"),
    (
        "net.ipv4.ip_conntrack_max",
        "net/netfilter/nf_conntrack_max",
        "by net.netfilter.nf_conntrack_max once connections are tracked",
    ),
    (
        "net.ipv4.netfilter.ip_conntrack_max",
        "net/netfilter/nf_conntrack_max",
        "by net.netfilter.nf_conntrack_max once connections are tracked",
    ),
];

/// The script.
pub(super) fn script(lab: &Lab, files: &[GuestFile]) -> String {
    let guest = &lab.guest;
    let mut text = format!(
        "#!/bin/sh\nmount={}\nguard={}\n{}\n",
        quoted(&lab.nfs.mount),
        quoted(GUARD),
        include_str!("tune.sh").trim_end()
    );
    text.push_str(&read_all(lab, files));
    for file in files {
        text.push_str(&check_file(file));
    }
    for (key, value) in &guest.sysctl {
        let (_, successor, reason) = SUPERSEDED.into_iter().find(|(name, ..)| name == key).unwrap_or_default();
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        text.push_str(&line("sysctl_key", &[key, &key.replace('.', "/"), &value, successor, reason]));
    }
    for (services, wanted) in [(&guest.services_off, "off"), (&guest.services_on, "on")] {
        for service in services {
            text.push_str(&line("service", &[service, wanted]));
        }
    }
    if files.iter().any(|file| file.path == RULES_FILE) {
        let tables: Vec<&str> = guest.iptables.lines().filter_map(|rule| rule.trim().strip_prefix('*')).collect();
        text.push_str(&line("iptables_rules", &[&[RULES_FILE], tables.as_slice()].concat()));
    }
    text.push_str(&line("cluster_user", &[guest.user.as_str(), &guest.uid.to_string()]));
    let selinux = match guest.selinux {
        Selinux::Disabled => "disabled",
        Selinux::Permissive => "permissive",
        Selinux::Enforcing => "enforcing",
    };
    text.push_str(&line("selinux", &[selinux]));
    text.push_str(&line("locale_exists", &[&guest.locale]));
    text.push_str("export_mounted\n");
    text.push_str(&line("again", &[CHRONY_FILE, "systemctl", "try-restart", "chrony.service"]));
    text.push_str("again /etc/hostname hostname -F /etc/hostname\n");
    text.push_str(
        "case $touched in *' /etc/systemd/'* | *' /etc/fstab '*) systemctl daemon-reload >/dev/null 2>&1 ;; esac\n",
    );
    text.push_str("clock\n");
    text
}

/// Reads everything that there is to compare, in as few processes as can be.
fn read_all(lab: &Lab, files: &[GuestFile]) -> String {
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
        keys.extend(
            SUPERSEDED
                .into_iter()
                .filter(|(name, successor, _)| name == key && !successor.is_empty())
                .map(|(_, path, _)| path.to_owned()),
        );
    }
    let keys: String = keys.iter().map(|key| format!(" \"$ROOT\"/proc/sys/{}", quoted(key))).collect();
    let units: String = lab
        .guest
        .services_off
        .iter()
        .chain(&lab.guest.services_on)
        .map(|name| format!(" {}", quoted(&if name.contains('.') { name.clone() } else { format!("{name}.service") })))
        .collect();
    let mut text = format!(
        "sums=$(sha256sum --{} </dev/null 2>/dev/null)\nstats=$(find{} -maxdepth 0 -printf '%y:%m:%U:%G:%p>%l\\n' 2>/dev/null)\n",
        paths(&|content| matches!(content, Content::Text(_))),
        paths(&|_| true),
    );
    // Not with `read`: dash reads byte by byte, and /proc/sys gives a number only to the first read.
    text.push_str(&format!("all_values=$(grep -s ''{keys} /dev/null)\nvalues=$all_values\n"));
    if units.is_empty() {
        text.push_str("units=\n");
    } else {
        text.push_str(&format!(
            "units=$(systemctl list-unit-files --no-legend --plain --no-pager{units} 2>/dev/null)\n"
        ));
    }
    text
}

fn check_file(file: &GuestFile) -> String {
    let kind = match file.path.as_str() {
        LIMITS_FILE => "limit",
        CHRONY_FILE | "/etc/localtime" | "/etc/timezone" => "time",
        "/etc/default/locale" => "locale",
        _ => "file",
    };
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

fn line(command: &str, words: &[&str]) -> String {
    let words: String = words.iter().map(|word| format!(" {}", quoted(word))).collect();
    format!("{command}{words}\n")
}

/// A word of POSIX shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::fixture::document,
        guest::{Debian, Finding, GuestSystem, Verdict, parse_report},
    };
    use std::{fs, path::Path, process::Command};

    struct Root {
        root: tempfile::TempDir,
        script: String,
    }

    /// A guest made of files: a kernel with some of the keys, programs that play their part.
    fn root() -> Root {
        let mut lab = document();
        lab.guest.iptables.clear();
        let mut files = Debian.files(&lab, &lab.nodes[2]);
        files.push(GuestFile::text("/data02/it's.conf", "quote ' and \\ and $HOME\n").mode(0o600));
        let script = Debian.tune_script(&lab, &lab.nodes[2], &files);
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/sys/kernel/sem", "250\t32000\t32\t128\n");
        put("proc/sys/net/ipv4/ip_local_port_range", "9000\t65000\n");
        put("proc/sys/vm/overcommit_memory", "0\n");
        put("proc/sys/net/netfilter/nf_conntrack_max", "65536\n");
        put(
            "bin/systemctl",
            "#!/bin/sh\ncase $1 in list-unit-files) echo 'bluetooth.service enabled enabled' ;; esac\n",
        );
        put("bin/getent", "#!/bin/sh\necho pgxc:x:1921:1921::/home/pgxc:/bin/bash\n");
        put("bin/chronyc", "#!/bin/sh\necho 0A000001,10.0.0.1,3,1.0,Normal\n");
        put("bin/locale", "#!/bin/sh\necho UTF-8\n");
        put("bin/hostname", "#!/bin/sh\n");
        for name in ["systemctl", "getent", "chronyc", "locale", "hostname"] {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(root.path().join("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Root { root, script }
    }

    impl Root {
        fn path(&self) -> &Path {
            self.root.path()
        }

        fn run(&self, apply: &str) -> Vec<Finding> {
            let path = format!("{}:{}", self.path().join("bin").display(), std::env::var("PATH").unwrap());
            let script = self.path().join("tune");
            fs::write(&script, &self.script).unwrap();
            let output = Command::new("sh")
                .arg(script)
                .env("PATH", path)
                .env("APPLY", apply)
                .env("ROOT", self.path())
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            parse_report(&String::from_utf8(output.stdout).unwrap())
        }
    }

    fn verdict(report: &[Finding], item: &str) -> Verdict {
        report.iter().find(|finding| finding.item == item).unwrap_or_else(|| panic!("no {item} in {report:#?}")).verdict
    }

    #[test]
    fn reports_applies_and_is_content() {
        let root = root();
        let first = root.run("0");
        assert_eq!(verdict(&first, "/etc/hosts"), Verdict::Drift);
        assert_eq!(verdict(&first, "kernel.sem"), Verdict::Drift);
        assert_eq!(verdict(&first, "net.ipv4.ip_local_port_range"), Verdict::Ok);
        assert_eq!(verdict(&first, "net.ipv4.tcp_tw_recycle"), Verdict::Superseded);
        assert_eq!(verdict(&first, "net.ipv4.ip_conntrack_max"), Verdict::Drift);
        assert_eq!(verdict(&first, "acpid"), Verdict::Absent);
        assert_eq!(verdict(&first, "bluetooth"), Verdict::Drift);
        assert_eq!(verdict(&first, "mode"), Verdict::Absent);
        assert_eq!(verdict(&first, "pgxc"), Verdict::Ok);
        // The export is not there: nothing may be written below its mount point.
        assert_eq!(verdict(&first, "/data02/it's.conf"), Verdict::Failed);
        assert!(!root.path().join("etc/hosts").exists(), "APPLY=0 changes nothing");

        fs::create_dir(root.path().join("data02")).unwrap();
        fs::write(root.path().join("data02").join(GUARD), "").unwrap();
        let second = root.run("1");
        for item in [
            "/etc/hosts",
            "/etc/localtime",
            "kernel.sem",
            "net.ipv4.ip_conntrack_max",
            "/data02/it's.conf",
            "bluetooth",
        ] {
            assert_eq!(verdict(&second, item), Verdict::Applied, "{item} in {second:#?}");
        }
        assert!(second.iter().all(|finding| !finding.verdict.is_wrong()), "{second:#?}");
        let text = fs::read_to_string(root.path().join("data02/it's.conf")).unwrap();
        assert_eq!(text, "quote ' and \\ and $HOME\n");

        let third = root.run("1");
        let changed: Vec<_> =
            third.iter().filter(|finding| finding.verdict == Verdict::Applied && finding.item != "bluetooth").collect();
        assert!(changed.is_empty(), "{changed:#?}");
    }

    #[test]
    fn shellcheck_is_content() {
        let lab = document();
        let files = Debian.files(&lab, &lab.nodes[2]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tune.sh");
        fs::write(&path, Debian.tune_script(&lab, &lab.nodes[2], &files)).unwrap();
        match Command::new("shellcheck").arg("--severity=warning").arg(&path).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
            Err(_) => eprintln!("shellcheck is not installed: not checked"),
        }
    }
}
