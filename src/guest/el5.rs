//! Guests of Enterprise Linux 5: the document's CentOS 5.9.

use super::{
    GuestFile, GuestSystem, MARK,
    el::RULES_FILE,
    hosts, systemd,
    tune::{self, Dialect},
};
use crate::{
    engine::ENGINE_DISK,
    lab::{Guest, Lab, Node},
};

/// CentOS 5.9 with init scripts, ntpdate by cron, iptables and portmap, as `images/centos-5.9` installs it.
pub struct El5;

const SYSCTL_FILE: &str = "/etc/sysctl.conf";
const LIMITS_FILE: &str = "/etc/security/limits.conf";
const NETWORK_FILE: &str = "/etc/sysconfig/network";
const CLOCK_FILE: &str = "/etc/sysconfig/clock";
const CRON_FILE: &str = "/etc/cron.d/pgxc-lab";

/// What the tuning script does in another way; EL6 does the same.
pub(super) const FUNCTIONS: &str = include_str!("el5.sh");

/// What EL5's own sysctl.conf sets and the document's does not name: writing the file anew must not lose it.
const OWN_SYSCTL: [(&str, &str); 6] = [
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.conf.default.rp_filter", "1"),
    ("net.ipv4.conf.default.accept_source_route", "0"),
    ("kernel.sysrq", "0"),
    ("kernel.core_uses_pid", "1"),
    ("net.ipv4.tcp_syncookies", "1"),
];

/// Runs last at boot. The first `sysctl -p`, in rc.sysinit, comes before ip_conntrack is loaded, so its key is not there.
const RC_LOCAL: &str =
    "#!/bin/sh\n# Written by pgxc-lab from lab.yaml.\ntouch /var/lock/subsys/local\n/sbin/sysctl -e -q -p\n";

impl GuestSystem for El5 {
    fn files(&self, lab: &Lab, node: &Node) -> Vec<GuestFile> {
        let guest = &lab.guest;
        let mut files = vec![
            GuestFile::text(
                NETWORK_FILE,
                format!("NETWORKING=yes\nNETWORKING_IPV6=no\nHOSTNAME={}\nNOZEROCONF=yes\n", node.name),
            ),
            // By address of the card: the first one is eth0 whatever the kernel found first.
            GuestFile::text(
                "/etc/sysconfig/network-scripts/ifcfg-eth0",
                format!("{MARK}DEVICE=eth0\nBOOTPROTO=dhcp\nHWADDR={}\nONBOOT=yes\n", node.mac),
            ),
            GuestFile::text("/etc/hosts", hosts::file(lab)),
            GuestFile::text(SYSCTL_FILE, sysctl(guest)),
            GuestFile::text("/etc/rc.d/rc.local", RC_LOCAL).mode(0o755),
            GuestFile::text(LIMITS_FILE, systemd::limits(guest)),
            GuestFile::text(CLOCK_FILE, format!("ZONE=\"{}\"\nUTC=false\nARC=false\n", guest.timezone)),
            GuestFile::link("/etc/localtime", format!("/usr/share/zoneinfo/{}", guest.timezone)),
            GuestFile::text(CRON_FILE, cron(lab)),
            GuestFile::text("/etc/sysconfig/i18n", format!("LANG=\"{}\"\n", guest.locale)),
            GuestFile::text(
                "/etc/selinux/config",
                format!("{MARK}SELINUX={}\nSELINUXTYPE=targeted\n", tune::selinux(guest.selinux)),
            ),
            // As the distribution has it; the document edits this name.
            GuestFile::link("/etc/sysconfig/selinux", "../selinux/config"),
            GuestFile::text("/etc/fstab", fstab(lab, node, "ext3")),
            GuestFile::directory(&lab.nfs.mount, 0o755),
        ];
        if !guest.iptables.trim().is_empty() {
            files.push(GuestFile::text(RULES_FILE, format!("{}\n", guest.iptables.trim_end())).mode(0o600));
        }
        files
    }

