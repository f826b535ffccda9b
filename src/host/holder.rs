//! The process that holds a lab's namespaces: pid 1 of the lab.
//!
//! It owns a network, mount, pid, ipc and uts namespace. Everything that the lab runs lives under it, so that
//! ending this one process ends every daemon and guest, takes down the network and undoes every mount at once.

use super::paths::LabDir;
use crate::{
    error::{Class, Error, Result, ResultExt},
    file,
};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, close, setsid},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Directories of the host that the lab sees as its own: (path in the lab, directory below the lab's).
const PRIVATE_DIRECTORIES: [(&str, &str); 6] = [
    ("/run", "run"),
    ("/etc/libvirt", "libvirt/etc"),
    ("/var/lib/libvirt", "libvirt/lib"),
    ("/var/log/libvirt", "libvirt/log"),
    ("/var/lib/nfs", "nfs"),
    ("/tmp", "tmp"),
];

/// Identity of a process that outlives its number: a pid may be used again, its start time not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderId {
    /// Process id, seen from the host.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of /proc/PID/stat).
    pub start: u64,
    /// The boot that both belong to.
    pub boot: String,
}

impl HolderId {
    /// The identity of a running process.
    pub fn of(pid: i32) -> Option<HolderId> {
        Some(HolderId { pid, start: start_time(pid)?, boot: boot_id()? })
    }

    /// A text that no other process ever has.
    pub fn incarnation(&self) -> String {
        format!("{}-{}", self.boot, self.start)
    }

    /// Whether exactly this process still runs.
    pub fn runs(&self) -> bool {
        HolderId::of(self.pid).as_ref() == Some(self)
    }
}

/// The machine's present boot.
pub fn boot_id() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// Start time of a process that is not a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold spaces.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    (fields.next()? != "Z").then_some(())?;
    fields.nth(18)?.parse().ok()
}

/// Which half of the holder's start runs in this process.
const INIT_MARK: &str = "PGXC_LAB_HOLDER_INIT";

/// Entry of the hidden subcommand: makes the namespaces, or, inside them, holds them until it is killed.
///
/// Must run before any thread exists: a pid namespace cannot be left by a process with threads.
///
/// # Errors
/// When the kernel refuses a namespace or a mount.
pub fn hold(directory: &Path) -> Result<()> {
    let lab = LabDir::at(directory);
    if std::env::var_os(INIT_MARK).is_some() { init(&lab) } else { split(&lab) }
}

/// Gives up what the caller of this program had open, as scripts in the lab do: see `CLOSE_INHERITED` in `place.rs`.
fn close_inherited() {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The directory's own is among them, and closed already.
        let _ = close(descriptor);
    }
}

/// Leaves the host's namespaces and starts pid 1 in the new ones.
fn split(lab: &LabDir) -> Result<()> {
    close_inherited();
    let flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(flags).map_err(|errno| {
        Error::caused(Class::Host, "cannot make the lab's namespaces", errno)
            .hint("run as root on a machine that allows namespaces")
    })?;
    let program = std::env::current_exe().or_error(Class::Host, || "cannot find this program's own file".into())?;
    let log = fs::File::create(lab.join("logs/holder.log"))
        .or_error(Class::Host, || "cannot write the holder's log".into())?;
    let child = Command::new(program)
        .args(["internal-host".as_ref(), lab.path().as_os_str()])
        .env(INIT_MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .or_error(Class::Host, || "cannot start the lab's holder".into())?;
    let id = i32::try_from(child.id()).ok().and_then(HolderId::of);
    let id = id.ok_or_else(|| Error::new(Class::Host, "the lab's holder ended at once"))?;
    let text = serde_json::to_string(&id).or_error(Class::Internal, || "cannot write the holder's identity".into())?;
    file::replace(&lab.holder(), text)
}

/// Pid 1 of the lab: prepares the mounts, tells that it is ready, reaps orphans until it is killed.
fn init(lab: &LabDir) -> Result<()> {
    setsid().or_error(Class::Host, || "cannot leave the session".into())?;
    // Blocked before the first child, so that no exit is missed between two waits.
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block().or_error(Class::Host, || "cannot block SIGCHLD".into())?;
    prepare_mounts(lab)?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    if !up.or_error(Class::Host, || "cannot run `ip`".into())?.success() {
        return Err(Error::new(Class::Host, "cannot bring up `lo` in the lab's network"));
    }
    fs::write(lab.run().join("ready"), "").or_error(Class::Host, || "cannot tell that the holder is ready".into())?;
    loop {
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::caused(Class::Host, "cannot wait for children", errno)),
            }
        }
        children.wait().or_error(Class::Host, || "cannot wait for a signal".into())?;
    }
}

/// Gives the lab its own view of the directories that daemons write to.
fn prepare_mounts(lab: &LabDir) -> Result<()> {
    const NONE: Option<&str> = None;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |errno: Errno| Error::caused(Class::Host, format!("cannot mount {what} in the lab's namespace"), errno)
    };
    // Nothing that is mounted here may reach the host.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).map_err(failed("`/` privately"))?;
    let run = lab.run();
    if run.exists() {
        fs::remove_dir_all(&run).or_error(Class::Host, || format!("cannot empty `{}`", run.display()))?;
    }
    let private = PRIVATE_DIRECTORIES.map(|(seen, own)| (seen, lab.join(own)));
    for (seen, own) in private.into_iter().chain([("/var/cache/libvirt", lab.libvirt_cache())]) {
        fs::create_dir_all(&own).or_error(Class::Host, || format!("cannot make `{}`", own.display()))?;
        if !Path::new(seen).is_dir() {
            return Err(Error::new(Class::Host, format!("the host has no directory `{seen}`"))
                .hint("`./scripts/setup` installs libvirt and the NFS server, which make it"));
        }
        // A lab that lives below one of these directories would hide itself: its own tree must stay reachable.
        if lab.path().starts_with(seen) {
            continue;
        }
        mount(Some(&own), seen, NONE, MsFlags::MS_BIND, NONE).map_err(failed(seen))?;
    }
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, NONE)
        .map_err(failed("/proc"))?;
    // A fresh sysfs shows the devices of the new network namespace; it also hides the host's cgroup hierarchies,
    // in which libvirt would otherwise make groups that nobody removes.
    let _ = umount2("/sys", MntFlags::MNT_DETACH);
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, NONE)
        .map_err(failed("/sys"))
}
