//! What cloud-init is told, once: the files of its NoCloud volume. Pure.

use super::repositories;
use crate::{
    digest,
    error::{Class, Result, ResultExt},
    guest::{GuestFile, Init, System, archive},
};
use std::collections::BTreeMap;

/// Label by which cloud-init finds the volume.
pub(super) const LABEL: &str = "cidata";
/// The card of the machine that makes images.
pub(super) const MAC: &str = "52:54:00:70:67:78";

/// The locale that every image has; a guest's own is set by its seed.
const LOCALE: &str = "en_US.UTF-8";
/// Where the volume is mounted: a directory that is nobody's otherwise.
const MOUNT: &str = "/root/pgxc-lab";

const APT: &str = include_str!("guest/apt.sh");
const YUM: &str = include_str!("guest/yum.sh");
const BAKE: &str = include_str!("guest/bake.sh");
const SEED_APPLY: &str = include_str!("guest/seed-apply");
const INITRAMFS_HOOK: &str = include_str!("guest/initramfs-hook");
const DRACUT_HOOK: &str = include_str!("guest/dracut-hook");
const DRACUT_SETUP: &str = include_str!("guest/dracut-setup");
const FIREWALL: &str = include_str!("../../../images/debian-12/files/etc/systemd/system/pgxc-firewall.service");
const TIMEOUTS: &str = include_str!("../../../images/debian-12/files/etc/systemd/system.conf.d/10-pgxc-lab.conf");
const NETWORK: &str = include_str!("../../../images/debian-12/files/etc/systemd/network/80-pgxc-lab.network");
const CLUSTERS: &str = include_str!("../../../images/debian-12/files/etc/postgresql-common/createcluster.conf");

/// What an image is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The guest system.
    pub system: System,
    /// Release in the words of the package mirror.
    pub suite: &'a str,
    /// All packages.
    pub packages: &'a [String],
    /// User of the databases.
    pub user: &'a str,
    /// Its uid and gid.
    pub uid: u32,
}

/// The package manager and the maker of initrds of a system.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Apt,
    Yum,
}

impl Family {
    fn of(system: System) -> Family {
        match system {
            System::Debian | System::Ubuntu => Family::Apt,
            System::El5 | System::El6 | System::El7 | System::El9 => Family::Yum,
        }
    }
}

