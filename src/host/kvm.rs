//! How guests can be accelerated here. `/dev/kvm` being there proves nothing: on some machines it opens, makes VMs
//! and then never executes a useful instruction. Only a guest that ran is proof.

use super::qemu::QEMU;
use crate::{
    error::{Class, Error, Result, ResultExt},
    lab::Acceleration,
};
use std::{io::Write, path::Path, process::Stdio, time::Duration};

/// How guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// Hardware virtualization.
    Kvm,
    /// qemu's emulation (TCG).
    Tcg,
}

/// A firmware that proves itself: it counts down from a hundred million, writes 0x10 to port 0xf4 and halts.
///
/// The count matters. Where KVM cannot run guest code it still emulates single instructions in the kernel, a
/// firmware's first few among them; only a loop that takes a real CPU a fraction of a second tells the two apart.
const PROOF: [u8; 15] = [
    0x66, 0xb9, 0x00, 0xe1, 0xf5, 0x05, // mov ecx, 100000000
    0x66, 0x49, // dec ecx
    0x75, 0xfc, // jnz to dec
    0xb0, 0x10, 0xe6, 0xf4, // out 0xf4, 0x10
    0xf4, // hlt
];
/// Size of the firmware image, offset of the code, and of the reset vector, which jumps to it.
const FIRMWARE: usize = 64 * 1024;
const CODE: usize = 0xff00;
const RESET_VECTOR: usize = 0xfff0;
/// jmp near, back from the byte after itself to [`CODE`].
const JUMP: [u8; 3] = [0xe9, 0x0d, 0xff];
/// qemu's isa-debug-exit turns a written value v into exit status 2v + 1.
const PROVEN: i32 = 0x10 * 2 + 1;
/// A real CPU counts down in about 0.05 s; qemu itself starts in well under a second.
const DEADLINE: Duration = Duration::from_secs(3);

impl Accelerator {
    /// qemu's and libvirt's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }

    /// Factor for deadlines of work inside guests: emulated code runs about ten times slower.
    pub fn patience(self) -> u32 {
        match self {
            Accelerator::Kvm => 1,
            Accelerator::Tcg => 6,
        }
    }

    /// How many CPU-heavy steps may run at once: emulated guests that wait for a core burn it (99 s against 265 s
    /// for the same eight boots), accelerated ones mostly wait for other things.
    pub fn tokens(self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        match self {
            Accelerator::Kvm => cores * 4,
            Accelerator::Tcg => cores,
        }
    }

    /// How many looks at guests and servers there may be at once: most of a look is a wait for somebody else's answer. With
    /// fewer the twelve sessions of the document's lab come in rounds, and a round costs a second with Postgres-XC 1.0, whose
    /// proxy looks for new connections of a server only that often (GTMProxy's ServerLoop polls for 1000 ms).
    pub fn looks(self) -> usize {
        self.tokens() * 6
    }
}

/// Chooses the accelerator and says why.
///
/// # Errors
/// When lab.yaml wants KVM and it does not work.
pub async fn choose(wanted: Acceleration, scratch: &Path) -> Result<(Accelerator, String)> {
    match wanted {
        Acceleration::Tcg => Ok((Accelerator::Tcg, "guests are emulated, as lab.yaml asks".into())),
        Acceleration::Auto => match prove(Accelerator::Kvm, scratch, DEADLINE).await {
            Ok(()) => Ok((Accelerator::Kvm, "KVM works: a tiny guest ran under it".into())),
            Err(why) => Ok((Accelerator::Tcg, format!("guests are emulated: {}", why.message()))),
        },
        Acceleration::Kvm => match prove(Accelerator::Kvm, scratch, DEADLINE).await {
            Ok(()) => Ok((Accelerator::Kvm, "KVM works: a tiny guest ran under it".into())),
            Err(why) => Err(why
                .context("lab.yaml asks for KVM, which does not work here")
                .hint("write `acceleration: auto` to fall back to emulation")),
        },
    }
}

/// Runs the tiny guest.
async fn prove(accelerator: Accelerator, scratch: &Path, deadline: Duration) -> Result<()> {
    if accelerator == Accelerator::Kvm && !Path::new("/dev/kvm").exists() {
        return Err(Error::new(Class::Host, "there is no /dev/kvm"));
    }
    std::fs::create_dir_all(scratch).or_error(Class::Host, || format!("cannot make `{}`", scratch.display()))?;
    let firmware = scratch.join(format!("kvm-proof-{}.bin", std::process::id()));
    let mut image = vec![0u8; FIRMWARE];
    image[CODE..CODE + PROOF.len()].copy_from_slice(&PROOF);
    image[RESET_VECTOR..RESET_VECTOR + JUMP.len()].copy_from_slice(&JUMP);
    std::fs::File::create(&firmware)
        .and_then(|mut file| file.write_all(&image))
        .or_error(Class::Host, || format!("cannot write `{}`", firmware.display()))?;
    let mut command = tokio::process::Command::new(QEMU);
    command
        .args([
            "-accel",
            accelerator.as_str(),
            "-machine",
            "pc",
            "-nodefaults",
            "-display",
            "none",
            "-m",
            "16",
            "-no-reboot",
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"])
        .arg(&firmware)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(deadline, command.output()).await;
    let _ = std::fs::remove_file(&firmware);
    match ended {
        Err(_) => Err(Error::new(
            Class::Host,
            format!("/dev/kvm is there, but a tiny guest did not run under it within {} s", deadline.as_secs()),
        )),
        Ok(Err(error)) => {
            Err(Error::caused(Class::Host, format!("cannot run {QEMU}"), error).hint("`./scripts/setup` installs it"))
        }
        Ok(Ok(output)) if output.status.code() == Some(PROVEN) => Ok(()),
        Ok(Ok(output)) => Err(Error::new(
            Class::Host,
            format!(
                "a tiny guest failed: {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("no message")
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proof itself must be sound: under emulation, which always works, the tiny guest runs.
    #[tokio::test]
    async fn the_tiny_guest_runs_under_emulation() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        prove(Accelerator::Tcg, scratch.path(), Duration::from_secs(60)).await.expect("emulation works");
    }

    #[tokio::test]
    async fn a_guest_that_never_answers_is_no_proof() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let refused =
            prove(Accelerator::Tcg, scratch.path(), Duration::from_millis(1)).await.expect_err("no time to run");
        assert!(refused.message().contains("did not run"), "{refused}");
    }
}
