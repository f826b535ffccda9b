//! An engine's built programs: made once in a builder root of the guests' system, cached by the digest of source,
//! options and builder, and given to every guest as one read-only disk.

use crate::{
    digest,
    engine::{Build, ENGINE_DISK},
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    host::{Home, capacity, last_lines},
    image::{Image, ImageDefinition, Recipe, take_lock},
    lab::Size,
    source::Source,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

/// Room for the builder root, the source tree and the disk.
const ROOM: Size = Size::mib(3 * 1024);

/// The disk of a built engine.
pub(crate) const DISK: &str = "engine.ext4";
/// Its SHA-256, in the form of `sha256sum`.
pub(crate) const DISK_DIGEST: &str = "engine.ext4.sha256";

/// The packages that a build is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tarballs {
    /// The engine's source.
    pub engine: Source,
    /// flex's source, where the guests' own is too old.
    pub flex: Option<Source>,
}

/// A kit: a place in the cache, built or not.
#[derive(Clone, Debug)]
pub struct Kit {
    build: Build,
    tarballs: Tarballs,
    definition: ImageDefinition,
    directory: PathBuf,
    builder: Builder,
    lock: PathBuf,
}

/// Where builds run.
#[derive(Clone, Debug)]
enum Builder {
    /// In a root that the image's script `builder` makes: a directory of the cache.
    Root(PathBuf),
    /// In the image itself, which holds compilers: its root filesystem.
    Image(PathBuf),
}

impl Builder {
    fn path(&self) -> &Path {
        match self {
            Builder::Root(path) | Builder::Image(path) => path,
        }
    }
}

impl Kit {
    /// The kit of this build of these packages for guests of this image.
    pub fn new(home: &Home, build: Build, tarballs: Tarballs, image: &Image) -> Kit {
        let (cache, definition) = (home.cache(), image.definition.clone());
        let (builder, builder_inputs) = match definition.recipe {
            Recipe::Bake | Recipe::Cloud { .. } => {
                let inputs = format!("{} {}", definition.suite, build.packages.join(" "));
                let name = format!("{}-{}", definition.suite, digest::short(&digest::of_text(&inputs)));
                (Builder::Root(cache.join("builders").join(name)), inputs)
            }
            Recipe::Kickstart { .. } => (Builder::Image(image.root()), image.id().to_owned()),
        };
        let options = build.options.join(" ");
        let mut inputs = vec![tarballs.engine.digest.as_str(), &build.script, &build.prefix, &options, &builder_inputs];
        inputs.extend(tarballs.flex.iter().map(|flex| flex.digest.as_str()));
        let inputs = inputs.join("\n");
        let directory = cache.join("engines").join(format!("postgres-xc-{}", digest::short(&digest::of_text(&inputs))));
        Kit { build, tarballs, definition, directory, builder, lock: cache.join("engines.lock") }
    }

