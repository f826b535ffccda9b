//! Files that the program goes by: what cannot be read is not taken for what is not there, and a file is replaced as a whole.

use crate::error::{Class, Result, ResultExt};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
};

/// What is in a file, unless there is none.
///
/// # Errors
/// When there is one that cannot be read: nobody knows what it says then.
pub fn bytes_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).or_error(Class::Host, || format!("cannot read `{}`", path.display())),
    }
}

/// The text of a file, unless there is none.
///
/// # Errors
/// When there is one that cannot be read, or is no text: nobody knows what it says then.
pub fn read_if_there(path: &Path) -> Result<Option<String>> {
    let text = bytes_if_there(path)?.map(String::from_utf8);
    text.transpose().or_error(Class::Host, || format!("`{}` is no text", path.display()))
}

/// Gives a file a new content, so that a reader, or the next run after a kill or a power cut, finds the old one or the new one.
/// Whoever has the old one open keeps it.
///
/// # Errors
/// When the disk refuses; the old content stays.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    File::create(&new)
        .and_then(|mut file| file.write_all(content.as_ref()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path))
        .or_error(Class::Host, || format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_absent() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        assert_eq!(read_if_there(&path).expect("that is no failure"), None);
        replace(&path, "one").expect("it writes");
        replace(&path, "two\n").expect("it writes again");
        assert_eq!(read_if_there(&path).expect("it reads").as_deref(), Some("two\n"));
        assert_eq!(fs::read_dir(directory.path()).expect("it lists").count(), 1, "and nothing beside it");
        // No text, and no file at all.
        replace(&path, b"m\xfcller\n").expect("it writes");
        for path in [path.as_path(), directory.path()] {
            let error = read_if_there(path).expect_err("it is there");
            assert!(error.message().contains(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_stays_as_it_was() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        fs::create_dir(directory.path().join("file.new")).expect("something in the way");
        fs::write(&path, "old").expect("it writes");
        replace(&path, "new").expect_err("there is no room for it");
        assert_eq!(fs::read_to_string(&path).expect("it reads"), "old");
    }
}
