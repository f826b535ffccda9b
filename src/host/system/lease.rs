//! DHCP leases of libvirt's network: who has which address, and giving one back for a guest that is gone.

use crate::{
    error::{Class, Error, Result, ResultExt},
    file,
    lab::Mac,
};
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use serde::Deserialize;
use std::{
    ffi::OsString,
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Where DHCP servers listen.
const SERVER: u16 = 67;
/// How long dnsmasq may take to note that a lease was given back.
const NOTED: Duration = Duration::from_secs(5);

/// An address that a machine has for a time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Lease {
    /// The address.
    #[serde(rename = "ip-address")]
    pub address: Ipv4Addr,
    /// The machine's card, in lower case.
    #[serde(rename = "mac-address")]
    pub mac: String,
    /// When it ends, in seconds since 1970.
    #[serde(rename = "expiry-time")]
    expires: u64,
}

/// Where libvirt's dnsmasq lists its leases on a bridge.
pub fn lease_list(bridge: &str) -> PathBuf {
    Path::new("/var/lib/libvirt/dnsmasq").join(format!("{bridge}.status"))
}

/// The leases that libvirt's dnsmasq has given on a bridge and that did not end yet.
///
/// # Errors
/// When its list cannot be understood.
pub fn leases(bridge: &str) -> Result<Vec<Lease>> {
    let path = lease_list(bridge);
    // There is none before the first lease.
    let text = file::read_if_there(&path)?.unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    parse(&text, now).or_error(Class::Infrastructure, || format!("cannot understand `{}`", path.display()))
}

fn parse(text: &str, now: u64) -> serde_json::Result<Vec<Lease>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut leases: Vec<Lease> = serde_json::from_str(text)?;
    leases.retain(|lease| lease.expires > now);
    Ok(leases)
}

/// Gives a lease back in the name of a machine that is gone, and waits until that is noted. None to be given back is fine.
///
/// # Errors
/// When dnsmasq goes on listing it.
pub fn release(bridge: &str, gateway: Ipv4Addr, mac: Mac, address: Ipv4Addr) -> Result<()> {
    let is_listed = || -> Result<bool> {
        Ok(leases(bridge)?.iter().any(|lease| lease.address == address && lease.mac == mac.to_string()))
    };
    if !is_listed()? {
        return Ok(());
    }
    let cannot = || format!("cannot give back the lease of {address}");
    let socket = UdpSocket::bind("0.0.0.0:0").or_error(Class::Infrastructure, cannot)?;
    // dnsmasq answers for the interface that a packet came from, also when it comes from this machine.
    setsockopt(&socket, BindToDevice, &OsString::from(bridge)).or_error(Class::Infrastructure, cannot)?;
    socket.send_to(&message(gateway, mac, address), (gateway, SERVER)).or_error(Class::Infrastructure, cannot)?;
    let deadline = Instant::now() + NOTED;
    while is_listed()? {
        if Instant::now() > deadline {
            return Err(Error::new(Class::Infrastructure, cannot())
                .hint("it ends by itself within an hour; `virsh net-dhcp-leases default` lists it until then"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A DHCPRELEASE (RFC 2131): the fixed part of a BOOTP request, then the options.
fn message(gateway: Ipv4Addr, mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    const REQUEST: u8 = 1;
    const ETHERNET: [u8; 2] = [1, 6];
    const COOKIE: [u8; 4] = [99, 130, 83, 99];
    const MESSAGE_TYPE: [u8; 3] = [53, 1, 7];
    const SERVER_IDENTIFIER: [u8; 2] = [54, 4];
    const END: u8 = 255;
    /// Of `sname` and `file`, which nobody reads.
    const NAMES: usize = 64 + 128;
    let mut message = vec![REQUEST];
    message.extend(ETHERNET);
    // Hops, transaction, seconds and flags.
    message.extend([0; 9]);
    message.extend(address.octets());
    // Addresses that only answers have.
    message.extend([0; 12]);
    message.extend(mac.octets());
    message.extend([0; 10 + NAMES]);
    message.extend(COOKIE);
    message.extend(MESSAGE_TYPE);
    message.extend(SERVER_IDENTIFIER);
    message.extend(gateway.octets());
    message.push(END);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_that_ended_are_none() {
        let text = r#"[
            {"ip-address": "192.168.122.171", "mac-address": "52:54:00:00:00:01", "client-id": "01", "expiry-time": 200},
            {"ip-address": "192.168.122.172", "mac-address": "52:54:00:00:00:02", "hostname": "db2", "expiry-time": 100}
        ]"#;
        let seen = parse(text, 150).expect("it is a list");
        assert_eq!(seen.iter().map(|lease| lease.address.octets()[3]).collect::<Vec<_>>(), [171]);
        assert_eq!(parse("", 150).expect("no list"), []);
    }

    #[test]
    fn a_release_has_every_field_in_its_place() {
        let mac: Mac = "52:54:00:01:02:03".parse().expect("a MAC");
        let message = message([192, 168, 122, 1].into(), mac, [192, 168, 122, 171].into());
        assert_eq!(message[12..16], [192, 168, 122, 171]);
        assert_eq!(message[28..34], [0x52, 0x54, 0, 1, 2, 3]);
        assert_eq!(message[236..240], [99, 130, 83, 99]);
        assert_eq!(message[240..], [53, 1, 7, 54, 4, 192, 168, 122, 1, 255]);
    }
}
