//! A lab of several hosts: what lab.yaml says of each.

use super::{NodeName, Size};
use std::{collections::BTreeSet, fmt, net::Ipv4Addr, str::FromStr};

/// The hosts of a lab that has several.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Hosts {
    /// This machine: the lab's gateway, with its NFS server, is here, and guests may be.
    pub here: LabHost,
    /// The others, in the order of the file; one at the least.
    pub others: Vec<Other>,
    /// What `up` does about a host that does not answer.
    pub lost: Lost,
    /// How often nodes were taken from a host that did not answer: see [`Spread`](super::Spread).
    pub fence: u32,
    /// Hosts that did not answer when this run began: nobody waits for them again.
    #[serde(skip)]
    pub silent: BTreeSet<NodeName>,
}

/// What all hosts have.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LabHost {
    /// Its name in the lab.
    pub name: NodeName,
    /// How its guests come into the lab's network.
    #[serde(flatten)]
    pub uplink: Uplink,
    /// Memory that the lab's guests may take there; nothing: a part of what libvirt says that there is.
    pub memory: Option<Size>,
}

/// How guests of a host come into the lab's network: the same way on all hosts of a lab.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Uplink {
    /// Over a wire between the hosts, made by us, that ends at this address of the host.
    Address(Ipv4Addr),
    /// Over a bridge that is there, and whose links join the hosts already.
    Bridge(Device),
}

/// Name of a network device.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Device(String);

impl Device {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Device {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Device, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        // IFNAMSIZ is 16, with a NUL; the kernel takes more characters, and shells would make something of them.
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if plain && starts && text.len() <= 15 {
            Ok(Device(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a network device: use up to 15 letters, digits, `.`, `_` and `-`"))
        }
    }
}

/// A host that is not this machine.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Other {
    /// How it is reached.
    pub connection: Connection,
    /// The rest.
    #[serde(flatten)]
    pub host: LabHost,
}

/// What `up` does about a host that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lost {
    /// Its nodes wait until it is back.
    Wait,
    /// Its nodes are placed on other hosts, and it is cut off the lab's network until `up` has cleaned it.
    Replace,
}

impl Hosts {
    /// All of them, this machine first.
    pub fn all(&self) -> impl Iterator<Item = &LabHost> {
        std::iter::once(&self.here).chain(self.others.iter().map(|other| &other.host))
    }

    /// Whether guests meet on bridges that are there, so that there is no wire of ours.
    pub fn are_bridged(&self) -> bool {
        self.here.bridge().is_some()
    }

    /// The host of this name.
    pub fn host(&self, name: &NodeName) -> Option<&LabHost> {
        self.all().find(|host| host.name == *name)
    }

    /// The host of this name that is not this machine.
    pub fn other(&self, name: &str) -> Option<&Other> {
        self.others.iter().find(|other| other.host.name.as_str() == name)
    }
}

impl LabHost {
    /// Its bridge, in a lab that lives on bridges.
    pub fn bridge(&self) -> Option<&Device> {
        match &self.uplink {
            Uplink::Address(_) => None,
            Uplink::Bridge(bridge) => Some(bridge),
        }
    }

    /// Its address, in a lab with a wire.
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self.uplink {
            Uplink::Address(address) => Some(address),
            Uplink::Bridge(_) => None,
        }
    }
}

/// A libvirt that is reached over ssh, which also gets us a shell there: `qemu+ssh://root@10.0.0.2/system`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// As in lab.yaml.
    text: String,
    /// `user@host` or `host`.
    destination: String,
    /// Instead of ssh's own choice.
    port: Option<u16>,
    /// Parameters after `?`, in their order.
    parameters: Vec<(String, String)>,
}

/// Parameters of libvirt's URI that this program heeds in its own use of ssh, too.
const PARAMETERS: [&str; 4] = ["keyfile", "no_verify", "no_tty", "socket"];

impl Connection {
    /// The URI for libvirt. It never asks for a password: nobody could answer.
    pub fn libvirt_uri(&self) -> String {
        let mut uri = self.text.clone();
        if self.parameter("no_tty").is_none() {
            uri.push(if self.parameters.is_empty() { '?' } else { '&' });
            uri.push_str("no_tty=1");
        }
        uri
    }

