//! Installations: the release's own installer, booted once with our kickstart in its initrd. It fills a disk and powers off;
//! the root is cut out of that disk.

use super::{
    attend::{Patience, Sight, Verdict, attend, escaped},
    cpio::{Entry, initrd_with},
    definition::ImageDefinition,
    kickstart::{DONE, Kickstart},
    recipe::Recipe,
    tree::Tree,
    workshop::Workshop,
};
use crate::{
    error::{Class, Error, Result, ResultExt},
    host::{self, Accelerator, QEMU, last_lines},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long an installer may take under KVM: a text installation of a few hundred packages over a slow line.
const INSTALLS: Duration = Duration::from_secs(40 * 60);
/// Memory of its machine in MiB: the installer of RHEL 5 asks for 512 and keeps its second stage in memory besides.
const MEMORY: u32 = 1024;
/// What an installer or its kernel says when it has failed and waits for a person.
const FAILURES: [&str; 3] = ["Kernel panic", "install exited abnormally", "Traceback (most recent call last)"];
/// Bytes of a sector in a partition table.
const SECTOR: u64 = 512;

/// What one installation makes.
pub(super) struct Installation<'a> {
    /// The image's definition.
    pub definition: &'a ImageDefinition,
    /// All packages.
    pub packages: &'a [String],
    /// User of the databases.
    pub user: &'a str,
    /// Its uid and gid.
    pub uid: u32,
    /// Size of the disk, in qemu's words.
    pub size: &'a str,
}

/// Files of an installation.
struct Machine<'a> {
    kernel: &'a Path,
    initrd: &'a Path,
    disk: &'a Path,
    console: &'a Path,
    cpu: &'a str,
}

impl Installation<'_> {
    /// Digest of the words that every kickstart is written with: a version that writes others makes another image.
    pub(super) fn digest_of_words() -> String {
        crate::digest::of_text(&Kickstart { url: "", packages: &[], user: "", uid: 0, files: &[] }.render())
    }

    /// Leaves root, kernel and initrd in `out`; `part` is for everything else.
    ///
    /// # Errors
    /// What the tree does not give, how the installer ended or that it did not, what is missing on its disk.
    pub(super) async fn make(&self, workshop: &Workshop<'_>, part: &Path, out: &Path) -> Result<()> {
        let Recipe::Kickstart { tree, kernel, initrd } = &self.definition.recipe else {
            return Err(Error::new(Class::Internal, format!("`{}` is not installed", self.definition.name)));
        };
        let tree = Tree::named().unwrap_or_else(|| Tree::parse(tree));
        let Workshop { events, step, .. } = *workshop;
        let offline = workshop.sources.offline;
        let kernel = tree.file(kernel, part, offline, events, step).await?;
        let initrd = tree.file(initrd, part, offline, events, step).await?;
        let served = tree.serve().await?;
        let kickstart = Kickstart {
            url: &served.url,
            packages: self.packages,
            user: self.user,
            uid: self.uid,
            files: &self.definition.files(),
        };
        let text = kickstart.render();
        let injected = part.join("initrd-with-kickstart");
        let bytes = fs::read(&initrd).or_error(Class::Host, || format!("cannot read `{}`", initrd.display()))?;
        write(&injected, &initrd_with(bytes, &[Entry { path: "ks.cfg", mode: 0o644, content: text.as_bytes() }]))?;
        write(&part.join("ks.cfg"), text.as_bytes())?;
        let (disk, console) = (part.join("disk"), workshop.log);
        let mut truncate = tokio::process::Command::new("truncate");
        truncate.args(["-s", self.size]).arg(&disk);
        host::run(truncate, "make the disk", Class::Host).await?;
        let machine = Machine { kernel: &kernel, initrd: &injected, disk: &disk, console, cpu: &self.definition.cpu };
        machine.run(workshop).await?;
        workshop.tell("takes the root out of the installed disk");
        seal(&disk, out).await
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).or_error(Class::Host, || format!("cannot write `{}`", path.display()))
}

