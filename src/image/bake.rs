//! Baking: once per set of inputs, under the cache's lock, into a directory that is named when it is whole.

use super::{cloud, definition::ImageDefinition, install::Installation, recipe::Recipe, workshop::Workshop};
use crate::{
    digest,
    error::{Class, Error, Result, ResultExt},
    event::Outcome,
    host::{Home, Lock, capacity, last_lines},
    lab::{Guest, Size},
    snapshot,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

/// Size of the root filesystem in the image: sparse, and guests write only to overlays.
const ROOT_SIZE: &str = "4G";
/// Free space that a bake from packages needs at its worst: package cache, tree and image at once.
const ROOM: Size = Size::mib(3 << 10);
/// The same for one in a machine: an installation's disk or a download, what is installed on top of it, and the root.
const MACHINE_ROOM: Size = Size::mib(6 << 10);
/// Two runs may want the same image; the second waits for the first.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// An image for a set of packages: a place in the cache, baked or not.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it is made of.
    pub definition: ImageDefinition,
    packages: Vec<String>,
    user: String,
    uid: u32,
    directory: PathBuf,
    lock: PathBuf,
}

/// What lies beside a baked image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the definition.
    pub name: String,
    /// All packages.
    pub packages: Vec<String>,
    /// SHA-256 of each file.
    pub files: BTreeMap<String, String>,
}

impl Image {
    /// The image of a definition with extra packages.
    pub fn new(home: &Home, definition: ImageDefinition, extra: &[String], guest: &Guest) -> Image {
        let mut packages = definition.packages.clone();
        packages.extend(extra.iter().filter(|package| !definition.packages.contains(package)).cloned());
        let user = format!("{}:{}", guest.user, guest.uid);
        let mut inputs = format!("{}\n{}\n{ROOT_SIZE}\n{user}\n", definition.digest(), packages.join(" "));
        if let Recipe::Kickstart { .. } = definition.recipe {
            inputs.push_str(&Installation::digest_of_words());
        }
        if let Recipe::Cloud { .. } = definition.recipe {
            let more = cloud::Inputs {
                definition: &definition,
                packages: &packages,
                user: guest.user.as_str(),
                uid: guest.uid,
            };
            inputs.push_str(&more.digest());
        }
        let name = format!("{}-{}", definition.name, digest::short(&digest::of_text(&inputs)));
        let directory = home.cache().join("images").join(name);
        Image {
            definition,
            packages,
            user: guest.user.to_string(),
            uid: guest.uid,
            directory,
            lock: home.cache().join("images.lock"),
        }
    }

    /// Its name in the cache: the definition's and a digest of all inputs.
    pub fn id(&self) -> &str {
        self.directory.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The root filesystem, read-only.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root.ext4")
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The initial RAM disk.
    pub fn initrd(&self) -> PathBuf {
        self.directory.join("initrd.img")
    }

    /// Whether it is baked.
    pub fn is_baked(&self) -> bool {
        self.directory.join("manifest.json").exists()
    }

    /// Whether an image of this definition is baked, for whatever packages.
    pub fn is_any_baked(home: &Home, definition: &str) -> bool {
        let entries = fs::read_dir(home.cache().join("images")).into_iter().flatten().flatten();
        let names = entries.filter(|entry| entry.path().join("manifest.json").exists()).map(|entry| entry.file_name());
        // The rest of the name is a digest, which has no hyphen: `debian-12-cloud-…` is none of `debian-12`.
        names
            .into_iter()
            .any(|name| name.to_string_lossy().rsplit_once('-').is_some_and(|(name, _)| name == definition))
    }

    /// Bakes it unless it is there.
    ///
    /// # Errors
    /// When the bake fails: its last lines; nothing half made is left under the image's name.
    pub async fn ensure(&self, workshop: &Workshop<'_>) -> Result<Outcome> {
        if self.is_baked() {
            return Ok(Outcome::Unchanged(format!("image {} is in the cache", self.id())));
        }
        let _lock = take_lock(self.lock.clone(), "the image cache").await?;
        if self.is_baked() {
            return Ok(Outcome::Unchanged(format!("image {} is in the cache, another run made it", self.id())));
        }
        let room = match self.definition.recipe {
            Recipe::Bake => ROOM,
            Recipe::Kickstart { .. } | Recipe::Cloud { .. } => MACHINE_ROOM,
        };
        let free = capacity::free_space(&self.directory)?;
        if free < room {
            return Err(Error::new(
                Class::Host,
                format!("only {free} are free below `{}`, an image needs {room}", self.directory.display()),
            )
            .hint("`pgxc-lab image prune` removes images that no lab uses, or take another `--home`"));
        }
        let part = self.directory.with_extension("part");
        let out = part.join("out");
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&out).or_error(Class::Host, || format!("cannot make `{}`", out.display()))?;
        let made = match self.definition.recipe {
            Recipe::Bake => self.bake(&part, &out, workshop.log).await,
            Recipe::Kickstart { .. } => self.installation().make(workshop, &part, &out).await,
            Recipe::Cloud { .. } => cloud::make(&self.cloud_inputs(), workshop, &part, &out, ROOT_SIZE).await,
        };
        if let Err(error) = made {
            let _ = fs::remove_dir_all(&part);
            let log = format!("the whole log is `{}`", workshop.log.display());
            let hint = error.hint_text().map_or_else(|| log.clone(), |hint| format!("{hint}; {log}"));
            return Err(error.context(format!("image `{}` could not be made", self.definition.name)).hint(hint));
        }
        self.seal(&out).await?;
        let _ = fs::remove_dir_all(&self.directory);
        fs::rename(&out, &self.directory)
            .or_error(Class::Host, || format!("cannot name `{}`", self.directory.display()))?;
        let _ = fs::remove_dir_all(&part);
        Ok(Outcome::Changed(format!("made image {}", self.id())))
    }