    fn tune_script(&self, lab: &Lab, node: &Node, files: &[GuestFile]) -> String {
        let dialect = Dialect {
            functions: FUNCTIONS,
            kinds: &[
                (LIMITS_FILE, "limit"),
                (CLOCK_FILE, "time"),
                (CRON_FILE, "time"),
                ("/etc/localtime", "time"),
                ("/etc/sysconfig/i18n", "locale"),
            ],
            // This kernel is the one that the document's keys are from.
            superseded: &[],
            rules_file: RULES_FILE,
            units,
            after: tune::line("again", &[NETWORK_FILE, "hostname", node.name.as_str()]),
        };
        tune::script(&dialect, lab, files)
    }

    /// acpid is off, by the document, so the power button does nothing.
    fn power_off(&self) -> &'static str {
        "/sbin/poweroff"
    }

    /// Runs ntpdate.
    fn time_service(&self) -> &'static str {
        "crond.service"
    }

    /// The document tells the guest so (UTC=false): a clock with universal time would be hours off after each boot.
    fn hardware_clock(&self, lab: &Lab) -> Option<String> {
        Some(lab.guest.timezone.clone())
    }

    /// What Linux 2.6.18 knows of ext2, by name: today's mke2fs would add what it does not.
    fn read_only_filesystem(&self) -> &'static [&'static str] {
        &["-t", "ext2", "-I", "128", "-O", "none,ext_attr,resize_inode,dir_index,filetype,sparse_super,large_file"]
    }
}

pub(super) fn sysctl(guest: &Guest) -> String {
    let own = OWN_SYSCTL.iter().filter(|(key, _)| guest.sysctl.iter().all(|(known, _)| known != key));
    let own: String = own.map(|(key, value)| format!("{key} = {value}\n")).collect();
    let keys: String = guest.sysctl.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("{MARK}{own}{keys}")
}

/// The document's cron job, which asks the lab's own gateway: guests reach no other time server.
fn cron(lab: &Lab) -> String {
    format!("{MARK}8 * * * * root /usr/sbin/ntpdate {} && /sbin/hwclock --systohc\n", lab.network.gateway)
}

/// `_netdev`: the script netfs mounts it when the network is there. A guest without its export still boots: an init
/// script that fails stops nothing. The engine's disk is found by its label: this kernel tells no serial numbers of virtio
/// disks.
pub(super) fn fstab(lab: &Lab, node: &Node, filesystem: &str) -> String {
    let mut options = lab.nfs.options.clone();
    if options.iter().all(|option| option != "_netdev") {
        options.push("_netdev".into());
    }
    let engine = match node.roles.is_empty() {
        true => String::new(),
        false => format!("LABEL={ENGINE_DISK} {} ext2 ro,noatime 0 0\n", lab.cluster.prefix),
    };
    format!(
        "{MARK}LABEL=pgxc-root / {filesystem} defaults,noatime 1 1\ntmpfs /dev/shm tmpfs defaults 0 0\n\
         devpts /dev/pts devpts gid=5,mode=620 0 0\nsysfs /sys sysfs defaults 0 0\nproc /proc proc defaults 0 0\n\
         {engine}{}:{} {} nfs {} 0 0\n",
        lab.network.gateway,
        node.export,
        lab.nfs.mount,
        options.join(",")
    )
}

