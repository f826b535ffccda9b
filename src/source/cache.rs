//! A cache of downloads: files named by digest, and an index that tells which place gave which.

use super::{Kind, off_thread, partial::Partial};
use crate::{
    digest,
    error::{Class, Result, ResultExt},
    event::{Event, Events},
    file,
    host::Lock,
};
use reqwest::Url;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long to wait for another run that downloads.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the cache says to a digest.
#[derive(Debug, PartialEq, Eq)]
pub enum Cached {
    /// A file that has this digest.
    Good(PathBuf),
    /// A file that had it when it was stored, and has not now.
    Damaged(PathBuf),
    /// No file.
    Missing,
}

/// A directory of downloads of one kind. Labs share it: what it holds is named by digest, so nothing that one lab does
/// changes what another one finds.
pub struct Cache<'a> {
    directory: &'a Path,
    kind: Kind,
}

impl<'a> Cache<'a> {
    /// The cache in this directory, which need not exist yet.
    pub fn new(directory: &'a Path, kind: Kind) -> Cache<'a> {
        Cache { directory, kind }
    }

    /// The digest of what this place gave when it was asked last.
    pub fn recorded(&self, place: &str) -> Option<String> {
        self.index().remove(place)
    }

    /// Looks for a file by the digest of its content, and reads all of it to be sure.
    ///
    /// # Errors
    /// When a task of the runtime fails.
    pub async fn find(&self, wanted: &str) -> Result<Cached> {
        // lab.lock and the index may have been edited by hand.
        if wanted.len() != 64 || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Cached::Missing);
        }
        let prefix = format!("{}-", digest::short(wanted));
        let mut files = fs::read_dir(self.directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_wanted = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().starts_with(&prefix);
        let Some(path) = files.find(is_wanted) else { return Ok(Cached::Missing) };
        match digest_of(&path).await? {
            Ok(found) if found == wanted => Ok(Cached::Good(path)),
            _ => Ok(Cached::Damaged(path)),
        }
    }

    /// Waits until no other run downloads. Two writers of one `.part` file would mix their bytes, and the second run
    /// finds in the cache what the first one brought.
    ///
    /// # Errors
    /// [`Class::Locked`] when the other run does not end, [`Class::Host`] when the lock cannot be made.
    pub async fn lock(&self, events: &Events, step: &str) -> Result<Lock> {
        let deadline = Instant::now() + PATIENCE;
        let mut told = false;
        loop {
            match Lock::take(&self.directory.join("lock"), self.kind.cache(), Duration::ZERO) {
                Err(error) if error.class() == Class::Locked && Instant::now() < deadline => {
                    if !told {
                        let text = format!("waits for another run that downloads a {}", self.kind.name());
                        events.send(Event::Progress { step: step.into(), text });
                        told = true;
                    }
                    // Not the lock's own patience: that would block a thread which Ctrl-C could not end.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                result => return result,
            }
        }
    }

    /// The unfinished download of a URL, begun or to be begun.
    ///
    /// # Errors
    /// [`Class::Host`] when the files cannot be made.
    pub fn partial(&self, url: &Url) -> Result<Partial> {
        Partial::open(self.directory, url)
    }

    /// Makes a finished download a file of the cache, named by its digest, and returns path and digest.
    ///
    /// # Errors
    /// [`Class::Image`] when it is not of this kind: it is removed then, as going on with it would lead nowhere.
    /// [`Class::Host`] when the file cannot be kept.
    pub async fn keep(&self, partial: Partial) -> Result<(PathBuf, String)> {
        let suffix = match self.kind.suffix_of(partial.path()) {
            Ok(suffix) => suffix,
            Err(error) => {
                partial.remove()?;
                return Err(error);
            }
        };
        let cannot = || format!("cannot keep the download in `{}`", self.directory.display());
        let digest = digest_of(partial.path()).await?.or_error(Class::Host, cannot)?;
        let path = self.directory.join(format!("{}-{}", digest::short(&digest), file_name(&partial.name(), suffix)));
        // A damaged copy may have come under another name.
        if let Cached::Damaged(damaged) = self.find(&digest).await? {
            fs::remove_file(damaged).or_error(Class::Host, cannot)?;
        }
        File::open(partial.path()).and_then(|file| file.sync_all()).or_error(Class::Host, cannot)?;
        fs::rename(partial.path(), &path).or_error(Class::Host, cannot)?;
        File::open(self.directory).and_then(|directory| directory.sync_all()).or_error(Class::Host, cannot)?;
        partial.remove()?;
        Ok((path, digest))
    }

    /// Records which digest a place gave.
    ///
    /// # Errors
    /// [`Class::Host`] when the index cannot be written.
    pub fn record(&self, place: &str, digest: &str) -> Result<()> {
        let mut index = self.index();
        index.insert(place.into(), digest.into());
        let text = serde_json::to_string_pretty(&index)
            .or_error(Class::Internal, || "cannot write the index of downloads".into())?;
        file::replace(&self.directory.join("places.json"), text)
    }

    /// An index that is missing or cannot be understood costs a download, so it is no error.
    fn index(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.directory.join("places.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }
}

/// The digest of a file that may be large, off the threads of the runtime.
pub(super) async fn digest_of(path: &Path) -> Result<std::io::Result<String>> {
    let path = path.to_owned();
    off_thread(move || digest::of_file(&path)).await
}

/// A file name from what a server called it: no characters that mean something elsewhere, and the usual end.
fn file_name(name: &str, suffix: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut name: String = name.chars().filter(|c| good(*c)).take(80).collect();
    name = name.trim_start_matches(['.', '-']).to_owned();
    if name.is_empty() {
        name = "download".into();
    }
    let known = [".gz", ".tgz", ".xz", ".txz", ".bz2", ".tbz2", ".qcow2", ".img"].iter().any(|end| name.ends_with(end));
    if known { name } else { name + suffix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_end_as_usual() {
        for (given, name) in [
            ("pgxc-v1.0.2.tar.gz", "pgxc-v1.0.2.tar.gz"),
            ("download", "download.tar.gz"),
            ("", "download.tar.gz"),
            ("..%2F..%2Fetc", "2F..2Fetc.tar.gz"),
            ("../x y", "xy.tar.gz"),
        ] {
            assert_eq!(file_name(given, ".tar.gz"), name);
        }
        assert_eq!(file_name(&"a".repeat(300), ".tar.xz").len(), 87);
    }
}
