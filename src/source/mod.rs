//! What comes from elsewhere, found at the first of several places that has it: an engine's source package, a publisher's
//! disk.

mod archive;
mod cache;
mod checksum;
mod disk;
mod download;
mod partial;
mod place;
mod qcow2;

pub use checksum::Checksum;
pub use disk::{Disk, DiskRequest, Proof, find_disk, obtain_disk};
pub use place::Place;
pub use qcow2::Qcow2;

use crate::{
    error::{Class, Error, Result},
    event::Events,
};
use archive::Compression;
use cache::{Cache, Cached, digest_of};
use reqwest::Url;
use std::path::{Path, PathBuf};

/// What is downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A source package.
    Package,
    /// A publisher's disk.
    Disk,
}

impl Kind {
    /// What one is called.
    fn name(self) -> &'static str {
        match self {
            Kind::Package => "source package",
            Kind::Disk => "disk",
        }
    }

    /// What the cache of them is called.
    fn cache(self) -> &'static str {
        match self {
            Kind::Package => "the cache of source packages",
            Kind::Disk => "the cache of disks",
        }
    }

    /// Looks whether a file is one; gives the usual end of its name.
    fn suffix_of(self, path: &Path) -> Result<&'static str> {
        match self {
            Kind::Package => Compression::of(path).map(Compression::suffix),
            Kind::Disk => Qcow2::of(path).map(|_| ".qcow2"),
        }
    }
}

/// A source package on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of its content, in hexadecimal.
    pub digest: String,
    /// The place that gave it, as it was written, or the environment variable that named it.
    pub place: String,
}

/// What is looked for, and where.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What `variable` names: this file and nothing else.
    pub override_path: Option<PathBuf>,
    /// The environment variable that may name the package: `PGXC_SOURCE`, `FLEX_SOURCE`.
    pub variable: &'a str,
    /// Places in order of preference: paths, file URLs, http(s) URLs.
    pub places: &'a [String],
    /// Where relative paths start: the directory of lab.yaml.
    pub base: &'a Path,
    /// Where downloads are kept.
    pub cache: &'a Path,
    /// The digest that lab.lock recorded.
    pub pinned: Option<&'a str>,
    /// Whether the network may not be used; what the cache has is still taken.
    pub offline: bool,
}

/// What came of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The package; `None` when no place has it.
    pub source: Option<Source>,
    /// Places that were tried before, each with the reason why it was not taken.
    pub passed_over: Vec<(String, String)>,
}

/// Looks for a source package. Events belong to `step`.
///
/// # Errors
/// - [`Class::LabFile`]: a place is neither a path nor a URL; nothing was tried.
/// - [`Class::Image`]: the environment variable names no package, or a package is not the one that lab.lock recorded.
/// - [`Class::Host`], [`Class::Locked`]: the cache cannot be written, e.g. because the disk is full.
pub async fn obtain(request: &Request<'_>, events: &Events, step: &str) -> Result<Found> {
    if let Some(path) = &request.override_path {
        let source = overridden(path, request).await?;
        return Ok(Found { source: Some(source), passed_over: Vec::new() });
    }
    // All of them first: a mistake in the last place must not show only on the day when the first one is down.
    let places = request
        .places
        .iter()
        .map(|text| Ok((text.trim(), Place::parse(text, request.base)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut passed_over = Vec::new();
    for (text, place) in places {
        let result = match &place {
            Place::File(path) => local(path).await.map(|digest| (path.clone(), digest)),
            Place::Url(url) => remote(text, url, request, events, step).await,
        };
        match result {
            Ok((path, digest)) => {
                agree(text, &path, &digest, request, matches!(place, Place::Url(_)))?;
                let source = Some(Source { path, digest, place: text.to_owned() });
                return Ok(Found { source, passed_over });
            }
            Err(error) if error.class() == Class::Image => passed_over.push((text.to_owned(), reason(&error))),
            Err(error) => return Err(error.context(format!("cannot get a source package from `{text}`"))),
        }
    }
    Ok(Found { source: None, passed_over })
}

/// Brings one file that is no package, whatever it is, into a directory.
///
/// # Errors
/// [`Class::Image`] when it cannot be had; [`Class::Host`] when it cannot be written.
pub async fn fetch(url: &str, into: &Path, events: &Events, step: &str) -> Result<PathBuf> {
    let url = Url::parse(url).map_err(|error| Error::caused(Class::Image, format!("`{url}` is no URL"), error))?;
    let mut partial = partial::Partial::open(into, &url)?;
    download::download(&url, &mut partial, events, step).await?;
    Ok(partial.path().to_owned())
}

/// Who sets the variable means that file: falling through to another one would be a surprise.
async fn overridden(path: &Path, request: &Request<'_>) -> Result<Source> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let variable = request.variable;
    let digest = local(&path).await.map_err(|error| {
        let error = error.context(format!("{variable} names `{}`, which cannot be taken", path.display()));
        error.hint(format!("set {variable} to the source package, or unset it to look at the places of lab.yaml"))
    })?;
    agree(variable, &path, &digest, request, false)?;
    Ok(Source { path, digest, place: variable.into() })
}

/// The digest of a package on this host.
async fn local(path: &Path) -> Result<String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::new(Class::Image, "there is no such file"));
        }
        Err(error) => return Err(Error::caused(Class::Image, "the file cannot be looked at", error)),
        Ok(metadata) if metadata.is_dir() => {
            return Err(Error::new(Class::Image, "this is a directory, not a package"));
        }
        // Reading a pipe or a device might never end.
        Ok(metadata) if !metadata.is_file() => return Err(Error::new(Class::Image, "this is not a regular file")),
        Ok(_) => {}
    }
    Compression::of(path)?;
    digest_of(path).await?.map_err(|error| Error::caused(Class::Image, "the file cannot be read", error))
}

