//! Reading a snapshot from an archive of another machine. Nothing of it is believed: every name is one that was
//! foreseen, every content has its digest, and only then does the snapshot get its name.

use super::{
    Manifest, Part, Store,
    archive::{self, BASES, CONTENTS, Contents},
    bases::{self, Entry},
    overlay,
    part::make_directory,
    sparse,
    store::MANIFEST,
    verify,
};
use crate::{
    error::{Class, Error, Result, ResultExt},
    host::{Home, Lock, capacity},
    lab::Size,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Permissions},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The manifest and the list of contents are small; more is no archive of ours.
const SMALL: u64 = 16 << 20;
/// What else the filesystem needs: directories, and room for others.
const MARGIN: u64 = 64 << 20;
/// A bake or a build may be at work in the cache.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Brings the snapshot of an archive into this home, and into the cache what it lies on; gives its manifest, which is
/// that of the archive but for the overlays, which name the cache of this home now.
///
/// # Errors
/// When the file is no archive, is damaged, or its snapshot exists; when the cache holds another file under the name of
/// a base; when the disk is too small. Then the snapshots are as they were.
pub fn import(home: &Home, file: &Path) -> Result<Manifest> {
    let input = File::open(file).or_error(Class::Usage, || format!("cannot open `{}`", file.display()))?;
    let reading = || format!("`{}` is no whole export of a snapshot", file.display());
    let decoder = zstd::Decoder::new(input).or_error(Class::Image, reading)?;
    let mut archive = tar::Archive::new(decoder);
    archive.set_preserve_mtime(false);
    let mut entries = archive.entries().or_error(Class::Image, reading)?;
    let mut small = |name: &str| -> Result<Vec<u8>> {
        let mut entry = match entries.next() {
            Some(entry) => entry.or_error(Class::Image, reading)?,
            None => return Err(Error::new(Class::Image, reading())),
        };
        if *entry.path_bytes() != *name.as_bytes() || entry.size() > SMALL {
            return Err(Error::new(Class::Image, reading()).evidence(format!("it has no `{name}` where it must be")));
        }
        let mut text = Vec::new();
        entry.read_to_end(&mut text).or_error(Class::Image, reading)?;
        Ok(text)
    };
    let mut manifest = archive::manifest(&small(MANIFEST)?, file)?;
    let contents: Contents = serde_json::from_slice(&small(CONTENTS)?).or_error(Class::Image, reading)?;
    let part = Store::new(home, &manifest.lab).begin(&manifest.name)?;
    // Until the snapshot has its name, nobody else knows that it needs its bases.
    let cache = home.cache();
    let _images = Lock::take(&cache.join("images.lock"), "the image cache", PATIENCE)?;
    let _engines = Lock::take(&cache.join("engines.lock"), "the engine cache", PATIENCE)?;
    let absent = absent(home, &manifest)?;
    let wanted = Wanted::new(&manifest, &contents, &absent, part.path(), file)?;
    let free = capacity::free_space(home.path())?.as_bytes();
    let needed = wanted.bytes.saturating_add(MARGIN);
    if free < needed {
        return Err(Error::new(
            Class::Host,
            format!(
                "only {} are free below `{}`, the snapshot needs {}",
                Size::bytes(free),
                home.path().display(),
                Size::bytes(needed)
            ),
        )
        .hint("`pgxc-lab image prune` and `pgxc-lab snapshot delete` make room, or take another `--home`"));
    }
    let mut missing: BTreeSet<String> = wanted.files.keys().cloned().collect();
    for entry in entries {
        let mut entry = entry.or_error(Class::Image, reading)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !missing.remove(&name) && wanted.files.contains_key(&name) {
            return Err(Error::new(Class::Image, reading()).evidence(format!("it has two files `{name}`")));
        }
        wanted.unpack(&mut entry, &name, file)?;
    }
    // The checksum of the whole is at the end; tar's own end comes before it. Bounded: it may be no archive of ours.
    io::copy(&mut archive.into_inner().take(SMALL), &mut io::sink()).or_error(Class::Image, reading)?;
    if !missing.is_empty() {
        let missing: Vec<String> = missing.into_iter().map(|name| format!("it has no `{name}`")).collect();
        return Err(Error::new(Class::Image, reading()).evidence(missing.join("\n")));
    }
    check(&manifest, &part, &absent)?;
    install(home, &part, &absent)?;
    rebase(home, &part, &mut manifest)?;
    let _ = fs::remove_dir_all(part.path().join(BASES));
    part.commit(manifest.clone())?;
    Ok(manifest)
}

