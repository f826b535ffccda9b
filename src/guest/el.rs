//! Guests of Enterprise Linux 6, 7 and 9, made of their publishers' cloud images.

use super::{
    GuestFile, GuestSystem, MARK, el5, hosts, systemd,
    tune::{self, Dialect},
};
use crate::lab::{Guest, Lab, Node};

/// A release: what differs between them stands in the methods, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum El {
    /// Linux 2.6.32, upstart with init scripts, ntpd.
    Six,
    /// Linux 3.10, systemd 219, chrony, network scripts.
    Seven,
    /// Linux 5.14, systemd 252, chrony, NetworkManager's own files.
    Nine,
}

/// File with the firewall's rules, as its init script reads it; pgxc-firewall.service does the same.
pub(super) const RULES_FILE: &str = "/etc/sysconfig/iptables";
/// After the distribution's own 20-nproc.conf and 90-nproc.conf, which give everybody a limit of processes.
const LIMITS_FILE: &str = "/etc/security/limits.d/95-pgxc-lab.conf";
const NTP_FILE: &str = "/etc/ntp.conf";
const CHRONY_FILE: &str = "/etc/chrony.conf";

impl GuestSystem for El {
    fn files(&self, lab: &Lab, node: &Node) -> Vec<GuestFile> {
        let guest = &lab.guest;
        let mut files = vec![
            GuestFile::text("/etc/hosts", hosts::file(lab)),
            self.sysctl(guest),
            GuestFile::text(LIMITS_FILE, systemd::limits(guest)),
            GuestFile::link("/etc/localtime", format!("/usr/share/zoneinfo/{}", guest.timezone)),
            GuestFile::text(
                "/etc/selinux/config",
                format!("{MARK}SELINUX={}\nSELINUXTYPE=targeted\n", tune::selinux(guest.selinux)),
            ),
            GuestFile::link("/etc/sysconfig/selinux", "../selinux/config"),
            GuestFile::directory(&lab.nfs.mount, 0o755),
            self.card(node),
        ];
        files.extend(match self {
            El::Six => vec![
                GuestFile::text("/etc/sysconfig/network", network(node)),
                GuestFile::text("/etc/sysconfig/clock", format!("ZONE=\"{}\"\n", guest.timezone)),
                GuestFile::text("/etc/sysconfig/i18n", format!("LANG=\"{}\"\n", guest.locale)),
                GuestFile::text(NTP_FILE, ntp(lab)),
                // ntpd does not step: who is far off is set right by ntpdate, before it.
                GuestFile::text("/etc/ntp/step-tickers", format!("{}\n", lab.network.gateway)),
                GuestFile::text("/etc/fstab", el5::fstab(lab, node, "ext4")),
            ],
            El::Seven | El::Nine => vec![
                GuestFile::text("/etc/hostname", format!("{}\n", node.name)),
                GuestFile::text("/etc/locale.conf", format!("LANG={}\n", guest.locale)),
                GuestFile::text(CHRONY_FILE, systemd::chrony(lab)),
                GuestFile::text("/etc/fstab", systemd::fstab(lab, node)),
            ],
        });
        if !guest.iptables.trim().is_empty() {
            files.push(GuestFile::text(RULES_FILE, format!("{}\n", guest.iptables.trim_end())).mode(0o600));
        }
        files
    }

    fn tune_script(&self, lab: &Lab, node: &Node, files: &[GuestFile]) -> String {
        let (functions, units, after): (_, fn(&Guest) -> String, _) = match self {
            El::Six => {
                let mut after = tune::line("again", &["/etc/sysconfig/network", "hostname", node.name.as_str()]);
                after.push_str(&tune::line("again", &[NTP_FILE, "env", "service", "ntpd", "condrestart"]));
                (el5::FUNCTIONS, el5::units, after)
            }
            El::Seven | El::Nine => {
                (include_str!("el.sh"), systemd::units, systemd::after(CHRONY_FILE, "chronyd.service"))
            }
        };
        let dialect = Dialect {
            functions,
            kinds: &[
                (LIMITS_FILE, "limit"),
                (NTP_FILE, "time"),
                (CHRONY_FILE, "time"),
                ("/etc/ntp/step-tickers", "time"),
                ("/etc/sysconfig/clock", "time"),
                ("/etc/localtime", "time"),
                ("/etc/sysconfig/i18n", "locale"),
                ("/etc/locale.conf", "locale"),
            ],
            superseded: &systemd::SUPERSEDED,
            rules_file: RULES_FILE,
            units,
            after,
        };
        tune::script(&dialect, lab, files)
    }

