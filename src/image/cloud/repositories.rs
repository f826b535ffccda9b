//! Where the machine that makes an image finds packages: the file that its package manager reads.

use crate::guest::System;

/// The text of the file for packages below `base`, in the form of the distribution's own mirrors; `None` for a system
/// whose images are not made from a publisher's disk.
pub(super) fn text(system: System, suite: &str, base: &str) -> Option<String> {
    let base = base.trim_end_matches('/');
    Some(match system {
        // Security updates of Debian are on mirrors of their own, which nothing says where they are.
        System::Debian => apt(&[format!("{base} {suite} main"), format!("{base} {suite}-updates main")]),
        System::Ubuntu => {
            apt(&["", "-updates", "-security"].map(|pocket| format!("{base} {suite}{pocket} main universe")))
        }
        System::El6 => yum(&centos(base, suite, "RPM-GPG-KEY-CentOS-6")),
        System::El7 => yum(&centos(base, suite, "RPM-GPG-KEY-CentOS-7")),
        System::El9 => yum(&["BaseOS", "AppStream"]
            .map(|name| (name.to_lowercase(), format!("{base}/{suite}/{name}/$basearch/os/"), "RPM-GPG-KEY-Rocky-9"))),
        System::El5 => return None,
    })
}

fn apt(lines: &[String]) -> String {
    lines.iter().map(|line| format!("deb {line}\n")).collect()
}

/// Repositories of CentOS, which lie side by side: name, place and key.
fn centos(base: &str, suite: &str, key: &'static str) -> [(String, String, &'static str); 2] {
    [("base", "os"), ("updates", "updates")]
        .map(|(name, directory)| (name.to_owned(), format!("{base}/{suite}/{directory}/$basearch/"), key))
}

fn yum(repositories: &[(String, String, &'static str)]) -> String {
    let section = |(name, place, key): &(String, String, &str)| {
        format!("[{name}]\nname={name}\nbaseurl={place}\nenabled=1\ngpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/{key}\n")
    };
    repositories.iter().map(section).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_reads_its_own_form() {
        let text = |system, suite, base| text(system, suite, base).expect("it is made from a disk");
        assert_eq!(
            text(System::Debian, "bookworm", "http://10.0.2.2:3142/debian/"),
            "deb http://10.0.2.2:3142/debian bookworm main\ndeb http://10.0.2.2:3142/debian bookworm-updates main\n"
        );
        assert!(
            text(System::Ubuntu, "noble", "http://a/ubuntu")
                .contains("deb http://a/ubuntu noble-security main universe\n")
        );
        let seven = text(System::El7, "7.9.2009", "http://vault.centos.org");
        for line in [
            "[base]",
            "baseurl=http://vault.centos.org/7.9.2009/os/$basearch/",
            "baseurl=http://vault.centos.org/7.9.2009/updates/$basearch/",
            "gpgcheck=1",
            "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS-7",
        ] {
            assert!(seven.lines().any(|known| known == line), "{line} is not in\n{seven}");
        }
        assert!(text(System::El6, "6.10", "http://a").contains("RPM-GPG-KEY-CentOS-6"));
        assert!(
            text(System::El9, "9", "https://a/rocky").contains("baseurl=https://a/rocky/9/AppStream/$basearch/os/\n")
        );
        assert_eq!(super::text(System::El5, "5.9", "http://a"), None);
    }
}
