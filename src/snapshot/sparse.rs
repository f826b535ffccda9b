//! Sparse files: copied with their holes, and digests that do not see where the holes are.

use super::FileRecord;
use nix::{
    errno::Errno,
    fcntl::copy_file_range,
    unistd::{Whence, lseek},
};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What is hashed, and looked at for zeros, at once: large enough to read fast, small enough to spread over cores.
const CHUNK: u64 = 1 << 20;
/// A chunk without content.
static ZEROS: [u8; CHUNK as usize] = [0; CHUNK as usize];
/// What the digests are called: the hash and the chunk, since both decide the value.
const SCHEME: &str = "blake3-1m";

/// Copies a file with its length, its mode bits and its holes; a file of the target's name is replaced.
///
/// The kernel copies, extent by extent: `copy_file_range` shares the blocks where the filesystem can (XFS, btrfs), so
/// it needs no reflink before it, and reads no data into this process where it cannot.
///
/// # Errors
/// When one of the files cannot be read, made or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let data = source.metadata()?;
    // A file of the same name may have other mode bits, or be what somebody else still reads.
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Nobody may read a key between its making and its mode.
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    target.set_len(data.len())?;
    for extent in extents(&source, data.len())? {
        copy_extent(&source, &target, extent)?;
    }
    target.set_permissions(std::fs::Permissions::from_mode(data.permissions().mode() & 0o7777))
}

/// Length and digest of a file's content.
///
/// The digest is that of the length and of the place and hash of each chunk that is not all zeros. So holes cost
/// nothing, 64 GiB with half a gigabyte of data read as half a gigabyte, and a file keeps its digest when a copy or an
/// archive turns zeros into holes or holes into zeros: no program reads any difference.
///
/// # Errors
/// When the file cannot be read, or becomes shorter meanwhile.
pub fn digest(path: &Path) -> io::Result<FileRecord> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes());
    for (place, hash) in hashes(&file, length)? {
        hasher.update(&place.to_le_bytes());
        hasher.update(hash.as_bytes());
    }
    Ok(FileRecord { length, digest: format!("{SCHEME}:{}", hasher.finalize().to_hex()) })
}

/// Brings an earlier copy of a file to the present: both are read, and only chunks that differ are written. Where little
/// changed that is faster than a copy, and it leaves less for the disk to do while everybody waits.
///
/// # Errors
/// When one of the files cannot be read or written.
pub fn refresh(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let target = OpenOptions::new().read(true).write(true).open(to)?;
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut places = chunks(&extents(&source, length)?);
    // What the file has lost since is in the copy only.
    places.extend(chunks(&extents(&target, length)?));
    places.sort_unstable();
    places.dedup();
    on_all_cores(&places, length, |start, new| {
        source.read_exact_at(new, start)?;
        let mut old = vec![0; new.len()];
        target.read_exact_at(&mut old, start)?;
        if *new == *old { Ok(()) } else { target.write_all_at(new, start) }
    })
}

/// Length of a file, and where it has data, in order; holes shorter than `gap` count as data.
///
/// # Errors
/// When the file cannot be read.
pub fn content(path: &Path, gap: u64) -> io::Result<(u64, Vec<Range<u64>>)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut joined: Vec<Range<u64>> = Vec::new();
    for extent in extents(&file, length)? {
        match joined.last_mut() {
            Some(last) if extent.start - last.end < gap => last.end = extent.end,
            _ => joined.push(extent),
        }
    }
    Ok((length, joined))
}

