//! What is left of a lab, up, half up or broken: one tar of logs, journal and choices. Whatever cannot be had is a line of
//! `MISSING` in it; only a tar that cannot be written at all is an error.

mod bundle;
mod disks;

pub use bundle::discard;

use crate::{
    error::Result,
    guest::Init,
    host::{Exports, Host, LabDir},
    prepare::LockFile,
};
use bundle::Bundle;
use jiff::Timestamp;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Seconds that a guest may take to give its journal: it may hang.
const GUEST: &str = "30";
/// Lines of a guest's journal.
const LINES: &str = "20000";
/// How long reading the disks of dead guests may take altogether: each is copied as a whole.
const DISKS: Duration = Duration::from_secs(300);
/// Directories below an export that components write logs to: the export, a data directory, `pg_log`.
const DEPTH: usize = 3;

/// Where to look.
pub struct Scene {
    /// The lab's directory.
    pub dir: LabDir,
    /// Its namespaces, if they are there.
    pub host: Option<Host>,
    /// Its guests.
    pub guests: Vec<Guest>,
    /// lab.yaml.
    pub lab_file: PathBuf,
    /// What whoever asks knows already: a file's name and its text, or why there is none.
    pub known: (&'static str, Result<String>),
    /// Texts that must not leave this host: they are blotted out wherever they stand.
    pub secrets: Vec<String>,
    /// Logs that nobody wrote to since then are left out; guests' journals begin there.
    pub since: Option<Timestamp>,
    /// Whether there is time to read disks of dead guests.
    pub haste: Haste,
}

/// Whether there is time to read disks of dead guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// There is.
    None,
    /// The run was interrupted: whoever did it waits for the end.
    Interrupted,
}

/// A guest.
pub struct Guest {
    /// Its name.
    pub name: String,
    /// The start of a command that runs another one on it, if it may run, and what starts its services.
    pub ssh: Option<(Command, Init)>,
}

/// Gathers everything into `file`. Blocks, for minutes when guests are dead.
///
/// # Errors
/// When the tar cannot be written.
pub fn collect(mut scene: Scene, file: &Path) -> Result<PathBuf> {
    let made = fs::read_to_string(scene.dir.join("keys/password")).unwrap_or_default();
    scene.secrets.push(made.trim().to_owned());
    let mut bundle = Bundle::create(file, &scene.secrets, scene.since)?;
    let (name, text) = &scene.known;
    match text {
        Ok(text) => bundle.bytes(name, text.as_bytes())?,
        Err(error) => bundle.missing(format!("{name}: {}", error.message())),
    }
    choices(&mut bundle, &scene)?;
    bundle.tree("logs", &scene.dir.join("logs"))?;
    hypervisor(&mut bundle, &scene)?;
    components(&mut bundle, &scene)?;
    guests(&mut bundle, &mut scene)?;
    bundle.finish()
}

/// Logs of libvirt and qemu. On a machine that others use, only those of the lab's own guests.
fn hypervisor(bundle: &mut Bundle, scene: &Scene) -> Result<()> {
    if !matches!(scene.host, Some(Host::System)) {
        return bundle.tree("libvirt", &scene.dir.join("libvirt/log"));
    }
    for guest in &scene.guests {
        let log = format!("{}.log", guest.name);
        bundle.file(format!("libvirt/qemu/{log}"), &Path::new("/var/log/libvirt/qemu").join(&log))?;
    }
    Ok(())
}

/// What was asked for and decided.
fn choices(bundle: &mut Bundle, scene: &Scene) -> Result<()> {
    bundle.file("journal.jsonl", &scene.dir.journal())?;
    bundle.file("lab.lock", &LockFile::path(&scene.lab_file))?;
    match fs::read_to_string(&scene.lab_file) {
        Ok(text) => bundle.bytes("lab.yaml", blotted(&text).as_bytes())?,
        Err(error) => bundle.missing(format!("lab.yaml: {error}")),
    }
    let record = scene.dir.record();
    let Ok(text) = fs::read_to_string(&record) else {
        bundle.missing("lab.json: the lab was never brought up");
        return Ok(());
    };
    // The text of lab.yaml inside is blotted out as such: in JSON it looks otherwise.
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(mut value) => {
            if let Some(yaml) = value.get("lab_yaml").and_then(|yaml| yaml.as_str()) {
                value["lab_yaml"] = blotted(yaml).into();
            }
            bundle.bytes("lab.json", format!("{value:#}\n").as_bytes())?;
        }
        Err(error) => bundle.missing(format!("lab.json: left out, since it cannot be understood: {error}")),
    }
    Ok(())
}

