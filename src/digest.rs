//! Digests: how the lab names images, and how it sees that something changed.

use sha2::{Digest, Sha256};
use std::{fs::File, io, path::Path};

/// SHA-256 of a text, in hexadecimal.
pub fn of_text(text: &str) -> String {
    hexadecimal(&Sha256::digest(text))
}

/// SHA-256 of bytes, in hexadecimal.
pub fn of_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn of_file(path: &Path) -> io::Result<String> {
    of_file_with::<Sha256>(path)
}

/// The same with another algorithm.
///
/// # Errors
/// When the file cannot be read.
pub fn of_file_with<D: Digest>(path: &Path) -> io::Result<String> {
    let mut hasher = D::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let read = io::Read::read(&mut file, &mut buffer)?;
        if read == 0 {
            return Ok(hexadecimal(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

/// The first characters of a digest: enough to name a file.
pub fn short(digest: &str) -> &str {
    &digest[..digest.len().min(16)]
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_digest_of_its_text() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        std::fs::write(&path, "abc").expect("it can be written");
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_text("abc"), known);
        assert_eq!(of_file(&path).expect("it can be read"), known);
        assert_eq!(short(known), "ba7816bf8f01cfea");
    }
}
