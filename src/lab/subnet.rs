//! The lab's IPv4 subnet.

use std::{fmt, net::Ipv4Addr, str::FromStr};

/// An IPv4 network, e.g. `192.168.122.0/24`; host bits are zero and the prefix is 8 to 29 bits long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// Number of leading one bits of the mask.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The address of the network itself.
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// The mask, e.g. `255.255.255.0`.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX << (32 - self.prefix))
    }

    /// The broadcast address.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !self.netmask().to_bits())
    }

    /// Whether a guest or the gateway may have this address.
    pub fn holds(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.netmask().to_bits() == self.network.to_bits()
            && address != self.network
            && address != self.broadcast()
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Subnet, String> {
        let wrong = || format!("`{text}` is not a subnet: write it like `192.168.122.0/24`");
        let (network, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let network: Ipv4Addr = network.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(8..=29).contains(&prefix) {
            return Err(format!("`{text}` has a prefix of {prefix} bits: 8 to 29 are possible"));
        }
        let subnet = Subnet { network, prefix };
        let start = Ipv4Addr::from_bits(network.to_bits() & subnet.netmask().to_bits());
        if start != network {
            return Err(format!("`{text}` has host bits set: did you mean `{start}/{prefix}`?"));
        }
        Ok(subnet)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl serde::Serialize for Subnet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_addresses() {
        let subnet: Subnet = "192.168.122.0/24".parse().expect("a subnet");
        assert!(subnet.holds(Ipv4Addr::new(192, 168, 122, 171)));
        for outside in ["192.168.123.1", "192.168.122.0", "192.168.122.255"] {
            assert!(!subnet.holds(outside.parse().expect("an address")), "{outside}");
        }
        assert_eq!(subnet.netmask(), Ipv4Addr::new(255, 255, 255, 0));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "192.168.122.0", "192.168.122.0/33", "192.168.122.1/24", "x/24", "10.0.0.0/30"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