    fn power_off(&self) -> &'static str {
        match self {
            El::Six => "/sbin/poweroff",
            El::Seven | El::Nine => "systemctl poweroff",
        }
    }

    fn time_service(&self) -> &'static str {
        match self {
            El::Six => "ntpd.service",
            El::Seven | El::Nine => "chronyd.service",
        }
    }

    /// What all their kernels know.
    fn read_only_filesystem(&self) -> &'static [&'static str] {
        el5::El5.read_only_filesystem()
    }
}

impl El {
    fn sysctl(self, guest: &Guest) -> GuestFile {
        const FILE: &str = "/etc/sysctl.d/60-pgxc-lab.conf";
        let lines = |lead: &str| -> String {
            guest.sysctl.iter().map(|(key, value)| format!("{lead}{key} = {value}\n")).collect()
        };
        match self {
            // Its boot reads this one only.
            El::Six => GuestFile::text("/etc/sysctl.conf", el5::sysctl(guest)),
            // A key that the kernel lacks is no error of its systemd, and `-` would be a part of the key.
            El::Seven => GuestFile::text(FILE, format!("{MARK}{}", lines(""))),
            El::Nine => GuestFile::text(FILE, format!("{MARK}{}", lines("-"))),
        }
    }

    /// The card, by DHCP. It is eth0: by its address, or because the kernel's command line says so.
    fn card(self, node: &Node) -> GuestFile {
        const SCRIPT: &str = "/etc/sysconfig/network-scripts/ifcfg-eth0";
        let script = "DEVICE=eth0\nTYPE=Ethernet\nBOOTPROTO=dhcp\nONBOOT=yes\nIPV6INIT=no\n";
        match self {
            El::Six => GuestFile::text(SCRIPT, format!("{MARK}{script}HWADDR={}\nNM_CONTROLLED=no\n", node.mac)),
            El::Seven => GuestFile::text(SCRIPT, format!("{MARK}{script}")),
            // It reads no file that others could read.
            El::Nine => GuestFile::text(
                "/etc/NetworkManager/system-connections/pgxc-lab.nmconnection",
                format!(
                    "{MARK}[connection]\nid=pgxc-lab\ntype=ethernet\ninterface-name=eth0\n\n[ipv4]\nmethod=auto\n\n\
                     [ipv6]\nmethod=disabled\n"
                ),
            )
            .mode(0o600),
        }
    }
}

fn network(node: &Node) -> String {
    format!("NETWORKING=yes\nNETWORKING_IPV6=no\nHOSTNAME={}\nNOZEROCONF=yes\n", node.name)
}