    /// Its name in the cache.
    pub fn id(&self) -> &str {
        self.directory.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Name of its builder root in the cache, if it has one of its own.
    pub fn builder_id(&self) -> Option<&str> {
        match &self.builder {
            Builder::Root(path) => path.file_name().and_then(|name| name.to_str()),
            Builder::Image(_) => None,
        }
    }

    /// The packages that it is built from.
    pub fn tarballs(&self) -> &Tarballs {
        &self.tarballs
    }

    /// The disk that guests mount at the prefix.
    pub fn disk(&self) -> PathBuf {
        self.directory.join(DISK)
    }

    /// What the build said: dropped options, skipped parts, a flex of its own, corrections of the source.
    pub fn facts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.join("facts")).unwrap_or_default();
        text.lines()
            .filter(|line| {
                ["dropped ", "skipped ", "flex ", "backported ", "corrected "].iter().any(|kind| line.starts_with(kind))
            })
            .map(str::to_owned)
            .collect()
    }

    /// Whether it is built.
    pub fn is_built(&self) -> bool {
        self.disk().exists()
    }

    /// Builds it unless it is there.
    ///
    /// # Errors
    /// When a package cannot be had or the source does not build: its last lines.
    pub async fn ensure(&self, log: &Path) -> Result<Outcome> {
        if self.is_built() {
            return Ok(Outcome::Unchanged(format!("{} is in the cache", self.id())));
        }
        let _lock = take_lock(self.lock.clone(), "the engine cache").await?;
        if self.is_built() {
            return Ok(Outcome::Unchanged(format!("{} is in the cache, another run built it", self.id())));
        }
        let free = capacity::free_space(&self.directory)?;
        if free < ROOM {
            return Err(Error::new(
                Class::Host,
                format!("only {free} are free below `{}`, a build needs {ROOM}", self.directory.display()),
            )
            .hint("`pgxc-lab image prune` removes what no lab uses, or take another `--home`"));
        }
        self.ensure_builder(log).await?;
        let part = self.directory.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&part).or_error(Class::Host, || format!("cannot make `{}`", part.display()))?;
        let facts = self.compile(&part, log).await?;
        self.pack(&part, log).await?;
        fs::write(part.join("facts"), facts).or_error(Class::Host, || "cannot write what the build said".into())?;
        let packed = part.clone();
        tokio::task::spawn_blocking(move || recorded_digest(&packed))
            .await
            .or_error(Class::Internal, || "hashing ended".into())??;
        let _ = fs::remove_dir_all(part.join("out"));
        fs::rename(&part, &self.directory)
            .or_error(Class::Host, || format!("cannot name `{}`", self.directory.display()))?;
        Ok(Outcome::Changed(format!("built {} from {}", self.id(), self.tarballs.engine.place)))
    }

    /// The root that builds run in: made once per set of packages.
    async fn ensure_builder(&self, log: &Path) -> Result<()> {
        let Builder::Root(builder) = &self.builder else { return Ok(()) };
        if builder.join("usr/bin/make").exists() {
            return Ok(());
        }
        let part = builder.with_extension("part");
        let (recipe, out) = (part.join("recipe"), part.join("out"));
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&out).or_error(Class::Host, || format!("cannot make `{}`", out.display()))?;
        let maker = self.definition.builder.as_ref().ok_or_else(|| {
            Error::new(Class::Image, format!("nothing can be built for guests of image `{}`", self.definition.name))
        })?;
        ImageDefinition::find(maker)?.unpack(&recipe)?;
        let mut command = tokio::process::Command::new("bash");
        command.arg(recipe.join("builder")).env("OUT", &out).env("PACKAGES", self.build.packages.join(" "));
        logged(command, log).await.map_err(|error| {
            let _ = fs::remove_dir_all(&part);
            error
                .context(format!("no builder root for `{}`", self.definition.name))
                .hint("the package mirror of this machine must be reachable")
        })?;
        fs::rename(&out, builder).or_error(Class::Host, || format!("cannot name `{}`", builder.display()))?;
        fs::remove_dir_all(&part).or_error(Class::Host, || format!("cannot remove `{}`", part.display()))
    }

    /// Runs the build script in a throw-away copy-on-write view of the builder root, in mount, pid and network
    /// namespaces of its own: it reaches nothing but its own files, and nothing of it stays.
    async fn compile(&self, part: &Path, log: &Path) -> Result<String> {
        let script = part.join("build.sh");
        fs::write(&script, &self.build.script).or_error(Class::Host, || "cannot write the build script".into())?;
        let out = part.join("out");
        fs::create_dir_all(&out).or_error(Class::Host, || format!("cannot make `{}`", out.display()))?;
        let jobs = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let mut command = tokio::process::Command::new("unshare");
        command
            .args(["--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "--", "bash", "-ceu", COMPILE])
            .env("BUILDER", self.builder.path())
            .env("SCRIPT", &script)
            .env("TARBALL", &self.tarballs.engine.path)
            .env("FLEX", self.tarballs.flex.as_ref().map_or(Path::new(""), |flex| &flex.path))
            .env("SCRATCH", part.join("scratch"))
            .env("RESULT", &out)
            .env("PREFIX", &self.build.prefix)
            .env("OPTIONS", self.build.options.join(" "))
            .env("JOBS", jobs.to_string());
        let text = logged(command, log).await.map_err(|error| {
            error
                .context(format!("`{}` does not build", self.tarballs.engine.place))
                .hint(format!("the whole log is `{}`", log.display()))
        })?;
        let _ = fs::remove_dir_all(part.join("scratch"));
        Ok(text)
    }

    /// Makes the disk from the installed tree.
    async fn pack(&self, part: &Path, log: &Path) -> Result<()> {
        let tree = part.join("out").join(self.build.prefix.trim_start_matches('/'));
        if !tree.join("bin").is_dir() {
            return Err(Error::new(
                Class::Image,
                format!("the build installed nothing in `{}/bin`", self.build.prefix),
            )
            .hint(format!("the whole log is `{}`", log.display())));
        }
        // Twice the tree leaves room for the filesystem's own tables; the file is sparse.
        let size = (tree_bytes(&tree) * 2).max(64 << 20);
        let disk = part.join(DISK);
        let mut command = tokio::process::Command::new("mke2fs");
        command
            .args(["-q", "-F", "-L", ENGINE_DISK, "-E", "root_owner=0:0"])
            .args(self.definition.system.guest().read_only_filesystem())
            .arg("-d")
            .arg(&tree)
            .arg(&disk)
            .arg(format!("{}k", size >> 10));
        crate::host::run(command, "make the engine's disk", Class::Image).await?;
        let mut permissions =
            fs::metadata(&disk).or_error(Class::Host, || "cannot read the engine's disk".into())?.permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&disk, permissions).or_error(Class::Host, || "cannot seal the engine's disk".into())
    }
}

/// The build's namespaces: an overlay over the builder root keeps the builder as it was made.
const COMPILE: &str = r#"
mount --make-rprivate /
mkdir -p "$SCRATCH"
mount -t tmpfs -o size=90% scratch "$SCRATCH"
if [ -f "$BUILDER" ]; then
  mkdir "$SCRATCH/builder"
  mount -o loop,ro,noload "$BUILDER" "$SCRATCH/builder"
  BUILDER=$SCRATCH/builder
