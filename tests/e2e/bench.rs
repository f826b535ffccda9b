//! What every end-to-end test works on: a lab of its own that is destroyed at the end, also when the test fails.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Where the images and builds of all tests are kept.
fn shared() -> PathBuf {
    std::env::var_os("PGXC_LAB_TEST_CACHE").map_or_else(|| PathBuf::from("/var/tmp/pgxc-lab-test"), PathBuf::from)
}

/// `status --json`, in the shape that it promises.
pub fn status(json: serde_json::Value) -> pgxc_lab::status::Status {
    let told = json.to_string();
    serde_json::from_value(json).unwrap_or_else(|error| panic!("{error}: {told}"))
}

/// A lab under test.
pub struct Bench {
    directory: tempfile::TempDir,
    source: Option<PathBuf>,
    /// What goes before the program's own command line; empty: it runs on this machine.
    entry: Vec<String>,
}

/// Which source of Postgres-XC the lab sees.
pub enum Source {
    /// None: the lab falls through to the next engine.
    None,
    /// That of `PGXC_SOURCE`, else the stand-in of this repository.
    XcOrStandin,
}

impl Bench {
    /// A lab of this lab.yaml.
    pub fn new(lab_yaml: &str, source: Source) -> Bench {
        assert!(nix::unistd::geteuid().is_root(), "end-to-end tests need root: run ./scripts/test as root");
        fs::create_dir_all(shared().join("cache")).expect("the shared cache can be made");
        // Short, since sockets below it have names of at most 107 bytes.
        let directory = tempfile::Builder::new().prefix("e2e").tempdir_in(shared()).expect("a temporary directory");
        fs::create_dir(directory.path().join("home")).expect("a home");
        std::os::unix::fs::symlink(shared().join("cache"), directory.path().join("home/cache"))
            .expect("the shared cache");
        let source = match source {
            Source::None => None,
            Source::XcOrStandin => Some(match std::env::var_os("PGXC_SOURCE") {
                Some(real) => PathBuf::from(real),
                None => standin(directory.path()),
            }),
        };
        let bench = Bench { directory, source, entry: Vec::new() };
        bench.write_lab(lab_yaml);
        bench
    }

    /// The same on a host that is entered with these words before a command.
    pub fn on(entry: Vec<String>, lab_yaml: &str, source: Source) -> Bench {
        let mut bench = Bench::new(lab_yaml, source);
        bench.entry = entry;
        bench
    }

    /// Replaces lab.yaml.
    pub fn write_lab(&self, text: &str) {
        fs::write(self.lab_file(), text).expect("lab.yaml can be written");
    }

    /// Path of lab.yaml.
    pub fn lab_file(&self) -> PathBuf {
        self.directory.path().join("lab.yaml")
    }

    /// The lab that lab.yaml describes.
    pub fn load(&self) -> pgxc_lab::lab::Lab {
        pgxc_lab::config::load(&self.lab_file()).expect("lab.yaml is right").lab
    }

    /// The directory of a lab below this home.
    pub fn lab_directory(&self, name: &str) -> PathBuf {
        self.directory.path().join("home/labs").join(name)
    }