/// Hash of each chunk that is not all zeros, by its number.
fn hashes(file: &File, length: u64) -> io::Result<BTreeMap<u64, blake3::Hash>> {
    let found = Mutex::new(BTreeMap::new());
    on_all_cores(&chunks(&extents(file, length)?), length, |start, content| {
        file.read_exact_at(content, start)?;
        if *content != ZEROS[..content.len()] {
            let hash = blake3::hash(content);
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(start / CHUNK, hash);
        }
        Ok(())
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Numbers of the chunks that extents touch, in order.
fn chunks(extents: &[Range<u64>]) -> Vec<u64> {
    let mut places: Vec<u64> = Vec::new();
    for extent in extents {
        let first = extent.start / CHUNK;
        // Two extents may touch the same chunk.
        let first = first.max(places.last().map_or(0, |last| last + 1));
        places.extend(first..extent.end.div_ceil(CHUNK));
    }
    places
}

/// Does something with chunks of a file of this length: where each starts, and a buffer as long as it is. All cores
/// take the next chunk that nobody has.
fn on_all_cores(places: &[u64], length: u64, each: impl Fn(u64, &mut [u8]) -> io::Result<()> + Sync) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<()> {
        let mut buffer = vec![0; CHUNK as usize];
        while let Some(&place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
            let start = place * CHUNK;
            each(start, &mut buffer[..CHUNK.min(length - start) as usize])?;
        }
        Ok(())
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..cores.min(places.len())).map(|_| scope.spawn(work)).collect();
        let own = work();
        helpers
            .into_iter()
            .map(|helper| helper.join().expect("work on a chunk does not panic"))
            .fold(own, io::Result::and)
    })
}

/// Where a file has data, in order. Filesystems that know no holes have one extent.
fn extents(file: &File, length: u64) -> io::Result<Vec<Range<u64>>> {
    let mut extents = Vec::new();
    let mut end = 0;
    while end < length {
        let start = match lseek(file, end as i64, Whence::SeekData) {
            Ok(start) => start as u64,
            // Nothing but a hole follows.
            Err(Errno::ENXIO) => break,
            Err(Errno::EINVAL) => end,
            Err(error) => return Err(error.into()),
        };
        if start >= length {
            break;
        }
        end = match lseek(file, start as i64, Whence::SeekHole) {
            Ok(end) => (end as u64).min(length),
            Err(Errno::EINVAL | Errno::ENXIO) => length,
            Err(error) => return Err(error.into()),
        };
        extents.push(start..end);
    }
    Ok(extents)
}