    fn installation(&self) -> Installation<'_> {
        Installation {
            definition: &self.definition,
            packages: &self.packages,
            user: &self.user,
            uid: self.uid,
            size: ROOT_SIZE,
        }
    }

    fn cloud_inputs(&self) -> cloud::Inputs<'_> {
        cloud::Inputs { definition: &self.definition, packages: &self.packages, user: &self.user, uid: self.uid }
    }

    /// Runs the definition's own script.
    async fn bake(&self, part: &Path, out: &Path, log: &Path) -> Result<()> {
        let recipe = part.join("recipe");
        self.definition.unpack(&recipe)?;
        let output = fs::File::create(log).or_error(Class::Host, || format!("cannot write `{}`", log.display()))?;
        let errors = output.try_clone().or_error(Class::Host, || format!("cannot write `{}`", log.display()))?;
        let mut bake = tokio::process::Command::new("bash");
        bake.arg(recipe.join("bake"))
            .env("OUT", out)
            .env("PACKAGES", self.packages.join(" "))
            .env("SIZE", ROOT_SIZE)
            .env("GUEST_USER", &self.user)
            .env("GUEST_UID", self.uid.to_string())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true);
        let status = bake.status().await.or_error(Class::Image, || "cannot run the image's `bake`".into())?;
        if status.success() {
            return Ok(());
        }
        let text = fs::read_to_string(log).unwrap_or_default();
        Err(Error::new(Class::Image, format!("the image's `bake` failed: {status}"))
            .evidence(last_lines(&text, 20))
            .hint("the package mirror of this machine must be reachable"))
    }

    /// Read-only from now on, with the digest of each file beside it.
    async fn seal(&self, out: &Path) -> Result<()> {
        let mut files = BTreeMap::new();
        for name in ["root.ext4", "vmlinuz", "initrd.img"] {
            let path = out.join(name);
            let hashed = path.clone();
            let digest = tokio::task::spawn_blocking(move || digest::of_file(&hashed))
                .await
                .or_error(Class::Internal, || "hashing ended".into())?;
            files.insert(name.to_owned(), digest.or_error(Class::Image, || format!("the bake left no `{name}`"))?);
            let mut permissions = fs::metadata(&path)
                .or_error(Class::Image, || format!("cannot read `{}`", path.display()))?
                .permissions();
            permissions.set_readonly(true);
            fs::set_permissions(&path, permissions)
                .or_error(Class::Image, || format!("cannot seal `{}`", path.display()))?;
        }
        let manifest = Manifest { name: self.definition.name.clone(), packages: self.packages.clone(), files };
        let text = serde_json::to_string_pretty(&manifest)
            .or_error(Class::Internal, || "cannot write the image's manifest".into())?;
        fs::write(out.join("manifest.json"), text).or_error(Class::Host, || "cannot write the image's manifest".into())
    }
}

/// Takes a lock without blocking the runtime.
pub(crate) async fn take_lock(path: PathBuf, what: &'static str) -> Result<Lock> {
    tokio::task::spawn_blocking(move || Lock::take(&path, what, PATIENCE))
        .await
        .or_error(Class::Internal, || "waiting for a lock ended".into())?
}

/// SHA-256 of each file of a baked image, as the bake recorded them.
///
/// # Errors
/// When the image is not baked, or its manifest cannot be understood.
pub(crate) fn recorded_digests(directory: &Path) -> Result<BTreeMap<String, String>> {
    let path = directory.join("manifest.json");
    let text = fs::read_to_string(&path).or_error(Class::Image, || format!("cannot read `{}`", path.display()))?;
    let manifest: Manifest =
        serde_json::from_str(&text).or_error(Class::Image, || format!("cannot understand `{}`", path.display()))?;
    Ok(manifest.files)
}

