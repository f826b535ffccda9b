//! The machine that a publisher's disk is booted in. Its network is qemu's own, which asks nothing of this machine.

use super::super::{
    attend::{Failure, Patience, Sight, Verdict, attend, escaped},
    definition::Machine,
};
use crate::{
    error::{Class, Error, Result},
    host::{Accelerator, QEMU, last_lines},
    lab::Size,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

/// dnf does not get along with less.
const MEMORY: Size = Size::mib(2048);
/// How long a job may take under KVM; emulation multiplies it. Most of it are packages, from a mirror that may be far away.
const DEADLINE: Duration = Duration::from_secs(15 * 60);
/// How long it may take from the last word to the end of the machine, also multiplied.
const GOODBYE: Duration = Duration::from_secs(10);
/// Lines of the console that a failure shows.
const TAIL: usize = 25;

/// A machine and its job.
pub(super) struct Job<'a> {
    /// How it runs.
    pub accelerator: Accelerator,
    /// qemu's machine type.
    pub machine: Machine,
    /// CPU model under emulation.
    pub cpu: &'a str,
    /// The disk that it boots from, qcow2.
    pub boot: &'a Path,
    /// Raw disks with their serial numbers.
    pub disks: &'a [(PathBuf, &'a str)],
    /// A directory that it sees as a FAT filesystem with this label.
    pub directory: (&'a Path, &'a str),
    /// MAC address of its card.
    pub mac: &'a str,
    /// File that gets its console.
    pub console: &'a Path,
}

/// What the machine says of its job.
#[derive(Debug, PartialEq, Eq)]
enum Said<'t> {
    /// It is at this stage.
    At(&'t str),
    /// All is done.
    Done,
    /// It gave up.
    Failed(&'t str),
}

/// The last word of a console. A line may have others' words before it, and counts when it is whole.
fn last_word(console: &str) -> Option<Said<'_>> {
    let whole = &console[..console.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().rev().find_map(|line| {
        let said = line.split_once("pgxc-lab: ")?.1.trim_end();
        match said.split_once(": ") {
            Some(("bake", stage)) => Some(Said::At(stage)),
            Some(("bake failed", why)) => Some(Said::Failed(why)),
            None if said == "baked" => Some(Said::Done),
            _ => None,
        }
    })
}

/// Starts the machine and waits until its job is done; tells each stage.
///
/// # Errors
/// When the job fails, the machine ends before, or the deadline passes: with the end of the console.
pub(super) async fn run(job: &Job<'_>, tell: impl Fn(&str)) -> Result<()> {
    let patience = job.accelerator.patience();
    let patience = Patience { job: DEADLINE * patience, goodbye: GOODBYE * patience };
    let mut stage = String::new();
    let judge = |sight: &Sight<'_>| {
        match last_word(sight.console) {
            Some(Said::Done) => return Verdict::Done,
            Some(Said::Failed(why)) => return Verdict::Failed(format!("it gave up: {why}")),
            Some(Said::At(now)) if now != stage => {
                now.clone_into(&mut stage);
                tell(now);
            }
            _ => {}
        }
        if let Some((status, _)) = sight.ended {
            return Verdict::Failed(format!("it ended before it was done: {status}"));
        }
        if sight.overdue {
            let at = if stage.is_empty() { "before its first stage" } else { &stage };
            let minutes = patience.job.as_secs() / 60;
            return Verdict::Failed(format!("it is not done within {minutes} min, its last stage: {at}"));
        }
        Verdict::Goes
    };
    let Err(Failure { why, console, qemu }) = attend(qemu(job), job.console, patience, judge).await? else {
        return Ok(());
    };
    let tail = if console.trim().is_empty() { "(empty)".to_owned() } else { last_lines(&console, TAIL) };
    let error = Error::new(Class::Image, format!("the machine that makes the image did not get through: {why}"))
        .evidence(format!("console {}:\n{tail}", job.console.display()))
        .hint(format!(
            "the whole console is `{}`; where the machine finds packages can be set by `mirrors` in lab.yaml",
            job.console.display()
        ));
    Err(if qemu.trim().is_empty() { error } else { error.evidence(format!("{QEMU}: {}", last_lines(&qemu, TAIL))) })
}

fn qemu(job: &Job<'_>) -> Command {
    let emulated = job.accelerator == Accelerator::Tcg;
    // Two of them: package managers unpack and compress side by side.
    let cpus = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2));
    let mut command = Command::new(QEMU);
    command
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-accel", job.accelerator.as_str()])
        .args(["-machine", job.machine.as_str(), "-m", &MEMORY.as_mib().to_string(), "-smp", &cpus.to_string()])
        .args(["-cpu", if emulated { job.cpu } else { "host" }])
        .args(["-device", "virtio-rng-pci", "-netdev", "user,id=net0"])
        .args(["-device", &format!("virtio-net-pci,netdev=net0,mac={}", job.mac)])
        .args(["-serial", &format!("file:{}", escaped(job.console))]);
    // Devices are named, since those that qemu would make of drives alone come after all others: the first disk is vda.
    let mut disk = |drive: String, device: &str| {
        command.args(["-drive", &format!("if=none,{drive}")]).args(["-device", &format!("virtio-blk-pci,{device}")]);
    };
    disk(format!("id=boot,format=qcow2,cache=unsafe,file={}", escaped(job.boot)), "drive=boot,bootindex=0");
    for (file, serial) in job.disks {
        let drive = format!("id={serial},format=raw,cache=unsafe,file={}", escaped(file));
        disk(drive, &format!("drive={serial},serial={serial}"));
    }
    let (directory, label) = job.directory;
    let volume = format!(
        "id=volume,format=raw,readonly=on,file.driver=vvfat,file.read-only=on,file.label={label},file.dir={}",
        escaped(directory)
    );
    disk(volume, "drive=volume");
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_last_whole_word_counts() {
        for (console, word) in [
            ("", None),
            ("[    0.0] Linux\n", None),
            ("pgxc-lab: bake: packages\nSetting up chrony\n", Some(Said::At("packages"))),
            // The kernel was faster.
            ("[   9.1] pgxc-lab: bake: files\r\n", Some(Said::At("files"))),
            ("pgxc-lab: bake: files\npgxc-lab: bake: pack", Some(Said::At("files"))),
            ("pgxc-lab: bake: clean up\npgxc-lab: baked\nreboot: Power down\n", Some(Said::Done)),
            ("pgxc-lab: bake failed: packages (status 100)\n", Some(Said::Failed("packages (status 100)"))),
            ("pgxc-lab: baked beans\n", None),
        ] {
            assert_eq!(last_word(console), word, "{console}");
        }
    }

    /// qemu itself refuses.
    #[tokio::test]
    async fn a_machine_that_does_not_boot_is_told() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("volume")).expect("it can be made");
        let job = Job {
            accelerator: Accelerator::Tcg,
            machine: Machine::Q35,
            cpu: "qemu64",
            boot: &path("missing.qcow2"),
            disks: &[],
            directory: (&path("volume"), "cidata"),
            mac: "52:54:00:00:00:01",
            console: &path("console"),
        };
        let error = run(&job, |_| {}).await.expect_err("there is nothing to boot");
        assert!(error.message().contains("it ended before it was done: exit status: 1"), "{error}");
        assert!(error.to_string().contains("missing.qcow2"), "qemu's own words: {error}");
    }
}
