//! The kickstart of an installation, in the words that the installer of RHEL 5 knows. Pure.

use crate::guest::{Content, GuestFile, quoted};

/// What is to be installed.
pub(super) struct Kickstart<'a> {
    /// URL of the tree, as the machine reaches it.
    pub url: &'a str,
    /// Packages besides the installer's default.
    pub packages: &'a [String],
    /// User of the databases.
    pub user: &'a str,
    /// Its uid and gid.
    pub uid: u32,
    /// Files of every guest.
    pub files: &'a [GuestFile],
}

/// Written last: where it is missing, not all was done. The installer itself passes over a `%post` that fails.
pub(super) const DONE: &str = "/etc/pgxc-lab-image";
/// Ends the files in `%post`.
const END: &str = "PGXC_LAB_END_OF_FILE";

impl Kickstart<'_> {
    /// The text of ks.cfg. The root takes the whole disk: no swap, no boot loader, since the machine boots the kernel directly.
    pub(super) fn render(&self) -> String {
        let packages: String = self.packages.iter().map(|package| format!("{package}\n")).collect();
        format!(
            "# Written by pgxc-lab.\n\
             install\ntext\nurl --url {url}\nlang en_US.UTF-8\nkeyboard us\n\
             network --device eth0 --bootproto dhcp\n\
             rootpw --iscrypted *\nauthconfig --enableshadow --enablemd5\nfirewall --disabled\nselinux --disabled\n\
             timezone --utc Etc/UTC\nfirstboot --disabled\nskipx\n\
             bootloader --location=none\nzerombr\nclearpart --all --initlabel --drives=vda\n\
             part / --fstype ext3 --size 1024 --grow --ondisk vda\npoweroff\n\
             \n%packages\n{packages}\n%post\n{post}",
            url = self.url,
            post = self.post(),
        )
    }

    /// What is done in the installed system. `set -e`: the mark at its end says that all of it went well.
    fn post(&self) -> String {
        let (user, uid) = (quoted(self.user), self.uid);
        let files: String = self.files.iter().map(file).collect();
        format!(
            "exec >/root/pgxc-lab-post.log 2>&1\nset -ex\n\
             groupadd -g {uid} {user}\nuseradd -u {uid} -g {uid} -m -s /bin/bash {user}\n\
             mkdir -p /root/.ssh /var/lib/pgxc-lab\nchmod 700 /root/.ssh /var/lib/pgxc-lab\n\
             {files}\
             # The seed before anything else of a boot.\n\
             sed -i 's,^si::sysinit:.*,si::sysinit:/usr/lib/pgxc-lab/sysinit,' /etc/inittab\n\
             grep -qx si::sysinit:/usr/lib/pgxc-lab/sysinit /etc/inittab\n\
             # kudzu would ask about the next machine's hardware, and wait for an answer.\n\
             for service in kudzu firstboot cpuspeed microcode_ctl mcstrans restorecond; do chkconfig $service off || :; done\n\
             for service in sshd crond netfs portmap network iptables; do chkconfig $service on; done\n\
             # Nothing of this machine stays: its address, its card, its keys.\n\
             rm -f /etc/sysconfig/network-scripts/ifcfg-eth0 /etc/udev/rules.d/*persistent* /etc/ssh/ssh_host_*\n\
             grep -q 'alias eth0 ' /etc/modprobe.conf || echo 'alias eth0 virtio_net' >>/etc/modprobe.conf\n\
             # An initrd that finds a virtio disk, wherever this one was installed.\n\
             for modules in /lib/modules/*; do\n  version=${{modules##*/}}\n  \
             mkinitrd -f --with=virtio_pci --with=virtio_blk --with=virtio_net /boot/initrd-$version.img $version\ndone\n\
             date >{DONE}\n"
        )
    }
}

