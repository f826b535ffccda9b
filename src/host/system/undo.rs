//! Taking a change back. Each can be taken back twice, and when it was never made: a run may have died in between.

use super::{CLIENTS, Change, LIBVIRT, NETWORK, Rule, expire_clients, lease, nfs, remove_block};
use crate::{
    error::{Class, Error, Result, ResultExt},
    host::{Bridge, LabDir, last_lines},
    hypervisor::{Libvirt, Reservation},
    journal::{Entry, Journal},
    lab::Device,
};
use std::{
    fs, io,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a filesystem may stay busy after its last user has ended.
const BUSY: Duration = Duration::from_secs(10);

/// Whether a lab lives on this machine itself, or may still have something there as one that does.
///
/// # Errors
/// When its journal cannot tell.
pub fn is_entangled(lab: &LabDir) -> Result<bool> {
    Ok(lab.system_mark().exists() || !Journal::read(&lab.journal())?.changes().iter().all(is_plug))
}

/// What labs in namespaces of their own may have on this machine, too.
fn is_plug(change: &Change) -> bool {
    matches!(change, Change::Plugged { .. })
}

/// Takes a lab in namespaces of its own off this machine's bridge, if it is on one.
///
/// # Errors
/// When the kernel refuses.
pub fn unplug(lab: &LabDir) -> Result<()> {
    let plugs: Vec<Change> = Journal::read(&lab.journal())?.changes().into_iter().filter(is_plug).collect();
    if plugs.is_empty() {
        return Ok(());
    }
    let journal = Journal::open(&lab.journal())?;
    for change in plugs {
        if let Change::Plugged { port, .. } = &change {
            pull(port).map_err(|error| error.context(format!("cannot take back the {change}")))?;
        }
        journal.write(Entry::Undone { what: change })?;
    }
    Ok(())
}

fn pull(port: &Device) -> Result<()> {
    command("bash", &["-ceu", &Bridge::remove(port.as_str())]).map(drop)
}

/// Ends a lab on this machine: its guests first, then every change of the journal, the newest first.
///
/// # Errors
/// The first thing that cannot be taken back; whatever follows it is still in the journal.
pub fn leave(lab: &LabDir) -> Result<()> {
    if !is_entangled(lab)? {
        return Ok(());
    }
    let journal = Journal::open(&lab.journal())?;
    let libvirt = Libvirt::open(LIBVIRT).map_err(|error| {
        error.hint("start libvirt again (`systemctl start libvirtd`), so that guests and reservations can be removed")
    })?;
    for domain in libvirt.domains(lab.name())? {
        libvirt.remove(&domain.name)?;
    }
    for change in journal.changes().into_iter().rev() {
        undo(&libvirt, &change).map_err(|error| error.context(format!("cannot take back the {change}")))?;
        journal.write(Entry::Undone { what: change })?;
    }
    let mark = lab.system_mark();
    match fs::remove_file(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).or_error(Class::Host, || format!("cannot remove `{}`", mark.display()))
        }
        _ => Ok(()),
    }
}

/// Takes one change back.
///
/// # Errors
/// When libvirt or the kernel refuses.
pub fn undo(libvirt: &Libvirt, change: &Change) -> Result<()> {
    match change {
        Change::Reserved(reservation) => give_back(libvirt, reservation),
        Change::Directory { path } => match fs::remove_dir(path) {
            // What somebody put into it since is his.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
            removed => removed.or_error(Class::Host, || format!("cannot remove `{}`", path.display())),
        },
        Change::Mounted { point } => unmount(point),
        Change::ExportsFile { path } => match fs::read_to_string(path) {
            Ok(text) if nfs::is_ours(&text) => {
                fs::remove_file(path).or_error(Class::Host, || format!("cannot remove `{}`", path.display()))
            }
            _ => Ok(()),
        },
        Change::Exported { client, directory } => unexport(*client, directory),
        Change::Started(daemon) => daemon.end(),
        Change::LetIn(rule) => shut(rule),
        Change::Named { lab, path } => remove_block(path, lab),
        Change::Plugged { port, .. } => pull(port),
    }
}

