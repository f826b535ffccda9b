//! One compressed tar of bounded files, and a list of what it lacks.

use crate::error::{Class, Result, ResultExt};
use jiff::Timestamp;
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The end of a file tells what happened; a bundle must stay small enough to be sent to somebody.
const MOST: u64 = 4 << 20;
/// What stands in place of a secret.
const BLOT: &[u8] = b"(left out)";
/// Name of the unfinished bundle.
const WHOLE: &str = "bundle";
/// zstd's own default: logs become a tenth within a second.
const LEVEL: i32 = 3;

/// A bundle that is being filled. It gets its name when it is whole.
pub(super) struct Bundle {
    file: PathBuf,
    work: Work,
    tar: tar::Builder<zstd::Encoder<'static, File>>,
    secrets: Vec<Vec<u8>>,
    since: Option<Timestamp>,
    missing: Vec<String>,
    mtime: u64,
}

/// A directory beside the bundle, on the disk that has room: the unfinished bundle and copies of disks lie in it.
struct Work(PathBuf);

impl Drop for Work {
    fn drop(&mut self) {
        // What stays is removed by the next bundle of the same name.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What follows the first line of a text whose beginning was cut off: half a secret is not found, and tells the other half.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    bytes.iter().position(|byte| *byte == b'\n').map_or(&[], |end| &bytes[end + 1..])
}

/// Where a bundle is made before it has its name.
fn work_of(file: &Path) -> PathBuf {
    file.with_file_name(format!(".{}.part", file.file_name().unwrap_or_default().to_string_lossy()))
}

/// Removes what an unfinished bundle has left, for one that will never be finished.
pub fn discard(file: &Path) {
    drop(Work(work_of(file)));
}

impl Bundle {
    /// Begins one; `secrets` are blotted out wherever they stand, logs from before `since` are left out.
    pub fn create(file: &Path, secrets: &[String], since: Option<Timestamp>) -> Result<Bundle> {
        discard(file);
        let work = Work(work_of(file));
        let cannot = || format!("cannot write below `{}`", work.0.display());
        fs::create_dir_all(&work.0).or_error(Class::Host, cannot)?;
        // Logs hold statements, and so whatever people wrote into them.
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let output = options.open(work.0.join(WHOLE)).or_error(Class::Host, cannot)?;
        let encoder = zstd::Encoder::new(output, LEVEL).or_error(Class::Host, cannot)?;
        let secrets = secrets.iter().filter(|secret| !secret.is_empty());
        let mut secrets: Vec<Vec<u8>> = secrets.flat_map(|secret| spellings(secret)).map(String::into_bytes).collect();
        // A secret that has another one in it must be found whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Ok(Bundle {
            file: file.to_owned(),
            work,
            tar: tar::Builder::new(encoder),
            secrets,
            since,
            missing: Vec::new(),
            mtime: u64::try_from(Timestamp::now().as_second()).unwrap_or_default(),
        })
    }

    /// Where a file can be put for a while.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.work.0.join(format!("{name}.scratch"))
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
        let mut bytes = match bytes.len().checked_sub(most) {
            Some(cut) if cut > 0 => whole_lines(&bytes[cut..]).to_vec(),
            _ => bytes.to_vec(),
        };
        for secret in &self.secrets {
            bytes = blot(&bytes, secret);
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(self.mtime);
        self.tar
            .append_data(&mut header, name, bytes.as_slice())
            .or_error(Class::Host, || format!("cannot write below `{}`", self.work.0.display()))
    }

    /// Adds the end of a file.
    pub fn file(&mut self, name: impl AsRef<Path>, path: &Path) -> Result<()> {
        let name = name.as_ref();
        match end_of(path) {
            Ok((bytes, whole)) => {
                if whole {
                    return self.bytes(name, &bytes);
                }
                self.missing(format!("{}: only the last {} MiB of it are here", name.display(), MOST >> 20));
                self.bytes(name, whole_lines(&bytes))
            }
            Err(error) => {
                self.missing(format!("{}: {error}", name.display()));
                Ok(())
            }
        }
    }

    /// Adds the end of a log, unless nobody wrote to it lately.
    pub fn log(&mut self, name: impl AsRef<Path>, path: &Path) -> Result<()> {
        let written = fs::metadata(path).and_then(|data| data.modified()).ok();
        match (self.since, written.and_then(|time| Timestamp::try_from(time).ok())) {
            (Some(since), Some(written)) if written < since => {
                self.missing(format!("{}: nobody wrote to it since {since}", name.as_ref().display()));
                Ok(())
            }
            _ => self.file(name, path),
        }
    }

    /// Adds all logs below a directory. Links, sockets and devices are no evidence.
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
                Ok(data) if data.is_file() => self.log(inner, &path)?,
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
            .and_then(|()| fs::rename(self.work.0.join(WHOLE), &self.file))
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

