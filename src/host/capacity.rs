//! What the host has: memory and disk space.

use crate::{
    error::{Class, Error, Result, ResultExt},
    lab::Size,
};
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Memory of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: Size,
    /// What can be used without swapping.
    pub available: Size,
}

/// Reads /proc/meminfo.
///
/// # Errors
/// When the kernel does not tell.
pub fn memory() -> Result<Memory> {
    let text = std::fs::read_to_string("/proc/meminfo").or_error(Class::Host, || "cannot read /proc/meminfo".into())?;
    parse_memory(&text).ok_or_else(|| Error::new(Class::Host, "/proc/meminfo tells no MemTotal or MemAvailable"))
}

fn parse_memory(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<Size> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| Size::bytes(kib << 10))
    };
    Some(Memory { total: field("MemTotal")?, available: field("MemAvailable")? })
}

/// Free space of the filesystem that holds `path` or its nearest existing parent.
///
/// # Errors
/// When the filesystem does not tell.
pub fn free_space(path: &Path) -> Result<Size> {
    space(path).map(|(_, free)| free)
}

/// Size and free space of that filesystem.
///
/// # Errors
/// When the filesystem does not tell.
pub fn space(path: &Path) -> Result<(Size, Size)> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let stat = nix::sys::statvfs::statvfs(existing)
        .or_error(Class::Host, || format!("cannot ask for the free space of `{}`", existing.display()))?;
    let bytes = |blocks: u64| Size::bytes(blocks * stat.fragment_size());
    Ok((bytes(stat.blocks()), bytes(stat.blocks_available())))
}

/// Bytes that a file, or a directory with all below it, takes on disk; holes take none.
pub fn allocated(path: &Path) -> u64 {
    let Ok(data) = fs::symlink_metadata(path) else { return 0 };
    let own = data.blocks() * 512;
    if !data.is_dir() {
        return own;
    }
    own + fs::read_dir(path).into_iter().flatten().flatten().map(|entry| allocated(&entry.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_meminfo() {
        let text = "MemTotal:       24676368 kB\nMemFree:        1 kB\nMemAvailable:   23000000 kB\n";
        let memory = parse_memory(text).expect("both fields are there");
        assert_eq!(memory.total.as_kib(), 24_676_368);
        assert_eq!(memory.available.as_kib(), 23_000_000);
        assert_eq!(parse_memory("MemTotal: 1 kB\n"), None);
    }
}