/// The lines that write a file.
fn file(file: &GuestFile) -> String {
    let path = quoted(&file.path);
    let directory = quoted(file.path.rsplit_once('/').map_or("/", |(directory, _)| directory));
    match &file.content {
        Content::Text(text) => format!(
            "mkdir -p {directory}\ncat >{path} <<'{END}'\n{}\n{END}\nchmod {:o} {path}\n",
            text.trim_end_matches('\n'),
            file.mode
        ),
        Content::Link(target) => format!("mkdir -p {directory}\nln -sfn {} {path}\n", quoted(target)),
        Content::Directory => format!("mkdir -p {path}\nchmod {:o} {path}\n", file.mode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{ImageDefinition, Recipe};
    use std::process::Command;

    fn text() -> String {
        let definition = ImageDefinition::find("centos-5.9").expect("it is part of the program");
        assert!(matches!(definition.recipe, Recipe::Kickstart { .. }));
        let kickstart = Kickstart {
            url: "http://10.0.2.2:8000",
            packages: &definition.packages,
            user: "pgxc",
            uid: 500,
            files: &definition.files(),
        };
        kickstart.render()
    }

    /// The list of the document, and what it takes for granted (spec 1.4).
    #[test]
    fn packages_are_the_documents_and_what_it_takes_for_granted() {
        let text = text();
        let (_, packages) = text.split_once("\n%packages\n").expect("it has packages");
        let (packages, _) = packages.split_once("\n\n%post\n").expect("it has a %post");
        let packages: Vec<&str> = packages.lines().collect();
        let document = "lrzsz sysstat e4fsprogs ntp readline-devel zlib zlib-devel openssl openssl-devel pam-devel \
                        libxml2-devel libxslt-devel python-devel tcl-devel";
        let granted = "gcc make bison m4 bzip2 perl nfs-utils portmap";
        for package in document.split_whitespace().chain(granted.split_whitespace()) {
            assert!(packages.contains(&package), "{package} is missing in {packages:?}");
        }
    }

    /// A line of a file that begins with `%` would end `%post`, and the mark of a heredoc would end the file.
    #[test]
    fn no_file_ends_the_section_that_it_is_in() {
        let text = text();
        let sections: Vec<&str> = text.lines().filter(|line| line.starts_with('%')).collect();
        assert_eq!(sections, ["%packages", "%post"]);
        let ends = text.lines().filter(|line| *line == END).count();
        assert_eq!(ends, text.matches(&format!("<<'{END}'")).count());
    }

    #[test]
    fn the_root_is_one_partition_of_the_whole_disk_and_nothing_waits_for_a_person() {
        let text = text();
        for line in
            ["text", "poweroff", "part / --fstype ext3 --size 1024 --grow --ondisk vda", "bootloader --location=none"]
        {
            assert!(text.lines().any(|known| known == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("swap") && !text.contains("interactive"), "{text}");
        assert!(text.contains("\ngroupadd -g 500 'pgxc'\nuseradd -u 500 -g 500 -m -s /bin/bash 'pgxc'\n"), "{text}");
    }

    #[test]
    fn shellcheck_is_content_with_what_is_done_at_the_end() {
        let text = text();
        let (_, post) = text.split_once("\n%post\n").expect("it has a %post");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("post");
        std::fs::write(&path, format!("#!/bin/sh\n{post}")).expect("a file");
        match Command::new("shellcheck").arg("--severity=warning").arg(&path).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
            Err(_) => eprintln!("shellcheck is not installed: not checked"),
        }
    }

    /// pykickstart knows every version's words. `scripts/setup` installs it.
    #[test]
    fn pykickstart_takes_it_for_a_kickstart_of_rhel5() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ks.cfg");
        let validated = |text: &str| {
            std::fs::write(&path, text).expect("a file");
            Command::new(std::env::var("KSVALIDATOR").unwrap_or_else(|_| "ksvalidator".into()))
                .args(["-v", "RHEL5"])
                .arg(&path)
                .output()
        };
        let Ok(output) = validated(&text()) else {
            eprintln!("ksvalidator is not installed (scripts/setup): not checked");
            return;
        };
        let said = |output: &std::process::Output| {
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        };
        assert!(output.status.success(), "{}", said(&output));
        // Otherwise it could take anything, or be one that has forgotten RHEL5.
        let wrong = validated(&text().replace("selinux --disabled", "selinux --gone")).expect("it ran before");
        assert!(!wrong.status.success(), "{}", said(&wrong));
    }
}
