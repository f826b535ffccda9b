//! Archives in the form that the kernel unpacks at boot ("newc"): one behind an initrd adds files to it.

/// A file of an archive.
pub struct Entry<'a> {
    /// Its path, without a leading slash.
    pub path: &'a str,
    /// Its permission bits.
    pub mode: u32,
    /// What is in it.
    pub content: &'a [u8],
}

/// What tells in a mode that it is a regular file.
const REGULAR: u32 = 0o100_000;
/// The kernel's buffers: archives begin and end at multiples of this.
const BLOCK: usize = 512;

/// An initrd with these files besides its own. The kernel goes on after zeros with whatever archive comes next, compressed
/// or not; a file that was there before is written over.
pub fn initrd_with(mut initrd: Vec<u8>, entries: &[Entry<'_>]) -> Vec<u8> {
    pad(&mut initrd, BLOCK);
    for (number, file) in (1u32..).zip(entries) {
        entry(&mut initrd, number, REGULAR | file.mode, file.path, file.content);
    }
    entry(&mut initrd, 0, 0, "TRAILER!!!", &[]);
    pad(&mut initrd, BLOCK);
    initrd
}

fn entry(archive: &mut Vec<u8>, number: u32, mode: u32, path: &str, content: &[u8]) {
    let length = u32::try_from(content.len()).expect("files for an initrd are small");
    let name = u32::try_from(path.len() + 1).expect("paths are short");
    // Inode, mode, owner, group, links, time, size, device (2), device of a node (2), length of the name, checksum.
    let fields = [number, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name, 0];
    archive.extend_from_slice(b"070701");
    archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    pad(archive, 4);
    archive.extend_from_slice(content);
    pad(archive, 4);
}

/// Zeros up to a multiple. Offsets within an archive count from the beginning of the whole file, which is one, too.
fn pad(bytes: &mut Vec<u8>, multiple: usize) {
    bytes.resize(bytes.len().next_multiple_of(multiple), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_kernel_reads_it() {
        let archive =
            initrd_with(b"an initrd".to_vec(), &[Entry { path: "ks.cfg", mode: 0o644, content: b"install\n" }]);
        assert_eq!(archive.len() % BLOCK, 0);
        assert!(archive.starts_with(b"an initrd\0"));
        let own = &archive[BLOCK..];
        let fields = ["00000001", "000081a4", "00000000", "00000000", "00000001", "00000000", "00000008"];
        let header = format!("070701{}{}00000007{}", fields.concat(), "00000000".repeat(4), "00000000");
        assert_eq!(std::str::from_utf8(&own[..header.len()]).expect("letters"), header);
        // 110 + 7 is filled up to 120.
        assert_eq!(&own[header.len()..124], b"ks.cfg\0\0\0\0inst");
        let trailer = own.windows(10).position(|bytes| bytes == b"TRAILER!!!").expect("it ends");
        assert_eq!(trailer % 4, 110 % 4);
    }
}