/// What is in the cache: (kind, name, bytes on disk, used by these labs and these snapshots, as `LAB@SNAPSHOT`).
pub fn list(home: &Home) -> Vec<(String, String, u64, Vec<String>)> {
    let mut found = Vec::new();
    for kind in ["images", "disks", "templates", "engines", "builders", "sources"] {
        for entry in fs::read_dir(home.cache().join(kind)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut users: Vec<String> = home.labs().into_iter().filter(|lab| uses(home, lab, &name)).collect();
            users.extend(snapshot::users(home, kind, &name));
            found.push((kind.to_owned(), name, capacity::allocated(&entry.path()), users));
        }
    }
    found.sort();
    found
}

/// Removes from the cache what no lab uses and no snapshot lies on; gives what was removed.
///
/// # Errors
/// When the cache is held by another run or something cannot be removed.
pub fn prune(home: &Home) -> Result<Vec<(String, String, u64)>> {
    // All of them: a build that is not whole yet is used by nobody, too.
    let _images = Lock::take(&home.cache().join("images.lock"), "the image cache", Duration::ZERO)?;
    let _templates = super::template::lock(home)?;
    let _engines = Lock::take(&home.cache().join("engines.lock"), "the engine cache", Duration::ZERO)?;
    let mut removed = Vec::new();
    for (kind, name, bytes, users) in list(home) {
        if users.is_empty() {
            let path = home.cache().join(&kind).join(&name);
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.or_error(Class::Host, || format!("cannot remove `{}`", path.display()))?;
            removed.push((kind, name, bytes));
        }
    }
    Ok(removed)
}

/// Whether a lab's record names this entry of the cache.
fn uses(home: &Home, lab: &str, entry: &str) -> bool {
    fs::read_to_string(home.lab(lab).record()).is_ok_and(|text| text.contains(&format!("\"{entry}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A home with an image and an engine in its cache.
    fn home_with_cache(directory: &Path) -> Home {
        let home = Home::new(directory);
        for entry in ["images/debian-12-a", "images/debian-12-b", "engines/postgres-xc-a", "builders/bookworm-a"] {
            fs::create_dir_all(home.cache().join(entry)).expect("it can be made");
        }
        home
    }

    fn names(home: &Home) -> Vec<(String, Vec<String>)> {
        list(home).into_iter().map(|(kind, name, _, users)| (format!("{kind}/{name}"), users)).collect()
    }

    #[test]
    fn images_of_a_definition_are_known_by_their_names() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = Home::new(directory.path());
        for name in ["debian-12-cloud-00ff", "rocky-9-00ff"] {
            let path = home.cache().join("images").join(name);
            fs::create_dir_all(&path).expect("it can be made");
            if name.starts_with("debian") {
                fs::write(path.join("manifest.json"), "{}").expect("it can be written");
            }
        }
        for (definition, baked) in [("debian-12-cloud", true), ("debian-12", false), ("rocky-9", false)] {
            assert_eq!(Image::is_any_baked(&home, definition), baked, "{definition}");
        }
    }

    #[test]
    fn prune_keeps_what_snapshots_lie_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = home_with_cache(directory.path());
        fs::create_dir_all(home.lab("up").path()).expect("it can be made");
        fs::write(home.lab("up").record(), r#"{"uses":["debian-12-b"]}"#).expect("it can be written");
        for (snapshot, bases) in [
            ("loaded", r#"{"images/debian-12-a/root.ext4":"1","engines/postgres-xc-a/engine.ext4":"2"}"#),
            // Of a version that we cannot read: what it lies on is kept all the same.
            ("newer", r#"{"images/debian-12-a/root.ext4":"1"}, "format": 99"#),
        ] {
            let path = home.snapshots("gone").join(snapshot);
            fs::create_dir_all(&path).expect("it can be made");
            fs::write(path.join("manifest.json"), format!("{{\"bases\":{bases}}}")).expect("it can be written");
        }
        let both = || vec!["gone@loaded".to_owned(), "gone@newer".to_owned()];
        let kept = vec![
            ("engines/postgres-xc-a".to_owned(), vec!["gone@loaded".to_owned()]),
            ("images/debian-12-a".to_owned(), both()),
            ("images/debian-12-b".to_owned(), vec!["up".to_owned()]),
        ];
        let mut all = kept.clone();
        all.insert(0, ("builders/bookworm-a".to_owned(), Vec::new()));
        assert_eq!(names(&home), all);
        let removed = prune(&home).expect("nobody holds the cache");
        assert_eq!(removed.len(), 1);
        assert_eq!(names(&home), kept);
    }
}