/// Names and contents of the volume's files; those of the packages' places only where one is given.
///
/// # Errors
/// None that a definition could cause; packing asks for it.
pub(super) fn volume(wanted: &Wanted<'_>, repository: Option<&str>) -> Result<BTreeMap<&'static str, Vec<u8>>> {
    let files = archive(&files(wanted.system)).or_error(Class::Internal, || "cannot pack the image's files".into())?;
    let mut volume = BTreeMap::from([
        ("user-data", user_data().into_bytes()),
        ("meta-data", b"instance-id: pgxc-lab-bake\nlocal-hostname: pgxc-guest\n".to_vec()),
        ("network-config", network_config().into_bytes()),
        ("bake", script(wanted).into_bytes()),
        ("files.tar", files),
    ]);
    if let Some(text) = repository.and_then(|base| repositories::text(wanted.system, wanted.suite, base)) {
        volume.insert("repositories", text.into_bytes());
    }
    Ok(volume)
}

/// Digest of everything that an image comes out of besides its definition. Where packages come from is no part of it: the
/// same ones come from everywhere, and a mirror that moves must cost no image.
///
/// # Errors
/// As [`volume`].
pub(super) fn inputs(wanted: &Wanted<'_>) -> Result<String> {
    let files = volume(wanted, None)?;
    let line = |(name, bytes): (&&str, &Vec<u8>)| format!("{name} {}\n", digest::of_bytes(bytes));
    Ok(digest::of_text(&files.iter().map(line).collect::<String>()))
}

/// In words that cloud-init 0.7 of EL6 knows as well. No user is made: the image has its own, and its uid may be the one
/// that a default user would get.
fn user_data() -> String {
    format!(
        "#cloud-config\nusers: []\npreserve_hostname: true\napt:\n  preserve_sources_list: true\nssh:\n  emit_keys_to_console: false\n\
         runcmd:\n  - [sh, -c, \"mkdir -p {MOUNT} && mount -o ro -L {LABEL} {MOUNT} && exec sh {MOUNT}/bake || \
         echo 'pgxc-lab: bake failed: its volume cannot be mounted' >/dev/ttyS0\"]\n"
    )
}

/// Version 1: the one that all of them know.
fn network_config() -> String {
    format!(
        "version: 1\nconfig:\n  - type: physical\n    name: eth0\n    mac_address: \"{MAC}\"\n    subnets:\n      - type: dhcp\n"
    )
}

fn script(wanted: &Wanted<'_>) -> String {
    let family = match Family::of(wanted.system) {
        Family::Apt => APT,
        Family::Yum => YUM,
    };
    // Packages, users and uids are of characters that mean nothing to a shell.
    format!(
        "#!/bin/sh\nPACKAGES='{}'\nGUEST_USER='{}' GUEST_UID='{}' GUEST_LOCALE='{LOCALE}'\n{family}{BAKE}",
        wanted.packages.join(" "),
        wanted.user,
        wanted.uid
    )
}

/// Files of every guest of the image: what takes the seed, and what the seeds rely on.
fn files(system: System) -> Vec<GuestFile> {
    let program = |path: &str, text: &str| GuestFile::text(path, text).mode(0o755);
    let mut files = vec![program("/usr/lib/pgxc-lab/seed-apply", SEED_APPLY)];
    match Family::of(system) {
        Family::Apt => files.extend([
            program("/etc/initramfs-tools/scripts/local-bottom/pgxc-seed", INITRAMFS_HOOK),
            GuestFile::text("/etc/systemd/network/80-pgxc-lab.network", NETWORK),
            GuestFile::text("/etc/postgresql-common/createcluster.conf", CLUSTERS),
        ]),
        Family::Yum if system == System::El6 => {
            let module = "/usr/share/dracut/modules.d/90pgxc-seed";
            // Its dracut reads one file per function.
            let install =
                "#!/bin/bash\ninst_hook pre-pivot 50 \"$moddir/pgxc-seed.sh\"\ndracut_install mount umount chroot\n";
            files.extend([
                program(&format!("{module}/pgxc-seed.sh"), DRACUT_HOOK),
                program(&format!("{module}/check"), "#!/bin/bash\nexit 0\n"),
                program(&format!("{module}/install"), install),
            ]);
        }
        Family::Yum => {
            let module = "/usr/lib/dracut/modules.d/90pgxc-seed";
            files.extend([
                program(&format!("{module}/pgxc-seed.sh"), DRACUT_HOOK),
                program(&format!("{module}/module-setup.sh"), DRACUT_SETUP),
            ]);
        }
    }
    if system.init() == Init::Systemd {
        let firewall = FIREWALL.replace("/etc/iptables/rules.v4", system.rules_file());
        files.extend([
            GuestFile::text("/etc/systemd/system/pgxc-firewall.service", firewall),
            GuestFile::text("/etc/systemd/system.conf.d/10-pgxc-lab.conf", TIMEOUTS),
        ]);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const SYSTEMS: [System; 5] = [System::Debian, System::Ubuntu, System::El6, System::El7, System::El9];

    fn packages() -> Vec<String> {
        ["openssh-server", "chrony"].map(str::to_owned).into()
    }

    fn wanted(system: System, packages: &[String]) -> Wanted<'_> {
        Wanted { system, suite: "1", packages, user: "pgxc", uid: 500 }
    }

    fn text(volume: &BTreeMap<&'static str, Vec<u8>>, name: &str) -> String {
        String::from_utf8(volume[name].clone()).expect("text")
    }

    #[test]
    fn a_volume_of_nocloud() {
        let packages = packages();
        let volume = volume(&wanted(System::Debian, &packages), Some("http://a/debian")).expect("it is packed");
        let names: Vec<&str> = volume.keys().copied().collect();
        assert_eq!(names, ["bake", "files.tar", "meta-data", "network-config", "repositories", "user-data"]);
        let user_data = text(&volume, "user-data");
        assert_eq!(user_data.lines().next(), Some("#cloud-config"));
        let yaml: serde_json::Value = serde_yaml::from_str(&user_data).expect("YAML");
        let command = yaml["runcmd"][0][2].as_str().expect("a line for the shell");
        assert!(command.contains("mount -o ro -L cidata /root/pgxc-lab && exec sh /root/pgxc-lab/bake"), "{command}");
        assert_eq!(yaml["users"].as_array().map(Vec::len), Some(0));
        let network: serde_json::Value = serde_yaml::from_str(&text(&volume, "network-config")).expect("YAML");
        assert_eq!(network["config"][0]["mac_address"], MAC);
        let meta: serde_json::Value = serde_yaml::from_str(&text(&volume, "meta-data")).expect("YAML");
        assert!(meta["instance-id"].is_string());
        assert!(text(&volume, "bake").contains("PACKAGES='openssh-server chrony'\nGUEST_USER='pgxc' GUEST_UID='500'"));
    }

    #[test]
    fn every_input_counts_but_where_packages_come_from() {
        let (some, more) = (packages(), ["x".to_owned()]);
        let base = wanted(System::El7, &some);
        let digest = |wanted: &Wanted<'_>| inputs(wanted).expect("it is packed");
        assert_eq!(digest(&base), digest(&Wanted { suite: "2", ..base }));
        for other in [
            Wanted { system: System::El6, ..base },
            Wanted { packages: &more, ..base },
            Wanted { user: "other", ..base },
            Wanted { uid: 501, ..base },
        ] {
            assert_ne!(digest(&base), digest(&other), "{other:?}");
        }
    }

    #[test]
    fn each_family_has_its_way_into_the_initrd() {
        let paths = |system| files(system).into_iter().map(|file| file.path).collect::<Vec<_>>().join(" ");
        assert!(paths(System::Ubuntu).contains("/etc/initramfs-tools/scripts/local-bottom/pgxc-seed"));
        assert!(paths(System::El9).contains("/usr/lib/dracut/modules.d/90pgxc-seed/module-setup.sh"));
        assert!(paths(System::El6).contains("/usr/share/dracut/modules.d/90pgxc-seed/install"));
        assert!(!paths(System::El6).contains("systemd"));
        let firewall = files(System::El7).into_iter().find(|file| file.path.ends_with("pgxc-firewall.service"));
        let firewall = format!("{firewall:?}");
        assert!(firewall.contains("iptables-restore -w 30 /etc/sysconfig/iptables") && !firewall.contains("rules.v4"));
    }

    #[test]
    fn shellcheck_is_content() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let packages = packages();
        let mut scripts: Vec<(String, String)> = SYSTEMS
            .into_iter()
            .map(|system| (format!("bake-{system:?}"), script(&wanted(system, &packages))))
            .collect();
        let whole = [
            ("seed-apply", SEED_APPLY),
            ("initramfs-hook", INITRAMFS_HOOK),
            ("dracut-hook", DRACUT_HOOK),
            ("dracut-setup", DRACUT_SETUP),
        ];
        scripts.extend(whole.map(|(name, text)| (name.to_owned(), text.to_owned())));
        for (name, text) in scripts {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("it can be written");
            match Command::new("shellcheck").arg(&path).output() {
                Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
                Err(_) => eprintln!("shellcheck is not installed: not checked"),
            }
        }
    }
}