/// A lab.yaml without whatever follows the keys that hold secrets: in a file with mistakes nobody knows them.
fn blotted(text: &str) -> String {
    const LEFT_OUT: &str = "(left out)";
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let found = ["password:", "webhook:"].iter().find_map(|key| line.find(key).map(|at| at + key.len()));
            match found {
                Some(end) if !line.trim_start().starts_with('#') => format!("{} {LEFT_OUT}", &line[..end]),
                _ => line.to_owned(),
            }
        })
        .collect();
    lines.join("\n") + "\n"
}

/// Logs of the components, from the exports: as they are mounted, else from the filesystem image.
fn components(bundle: &mut Bundle, scene: &Scene) -> Result<()> {
    let mounted = scene.host.as_ref().filter(|host| host.inside(&scene.dir.exports()).join(".mounted").exists());
    if let Some(host) = mounted {
        let exports = Exports::new(&scene.dir, host);
        for guest in &scene.guests {
            let export = exports.outside(&guest.name);
            if !export.is_dir() {
                bundle.missing(format!("components/{}: it has no export", guest.name));
            }
            for log in logs_below(&export, DEPTH) {
                let name = log.strip_prefix(&export).unwrap_or(&log).to_owned();
                bundle.log(Path::new("components").join(&guest.name).join(name), &log)?;
            }
        }
        return Ok(());
    }
    let image = scene.dir.exports_image();
    if !image.exists() {
        bundle.missing("components: the lab has no exports");
        return Ok(());
    }
    disks::logs(bundle, &image, Path::new("/"), Path::new("components"), DEPTH)
}

/// Files that are logs: `*.log`, and everything in `pg_log`.
fn logs_below(directory: &Path, depth: usize) -> Vec<PathBuf> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 1 && disks::may_hold_logs(&name) {
            logs.extend(logs_below(&path, depth - 1));
        } else if kind.is_file() && disks::is_log(directory, &name) {
            logs.push(path);
        }
    }
    logs.sort();
    logs
}

/// The journal of every guest that answers, and /var/log of those that do not, read from their disks.
fn guests(bundle: &mut Bundle, scene: &mut Scene) -> Result<()> {
    let mut answers = Vec::new();
    // All at once: each that hangs would cost its whole time.
    for guest in &mut scene.guests {
        let child = guest.ssh.take().and_then(|(ssh, init)| journal_of(init, &ssh, scene.since).spawn().ok());
        answers.push((guest.name.clone(), child.map(|child| std::thread::spawn(|| child.wait_with_output()))));
    }
    let mut dead = Vec::new();
    for (name, answer) in answers {
        match answer.and_then(|answer| answer.join().ok()).and_then(std::io::Result::ok) {
            Some(output) if output.status.success() => {
                bundle.bytes(format!("guests/{name}/journal.txt"), &output.stdout)?;
            }
            Some(output) => {
                let words = crate::host::last_lines(&String::from_utf8_lossy(&output.stderr), 3);
                bundle.missing(format!("guests/{name}/journal.txt: it does not answer: {}; {words}", output.status));
                dead.push(name);
            }
            None => dead.push(name),
        }
    }
    let deadline = Instant::now() + DISKS;
    for name in dead {
        let overlay = scene.dir.overlay(&name);
        if !overlay.exists() {
            bundle.missing(format!("guests/{name}: it has no disk"));
        } else if scene.haste == Haste::Interrupted {
            bundle.missing(format!("guests/{name}: its disk was not read, since the run was interrupted"));
        } else if Instant::now() > deadline {
            bundle.missing(format!("guests/{name}: its disk was not read, time was up"));
        } else {
            disks::guest(bundle, &name, &overlay)?;
        }
    }
    Ok(())
}

