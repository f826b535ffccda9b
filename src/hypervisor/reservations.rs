//! Reservations in a network that is not ours alone: compared and changed one by one, never replaced. Pure.

use super::Reservation;
use quick_xml::{DeError, de::from_str};
use serde::Deserialize;
use std::net::Ipv4Addr;

/// A network of libvirt's, as far as a lab on it must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenNetwork {
    /// Whether it runs.
    pub active: bool,
    /// Its bridge interface, if it has one.
    pub bridge: Option<String>,
    /// The host's address in it, and the mask.
    pub gateway: Option<(Ipv4Addr, Ipv4Addr)>,
    /// First and last address that DHCP gives to anybody.
    pub range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Who has an address of his own.
    pub reservations: Vec<SeenReservation>,
}

/// A reservation as libvirt has it; whoever made it may have left something out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenReservation {
    /// MAC address.
    pub mac: Option<String>,
    /// Host name.
    pub name: Option<String>,
    /// Address.
    pub address: Option<Ipv4Addr>,
}

impl SeenReservation {
    /// Whether it is exactly this one.
    pub(super) fn is(&self, other: &Reservation) -> bool {
        self.has_mac(other) && self.has_name(other) && self.has_address(other)
    }

    fn has_mac(&self, other: &Reservation) -> bool {
        self.mac.as_ref().is_some_and(|mac| mac.eq_ignore_ascii_case(&other.mac.to_string()))
    }

    fn has_name(&self, other: &Reservation) -> bool {
        self.name.as_ref() == Some(&other.name)
    }

    fn has_address(&self, other: &Reservation) -> bool {
        self.address == Some(other.address)
    }
}

/// A network that others made: much may be left out.
#[derive(Deserialize)]
struct NetworkXml {
    bridge: Option<BridgeXml>,
    #[serde(default)]
    ip: Vec<IpXml>,
}

#[derive(Deserialize)]
struct BridgeXml {
    #[serde(rename = "@name")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct IpXml {
    #[serde(rename = "@family")]
    family: Option<String>,
    #[serde(rename = "@address")]
    address: Option<String>,
    #[serde(rename = "@netmask")]
    netmask: Option<String>,
    #[serde(rename = "@prefix")]
    prefix: Option<u32>,
    dhcp: Option<DhcpXml>,
}

#[derive(Deserialize)]
struct DhcpXml {
    #[serde(default)]
    range: Vec<RangeXml>,
    #[serde(default)]
    host: Vec<HostXml>,
}

#[derive(Deserialize)]
struct RangeXml {
    #[serde(rename = "@start")]
    start: String,
    #[serde(rename = "@end")]
    end: String,
}

#[derive(Deserialize)]
struct HostXml {
    #[serde(rename = "@mac")]
    mac: Option<String>,
    #[serde(rename = "@name")]
    name: Option<String>,
    #[serde(rename = "@ip")]
    ip: Option<String>,
}

/// What makes the reservations of a network those that a lab wants, and changes nobody else's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Ours, to be taken back first: a new one may want the same address.
    pub obsolete: Vec<Reservation>,
    /// To be made.
    pub missing: Vec<Reservation>,
    /// What others have that cannot be beside ours, in words.
    pub clashes: Vec<String>,
}