/// The entries that the cache lacks. One that it has must be the same.
fn absent(home: &Home, manifest: &Manifest) -> Result<BTreeSet<Entry>> {
    let mut absent = BTreeSet::new();
    for (base, wanted) in &manifest.bases {
        let Some((entry, _)) = Entry::parse(base) else { continue };
        if !entry.is_there(home) {
            absent.insert(entry);
            continue;
        }
        if entry.recorded(home)?.get(base) != Some(wanted) {
            return Err(Error::new(
                Class::Image,
                format!("`{}` differs from the file that the snapshot lies on", bases::path(home, base).display()),
            )
            .evidence("two machines that make the same image or engine do not make the same bytes")
            .hint(
                "destroy the labs and delete the snapshots that use it (`pgxc-lab image list` names them), then \
                 `pgxc-lab image prune` and import again; or import into another `--home`",
            ));
        }
    }
    Ok(absent)
}

/// A file that is taken from the archive.
struct Target {
    path: PathBuf,
    length: u64,
}

/// Everything that may be in an archive, by its name there.
struct Wanted {
    files: BTreeMap<String, Target>,
    /// Bases that the cache has.
    known: BTreeSet<String>,
    /// Bytes that the files will take on the disk.
    bytes: u64,
}

impl Wanted {
    fn new(
        manifest: &Manifest,
        contents: &Contents,
        absent: &BTreeSet<Entry>,
        directory: &Path,
        archive: &Path,
    ) -> Result<Wanted> {
        let mut wanted = Wanted { files: BTreeMap::new(), known: BTreeSet::new(), bytes: contents.bytes };
        for (name, record) in &manifest.files {
            wanted.files.insert(name.clone(), Target { path: directory.join(name), length: record.length });
        }
        for (base, file) in &contents.bases {
            let name = format!("{BASES}{base}");
            match Entry::parse(base) {
                Some((entry, _)) if absent.contains(&entry) => {
                    wanted.bytes = wanted.bytes.saturating_add(file.bytes);
                    let path = directory.join(&name);
                    wanted.files.insert(name, Target { path, length: file.length });
                }
                Some(_) => {
                    wanted.known.insert(name);
                }
                None => return Err(unforeseen(archive, &name)),
            }
        }
        Ok(wanted)
    }

    /// Takes a file out of the archive, if it is wanted.
    fn unpack<R: Read>(&self, entry: &mut tar::Entry<'_, R>, name: &str, archive: &Path) -> Result<()> {
        let kind = entry.header().entry_type();
        if !kind.is_file() && !kind.is_gnu_sparse() {
            return Err(unforeseen(archive, &format!("{name} ({kind:?})")));
        }
        if self.known.contains(name) {
            return Ok(());
        }
        // Looked up by its whole name, so it cannot lead out of our directory.
        let Some(target) = self.files.get(name) else { return Err(unforeseen(archive, name)) };
        if entry.size() != target.length {
            return Err(unforeseen(archive, &format!("{name} of {} bytes", entry.size())));
        }
        if let Some(parent) = target.path.parent() {
            make_directory(parent)?;
        }
        let cannot = || format!("cannot unpack `{name}` from `{}`", archive.display());
        entry.unpack(&target.path).or_error(Class::Image, cannot)?;
        // Keys are among them, and all else holds what they protect.
        fs::set_permissions(&target.path, Permissions::from_mode(0o600)).or_error(Class::Host, cannot)
    }
}