/// How a secret may stand in a log: as it is, as SQL quotes it (with and without `E`) and as a shell does, and all of them in
/// JSON.
fn spellings(secret: &str) -> Vec<String> {
    let plain = secret.to_owned();
    let sql = secret.replace('\'', "''");
    let escaped = sql.replace('\\', "\\\\");
    let backslashed = secret.replace('\\', "\\\\").replace('\'', "\\'").replace('"', "\\\"");
    let shell = secret.replace('\'', "'\\''");
    let all = [plain, sql, escaped, backslashed, shell];
    let in_json = all.clone().map(|text| {
        let quoted = serde_json::Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    });
    all.into_iter().chain(in_json).collect()
}

fn blot(bytes: &[u8], secret: &[u8]) -> Vec<u8> {
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
        // The cut goes through a secret.
        let kept = usize::try_from(MOST).expect("it fits") - 4;
        let long = [vec![b'a'; 97], b"s3cret\n".to_vec(), vec![b'b'; kept]].concat();
        fs::write(logs.join("deep/long.log"), long).expect("a file");
        fs::write(logs.join("short.log"), "password is s3cret, s3cret-2").expect("a file");
        std::os::unix::fs::symlink("/etc/shadow", logs.join("link.log")).expect("a link");
        let mut bundle = Bundle::create(
            &directory.path().join("bundle.tar.zst"),
            &["s3cret".into(), String::new(), "s3cret-2".into()],
            None,
        )
        .expect("it begins");
        bundle.tree("logs", &logs).expect("logs");
        bundle.tree("none", &directory.path().join("none")).expect("nothing");
        bundle.file("gone", &directory.path().join("gone")).expect("nothing");
        let files = unpack(&bundle.finish().expect("a bundle"));
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["MISSING", "logs/deep/long.log", "logs/short.log"]);
        assert_eq!(files["logs/deep/long.log"].len(), kept);
        assert!(files["logs/deep/long.log"].iter().all(|byte| *byte == b'b'));
        assert_eq!(files["logs/short.log"], b"password is (left out), (left out)");
        let missing = String::from_utf8_lossy(&files["MISSING"]).into_owned();
        let lines: Vec<&str> = missing.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
        assert_eq!(lines, ["logs/deep/long.log", "none", "gone"]);
    }

    #[test]
    fn a_secret_with_quotes_is_found_however_it_is_spelled() {
        let secret = r#"it's "a" \ b"#;
        let directory = tempfile::tempdir().expect("a directory");
        let mut bundle =
            Bundle::create(&directory.path().join("b.tar.zst"), &[secret.into()], None).expect("it begins");
        let json = |text: &str| serde_json::json!({ "x": text }).to_string();
        let texts = [
            secret.to_owned(),
            r#"alter user a password 'it''s "a" \ b'"#.to_owned(),
            r#"alter user a password E'it''s "a" \\ b'"#.to_owned(),
            r#"alter user a password E'it\'s "a" \\ b'"#.replace(r#""a""#, r#"\"a\""#),
            r#"export PGPASSWORD='it'\''s "a" \ b'"#.to_owned(),
            json(secret),
            json(r#"alter user a password 'it''s "a" \ b'"#),
        ];
        for (place, text) in texts.iter().enumerate() {
            bundle.bytes(format!("{place}"), text.as_bytes()).expect("it is added");
        }
        for (name, bytes) in unpack(&bundle.finish().expect("a bundle")) {
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.contains("(left out)") && !text.contains("a\"") && !text.contains("\\ b"), "{name}: {text}");
        }
    }

    #[test]
    fn old_logs_are_left_out_and_said_to_be() {
        let directory = tempfile::tempdir().expect("a directory");
        let (old, new) = (directory.path().join("old.log"), directory.path().join("new.log"));
        for path in [&old, &new] {
            fs::write(path, "line\n").expect("a file");
        }
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
        File::options().write(true).open(&old).and_then(|file| file.set_modified(long_ago)).expect("an old file");
        let since = Timestamp::now() - std::time::Duration::from_secs(3600);
        let mut bundle = Bundle::create(&directory.path().join("x.tar.zst"), &[], Some(since)).expect("it begins");
        bundle.log("old.log", &old).expect("left out");
        bundle.log("new.log", &new).expect("taken");
        let files = unpack(&bundle.finish().expect("a bundle"));
        assert_eq!(files.keys().collect::<Vec<_>>(), ["MISSING", "new.log"]);
        assert!(String::from_utf8_lossy(&files["MISSING"]).starts_with("old.log: nobody wrote to it since "));
    }

    #[test]
    fn an_unfinished_bundle_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("x.tar.zst");
        let bundle = Bundle::create(&file, &[], None).expect("it begins");
        fs::write(bundle.scratch("db1"), "a disk").expect("a file");
        drop(bundle);
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 0);
    }
}