impl Machine<'_> {
    /// qemu's arguments. A machine of its own, with the devices that the guests have: what the installer finds is what its
    /// initrd gets drivers for. Its network is qemu's own: it reaches out, and nothing reaches in.
    fn arguments(&self, accelerator: Accelerator) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let words = [
            "-name",
            "pgxc-lab-installation",
            "-machine",
            "pc",
            "-accel",
            accelerator.as_str(),
            "-cpu",
            self.cpu,
            "-m",
            &MEMORY.to_string(),
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-rtc",
            "base=utc",
            "-serial",
            &format!("file:{}", text(self.console)),
            "-drive",
            &format!("file={},if=virtio,format=raw,cache=unsafe", escaped(self.disk)),
            "-nic",
            "user,model=virtio-net-pci",
            "-kernel",
            &text(self.kernel),
            "-initrd",
            &text(self.initrd),
            "-append",
            // text on the serial console; the kickstart is a file of the initrd.
            "ks=file:/ks.cfg ksdevice=eth0 text noipv6 console=ttyS0",
        ];
        words.map(str::to_owned).to_vec()
    }

    /// Runs it until it powers off.
    async fn run(&self, workshop: &Workshop<'_>) -> Result<()> {
        let mut qemu = tokio::process::Command::new(QEMU);
        qemu.args(self.arguments(workshop.accelerator));
        let limit = INSTALLS * workshop.accelerator.patience();
        let mut told = String::new();
        let judge = |sight: &Sight<'_>| {
            match sight.ended {
                Some((status, _)) if status.success() => return Verdict::Done,
                Some((status, words)) => return Verdict::Failed(format!("its machine ended with {status}: {words}")),
                None => {}
            }
            let text = plain(sight.console);
            if let Some(words) = FAILURES.iter().find(|words| text.contains(**words)) {
                return Verdict::Failed(format!("it says \"{words}\""));
            }
            if sight.overdue {
                return Verdict::Failed(format!("it did not power off within {} s", limit.as_secs()));
            }
            let last = last_lines(&text, 1);
            if last != told {
                workshop.tell(format!("the installer says: {last}"));
                told = last;
            }
            Verdict::Goes
        };
        // Its job is done when it has ended.
        let patience = Patience { job: limit, goodbye: Duration::ZERO };
        let Err(failure) = attend(qemu, self.console, patience, judge).await? else { return Ok(()) };
        let text = plain(&failure.console);
        let said = if text.trim().is_empty() { "(nothing)".to_owned() } else { last_lines(&text, 20) };
        Err(Error::new(Class::Image, format!("the installer failed: {}", failure.why))
            .evidence(format!("console {}:\n{said}", self.console.display())))
    }
}

/// Text without the sequences that a terminal would obey.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => {
                if letters.next_if_eq(&'[').is_some() {
                    // Its end is a letter; what comes before are numbers.
                    while letters.next().is_some_and(|letter| !letter.is_ascii_alphabetic()) {}
                } else {
                    letters.next();
                }
            }
            '\r' => {}
            '\n' | '\t' => plain.push(letter),
            letter if letter.is_control() => {}
            letter => plain.push(letter),
        }
    }
    plain
}

/// First partition of a disk: where it begins and how long it is, in bytes.
fn first_partition(sector: &[u8]) -> Option<(u64, u64)> {
    let number = |at: usize| {
        let bytes: [u8; 4] = sector.get(at..at + 4)?.try_into().ok()?;
        Some(u64::from(u32::from_le_bytes(bytes)) * SECTOR)
    };
    let signed = sector.get(510..512)? == [0x55, 0xaa];
    // Of the first entry: its kind, its first sector, the number of its sectors.
    let (kind, start, length) = (sector.get(446 + 4)?, number(446 + 8)?, number(446 + 12)?);
    (signed && *kind == 0x83 && start > 0 && length > 0).then_some((start, length))
}

