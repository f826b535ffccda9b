//! An unfinished download: the bytes so far in `NAME.part`, and in `NAME.part.json` what tells whether the server
//! still has the same file.

use crate::{
    digest,
    error::{Class, Error, Result, ResultExt},
    file,
    host::capacity,
    lab::Size,
};
use reqwest::Url;
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};
use tokio::{fs::File, io::AsyncWriteExt};

/// What the server said of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Remote {
    /// The URL that was asked.
    pub url: String,
    /// The last part of the address that gave the file, after redirections.
    pub name: String,
    /// Its entity tag.
    pub etag: Option<String>,
    /// When it was changed.
    pub last_modified: Option<String>,
    /// Its size in bytes.
    pub total: Option<u64>,
}

impl Remote {
    /// What makes a server send the rest only if the file is still the same: a strong entity tag, else the date. A weak
    /// tag promises the same meaning, not the same bytes.
    pub fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }
}

/// An unfinished download on disk.
pub struct Partial {
    path: PathBuf,
    note: PathBuf,
    file: Option<File>,
    length: u64,
    remote: Remote,
}

impl Partial {
    /// Finds what an earlier run left of this URL, or begins.
    ///
    /// # Errors
    /// [`Class::Host`] when the directory cannot be made.
    pub fn open(directory: &Path, url: &Url) -> Result<Partial> {
        fs::create_dir_all(directory)
            .or_error(Class::Host, || format!("cannot make the directory `{}`", directory.display()))?;
        let name = digest::of_text(url.as_str());
        let path = directory.join(format!("{}.part", digest::short(&name)));
        let note = directory.join(format!("{}.part.json", digest::short(&name)));
        // Without a note nobody knows what the bytes are: the first answer overwrites them then.
        let remote = fs::read_to_string(&note).ok().and_then(|text| serde_json::from_str(&text).ok());
        let remote = remote.filter(|remote: &Remote| remote.url == url.as_str()).unwrap_or_default();
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Ok(Partial { path, note, file: None, length, remote })
    }

    /// The file with the bytes so far.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the server calls the file.
    pub fn name(&self) -> String {
        self.remote.name.clone()
    }

    /// Number of bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// What the server said of the file.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Where to go on, and the validator to send along; `None` when it has to begin at the start.
    pub fn resumable(&self) -> Option<(u64, &str)> {
        let fits = self.length > 0 && self.remote.total.is_none_or(|total| self.length < total);
        self.remote.validator().filter(|_| fits).map(|validator| (self.length, validator))
    }

    /// Whether all bytes are there, as far as the server told their number.
    pub fn is_whole(&self) -> bool {
        self.length > 0 && self.remote.total == Some(self.length)
    }

    /// Begins at the start, with what the server says now.
    ///
    /// # Errors
    /// [`Class::Host`] when there is no room for it or the file cannot be written.
    pub async fn begin(&mut self, remote: Remote) -> Result<()> {
        // The bytes go first: killed in between, the new note must never vouch for the old bytes.
        let file = File::create(&self.path).await.map_err(|error| self.storage("begin", &error))?;
        self.length = 0;
        self.file = Some(file);
        let text = serde_json::to_string_pretty(&remote)
            .or_error(Class::Internal, || "cannot write the note of a download".into())?;
        file::replace(&self.note, text)?;
        self.remote = remote;
        self.ask_for_room()
    }

    /// Goes on at the end of what is there.
    ///
    /// # Errors
    /// [`Class::Host`] when there is no room for the rest or the file cannot be written.
    pub async fn go_on(&mut self) -> Result<()> {
        let file = File::options().append(true).open(&self.path).await;
        self.file = Some(file.map_err(|error| self.storage("go on with", &error))?);
        self.ask_for_room()
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`Class::Host`], e.g. when the disk is full; what could be written stays.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(file) = &mut self.file {
            if let Err(error) = file.write_all(bytes).await {
                return Err(self.storage("write", &error));
            }
            self.length += bytes.len() as u64;
        }
        Ok(())
    }

    /// Writes out what is under way and closes the file; afterwards the length is what the disk has.
    ///
    /// # Errors
    /// As [`Partial::append`], whose last write may fail only here.
    pub async fn settle(&mut self) -> Result<()> {
        let flushed = match self.file.take() {
            Some(mut file) => file.flush().await,
            None => Ok(()),
        };
        self.length = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        flushed.map_err(|error| self.storage("write", &error))
    }

    /// Removes both files, so that the next download begins at the start.
    ///
    /// # Errors
    /// [`Class::Host`] when they cannot be removed.
    pub fn remove(mut self) -> Result<()> {
        self.forget()
    }

    /// As [`Partial::remove`], and stays usable.
    ///
    /// # Errors
    /// [`Class::Host`] when the files cannot be removed.
    pub fn forget(&mut self) -> Result<()> {
        for path in [&self.path, &self.note] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::caused(Class::Host, format!("cannot remove `{}`", path.display()), error));
                }
                _ => {}
            }
        }
        (self.file, self.length, self.remote) = (None, 0, Remote::default());
        Ok(())
    }

    /// Says before the first byte that the disk is too small, rather than after the last that fits.
    fn ask_for_room(&self) -> Result<()> {
        let Some(total) = self.remote.total else { return Ok(()) };
        let rest = total.saturating_sub(self.length);
        let free = capacity::free_space(&self.path)?.as_bytes();
        if rest <= free {
            return Ok(());
        }
        Err(Error::new(Class::Host, format!("no room for a download of {}", megabytes(total))).hint(self.room_hint()))
    }

    fn storage(&self, verb: &str, error: &io::Error) -> Error {
        let failure =
            Error::caused(Class::Host, format!("cannot {verb} the download `{}`", self.path.display()), error);
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => failure.hint(self.room_hint()),
            _ => failure,
        }
    }

    fn room_hint(&self) -> String {
        let free = capacity::free_space(&self.path).unwrap_or(Size::bytes(0)).as_bytes();
        let needed = match self.remote.total {
            Some(total) => format!("the rest needs {}", megabytes(total.saturating_sub(self.length))),
            None => "the server does not tell how large the rest is".to_owned(),
        };
        format!(
            "make room on the disk of `{}`: {} are free and {needed}; the bytes so far are kept, and the next run goes \
             on with them",
            self.path.parent().unwrap_or(&self.path).display(),
            megabytes(free),
        )
    }
}

/// Bytes as a person reads them.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