fn unforeseen(archive: &Path, what: &str) -> Error {
    Error::new(Class::Image, format!("`{}` is refused: it holds what no export holds", archive.display()))
        .evidence(format!("`{what}`"))
}

/// Compares all that was unpacked with the manifest.
fn check(manifest: &Manifest, part: &Part, absent: &BTreeSet<Entry>) -> Result<()> {
    let unpacked = part.path().join(BASES);
    let arrived =
        manifest.bases.iter().filter(|(base, _)| Entry::parse(base).is_some_and(|(entry, _)| absent.contains(&entry)));
    let arrived: BTreeMap<String, String> = arrived.map(|(base, wanted)| (base.clone(), wanted.clone())).collect();
    let mut problems: Vec<String> = verify::files(part.path(), &manifest.files).into_values().collect();
    problems.extend(verify::base_files(&unpacked, &arrived));
    // What the cache will believe of them must be the same.
    for entry in absent {
        let recorded = entry.recorded_in(&unpacked.join(entry.name()))?;
        let expected = arrived.iter().filter(|(base, _)| base.starts_with(&format!("{}/", entry.name())));
        let expected: BTreeMap<String, String> =
            expected.map(|(base, wanted)| (base.clone(), wanted.clone())).collect();
        if recorded != expected {
            problems.push(format!("cache/{}: its own record is that of other files", entry.name()));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(verify::damage(manifest, problems).hint("copy or export it again")) }
}

/// Moves the bases that arrived into the cache, read-only as if they had been made there.
fn install(home: &Home, part: &Part, absent: &BTreeSet<Entry>) -> Result<()> {
    for entry in absent {
        let (from, to) = (part.path().join(BASES).join(entry.name()), entry.directory(home));
        let half = to.with_extension("part");
        let moved = || -> io::Result<()> {
            let _ = fs::remove_dir_all(&half);
            // The cache is no secret, unlike what it came with.
            fs::create_dir_all(&half)?;
            for file in entry.kind.files().iter().filter(|file| from.join(file).exists()) {
                let (from, to) = (from.join(file), half.join(file));
                match fs::rename(&from, &to) {
                    // The cache may be another filesystem.
                    Err(error) if error.kind() == io::ErrorKind::CrossesDevices => sparse::copy(&from, &to)?,
                    renamed => renamed?,
                }
                let mode = if entry.kind.bases().contains(file) { 0o444 } else { 0o644 };
                fs::set_permissions(&to, Permissions::from_mode(mode))?;
            }
            // Without its seal it is what a run that ended left.
            let _ = fs::remove_dir_all(&to);
            fs::rename(&half, &to)
        };
        moved().or_error(Class::Host, || format!("cannot put `{}` into the cache", entry.name()))?;
    }
    Ok(())
}

/// Has the overlays lie on the cache of this home: they name their image by an absolute path.
fn rebase(home: &Home, part: &Part, manifest: &mut Manifest) -> Result<()> {
    for (name, record) in manifest.files.iter_mut().filter(|(name, _)| overlay::is_one(name)) {
        let path = part.path().join(name);
        let old = overlay::backing(&path)?;
        let is_old = |base: &&String| old.ends_with(Path::new("cache").join(base.as_str()));
        let Some(base) = manifest.bases.keys().find(is_old) else {
            return Err(Error::new(
                Class::Image,
                format!("`{name}` lies on `{}`, which is no base of the snapshot", old.display()),
            ));
        };
        let new = bases::path(home, base);
        if new != old {
            overlay::rebase(&path, &new)?;
            *record = sparse::digest(&path).or_error(Class::Host, || format!("cannot read `{}`", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
