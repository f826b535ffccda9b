//! A publisher's disk, from the first of several mirrors that has it as it must be.

use super::{
    Kind,
    cache::{Cache, Cached},
    checksum::Checksum,
    download, off_thread,
    place::Place,
    qcow2::Qcow2,
    reason,
};
use crate::{
    digest,
    error::{Class, Error, Result},
    event::Events,
};
use reqwest::Url;
use std::path::{Path, PathBuf};

/// What a disk is held against.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// This SHA-256: whoever gives the file, it is the publisher's.
    Sha256(String),
    /// Name of the file of checksums that lies beside the disk: it finds what broke on the way, and is worth as much as
    /// the mirror that gives it.
    Checksums(String),
}

/// What is looked for, and where.
#[derive(Clone, Debug)]
pub struct DiskRequest<'a> {
    /// Where the disk's directory is mirrored, in order of preference: URLs, or directories of this host.
    pub mirrors: &'a [String],
    /// Name of the disk in there.
    pub file: &'a str,
    /// What it must be.
    pub proof: &'a Proof,
    /// Where relative paths start.
    pub base: &'a Path,
    /// Where downloads are kept.
    pub cache: &'a Path,
    /// Whether the network may not be used; what the cache has is still taken.
    pub offline: bool,
}

/// A disk on this host, whole and as its publisher made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of itself.
    pub header: Qcow2,
    /// SHA-256 of its content, in hexadecimal.
    pub digest: String,
    /// The mirror's file, as a path or URL.
    pub place: String,
}

/// Looks for a disk. Events belong to `step`.
///
/// # Errors
/// - [`Class::LabFile`]: a mirror is neither a directory nor a URL; nothing was tried.
/// - [`Class::Image`]: no mirror has it; each is named with the reason.
/// - [`Class::Host`], [`Class::Locked`]: the cache cannot be written, e.g. because the disk of this host is full.
pub async fn obtain_disk(request: &DiskRequest<'_>, events: &Events, step: &str) -> Result<Disk> {
    let places = request.mirrors.iter().map(|mirror| At::parse(mirror, request)).collect::<Result<Vec<_>>>()?;
    let mut tried = Vec::new();
    for at in places {
        match at.obtain(request, events, step).await {
            Ok(disk) => return Ok(disk),
            Err(error) if error.class() == Class::Image => tried.push(format!("{}: {}", at.text, reason(&error))),
            Err(error) => return Err(error.context(format!("cannot get `{}`", at.text))),
        }
    }
    Err(nobody(request, &tried))
}

/// Looks whether a disk can be had, and gets nothing: a list of images falls through to the next one
/// when it cannot.
///
/// # Errors
/// As [`obtain_disk`].
pub async fn find_disk(request: &DiskRequest<'_>) -> Result<()> {
    let places = request.mirrors.iter().map(|mirror| At::parse(mirror, request)).collect::<Result<Vec<_>>>()?;
    let mut tried = Vec::new();
    for at in places {
        match at.find(request).await {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(format!("{}: {}", at.text, reason(&error))),
        }
    }
    Err(nobody(request, &tried))
}

fn nobody(request: &DiskRequest<'_>, tried: &[String]) -> Error {
    Error::new(Class::Image, format!("no mirror has the disk `{}`", request.file))
        .evidence(tried.join("\n"))
        .hint("name a mirror that has it under `mirrors` in lab.yaml; a directory of this machine will do")
}

/// The disk at one mirror.
struct At {
    mirror: String,
    text: String,
    place: Place,
}

impl At {
    fn parse(mirror: &str, request: &DiskRequest<'_>) -> Result<At> {
        let mirror = mirror.trim().trim_end_matches('/').to_owned();
        let text = format!("{mirror}/{}", request.file);
        let place = Place::parse(&text, request.base)?;
        Ok(At { mirror, text, place })
    }

    async fn obtain(&self, request: &DiskRequest<'_>, events: &Events, step: &str) -> Result<Disk> {
        match &self.place {
            Place::File(path) => {
                let wanted = self.wanted(request).await?;
                let digest = verified(path, &wanted).await?;
                self.disk(path.clone(), digest)
            }
            Place::Url(_) if request.offline => self.cached(request).await,
            Place::Url(url) => self.downloaded(url, request, events, step).await,
        }
    }

