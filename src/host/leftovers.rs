//! What a lab may have left on the host after `destroy`: looked for, never assumed.

use super::paths::LabDir;
use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

/// Something of a lab that is still there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Leftover {
    /// What it is, e.g. `process`.
    pub kind: &'static str,
    /// Which one, with what ends or removes it.
    pub what: String,
}

/// How long the kernel may take to release what ended with the namespaces.
const RELEASED: Duration = Duration::from_secs(5);

/// Whether the lab's directory counts as a leftover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directory {
    /// Its removal comes later.
    MayBeThere,
    /// It was removed.
    MustBeGone,
}

/// Looks for processes, mounts, loop devices and files of a lab.
pub fn look(lab: &LabDir, directory: Directory) -> Vec<Leftover> {
    let deadline = Instant::now() + RELEASED;
    loop {
        let found = look_once(lab, directory);
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn look_once(lab: &LabDir, directory: Directory) -> Vec<Leftover> {
    let mut found = Vec::new();
    found.extend(
        processes(lab.path())
            .into_iter()
            .map(|(pid, command)| Leftover { kind: "process", what: format!("{pid} {command}") }),
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in mounts.lines() {
        if let Some(point) = line.split_whitespace().nth(4).filter(|point| Path::new(point).starts_with(lab.path())) {
            found.push(Leftover { kind: "mount", what: format!("{point} (umount {point})") });
        }
    }
    for (device, file) in loop_devices().unwrap_or_default() {
        if Path::new(&file).starts_with(lab.path()) {
            found.push(Leftover {
                kind: "loop device",
                what: format!("{device} of {file} (losetup --detach {device})"),
            });
        }
    }
    if directory == Directory::MustBeGone && lab.path().exists() {
        found.push(Leftover { kind: "directory", what: lab.path().display().to_string() });
    }
    found
}

/// Processes that name the lab's directory on their command line: guests and daemons of the lab.
fn processes(directory: &Path) -> Vec<(u32, String)> {
    let wanted = directory.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        // A zombie has an empty command line and is no leftover of ours: its parent has to reap it.
        let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<&str> =
            command.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok()).collect();
        let program = words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
        let ours = ["qemu-system", "ganesha", "chronyd", "libvirtd", "virtlogd", "dnsmasq", "pgxc-lab"]
            .iter()
            .any(|name| program.starts_with(name));
        // The directory as a whole path, so that lab `a` does not find lab `ab`'s guests.
        let names_it = words.iter().any(|word| {
            word.match_indices(&wanted).any(|(at, _)| {
                matches!(word.as_bytes().get(at + wanted.len()), None | Some(b'/') | Some(b',') | Some(b'"'))
            })
        });
        if ours && names_it {
            found.push((pid, words.join(" ").chars().take(100).collect()));
        }
    }
    found
}

/// Loop devices in use and their files.
fn loop_devices() -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        if let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) {
            found.push((
                format!("/dev/{}", entry.file_name().to_string_lossy()),
                file.trim().trim_end_matches(" (deleted)").to_owned(),
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Home;

    #[test]
    fn finds_a_directory_and_nothing_else_of_a_lab_that_never_ran() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let lab = Home::new(home.path()).lab("x");
        assert_eq!(look_once(&lab, Directory::MustBeGone), []);
        fs::create_dir_all(lab.path()).expect("a directory");
        let found = look_once(&lab, Directory::MustBeGone);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].kind, "directory");
    }
}