/// One call tells the runlevels of all services.
pub(super) fn units(_: &Guest) -> String {
    "units=$(chkconfig --list 2>/dev/null)\n".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::fixture::document,
        guest::{Content, System, Verdict, root::Root},
    };

    #[test]
    fn what_the_distribution_sets_stays_unless_lab_yaml_says_otherwise() {
        let mut lab = document();
        assert!(sysctl(&lab.guest).contains("\nkernel.sysrq = 0\n"));
        lab.guest.sysctl.push(("kernel.sysrq".into(), "1".into()));
        assert!(!sysctl(&lab.guest).contains("kernel.sysrq = 0"));
    }

    /// The engine's disk must be one that Linux 2.6.18 mounts.
    #[test]
    fn the_disk_has_nothing_that_the_kernel_does_not_know() {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("disk");
        let mut make = std::process::Command::new("mke2fs");
        make.args(["-q", "-F"]).args(El5.read_only_filesystem()).arg(&disk).arg("16384k");
        assert!(make.status().expect("mke2fs is there").success());
        let shown = std::process::Command::new("dumpe2fs").arg("-h").arg(&disk).output().expect("dumpe2fs is there");
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let value =
            |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)).expect("it tells").trim().to_owned();
        let known = ["ext_attr", "resize_inode", "dir_index", "filetype", "sparse_super", "large_file"];
        for feature in value("Filesystem features:").split_whitespace() {
            assert!(known.contains(&feature), "{feature}");
        }
        assert_eq!(value("Inode size:"), "128");
    }

    #[test]
    fn nothing_of_systemd_or_of_newer_tools() {
        let lab = document();
        for file in El5.files(&lab, &lab.nodes[2]) {
            let Content::Text(text) = &file.content else { continue };
            for newer in ["systemd", "nofail", "chrony", "sysctl.d"] {
                assert!(!text.contains(newer) && !file.path.contains(newer), "{newer} in {}", file.path);
            }
        }
    }

    /// A guest with the programs of EL5 and no others: what it cannot run it cannot use.
    fn root() -> Root {
        let lab = document();
        let root = Root::new(System::El5, &lab);
        root.put("proc/sys/kernel/sem", "250\t32000\t32\t128\n");
        root.put("proc/sys/net/ipv4/tcp_tw_recycle", "0\n");
        root.put("selinux/enforce", "0\n");
        // One line per service, as chkconfig tells them; `off` and `on` change them.
        root.put(
            "services",
            "acpid          \t0:off\t1:off\t2:on\t3:on\t4:on\t5:on\t6:off\n\
             multipathd     \t0:off\t1:off\t2:off\t3:off\t4:off\t5:off\t6:off\n\
             isdn           \t0:off\t1:off\t2:off\t3:off\t4:off\t5:off\t6:off\n",
        );
        let services = root.path().join("services").display().to_string();
        root.program(
            "chkconfig",
            &format!("case $1 in --list) cat {services} ;; *) sed -i \"/^$1 /s/3:[a-z]*/3:$2/\" {services} ;; esac"),
        );
        root.program("service", "");
        root.program("env", "\"$@\"");
        let rules = root.path().join("rules").display().to_string();
        root.program("iptables-restore", &format!("cat >{rules}"));
        root.program("iptables-save", &format!("cat {rules}"));
        root.put("rules", "# Generated by iptables-save v1.3.5\n*filter\n:INPUT ACCEPT [1:2]\nCOMMIT\n");
        root.program(
            "ntpdate",
            "case $1 in -q) echo 'server 192.168.122.1, stratum 3, offset 0.001234, delay 0.02' ;; esac",
        );
        root
    }

    #[test]
    fn the_script_needs_no_more_than_the_system_has() {
        // /bin/sh of EL5 is a bash.
        for shell in ["sh", "bash"] {
            let root = root();
            let first = root.run(shell, "0");
            for (item, verdict) in [
                ("/etc/sysctl.conf", Verdict::Drift),
                ("kernel.sem", Verdict::Drift),
                ("net.ipv4.tcp_tw_recycle", Verdict::Drift),
                ("net.ipv4.ip_conntrack_max", Verdict::Unsupported),
                ("acpid", Verdict::Drift),
                ("multipathd", Verdict::Drift),
                ("bluetooth", Verdict::Absent),
                ("rules", Verdict::Drift),
                ("ntpdate", Verdict::Ok),
                ("mode", Verdict::Drift),
            ] {
                assert_eq!(first.verdict(item), verdict, "{item} in {first:#?}");
            }
            root.mount();
            let second = root.run(shell, "1");
            for item in [
                "/etc/sysctl.conf",
                "/etc/sysconfig/iptables",
                "/etc/sysconfig/selinux",
                "kernel.sem",
                "net.ipv4.tcp_tw_recycle",
                "acpid",
                "multipathd",
                "rules",
            ] {
                assert_eq!(second.verdict(item), Verdict::Applied, "{item} in {second:#?}");
            }
            let third = root.run(shell, "1");
            for finding in third.0.iter().filter(|finding| finding.item != "mode") {
                let calm = !finding.verdict.is_wrong() && finding.verdict != Verdict::Applied;
                assert!(calm, "{shell}: {finding:?}");
            }
        }
    }
}