fi
mkdir "$SCRATCH/upper" "$SCRATCH/work" "$SCRATCH/root"
mount -t overlay -o "lowerdir=$BUILDER,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" overlay "$SCRATCH/root"
root=$SCRATCH/root
mkdir -p "$root/proc" "$root/dev" "$root/out" "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$RESULT" "$root/out"
: > "$root/source.tar.gz"
mount --bind "$TARBALL" "$root/source.tar.gz"
if [ -n "$FLEX" ]; then
  : > "$root/flex.tar"
  mount --bind "$FLEX" "$root/flex.tar"
  FLEX=/flex.tar
fi
cp "$SCRIPT" "$root/build.sh"
exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root SOURCE=/source.tar.gz FLEX_SOURCE="$FLEX" PREFIX="$PREFIX" OPTIONS="$OPTIONS" JOBS="$JOBS" OUT=/out bash /build.sh
"#;

/// SHA-256 of a built engine's disk as it is recorded beside it. A build of a version that recorded none gets its
/// record now: the disk is read once and not at every question.
///
/// # Errors
/// When the disk cannot be read or the record cannot be kept.
pub(crate) fn recorded_digest(directory: &Path) -> Result<String> {
    let record = directory.join(DISK_DIGEST);
    let recorded = fs::read_to_string(&record).unwrap_or_default();
    if let Some(digest) = recorded.split_whitespace().next() {
        return Ok(digest.to_owned());
    }
    let disk = directory.join(DISK);
    let digest = digest::of_file(&disk).or_error(Class::Image, || format!("cannot read `{}`", disk.display()))?;
    // Two runs may find none at once: each writes a file of its own, and both say the same.
    let new = directory.join(format!("{DISK_DIGEST}.{}", std::process::id()));
    fs::write(&new, format!("{digest}  {DISK}\n"))
        .and_then(|()| fs::rename(&new, &record))
        .or_error(Class::Host, || format!("cannot write `{}`", record.display()))?;
    Ok(digest)
}

/// Runs a command with its output in a log, and gives its standard output.
async fn logged(mut command: tokio::process::Command, log: &Path) -> Result<String> {
    let cannot = || format!("cannot write `{}`", log.display());
    let output =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).output().await;
    let output = output.or_error(Class::Host, || "cannot start the build".into())?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    fs::write(log, &text).or_error(Class::Host, cannot)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Error::new(Class::Image, format!("the build ended with {}", output.status)).evidence(last_lines(&text, 20)))
    }
}

/// Bytes of a tree's files.
fn tree_bytes(path: &Path) -> u64 {
    let Ok(data) = fs::symlink_metadata(path) else { return 0 };
    // Every entry takes at least one block.
    let own = data.len().max(4096);
    if !data.is_dir() {
        return own;
    }
    own + fs::read_dir(path).into_iter().flatten().flatten().map(|entry| tree_bytes(&entry.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, PostgresXc, fixture};

    fn package(digest: &str) -> Source {
        Source { path: PathBuf::new(), digest: digest.into(), place: "somewhere".into() }
    }

    fn kit(image: &str, flex: Option<&str>) -> Kit {
        let (home, lab) = (Home::new("/nowhere"), fixture::document());
        let build = PostgresXc.build(&lab).expect("it is built");
        let definition = ImageDefinition::find(image).expect("it is part of the program");
        let image = Image::new(&home, definition, &[], &lab.guest);
        Kit::new(&home, build, Tarballs { engine: package("abc"), flex: flex.map(package) }, &image)
    }

    #[test]
    fn only_a_flex_that_is_used_is_part_of_the_digest() {
        // The digest of before there was any flex: what users have in their caches stays.
        let build = PostgresXc.build(&fixture::document()).expect("it is built");
        let builder = format!("bookworm {}", build.packages.join(" "));
        let inputs = ["abc", &build.script, &build.prefix, &build.options.join(" "), &builder].join("\n");
        let debian = kit("debian-12", None);
        assert_eq!(debian.id(), format!("postgres-xc-{}", digest::short(&digest::of_text(&inputs))));

        let ids = [None, Some("one"), Some("two")].map(|flex| kit("centos-5.9", flex).id().to_owned());
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
        assert_eq!(kit("centos-5.9", Some("one")).id(), ids[1]);
    }

    #[test]
    fn the_digest_of_a_disk_is_computed_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        recorded_digest(directory.path()).expect_err("there is no disk");
        fs::write(directory.path().join(DISK), "abc").expect("it can be written");
        let digest = recorded_digest(directory.path()).expect("it can be read");
        assert_eq!(digest, digest::of_text("abc"));
        fs::write(directory.path().join(DISK), "abd").expect("it can be written");
        assert_eq!(recorded_digest(directory.path()).expect("it is recorded"), digest);
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 2);
    }
}