    /// Arguments of `ssh` for the same login, up to the command.
    pub fn ssh_arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["-T", "-o", "BatchMode=yes"].map(str::to_owned).to_vec();
        if let Some(file) = self.parameter("keyfile") {
            arguments.extend(["-i".to_owned(), file.to_owned()]);
        }
        if self.parameter("no_verify").is_some_and(|value| value != "0") {
            arguments.extend(["-o", "StrictHostKeyChecking=no"].map(str::to_owned));
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments.extend(["--".to_owned(), self.destination.clone()]);
        arguments
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl FromStr for Connection {
    type Err = String;

    fn from_str(text: &str) -> Result<Connection, String> {
        let wrong = |hint: &str| format!("`{text}` is not a connection to another host's libvirt: {hint}");
        let hint = "write one such as `qemu+ssh://root@10.0.0.2/system`";
        if text.starts_with("qemu+tls://") {
            return Err(wrong(
                "TLS leads to libvirt only, and a lab needs a shell on its host, too, for network devices, bridges and \
                 consoles; write `qemu+ssh://root@HOST/system`",
            ));
        }
        let rest = text.strip_prefix("qemu+ssh://").ok_or_else(|| wrong(hint))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = rest.strip_suffix("/system").ok_or_else(|| wrong(hint))?;
        let (destination, port) = match authority.rsplit_once(':') {
            Some((destination, port)) => (destination, Some(port.parse().map_err(|_| wrong(hint))?)),
            None => (authority, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        let starts = destination.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if !starts || !destination.chars().all(plain) || destination.matches('@').count() > 1 {
            return Err(wrong(hint));
        }
        let mut parameters = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if !PARAMETERS.contains(&name) || !value.chars().all(|c| plain(c) || c == '/') {
                return Err(wrong("after `?` may stand `keyfile=FILE`, `no_verify=1` and `socket=FILE`"));
            }
            parameters.push((name.to_owned(), value.to_owned()));
        }
        Ok(Connection { text: text.to_owned(), destination: destination.to_owned(), port, parameters })
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl serde::Serialize for Connection {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Connection {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Connection, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_one_login_for_libvirt_and_for_us() {
        let plain: Connection = "qemu+ssh://root@10.0.0.2/system".parse().expect("a connection");
        assert_eq!(plain.libvirt_uri(), "qemu+ssh://root@10.0.0.2/system?no_tty=1");
        assert_eq!(plain.ssh_arguments().join(" "), "-T -o BatchMode=yes -- root@10.0.0.2");
        let text = "qemu+ssh://alpha:2222/system?keyfile=/root/.ssh/lab&no_verify=1";
        let full: Connection = text.parse().expect("a connection");
        assert_eq!(full.libvirt_uri(), format!("{text}&no_tty=1"));
        let arguments = full.ssh_arguments().join(" ");
        assert_eq!(arguments, "-T -o BatchMode=yes -i /root/.ssh/lab -o StrictHostKeyChecking=no -p 2222 -- alpha");
    }

    #[test]
    fn tls_is_refused_with_the_reason() {
        let refused = "qemu+tls://alpha/system?pkipath=/root/pki".parse::<Connection>().expect_err("no shell");
        assert!(
            refused.contains("needs a shell on its host") && refused.contains("`qemu+ssh://root@HOST/system`"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_no_connection_is_refused() {
        for text in [
            "qemu:///system",
            "qemu+tls://alpha/system",
            "qemu+ssh://alpha/session",
            "qemu+ssh:///system",
            "qemu+ssh://-oProxyCommand=x/system",
            "qemu+ssh://a@b@c/system",
            "qemu+ssh://alpha:ssh/system",
            "qemu+ssh://alpha/system?command=sh",
            "qemu+ssh://alpha/system?keyfile=a'b",
        ] {
            assert!(text.parse::<Connection>().is_err(), "{text}");
        }
    }
}
