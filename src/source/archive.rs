//! What a file is, told by its first bytes: a compressed tarball, or something that a server sent instead.

use crate::error::{Class, Error, Result};
use std::{fs::File, io::Read, path::Path};

/// Compressions in which source packages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// The usual end of a tarball's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::Gzip => ".tar.gz",
            Compression::Xz => ".tar.xz",
            Compression::Bzip2 => ".tar.bz2",
        }
    }

    /// Looks at the file's first bytes.
    ///
    /// # Errors
    /// [`Class::Image`] when the file cannot be read or is not a compressed tarball; the message says what it seems to
    /// be, without naming the file, as the place that it came from says more.
    pub fn of(path: &Path) -> Result<Compression> {
        let mut start = Vec::new();
        File::open(path)
            .and_then(|file| file.take(512).read_to_end(&mut start))
            .map_err(|error| Error::caused(Class::Image, "the file cannot be read", error))?;
        match start.as_slice() {
            [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok(Compression::Xz),
            [b'B', b'Z', b'h', ..] => Ok(Compression::Bzip2),
            [] => Err(not_a_package("it is empty")),
            other => Err(describe(other)),
        }
    }
}

fn not_a_package(what: &str) -> Error {
    Error::new(Class::Image, format!("this is not a source package (.tar.gz, .tar.xz or .tar.bz2): {what}"))
}

fn describe(start: &[u8]) -> Error {
    let text = String::from_utf8_lossy(start);
    let trimmed = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let lower = trimmed.to_ascii_lowercase();
    if ["<!doctype html", "<html", "<head", "<?xml", "<!--"].iter().any(|tag| lower.starts_with(tag)) {
        return not_a_package("it is a web page").hint(
            "look at the address in a browser: it may lead to a login, a list of mirrors or an error page; \
             write the address of the package itself",
        );
    }
    let printable = trimmed.chars().take(40).take_while(|c| !c.is_control() && *c != '\u{fffd}').collect::<String>();
    match printable.len() {
        0..4 => not_a_package("its first bytes are of no known kind"),
        _ => not_a_package(&format!("it begins with `{printable}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Result<Compression> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        std::fs::write(&path, bytes).expect("it can be written");
        Compression::of(&path)
    }

    #[test]
    fn the_three_compressions() {
        assert_eq!(of(b"\x1f\x8b\x08rest").expect("gzip"), Compression::Gzip);
        assert_eq!(of(b"\xfd7zXZ\0rest").expect("xz"), Compression::Xz);
        assert_eq!(of(b"BZh9rest").expect("bzip2"), Compression::Bzip2);
    }

    #[test]
    fn anything_else_is_described() {
        for (bytes, what) in [
            (&b""[..], "it is empty"),
            (b"\n <!DOCTYPE HTML><title>Sign in</title>", "it is a web page"),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "it begins with `version https://git-lfs.github.com/spec",
            ),
            (b"\x7fELF\x02\x01", "no known kind"),
        ] {
            let error = of(bytes).expect_err(what);
            assert!(error.message().contains(what), "{error}");
        }
    }
}