fn give_back(libvirt: &Libvirt, reservation: &Reservation) -> Result<()> {
    let Some(network) = libvirt.seen_network(NETWORK)? else { return Ok(()) };
    if let (Some(bridge), Some((gateway, _)), true) = (&network.bridge, network.gateway, network.active) {
        lease::release(bridge, gateway, reservation.mac, reservation.address)?;
    }
    libvirt.unreserve(NETWORK, reservation)
}

fn unmount(point: &Path) -> Result<()> {
    let deadline = Instant::now() + BUSY;
    loop {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").or_error(Class::Host, || "cannot list mounts".into())?;
        if !mounts.lines().any(|line| line.split_whitespace().nth(4).map(Path::new) == Some(point)) {
            return Ok(());
        }
        match command("umount", &[&point.display().to_string()]) {
            Err(error) if Instant::now() > deadline => {
                return Err(error.hint(format!("`fuser -vm {}` shows who uses it", point.display())));
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
            // Perhaps another was mounted over it.
            Ok(_) => {}
        }
    }
}

fn unexport(client: Ipv4Addr, directory: &Path) -> Result<()> {
    if !nfs::is_exported(client, directory, "") {
        return Ok(());
    }
    expire_clients(Path::new(CLIENTS), client)?;
    command("exportfs", &["-u", &format!("{client}:{}", directory.display())]).map(drop)
}

fn shut(rule: &Rule) -> Result<()> {
    while rule.is_there() {
        command("iptables", &rule.arguments("-D").iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Runs a program of the machine and gives what it says.
fn command(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.or_error(Class::Host, || format!("cannot run `{program}`"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::new(Class::Host, format!("`{program} {}` failed: {}", arguments.join(" "), output.status))
        .evidence(last_lines(&String::from_utf8_lossy(&output.stderr), 10)))
}

#[cfg(test)]
mod tests {
    use super::{super::with_block, *};

    #[test]
    fn a_file_that_is_not_ours_and_a_directory_with_something_in_it_stay() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let libvirt = Libvirt::open("test:///default").expect("libvirt's test driver");
        let (theirs, ours) = (directory.path().join("theirs.exports"), directory.path().join("ours.exports"));
        fs::write(&theirs, "/home *(ro)\n").expect("it writes");
        fs::write(&ours, nfs::exports_text(&crate::engine::fixture::document())).expect("it writes");
        let (names, device) = (directory.path().join("hosts"), |name: &str| name.parse().expect("a device"));
        let theirs_and_ours = with_block("10.1.1.1 mail", &crate::engine::fixture::document()).expect("it is whole");
        fs::write(&names, theirs_and_ours).expect("it writes");
        let (full, empty) = (directory.path().join("full"), directory.path().join("empty"));
        fs::create_dir_all(full.join("something")).and_then(|()| fs::create_dir(&empty)).expect("directories");
        for change in [
            Change::ExportsFile { path: theirs.clone() },
            Change::ExportsFile { path: ours.clone() },
            Change::Directory { path: full.clone() },
            Change::Directory { path: empty.clone() },
            Change::Mounted { point: full.clone() },
            Change::Named { lab: "pgxc".into(), path: names.clone() },
            Change::Plugged { bridge: device("br0"), port: device("pgxcp-nothing") },
        ] {
            let written = serde_json::to_string(&change).expect("the journal takes it");
            assert_eq!(serde_json::from_str::<Change>(&written).expect("and gives it back"), change);
            undo(&libvirt, &change).expect("it can be taken back");
            undo(&libvirt, &change).expect("twice, too");
        }
        assert_eq!(fs::read_to_string(&names).expect("it stays"), "10.1.1.1 mail");
        assert_eq!([&theirs, &ours, &full, &empty].map(|path| path.exists()), [true, false, true, false]);
    }
}
