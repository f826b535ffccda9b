//! What a qcow2 file says of itself in its header, read before any tool of qemu's is let near it: a downloaded disk must
//! name no other file, since qemu would open that one as well.

use crate::{
    error::{Class, Error, Result},
    lab::Size,
};
use std::{fs::File, io::Read, path::Path};

const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Length in bytes of a header of version 3, the longest of which something is needed here.
const HEADER: usize = 104;
/// Bits of `incompatible_features`: the disk was found to be damaged; its data lies in another file.
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
/// No system fits on less, and publishers' disks have 2 to 40 GiB: what claims more is not meant for us.
const SIZES: std::ops::RangeInclusive<u64> = (64 << 20)..=(256 << 30);

/// A disk that stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qcow2 {
    /// Size of the disk that a guest sees.
    pub size: Size,
}

impl Qcow2 {
    /// Reads a file's header.
    ///
    /// # Errors
    /// [`Class::Image`] when the file is no qcow2 disk, or not one that may be used; the message does not name the file.
    pub fn of(path: &Path) -> Result<Qcow2> {
        let mut header = Vec::new();
        File::open(path)
            .and_then(|file| file.take(HEADER as u64).read_to_end(&mut header))
            .map_err(|error| Error::caused(Class::Image, "the file cannot be read", error))?;
        Qcow2::parse(&header).map_err(|why| Error::new(Class::Image, format!("this is not a disk to build on: {why}")))
    }

    fn parse(header: &[u8]) -> Result<Qcow2, String> {
        if header.get(..4) != Some(&MAGIC) {
            return Err("it is no qcow2 file".into());
        }
        let u32_at = |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let u64_at = |at: usize| header.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let cut = || "its header is cut".to_owned();
        let version = u32_at(4).ok_or_else(cut)?;
        // Version 2 has no features.
        let features = match version {
            2 => 0,
            3 => u64_at(72).ok_or_else(cut)?,
            other => return Err(format!("qcow2 has no version {other}")),
        };
        let (backing, encryption) = (u64_at(8).ok_or_else(cut)?, u32_at(32).ok_or_else(cut)?);
        let size = u64_at(24).ok_or_else(cut)?;
        match () {
            () if backing != 0 => Err("it lies on a backing file".into()),
            () if features & EXTERNAL_DATA != 0 => Err("its data is in another file".into()),
            () if features & CORRUPT != 0 => Err("it is marked as damaged".into()),
            () if encryption != 0 => Err("it is encrypted".into()),
            () if !SIZES.contains(&size) => Err(format!("its size is {size} bytes")),
            () => Ok(Qcow2 { size: Size::bytes(size) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 3 for 2 GiB, with a change.
    fn header(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut header = vec![0; HEADER];
        for (at, bytes) in [
            (0, MAGIC.as_slice()),
            (4, &3u32.to_be_bytes()),
            (20, &16u32.to_be_bytes()),
            (24, &(2u64 << 30).to_be_bytes()),
            (100, &104u32.to_be_bytes()),
            (at, bytes),
        ] {
            header[at..at + bytes.len()].copy_from_slice(bytes);
        }
        header
    }

    #[test]
    fn a_disk_that_stands_for_itself() {
        assert_eq!(Qcow2::parse(&header(0, b"")), Ok(Qcow2 { size: Size::bytes(2 << 30) }));
        // Version 2: what lies behind its shorter header are no features.
        let mut old = header(4, &2u32.to_be_bytes());
        old[72..80].fill(0xff);
        assert!(Qcow2::parse(&old).is_ok());
        assert!(Qcow2::parse(&old[..72]).is_ok());
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        for (at, bytes, why) in [
            (0, b"\x7fELF".as_slice(), "no qcow2"),
            (4, &4u32.to_be_bytes(), "version 4"),
            (8, &512u64.to_be_bytes(), "backing file"),
            (24, &(1u64 << 50).to_be_bytes(), "its size is"),
            (24, &0u64.to_be_bytes(), "its size is 0 bytes"),
            (32, &2u32.to_be_bytes(), "encrypted"),
            (72, &EXTERNAL_DATA.to_be_bytes(), "in another file"),
            (72, &CORRUPT.to_be_bytes(), "damaged"),
        ] {
            let error = Qcow2::parse(&header(at, bytes)).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        assert!(Qcow2::parse(&header(0, b"")[..60]).is_err_and(|why| why.contains("cut")));
        assert!(Qcow2::parse(b"").is_err());
    }
}