    async fn find(&self, request: &DiskRequest<'_>) -> Result<()> {
        match &self.place {
            Place::File(path) => match path.is_file() {
                true => Ok(()),
                false => Err(Error::new(Class::Image, "there is no such file")),
            },
            Place::Url(_) if request.offline => self.cached(request).await.map(drop),
            Place::Url(url) => download::exists(url).await,
        }
    }

    /// What the publisher says of the disk.
    async fn wanted(&self, request: &DiskRequest<'_>) -> Result<Checksum> {
        let name = match request.proof {
            Proof::Sha256(hex) => return Ok(Checksum::Sha256(hex.to_ascii_lowercase())),
            Proof::Checksums(name) => name,
        };
        let text = match Place::parse(&format!("{}/{name}", self.mirror), request.base)? {
            Place::Url(url) => download::text(&url).await,
            Place::File(path) => std::fs::read_to_string(path)
                .map_err(|error| Error::caused(Class::Image, "the file cannot be read", error)),
        };
        let text = text.map_err(|error| Error::new(Class::Image, format!("no `{name}` there: {}", reason(&error))))?;
        Checksum::find(&text, request.file)
    }

    /// Without asking anybody: by the pinned digest, or as this mirror gave it when it was asked last.
    async fn cached(&self, request: &DiskRequest<'_>) -> Result<Disk> {
        let cache = Cache::new(request.cache, Kind::Disk);
        let digest = match request.proof {
            Proof::Sha256(hex) => Some(hex.to_ascii_lowercase()),
            Proof::Checksums(_) => cache.recorded(&self.text),
        };
        if let Some(digest) = digest
            && let Cached::Good(path) = cache.find(&digest).await?
        {
            return self.disk(path, digest);
        }
        Err(Error::new(
            Class::Image,
            "it is not in the cache and was not asked for, as the network may not be used (offline)",
        ))
    }

    async fn downloaded(&self, url: &Url, request: &DiskRequest<'_>, events: &Events, step: &str) -> Result<Disk> {
        let cache = Cache::new(request.cache, Kind::Disk);
        let wanted = self.wanted(request).await?;
        let digest = || match &wanted {
            Checksum::Sha256(hex) => Some(hex.clone()),
            other => cache.recorded(&other.to_string()),
        };
        if let Some(digest) = digest()
            && let Cached::Good(path) = cache.find(&digest).await?
        {
            return self.disk(path, digest);
        }
        let _lock = cache.lock(events, step).await?;
        // Another run may have held the lock because it downloaded just this.
        if let Some(digest) = digest()
            && let Cached::Good(path) = cache.find(&digest).await?
        {
            return self.disk(path, digest);
        }
        let mut partial = cache.partial(url)?;
        download::download(url, &mut partial, events, step).await?;
        // What is not the publisher's is kept under no name, and the next run begins anew.
        if let Err(error) = verified(partial.path(), &wanted).await {
            partial.remove()?;
            return Err(error);
        }
        let (path, digest) = cache.keep(partial).await?;
        cache.record(&self.text, &digest)?;
        cache.record(&wanted.to_string(), &digest)?;
        self.disk(path, digest)
    }

    fn disk(&self, path: PathBuf, digest: String) -> Result<Disk> {
        Ok(Disk { header: Qcow2::of(&path)?, path, digest, place: self.text.clone() })
    }
}

/// SHA-256 of a file that is as it must be.
async fn verified(path: &Path, wanted: &Checksum) -> Result<String> {
    let (file, checksum) = (path.to_owned(), wanted.clone());
    let seen = off_thread(move || {
        let seen = checksum.same_of(&file)?;
        let digest = match &seen {
            Checksum::Sha256(hex) => hex.clone(),
            Checksum::Sha512(_) => digest::of_file(&file)?,
        };
        Ok((seen, digest))
    });
    let (seen, digest) = seen.await?.map_err(|error: std::io::Error| {
        Error::caused(Class::Image, format!("`{}` cannot be read", path.display()), error)
    })?;
    match seen == *wanted {
        true => Ok(digest),
        false => Err(Error::new(Class::Image, format!("it has {seen}, and must have {wanted}"))),
    }
}