fn copy_extent(source: &File, target: &File, extent: Range<u64>) -> io::Result<()> {
    let (mut from, mut to) = (extent.start as i64, extent.start as i64);
    let mut left = (extent.end - extent.start) as usize;
    while left > 0 {
        match copy_file_range(source, Some(&mut from), target, Some(&mut to), left) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => left -= copied,
            Err(Errno::EINTR) => {}
            // Between two filesystems, or on one that cannot.
            Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                return copy_bytes(source, target, from as u64, left);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_bytes(source: &File, target: &File, mut place: u64, mut left: usize) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK as usize];
    while left > 0 {
        let content = &mut buffer[..left.min(CHUNK as usize)];
        source.read_exact_at(content, place)?;
        target.write_all_at(content, place)?;
        place += content.len() as u64;
        left -= content.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::fixture::{long, on_disk},
        *,
    };
    use std::{fs, path::PathBuf};

    fn sparse(path: &Path, length: u64, pieces: &[(u64, &[u8])]) -> PathBuf {
        long(path, length, pieces);
        path.to_owned()
    }

    #[test]
    fn a_copy_has_the_same_content_holes_and_mode() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let pieces: [(u64, &[u8]); 3] = [(0, b"first"), (40 << 30, &[7; 3 << 20]), ((64 << 30) - 5, b"last!")];
        let from = sparse(&directory.path().join("from"), 64 << 30, &pieces);
        fs::set_permissions(&from, fs::Permissions::from_mode(0o640)).expect("ours");
        let to = directory.path().join("to");
        fs::write(&to, "an old file").expect("it can be written");
        copy(&from, &to).expect("it can be copied");
        assert_eq!(digest(&to).expect("readable"), digest(&from).expect("readable"));
        assert!(on_disk(&to) < 4 << 20, "{} bytes on disk", on_disk(&to));
        assert_eq!(fs::metadata(&to).expect("it is there").permissions().mode() & 0o777, 0o640);
        let mut last = [0; 5];
        File::open(&to).expect("readable").read_exact_at(&mut last, (64 << 30) - 5).expect("it is so long");
        assert_eq!(&last, b"last!");
    }

    #[test]
    fn an_earlier_copy_is_brought_to_the_present() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let from = sparse(&directory.path().join("from"), 8 << 30, &[(0, b"first"), (4 << 30, &[7; 3 << 20])]);
        let to = directory.path().join("to");
        copy(&from, &to).expect("it can be copied");
        // Changed in the middle, longer, and with a hole where the copy has data.
        sparse(&from, (8 << 30) + 5, &[((4 << 30) + (1 << 20), b"other"), (8 << 30, b"last!")]);
        File::options().write(true).open(&from).and_then(|file| file.write_all_at(&[0; 5], 0)).expect("ours");
        assert_ne!(digest(&to).expect("readable"), digest(&from).expect("readable"));
        refresh(&from, &to).expect("it can be refreshed");
        assert_eq!(digest(&to).expect("readable"), digest(&from).expect("readable"));
        assert!(on_disk(&to) < 6 << 20, "{} bytes on disk", on_disk(&to));
    }

    #[test]
    fn a_copy_between_filesystems_falls_back_to_reading() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let from = sparse(&directory.path().join("from"), 5 << 20, &[(1 << 20, &[3; (1 << 20) + 17])]);
        let to = directory.path().join("to");
        let (source, target) = (File::open(&from).expect("readable"), File::create(&to).expect("writable"));
        target.set_len(5 << 20).expect("it can be long");
        copy_bytes(&source, &target, 1 << 20, (1 << 20) + 17).expect("it can be copied");
        assert_eq!(digest(&to).expect("readable"), digest(&from).expect("readable"));
    }

    #[test]
    fn digests_do_not_see_holes() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        let length = (4 << 20) + 100;
        let holes = sparse(&at("holes"), length, &[(2 << 20, b"x")]);
        let mut content = vec![0; length as usize];
        content[2 << 20] = b'x';
        fs::write(at("dense"), &content).expect("it can be written");
        assert!(on_disk(&at("dense")) > on_disk(&holes));
        assert_eq!(digest(&at("dense")).expect("readable"), digest(&holes).expect("readable"));
    }

    #[test]
    fn digests_see_content_place_and_length() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut seen = std::collections::BTreeSet::new();
        let mut new = |length: u64, pieces: &[(u64, &[u8])]| {
            let path = sparse(&directory.path().join("file"), length, pieces);
            let record = digest(&path).expect("readable");
            assert_eq!(record.length, length);
            assert!(record.digest.starts_with("blake3-1m:"), "{}", record.digest);
            seen.insert(record.digest)
        };
        assert!(new(0, &[]) && new(1, &[]) && new(8 << 20, &[]));
        assert!(new(8 << 20, &[(0, b"x")]) && new(8 << 20, &[(1 << 20, b"x")]) && new(8 << 20, &[(0, b"y")]));
        assert!(!new(8 << 20, &[]), "it was seen before");
    }

    /// A snapshot of an older version must still be readable: the value may never change.
    #[test]
    fn the_digest_is_what_it_was() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = sparse(&directory.path().join("file"), 3 << 20, &[(1 << 20, b"abc")]);
        let mut chunk = vec![0; 1 << 20];
        chunk[..3].copy_from_slice(b"abc");
        let mut by_hand = (3u64 << 20).to_le_bytes().to_vec();
        by_hand.extend(1u64.to_le_bytes());
        by_hand.extend(blake3::hash(&chunk).as_bytes());
        let expected = format!("blake3-1m:{}", blake3::hash(&by_hand).to_hex());
        assert_eq!(digest(&path).expect("readable").digest, expected);
    }
}