/// `panic 0`: a guest that comes back from memory is far behind, and that must not end the daemon.
fn ntp(lab: &Lab) -> String {
    format!(
        "{MARK}tinker panic 0\nserver {} iburst minpoll 4 maxpoll 4\ndriftfile /var/lib/ntp/drift\n\
         restrict default kod nomodify notrap nopeer noquery\nrestrict 127.0.0.1\n",
        lab.network.gateway
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::fixture::document,
        guest::{Content, System, Verdict, root::Root},
    };

    const ALL: [El; 3] = [El::Six, El::Seven, El::Nine];

    fn text(el: El, path: &str) -> String {
        let lab = document();
        let files = el.files(&lab, &lab.nodes[3]);
        let file = files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{el:?} has no {path}"));
        match &file.content {
            Content::Text(text) => text.clone(),
            Content::Link(target) => target.clone(),
            Content::Directory => String::new(),
        }
    }

    #[test]
    fn files_of_a_node() {
        let mac = document().nodes[3].mac;
        for (releases, path, line) in [
            (ALL.as_slice(), "/etc/hosts", "192.168.122.178 db-192-168-122-178.sky-mobi.com db-192-168-122-178"),
            (&ALL, "/etc/security/limits.d/95-pgxc-lab.conf", "* hard memlock 50000000"),
            (&ALL, "/etc/localtime", "/usr/share/zoneinfo/Asia/Shanghai"),
            (&ALL, "/etc/selinux/config", "SELINUX=disabled"),
            (&ALL, "/etc/sysconfig/iptables", "-A FORWARD -j RH-Firewall-1-INPUT "),
            (&[El::Six], "/etc/sysctl.conf", "kernel.sem = 50100 64128000 50100 1280"),
            (&[El::Six], "/etc/sysctl.conf", "kernel.sysrq = 0"),
            (&[El::Seven], "/etc/sysctl.d/60-pgxc-lab.conf", "kernel.sem = 50100 64128000 50100 1280"),
            (&[El::Nine], "/etc/sysctl.d/60-pgxc-lab.conf", "-kernel.sem = 50100 64128000 50100 1280"),
            (&[El::Six], "/etc/sysconfig/network", "HOSTNAME=db-192-168-122-174"),
            (&[El::Seven, El::Nine], "/etc/hostname", "db-192-168-122-174"),
            (&[El::Six], "/etc/ntp.conf", "server 192.168.122.1 iburst minpoll 4 maxpoll 4"),
            (&[El::Six], "/etc/ntp/step-tickers", "192.168.122.1"),
            (
                &[El::Seven, El::Nine],
                "/etc/chrony.conf",
                "server 192.168.122.1 iburst minpoll 0 maxpoll 1 maxsamples 2",
            ),
            (&[El::Six], "/etc/sysconfig/i18n", "LANG=\"en_US.UTF-8\""),
            (&[El::Seven, El::Nine], "/etc/locale.conf", "LANG=en_US.UTF-8"),
            (&[El::Six], "/etc/sysconfig/network-scripts/ifcfg-eth0", &format!("HWADDR={mac}")),
            (&[El::Seven], "/etc/sysconfig/network-scripts/ifcfg-eth0", "BOOTPROTO=dhcp"),
            (&[El::Nine], "/etc/NetworkManager/system-connections/pgxc-lab.nmconnection", "interface-name=eth0"),
            (&[El::Six], "/etc/fstab", "192.168.122.1:/data03/174 /data02 nfs tcp,_netdev 0 0"),
            (&[El::Six], "/etc/fstab", "LABEL=pgxc-root / ext4 defaults,noatime 1 1"),
            (
                &[El::Seven, El::Nine],
                "/etc/fstab",
                "192.168.122.1:/data03/174 /data02 nfs tcp,_netdev,nofail,x-systemd.mount-timeout=600 0 0",
            ),
        ] {
            for el in releases {
                let text = text(*el, path);
                assert!(text.lines().any(|known| known == line), "{el:?} {path}: {line} is missing in\n{text}");
            }
        }
    }

    #[test]
    fn nothing_of_newer_releases_on_older_ones() {
        let lab = document();
        let paths =
            |el: El| el.files(&lab, &lab.nodes[0]).into_iter().map(|file| file.path).collect::<Vec<_>>().join(" ");
        for newer in ["systemd", "sysctl.d", "chrony", "/etc/hostname", "locale.conf", "NetworkManager"] {
            assert!(!paths(El::Six).contains(newer), "{newer}");
        }
        assert!(!paths(El::Nine).contains("network-scripts"));
        let secret = El::Nine.files(&lab, &lab.nodes[0]).into_iter().find(|file| file.path.ends_with("nmconnection"));
        assert_eq!(secret.map(|file| file.mode), Some(0o600));
    }

    /// A guest made of files, with the programs that the script asks.
    fn root(system: System) -> Root {
        let root = Root::modern(system);
        root.program("ntpdate", "echo 'server 10.0.0.1, stratum 3, offset 0.000012, delay 0.02'");
        root.program("chkconfig", "[ $1 != --list ] || echo 'bluetooth 0:off 1:off 2:on 3:on 4:on 5:on 6:off'");
        root.program("service", "");
        root.program("env", "\"$@\"");
        root
    }

    #[test]
    fn all_of_them_report_and_apply() {
        for (system, file) in
            [(System::El6, "/etc/ntp.conf"), (System::El7, "/etc/chrony.conf"), (System::El9, "/etc/chrony.conf")]
        {
            let root = root(system);
            let first = root.run("sh", "0");
            for (item, verdict) in [
                (file, Verdict::Drift),
                ("kernel.sem", Verdict::Drift),
                ("bluetooth", Verdict::Drift),
                ("acpid", Verdict::Absent),
                ("mode", Verdict::Ok),
            ] {
                assert_eq!(first.verdict(item), verdict, "{system:?}: {item} in {first:#?}");
            }
            root.mount();
            let second = root.run("sh", "1");
            for item in [file, "kernel.sem", "/etc/localtime", "bluetooth"] {
                assert_eq!(second.verdict(item), Verdict::Applied, "{system:?}: {item} in {second:#?}");
            }
            assert!(second.0.iter().all(|finding| !finding.verdict.is_wrong()), "{second:#?}");
        }
    }

    #[test]
    fn selinux_counts_from_the_next_boot() {
        let root = root(System::El9);
        root.put("sys/fs/selinux/enforce", "1");
        assert_eq!(root.run("sh", "1").verdict("mode"), Verdict::Drift);
    }
}
