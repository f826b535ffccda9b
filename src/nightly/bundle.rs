//! One compressed tar of bounded files, and a list of what it lacks.

use crate::error::{Class, Result, ResultExt};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// The end of a file tells what happened; a bundle must stay small enough to be sent to somebody.
const MOST: u64 = 4 << 20;
/// What stands in place of the made password.
const BLOT: &[u8] = b"(left out)";
/// zstd's own default: logs become a tenth within a second.
const LEVEL: i32 = 3;

/// A bundle that is being filled. It gets its name when it is whole.
pub(super) struct Bundle {
    file: PathBuf,
    new: PathBuf,
    tar: tar::Builder<zstd::Encoder<'static, File>>,
    secret: Vec<u8>,
    missing: Vec<String>,
    mtime: u64,
}

impl Bundle {
    /// Begins one; `secret` is blotted out wherever it stands.
    pub fn create(file: &Path, secret: &str) -> Result<Bundle> {
        let new = file.with_extension("new");
        let cannot = || format!("cannot write `{}`", new.display());
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).or_error(Class::Host, cannot)?;
        }
        let output = File::create(&new).or_error(Class::Host, cannot)?;
        let encoder = zstd::Encoder::new(output, LEVEL).or_error(Class::Host, cannot)?;
        Ok(Bundle {
            file: file.to_owned(),
            tar: tar::Builder::new(encoder),
            secret: secret.as_bytes().to_vec(),
            missing: Vec::new(),
            mtime: u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default(),
            new,
        })
    }

    /// Where files can be put for a while: beside the bundle, on the disk that has room.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.file.with_file_name(format!("{name}.scratch"))
    }

    /// Notes down what cannot be had.
    pub fn missing(&mut self, line: impl Into<String>) {
        self.missing.push(line.into().replace('\n', " | "));
    }

    /// Adds bytes, the last of them if they are too many.
    pub fn bytes(&mut self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let name = name.as_ref();
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        if bytes.len() > most {
            self.missing(format!("{}: only the last {} MiB of it are here", name.display(), MOST >> 20));
        }
        let bytes = blot(&bytes[bytes.len().saturating_sub(most)..], &self.secret);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(self.mtime);
        self.tar
            .append_data(&mut header, name, bytes.as_slice())
            .or_error(Class::Host, || format!("cannot write `{}`", self.new.display()))
    }

    /// Adds the end of a file.
    pub fn file(&mut self, name: impl AsRef<Path>, path: &Path) -> Result<()> {
        let name = name.as_ref();
        match end_of(path) {
            Ok((bytes, whole)) => {
                if !whole {
                    self.missing(format!("{}: only the last {} MiB of it are here", name.display(), MOST >> 20));
                }
                self.bytes(name, &bytes)
            }
            Err(error) => {
                self.missing(format!("{}: {error}", name.display()));
                Ok(())
            }
        }
    }

    /// Adds all files below a directory. Links, sockets and devices are no evidence.
    pub fn tree(&mut self, name: impl AsRef<Path>, directory: &Path) -> Result<()> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                self.missing(format!("{}: {error}", name.as_ref().display()));
                return Ok(());
            }
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let inner = name.as_ref().join(path.file_name().unwrap_or_default());
            match fs::symlink_metadata(&path) {
                Ok(data) if data.is_dir() => self.tree(inner, &path)?,
                Ok(data) if data.is_file() => self.file(inner, &path)?,
                Ok(_) => {}
                Err(error) => self.missing(format!("{}: {error}", inner.display())),
            }
        }
        Ok(())
    }

    /// Writes down what is missing, and gives the bundle its name.
    pub fn finish(mut self) -> Result<PathBuf> {
        if !self.missing.is_empty() {
            let list = self.missing.join("\n") + "\n";
            self.bytes("MISSING", list.as_bytes())?;
        }
        let cannot = || format!("cannot write `{}`", self.file.display());
        self.tar
            .into_inner()
            .and_then(zstd::Encoder::finish)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.new, &self.file))
            .or_error(Class::Host, cannot)?;
        Ok(self.file)
    }
}

/// The last bytes of a file, and whether those are all.
fn end_of(path: &Path) -> std::io::Result<(Vec<u8>, bool)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut bytes = Vec::new();
    // Bounded again: a log grows while it is read.
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok((bytes, length <= MOST))
}

fn blot(bytes: &[u8], secret: &[u8]) -> Vec<u8> {
    if secret.is_empty() {
        return bytes.to_vec();
    }
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(BLOT);
        rest = &rest[at + secret.len()..];
    }
    clean.extend_from_slice(rest);
    clean
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Files of a bundle by name.
    pub fn unpack(file: &Path) -> BTreeMap<String, Vec<u8>> {
        let decoder = zstd::Decoder::new(File::open(file).expect("the bundle")).expect("zstd");
        let mut archive = tar::Archive::new(decoder);
        let mut files = BTreeMap::new();
        for entry in archive.entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a name").display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("content");
            files.insert(name, bytes);
        }
        files
    }

    #[test]
    fn files_are_bounded_and_what_lacks_is_listed() {
        let directory = tempfile::tempdir().expect("a directory");
        let logs = directory.path().join("logs");
        fs::create_dir_all(logs.join("deep")).expect("a directory");
        let long = [vec![b'a'; 100], vec![b'b'; usize::try_from(MOST).expect("it fits")]].concat();
        fs::write(logs.join("deep/long.log"), long).expect("a file");
        fs::write(logs.join("short.log"), "password is s3cret, s3cret").expect("a file");
        std::os::unix::fs::symlink("/etc/shadow", logs.join("link.log")).expect("a link");
        let mut bundle = Bundle::create(&directory.path().join("bundle.tar.zst"), "s3cret").expect("it begins");
        bundle.tree("logs", &logs).expect("logs");
        bundle.tree("none", &directory.path().join("none")).expect("nothing");
        bundle.file("gone", &directory.path().join("gone")).expect("nothing");
        let files = unpack(&bundle.finish().expect("a bundle"));
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["MISSING", "logs/deep/long.log", "logs/short.log"]);
        assert!(files["logs/deep/long.log"].iter().all(|byte| *byte == b'b'));
        assert_eq!(files["logs/short.log"], b"password is (left out), (left out)");
        let missing = String::from_utf8_lossy(&files["MISSING"]).into_owned();
        let lines: Vec<&str> = missing.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
        assert_eq!(lines, ["logs/deep/long.log", "none", "gone"]);
    }
}
