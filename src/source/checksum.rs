//! What a publisher says a file must be: a digest, pinned or found in a file of checksums.

use crate::{
    digest,
    error::{Class, Error, Result},
};
use sha2::{Sha256, Sha512};
use std::{fmt, io, path::Path, str::FromStr};

/// A digest, in lower-case hexadecimal; its length tells the algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256, 64 digits.
    Sha256(String),
    /// SHA-512, 128 digits: all that Debian publishes.
    Sha512(String),
}

impl Checksum {
    /// The checksum of `file` in the text of a checksum file. The three common forms are known: `SHA256 (FILE) = HEX`,
    /// `HEX  FILE` and `HEX *FILE`; anything else, such as comments and signatures, is passed over.
    ///
    /// # Errors
    /// [`Class::Image`] when there is none, or two that differ. The message names neither the text nor its place.
    pub fn find(text: &str, file: &str) -> Result<Checksum> {
        let mut found: Option<Checksum> = None;
        for checksum in text.lines().filter_map(entry).filter(|(name, _)| *name == file).map(|(_, checksum)| checksum) {
            if found.as_ref().is_some_and(|known| *known != checksum) {
                let message = format!("the file of checksums has two different ones for `{file}`");
                return Err(Error::new(Class::Image, message));
            }
            found = Some(checksum);
        }
        found.ok_or_else(|| Error::new(Class::Image, format!("the file of checksums has none for `{file}`")))
    }

    /// The same kind of checksum of a file on this host.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn same_of(&self, path: &Path) -> io::Result<Checksum> {
        match self {
            Checksum::Sha256(_) => digest::of_file_with::<Sha256>(path).map(Checksum::Sha256),
            Checksum::Sha512(_) => digest::of_file_with::<Sha512>(path).map(Checksum::Sha512),
        }
    }
}

/// Name and checksum of a line, if it is one of the three forms.
fn entry(line: &str) -> Option<(&str, Checksum)> {
    let line = line.trim();
    if let Some((kind, rest)) = line.split_once(" (") {
        let (name, hex) = rest.split_once(") = ")?;
        let checksum = hex.trim().parse().ok()?;
        let said = matches!((kind, &checksum), ("SHA256", Checksum::Sha256(_)) | ("SHA512", Checksum::Sha512(_)));
        return said.then_some((name, checksum));
    }
    let (hex, rest) = line.split_once(' ')?;
    let name = rest.trim_start_matches(' ').trim_start_matches('*');
    Some((name.strip_prefix("./").unwrap_or(name), hex.parse().ok()?))
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Checksum, String> {
        let hex = text.to_ascii_lowercase();
        match hex.len() {
            _ if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {}
            64 => return Ok(Checksum::Sha256(hex)),
            128 => return Ok(Checksum::Sha512(hex)),
            _ => {}
        }
        Err(format!("`{text}` is not a SHA-256 or SHA-512 in hexadecimal"))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checksum::Sha256(hex) => write!(f, "sha256 {hex}"),
            Checksum::Sha512(hex) => write!(f, "sha512 {hex}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_and_what_stands_between_them() {
        let (a, b, c) = ("a".repeat(64), "B".repeat(64), "c".repeat(128));
        let text = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# one.qcow2: 123 bytes\nSHA256 (one.qcow2) = {a}\n\
             {b}  two.img\n{c} *./three.qcow2\n{a} two.img.manifest\nMD5 (one.qcow2) = {}\n-----BEGIN PGP SIGNATURE-----\n",
            "d".repeat(32)
        );
        for (file, checksum) in [
            ("one.qcow2", Checksum::Sha256(a.clone())),
            ("two.img", Checksum::Sha256(b.to_lowercase())),
            ("three.qcow2", Checksum::Sha512(c.clone())),
        ] {
            assert_eq!(Checksum::find(&text, file).expect(file), checksum);
        }
        let none = Checksum::find(&text, "four").expect_err("there is none");
        assert!(none.message().contains("none for `four`"), "{none}");
        // A digest of another length than its name says.
        assert!(Checksum::find(&format!("SHA512 (x) = {a}"), "x").is_err());
    }

    #[test]
    fn two_that_differ_are_none() {
        let line = |digit: &str| format!("{}  x\n", digit.repeat(64));
        assert!(Checksum::find(&(line("a") + &line("a")), "x").is_ok());
        let error = Checksum::find(&(line("a") + &line("b")), "x").expect_err("they differ");
        assert!(error.message().contains("two different"), "{error}");
    }

    #[test]
    fn of_a_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("abc");
        std::fs::write(&path, "abc").expect("it can be written");
        for known in [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ] {
            let known: Checksum = known.parse().expect("a checksum");
            assert_eq!(known.same_of(&path).expect("it can be read"), known);
        }
    }
}