    /// The home of all labs of this test.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.entry.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_pgxc-lab")]);
        let mut command = Command::new(words.next().expect("the program at the least"));
        command
            .args(words)
            .arg("--home")
            .arg(self.directory.path().join("home"))
            .args(arguments)
            .env("PGXC_LAB_FILE", self.lab_file())
            // Tests reach for nothing outside this machine but its package mirror.
            .env("PGXC_LAB_OFFLINE", "1")
            .env_remove("PGXC_SOURCE")
            .env_remove("FLEX_SOURCE")
            .stdin(Stdio::null());
        if let Some(source) = &self.source {
            command.env("PGXC_SOURCE", source);
            // The stand-in knows the SQL of some checks only.
            let makes = matches!(arguments.first(), Some(&("up" | "restore" | "rebuild")));
            if makes && std::env::var_os("PGXC_SOURCE").is_none() {
                command.args(["--verify", "none"]);
            }
        }
        command
    }

    /// Runs a command of pgxc-lab.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    /// Runs a command of pgxc-lab under `flock`, as people do in scripts; the lock must be free when it has ended, though
    /// the lab goes on.
    pub fn run_locked(&self, arguments: &[&str]) -> Ran {
        let lock = self.path("lock");
        let begun = Instant::now();
        let command = self.command(arguments);
        let mut locked = Command::new("flock");
        locked.arg(&lock).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => locked.env(name, value),
                None => locked.env_remove(name),
            };
        }
        let ran = Ran::of(arguments, begun, &mut locked);
        let free = Command::new("flock").arg("-n").arg(&lock).arg("true").status().expect("flock runs");
        assert!(free.success(), "the lab holds the lock of the command that made it");
        ran
    }

    /// Runs a command of pgxc-lab that dies when it has written so many lines of the lab's journal.
    pub fn run_dying_after(&self, line: usize, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[("PGXC_LAB_FAULT", &format!("kill-after-journal-line:{line}"))])
    }

    /// Runs a command of pgxc-lab with more in its environment.
    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let begun = Instant::now();
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        Ran::of(arguments, begun, &mut command)
    }

    /// Starts a command of pgxc-lab with its output in a file.
    pub fn start(&self, arguments: &[&str], output: &Path) -> Child {
        let file = fs::File::create(output).expect("an output file");
        let errors = file.try_clone().expect("the same file twice");
        self.command(arguments).stdout(file).stderr(errors).spawn().expect("the program starts")
    }

    /// A temporary path of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let labs = fs::read_dir(self.directory.path().join("home/labs"));
        for lab in labs.into_iter().flatten().flatten() {
            let name = lab.file_name().to_string_lossy().into_owned();
            if std::thread::panicking() {
                // The evidence goes with the lab, so it is shown first.
                for entry in fs::read_dir(lab.path().join("logs")).into_iter().flatten().flatten() {
                    let text = fs::read(entry.path()).unwrap_or_default();
                    let text = String::from_utf8_lossy(&text);
                    let lines: Vec<&str> = text.lines().collect();
                    eprintln!(
                        "--- {} (last lines)\n{}",
                        entry.path().display(),
                        lines[lines.len().saturating_sub(15)..].join("\n")
                    );
                }
            }
            let ran = self.run(&["destroy", "--yes", "--lab", &name]);
            if ran.code != Some(0) {
                eprintln!("e2e: {name} could not be destroyed: {}", ran.stderr);
            }
        }
    }
}

/// What a command gave.
pub struct Ran {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    fn of(arguments: &[&str], begun: Instant, command: &mut Command) -> Ran {
        let Output { status, stdout, stderr } = command.output().expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let ran = Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr), took: begun.elapsed() };
        eprintln!("e2e: pgxc-lab {} -> {:?} in {:.1} s", arguments.join(" "), ran.code, ran.took.as_secs_f64());
        ran
    }

    /// Must have succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Ran {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Must have failed with this exit code.
    #[track_caller]
    pub fn failed_with(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Packs the stand-in as a source tarball.
fn standin(directory: &Path) -> PathBuf {
    let tarball = directory.join("pgxc-standin.tar.gz");
    let done = Command::new("tar")
        .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--transform=s,^,pgxc-standin/,", "-czf"])
        .arg(&tarball)
        .arg("-C")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standin"))
        .args(["configure", "Makefile.in", "standin.c"])
        .status();
    assert!(done.expect("tar runs").success());
    tarball
}

/// What destroy promises: nothing of the lab is left on this machine.
#[track_caller]
pub fn assert_no_leftovers(directory: &Path) {
    assert!(!directory.exists(), "{} is still there", directory.display());
    let directory = directory.display().to_string();
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        assert!(!command.contains(&directory), "a process is left: {command}");
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&directory), "a mount is left: {mounts}");
    for device in fs::read_dir("/sys/block").expect("block devices").flatten() {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        assert!(!file.contains(&directory), "a loop device is left: {file}");
    }
}

/// Waits for a fact, with a deadline.
#[track_caller]
pub fn until(what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come true within {} s", deadline.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}