/// Path and digest of what a URL gives, from the cache if it can be.
async fn remote(
    text: &str,
    url: &Url,
    request: &Request<'_>,
    events: &Events,
    step: &str,
) -> Result<(PathBuf, String)> {
    let cache = Cache::new(request.cache, Kind::Package);
    // A pinned package is known by its digest alone, whichever lab downloaded it and from wherever.
    let wanted = || request.pinned.map(str::to_ascii_lowercase).or_else(|| cache.recorded(text));
    let mut damaged = false;
    if let Some(wanted) = wanted() {
        match cache.find(&wanted).await? {
            Cached::Good(path) => return Ok((path, wanted)),
            Cached::Damaged(_) => damaged = true,
            Cached::Missing => {}
        }
    }
    if request.offline {
        let also = if damaged { ", and its copy in the cache is damaged" } else { "" };
        return Err(Error::new(
            Class::Image,
            format!("it was not asked, as the network may not be used (offline){also}"),
        ));
    }
    let _lock = cache.lock(events, step).await?;
    // Another run may have held the lock because it downloaded just this.
    if let Some(wanted) = wanted()
        && let Cached::Good(path) = cache.find(&wanted).await?
    {
        return Ok((path, wanted));
    }
    if damaged {
        events.note(format!("the copy of `{text}` in the cache is damaged; it is downloaded again"));
    }
    let mut partial = cache.partial(url)?;
    download::download(url, &mut partial, events, step).await?;
    let (path, digest) = cache.keep(partial).await?;
    // Before the lock goes, so that a run that waits for it finds the entry. A refused package gets none.
    if request.pinned.is_none_or(|pinned| pinned.eq_ignore_ascii_case(&digest)) {
        cache.record(text, &digest)?;
    }
    Ok((path, digest))
}

/// A package other than the recorded one is refused; neither it nor the recorded one is touched.
fn agree(place: &str, path: &Path, digest: &str, request: &Request<'_>, downloaded: bool) -> Result<()> {
    let Some(pinned) = request.pinned.filter(|pinned| !pinned.eq_ignore_ascii_case(digest)) else { return Ok(()) };
    let stays = if downloaded { format!("; it stays at {}", path.display()) } else { String::new() };
    let error =
        Error::new(Class::Image, format!("the source package from `{place}` is not the one that lab.lock records"))
            .evidence(format!("lab.lock records sha256 {pinned}"))
            .evidence(format!("the package has sha256   {digest}{stays}"));
    Err(error.hint(format!(
        "to go on with the recorded package, name a file that has its digest in {} or in the list of places; \
         to take the new one, remove the source's digest from lab.lock and run again",
        request.variable
    )))
}

/// Why a place was passed over, in one sentence.
fn reason(error: &Error) -> String {
    let sentence = sentence(error);
    match error.hint_text() {
        Some(hint) => format!("{sentence} ({hint})"),
        None => sentence,
    }
}

/// An error in one line: what happened and its deepest cause.
fn sentence(error: &Error) -> String {
    match error.causes().last() {
        Some(cause) => format!("{}: {}", error.message(), cause.trim()),
        None => error.message().to_owned(),
    }
}

/// Reads files that may be large off the threads of the runtime.
async fn off_thread<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Error::caused(Class::Internal, "the task that reads a download ended", error))
}
