//! MAC addresses of the guests.

use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// A unicast MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The MAC of a node that names none: `52:54:00` (qemu's prefix) and a hash of lab and node, so that the
    /// same lab.yaml always gives the same reservation.
    pub fn derived(lab: &str, node: &str) -> Mac {
        let digest = Sha256::digest(format!("{lab}/{node}"));
        Mac([0x52, 0x54, 0x00, digest[0], digest[1], digest[2]])
    }
}

impl Mac {
    /// Its bytes, in the order of the text.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let wrong = || format!("`{text}` is not a MAC address: write six pairs such as `52:54:00:12:34:56`");
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        if bytes[0] & 1 == 1 {
            return Err(format!("`{text}` is a multicast address: the first pair must be even"));
        }
        Ok(Mac(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl serde::Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_same_every_time_and_differs_between_nodes() {
        let first = Mac::derived("pgxc", "db1");
        assert_eq!(first, Mac::derived("pgxc", "db1"));
        assert_ne!(first, Mac::derived("pgxc", "db2"));
        assert_ne!(first, Mac::derived("other", "db1"));
        assert_eq!(first.to_string().parse(), Ok(first));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "01:00:5e:00:00:01", "zz:54:00:12:34:56"] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
