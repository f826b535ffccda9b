//! A snapshot as one file: a zstd-compressed tar archive of its files and of the bases that they lie on.
//!
//! First comes the manifest, then what else is in it, then the files: who reads it can refuse before anything is
//! written. Sparse files travel as their data only.

use super::{
    Depth, Manifest, Store,
    bases::Entry,
    store::{self, MANIFEST},
    verify::verify,
};
use crate::{
    error::{Class, Error, Result, ResultExt},
    host::Home,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The second file of an archive: a [`Contents`].
pub(super) const CONTENTS: &str = "contents.json";
/// Where the bases are in an archive.
pub(super) const BASES: &str = "bases/";
/// zstd's default: the 3 GB of a lab of eight nodes become half a gigabyte in about ten seconds on two cores.
const LEVEL: i32 = 3;
/// Progress is told once in so many bytes.
const STRIDE: u64 = 16 << 20;

/// What an archive holds beside the files that the manifest names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Contents {
    /// Bytes that the files of the snapshot take on a disk.
    pub(super) bytes: u64,
    /// Files of the cache, by `KIND/ID/FILE`.
    pub(super) bases: BTreeMap<String, Base>,
}

/// A file of the cache.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Base {
    /// Its length, holes included.
    pub(super) length: u64,
    /// Bytes that it takes on a disk.
    pub(super) bytes: u64,
}

/// Whether a path of a snapshot's file stays below its directory, and is none that an archive uses itself. Manifests
/// come from other machines.
pub(super) fn is_safe(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    parts.iter().all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('\0'))
        && ![MANIFEST, CONTENTS].contains(&path)
        && !path.starts_with(BASES)
}

/// Writes a verified snapshot, with all that it lies on, into a file; gives the file's length. `progress` hears how
/// many bytes of how many are read.
///
/// # Errors
/// [`Class::Usage`] when there is a file of this name, [`Class::Image`] when the snapshot is damaged, and when the
/// disk refuses; then no file is left.
pub fn export(
    store: &Store,
    home: &Home,
    manifest: &Manifest,
    file: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64> {
    refuse_existing(file)?;
    // A damaged archive would only be found out on the other machine.
    verify(store, home, manifest, Depth::Bases)?;
    let directory = store.directory(&manifest.name);
    let contents = contents(&directory, home, manifest)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = Part(file.with_file_name(name));
    let cannot = || format!("cannot write `{}`", part.0.display());
    // It holds keys, passwords and memory.
    let output = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part.0)
        .or_error(Class::Host, cannot)?;
    let output = write(output, &directory, home, manifest, &contents, progress)
        .map_err(|error| error.context(format!("cannot export into `{}`", file.display())))?;
    output.sync_all().or_error(Class::Host, cannot)?;
    refuse_existing(file)?;
    fs::rename(&part.0, file).or_error(Class::Host, || format!("cannot name `{}`", file.display()))?;
    Ok(output.metadata().or_error(Class::Host, cannot)?.len())
}

/// A file that is being written: removed unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn refuse_existing(file: &Path) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    Err(Error::new(Class::Usage, format!("`{}` exists", file.display())).hint("take another name, or remove it"))
}

/// Looks at all files that go into the archive.
fn contents(directory: &Path, home: &Home, manifest: &Manifest) -> Result<Contents> {
    let look = |path: &Path| {
        path.metadata()
            .map(|data| Base { length: data.len(), bytes: data.blocks() * 512 })
            .or_error(Class::Host, || format!("cannot read `{}`", path.display()))
    };
    let mut contents = Contents { bytes: 0, bases: BTreeMap::new() };
    for name in manifest.files.keys() {
        if !is_safe(name) {
            return Err(Error::new(
                Class::Image,
                format!("the manifest names a file `{name}`, which is none of a snapshot"),
            ));
        }
        contents.bytes += look(&directory.join(name))?.bytes;
    }
    let entries: BTreeSet<Entry> =
        manifest.bases.keys().filter_map(|base| Entry::parse(base)).map(|(entry, _)| entry).collect();
    for entry in entries {
        for file in entry.kind.files() {
            let path = entry.directory(home).join(file);
            if path.is_file() {
                contents.bases.insert(format!("{}/{file}", entry.name()), look(&path)?);
            }
        }
    }
    Ok(contents)
}

fn write(
    output: File,
    directory: &Path,
    home: &Home,
    manifest: &Manifest,
    contents: &Contents,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<File> {
    let failed = || "cannot write the archive".to_owned();
    let mut encoder = zstd::Encoder::new(output, LEVEL).or_error(Class::Host, failed)?;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    encoder.multithread(cores as u32).and_then(|()| encoder.include_checksum(true)).or_error(Class::Host, failed)?;
    let total = contents.bytes + contents.bases.values().map(|base| base.bytes).sum::<u64>();
    let meter = Meter { inner: encoder, done: 0, told: 0, total, progress };
    let mut archive = tar::Builder::new(meter);
    // No times, owners or modes of this machine; holes stay holes.
    archive.mode(tar::HeaderMode::Deterministic);
    archive.sparse(true);
    let text = serde_json::to_vec_pretty(manifest).or_error(Class::Internal, failed)?;
    let list = serde_json::to_vec_pretty(contents).or_error(Class::Internal, failed)?;
    for (name, text) in [(MANIFEST, text), (CONTENTS, list)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, text.as_slice()).or_error(Class::Host, failed)?;
    }
    let files = manifest.files.keys().map(|name| (directory.join(name), name.clone()));
    let bases = contents.bases.keys().map(|base| (home.cache().join(base), format!("{BASES}{base}")));
    for (path, name) in files.chain(bases) {
        File::open(&path)
            .and_then(|mut file| archive.append_file(&name, &mut file))
            .or_error(Class::Host, || format!("cannot add `{}`", path.display()))?;
    }
    archive.into_inner().and_then(|meter| meter.inner.finish()).or_error(Class::Host, failed)
}

/// Counts what goes through.
struct Meter<'a, W> {
    inner: W,
    done: u64,
    told: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<W: Write> Write for Meter<'_, W> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(content)?;
        self.done += written as u64;
        if self.done - self.told >= STRIDE {
            self.told = self.done;
            (self.progress)(self.done.min(self.total), self.total);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Understands the manifest of an archive, and refuses one that no snapshot of ours can have.
pub(super) fn manifest(text: &[u8], archive: &Path) -> Result<Manifest> {
    let manifest = store::parse(text, &format!("{MANIFEST} in {}", archive.display()))?;
    let named = |name: &String| name.parse::<crate::lab::NodeName>().is_err();
    let wrong: Vec<String> = [&manifest.lab, &manifest.name]
        .into_iter()
        .filter(|name| named(name))
        .chain(manifest.files.keys().filter(|path| !is_safe(path)))
        .chain(manifest.bases.keys().filter(|base| Entry::parse(base).is_none()))
        .map(|name| format!("`{name}`"))
        .collect();
    if wrong.is_empty() {
        return Ok(manifest);
    }
    Err(Error::new(Class::Image, format!("`{}` is refused: it holds names that no snapshot has", archive.display()))
        .evidence(wrong.join("\n")))
}