impl SeenNetwork {
    /// From libvirt's XML. What is not IPv4 is passed over: guests have no other addresses.
    pub(super) fn read(xml: &str, active: bool) -> Result<SeenNetwork, DeError> {
        let network: NetworkXml = from_str(xml)?;
        let ip = network.ip.into_iter().find(|ip| ip.family.as_deref().is_none_or(|family| family == "ipv4"));
        let address = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Ipv4Addr>().ok());
        let gateway = ip.as_ref().and_then(|ip| {
            let prefix = |bits: u32| Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0));
            Some((address(&ip.address)?, address(&ip.netmask).or(ip.prefix.map(prefix))?))
        });
        let dhcp = ip.and_then(|ip| ip.dhcp);
        let range = dhcp.as_ref().and_then(|dhcp| dhcp.range.first());
        Ok(SeenNetwork {
            active,
            bridge: network.bridge.and_then(|bridge| bridge.name),
            gateway,
            range: range.and_then(|range| Some((range.start.parse().ok()?, range.end.parse().ok()?))),
            reservations: dhcp
                .into_iter()
                .flat_map(|dhcp| dhcp.host)
                .map(|host| SeenReservation { address: address(&host.ip), mac: host.mac, name: host.name })
                .collect(),
        })
    }

    /// Compares with what a lab made here before (`ours`) and what it wants now. A reservation that somebody else made
    /// just as it is wanted is used, and stays his.
    pub fn compare(&self, ours: &[Reservation], wanted: &[Reservation]) -> Difference {
        let mut difference = Difference::default();
        for old in ours {
            if !wanted.contains(old) && self.reservations.iter().any(|seen| seen.is(old)) {
                difference.obsolete.push(old.clone());
            }
        }
        for new in wanted {
            if self.reservations.iter().any(|seen| seen.is(new)) {
                continue;
            }
            let foreign = self.reservations.iter().filter(|seen| !ours.iter().any(|old| seen.is(old)));
            for seen in foreign {
                let what = match (seen.has_address(new), seen.has_mac(new), seen.has_name(new)) {
                    (true, ..) => format!("address {}", new.address),
                    (_, true, _) => format!("MAC address {}", new.mac),
                    (_, _, true) => format!("name `{}`", new.name),
                    _ => continue,
                };
                let unknown = "-".to_owned();
                difference.clashes.push(format!(
                    "{what} of `{}` is in somebody else's reservation: {} {} {}",
                    new.name,
                    seen.mac.as_ref().unwrap_or(&unknown),
                    seen.name.as_ref().unwrap_or(&unknown),
                    seen.address.map_or(unknown.clone(), |address| address.to_string())
                ));
            }
            difference.missing.push(new.clone());
        }
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Mac;

    fn reservation(name: &str, last: u8) -> Reservation {
        Reservation { mac: Mac::derived("lab", name), name: name.into(), address: [192, 168, 122, last].into() }
    }

    fn seen(reservation: &Reservation) -> SeenReservation {
        SeenReservation {
            mac: Some(reservation.mac.to_string().to_uppercase()),
            name: Some(reservation.name.clone()),
            address: Some(reservation.address),
        }
    }

    fn network(reservations: Vec<SeenReservation>) -> SeenNetwork {
        SeenNetwork { active: true, bridge: None, gateway: None, range: None, reservations }
    }

    #[test]
    fn a_network_of_others_is_read_whatever_it_has() {
        let xml = "<network><name>default</name><forward mode='nat'/><bridge name='virbr0' stp='on' delay='0'/>\
             <ip family='ipv6' address='fd00::1' prefix='64'/><ip address='192.168.122.1' netmask='255.255.255.0'><dhcp>\
             <range start='192.168.122.2' end='192.168.122.254'><lease expiry='1'/></range>\
             <host mac='52:54:00:00:00:05' ip='192.168.122.5'/></dhcp></ip></network>";
        let network = SeenNetwork::read(xml, true).expect("it is a network");
        let (first, mask) = ([192, 168, 122, 1].into(), [255, 255, 255, 0].into());
        assert_eq!((network.bridge.as_deref(), network.gateway), (Some("virbr0"), Some((first, mask))));
        assert_eq!(network.range, Some(([192, 168, 122, 2].into(), [192, 168, 122, 254].into())));
        assert_eq!((network.reservations.len(), network.reservations[0].name.as_ref()), (1, None));
        let prefix = SeenNetwork::read("<network><ip address='10.0.0.1' prefix='8'/></network>", false);
        assert_eq!(prefix.expect("it is a network").gateway, Some(([10, 0, 0, 1].into(), [255, 0, 0, 0].into())));
        SeenNetwork::read("<network><name>isolated</name></network>", false).expect("it needs no address");
    }

    #[test]
    fn what_is_there_is_left_and_what_is_missing_is_made() {
        let (one, two, theirs) = (reservation("db1", 171), reservation("db2", 172), reservation("mail", 5));
        let network = network(vec![seen(&theirs), seen(&one)]);
        let difference = network.compare(&[], &[one, two.clone()]);
        assert_eq!(difference, Difference { missing: vec![two], ..Difference::default() });
    }

    #[test]
    fn ours_that_nobody_wants_any_more_are_taken_back_and_others_never() {
        let (old, new, theirs) = (reservation("db1", 171), reservation("db1", 181), reservation("mail", 5));
        let network = network(vec![seen(&theirs), seen(&old)]);
        let difference = network.compare(&[old.clone(), reservation("gone", 9)], std::slice::from_ref(&new));
        assert_eq!(difference, Difference { obsolete: vec![old], missing: vec![new], clashes: vec![] });
    }

    #[test]
    fn address_mac_and_name_of_others_clash() {
        let wanted = reservation("db1", 171);
        let others = reservation("mail", 5);
        for (what, theirs) in [
            ("address 192.168.122.171", SeenReservation { address: Some(wanted.address), ..seen(&others) }),
            ("MAC address", SeenReservation { mac: Some(wanted.mac.to_string()), ..seen(&others) }),
            ("name `db1`", SeenReservation { name: Some("db1".into()), ..seen(&others) }),
            ("address", SeenReservation { mac: None, name: None, address: Some(wanted.address) }),
        ] {
            let clashes = network(vec![theirs]).compare(&[], std::slice::from_ref(&wanted)).clashes;
            assert!(clashes.len() == 1 && clashes[0].starts_with(what), "{what}: {clashes:?}");
        }
    }
}