/// Takes root, kernel and initrd out of an installed disk, without mounting anything.
async fn seal(disk: &Path, out: &Path) -> Result<()> {
    let nothing = |what: &str| {
        Error::new(Class::Image, format!("the installer powered off, but {what}"))
            .hint("the log shows what it did; /root/pgxc-lab-post.log on its disk, what our part of it did")
    };
    let mut sector = vec![0; SECTOR as usize];
    fs::File::open(disk)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut sector))
        .or_error(Class::Host, || format!("cannot read `{}`", disk.display()))?;
    let (start, length) = first_partition(&sector).ok_or_else(|| nothing("its disk has no partition of Linux"))?;
    let root = out.join("root.ext4");
    let mut cut = tokio::process::Command::new("dd");
    cut.arg(format!("if={}", disk.display()))
        .arg(format!("of={}", root.display()))
        .args(["bs=1M", "conv=sparse", "iflag=skip_bytes,count_bytes", "status=none"])
        .arg(format!("skip={start}"))
        .arg(format!("count={length}"));
    host::run(cut, "take the root out of the disk", Class::Host).await?;
    // A hole at its end is no part of what dd wrote.
    let file = fs::OpenOptions::new().write(true).open(&root).and_then(|file| file.set_len(length));
    file.or_error(Class::Host, || format!("cannot write `{}`", root.display()))?;
    // 1 is what it says when it has repaired something.
    let mut check = tokio::process::Command::new("sh");
    check.args(["-c", "e2fsck -fy \"$0\" || [ $? = 1 ]"]).arg(&root);
    host::run(check, "check the installed root", Class::Image)
        .await
        .map_err(|error| error.context("the root is damaged"))?;
    let mut label = tokio::process::Command::new("tune2fs");
    label.args(["-L", "pgxc-root"]).arg(&root);
    host::run(label, "label the installed root", Class::Image).await?;
    if !debugfs(&root, &format!("stat {DONE}")).await?.contains("Inode:") {
        return Err(nothing("not all of its last part was done"));
    }
    let names = debugfs(&root, "ls -p /boot").await?;
    for (prefix, file) in [("vmlinuz-", "vmlinuz"), ("initrd-", "initrd.img")] {
        // /inode/mode/uid/gid/name/size/
        let found: Vec<&str> =
            names.lines().filter_map(|line| line.split('/').nth(5)).filter(|name| name.starts_with(prefix)).collect();
        let [name] = found[..] else {
            return Err(nothing(&format!("there is not one {prefix}* in its /boot: {}", found.join(", "))));
        };
        let target = out.join(file);
        debugfs(&root, &format!("dump /boot/{name} {}", target.display())).await?;
        if fs::metadata(&target).map_or(0, |data| data.len()) == 0 {
            return Err(nothing(&format!("{name} cannot be read from its disk")));
        }
    }
    Ok(())
}

/// Asks a filesystem that is not mounted.
async fn debugfs(root: &PathBuf, request: &str) -> Result<String> {
    let mut command = tokio::process::Command::new("debugfs");
    command.args(["-R", request]).arg(root);
    host::run(command, "look into the installed root", Class::Image).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_partition_of_a_disk() {
        let mut sector = vec![0; 512];
        assert_eq!(first_partition(&sector), None, "it has no table");
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(first_partition(&sector), None, "it has no partition");
        sector[446 + 4] = 0x83;
        sector[446 + 8..446 + 12].copy_from_slice(&63u32.to_le_bytes());
        sector[446 + 12..446 + 16].copy_from_slice(&8_388_545u32.to_le_bytes());
        assert_eq!(first_partition(&sector), Some((63 * 512, 8_388_545 * 512)));
        sector[446 + 4] = 0x82;
        assert_eq!(first_partition(&sector), None, "swap is no root");
        assert_eq!(first_partition(&sector[..500]), None);
    }

    #[test]
    fn what_moves_a_cursor_is_left_out() {
        assert_eq!(
            plain("\u{1b}[1;1H\u{1b}[44mInstalling\u{1b}[0m glibc\r\n\u{1b}c\u{7}done"),
            "Installing glibc\ndone"
        );
        assert_eq!(plain("\u{1b}["), "");
    }

    #[test]
    fn the_machine_is_the_guests_with_the_kickstart_in_its_initrd() {
        let path = Path::new("/a,b");
        let machine = Machine { kernel: path, initrd: path, disk: path, console: path, cpu: "qemu64" };
        let words = machine.arguments(Accelerator::Kvm).join(" ");
        for part in [
            "-machine pc -accel kvm -cpu qemu64",
            "file=/a,,b,if=virtio,format=raw",
            "-append ks=file:/ks.cfg ksdevice=eth0 text noipv6 console=ttyS0",
            "-no-reboot",
        ] {
            assert!(words.contains(part), "{part} is missing in {words}");
        }
    }
}
