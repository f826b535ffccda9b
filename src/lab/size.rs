//! Sizes of memory and disks.

use std::{fmt, str::FromStr};

/// A number of bytes, written `8GiB`, `512 MiB` or `64G` (all powers of 1024, as libvirt and qemu read them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

const UNITS: [(&str, u32); 4] = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];

impl Size {
    /// From bytes.
    pub const fn bytes(bytes: u64) -> Size {
        Size(bytes)
    }

    /// From mebibytes.
    pub const fn mib(mib: u64) -> Size {
        Size(mib << 20)
    }

    /// In bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// In kibibytes, rounded down.
    pub const fn as_kib(self) -> u64 {
        self.0 >> 10
    }

    /// In mebibytes, rounded down.
    pub const fn as_mib(self) -> u64 {
        self.0 >> 20
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wrong = || format!("`{text}` is not a size: write a number and a unit, such as `8GiB` or `512MiB`");
        let text_trimmed = text.trim();
        let digits = text_trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(text_trimmed.len());
        let number: u64 = text_trimmed[..digits].parse().map_err(|_| wrong())?;
        let unit = text_trimmed[digits..].trim();
        let shift = match unit {
            "" | "B" => 0,
            unit => {
                let (name, shift) = UNITS.iter().find(|(name, _)| unit.starts_with(name)).ok_or_else(wrong)?;
                if !matches!(&unit[name.len()..], "" | "B" | "iB") {
                    return Err(wrong());
                }
                *shift
            }
        };
        number.checked_mul(1 << shift).map(Size).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, shift) in UNITS {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{name}iB", self.0 >> shift);
            }
        }
        match self.0 {
            bytes if bytes >= 10 << 20 => write!(f, "{}MiB", bytes >> 20),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

impl serde::Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for (text, bytes, printed) in [
            ("8GiB", 8 << 30, "8GiB"),
            ("512 MiB", 512 << 20, "512MiB"),
            ("64G", 64 << 30, "64GiB"),
            ("1536MB", 1536 << 20, "1536MiB"),
            ("4096", 4096, "4KiB"),
        ] {
            let size: Size = text.parse().expect("the table holds sizes");
            assert_eq!((size.as_bytes(), size.to_string().as_str()), (bytes, printed));
        }
        for text in ["", "GiB", "8 XiB", "-1G", "8GiBs", "99999999999T"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