/// ssh is given an end: a guest without memory accepts connections and says nothing for ever.
fn journal_of(init: Init, ssh: &Command, since: Option<Timestamp>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", GUEST]).arg(ssh.get_program()).args(ssh.get_args());
    command.arg(init.journal(LINES, since.map(Timestamp::as_second)).trim_end());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evidence::bundle::tests::unpack, host::Home};

    fn put(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn secrets_are_blotted_out() {
        let text = "name: a\ncluster: {password: very secret, version: 1}\n  webhook: https://x/y\n# password: …\nnotify:\n  command: [tell, tok-12345]\n";
        assert_eq!(
            blotted(text),
            "name: a\ncluster: {password: (left out)\n  webhook: (left out)\n# password: …\nnotify:\n  command: [tell, tok-12345]\n"
        );
    }

    /// A lab that is dead: no namespaces, exports and a guest's disk as files only.
    #[test]
    fn a_dead_lab_leaves_evidence() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = Home::new(home.path()).lab("two");
        put(dir.join("logs/db1-console.log"), "login:\n");
        put(dir.join("logs/nested/engine.log"), "made-password-0123\n");
        put(dir.join("libvirt/log/qemu/db1.log"), "terminating on signal 9\n");
        put(dir.journal(), "{}\n");
        put(dir.record(), r#"{"lab_yaml":"name: two\ncluster: {password: hunter22}\n","engine":"postgres-xc"}"#);
        put(dir.join("keys/password"), "made-password-0123\n");
        let exports = home.path().join("exports");
        put(exports.join("db1/pgxc_datanode/pg_log/postgresql-1.csv"), "FATAL\n");
        put(exports.join("db1/pgxc_gtm/gtm.log"), "gtm\n");
        put(exports.join("db1/pgxc_datanode/base/1/2.log"), "rows\n");
        put(exports.join("db1/pgxc_datanode/postgresql.conf"), "port = 1\n");
        filesystem(&exports, &dir.exports_image());
        let root = home.path().join("root");
        put(root.join("var/log/dpkg.log"), "installed\n");
        put(root.join("etc/shadow"), "root:secret\n");
        filesystem(&root, &home.path().join("root.ext4"));
        fs::create_dir_all(dir.join("disks")).expect("a directory");
        let overlay = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(home.path().join("root.ext4"))
            .arg(dir.overlay("db1"))
            .status();
        assert!(overlay.expect("qemu-img is there").success());
        let lab_file = home.path().join("lab.yaml");
        put(lab_file.clone(), "name: two\ncluster: {password: hunter22}\n");
        let scene = Scene {
            dir,
            host: None,
            guests: vec![Guest { name: "db1".into(), ssh: None }, Guest { name: "db2".into(), ssh: None }],
            lab_file,
            known: ("record.json", Ok("{}".into())),
            secrets: vec!["hunter22".into()],
            since: None,
            haste: Haste::None,
        };
        let file = collect(scene, &home.path().join("run/bundle.tar.zst")).expect("a bundle");
        let files = unpack(&file);
        let text = |name: &str| {
            let bytes = files.get(name).unwrap_or_else(|| panic!("{name} is missing: {:?}", files.keys()));
            String::from_utf8_lossy(bytes).into_owned()
        };
        assert_eq!(text("logs/db1-console.log"), "login:\n");
        assert_eq!(text("libvirt/qemu/db1.log"), "terminating on signal 9\n");
        assert_eq!(text("components/db1/pgxc_datanode/pg_log/postgresql-1.csv"), "FATAL\n");
        assert_eq!(text("components/db1/pgxc_gtm/gtm.log"), "gtm\n");
        assert_eq!(text("guests/db1/var/log/dpkg.log"), "installed\n");
        assert_eq!(text("journal.jsonl"), "{}\n");
        let missing = text("MISSING");
        assert!(missing.contains("lab.lock: ") && missing.contains("guests/db2: it has no disk"), "{missing}");
        for (name, bytes) in &files {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains("hunter22") && !text.contains("made-password"), "{name}: {text}");
            assert!(!name.contains("shadow") && !name.contains("base") && !name.contains("keys"), "{name}");
        }
        assert_eq!(fs::read_dir(home.path().join("run")).expect("it is there").count(), 1, "nothing else is left");
    }

    fn filesystem(from: &Path, image: &Path) {
        let made =
            Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-d"]).arg(from).arg(image).arg("16M").status();
        assert!(made.expect("mke2fs is there").success());
    }

    #[test]
    fn a_guest_that_answers_gives_its_journal_and_one_that_does_not_is_told() {
        let home = tempfile::tempdir().expect("a directory");
        let ssh = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Some((command, Init::Systemd))
        };
        let scene = Scene {
            dir: Home::new(home.path()).lab("none"),
            host: None,
            guests: vec![
                Guest { name: "db1".into(), ssh: ssh("echo kernel: hello $0") },
                Guest { name: "db2".into(), ssh: ssh("echo no route to host >&2; exit 255") },
            ],
            lab_file: home.path().join("lab.yaml"),
            known: ("status.json", Err(crate::error::Error::new(crate::error::Class::Host, "nobody\nknows"))),
            secrets: Vec::new(),
            since: "2013-04-03T00:00:00Z".parse().ok(),
            haste: Haste::Interrupted,
        };
        let files = unpack(&collect(scene, &home.path().join("bundle.tar.zst")).expect("a bundle"));
        let journal = String::from_utf8_lossy(&files["guests/db1/journal.txt"]).into_owned();
        assert!(
            journal.starts_with("kernel: hello journalctl ") && journal.ends_with(" --since=@1364947200\n"),
            "{journal}"
        );
        let missing = String::from_utf8_lossy(&files["MISSING"]).into_owned();
        assert!(missing.starts_with("status.json: nobody | knows\n"), "{missing}");
        assert!(missing.contains("guests/db2/journal.txt: it does not answer: exit status: 255; no route to host"));
    }
}
