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
    /// Its address for the other hosts: the wire between them ends there.
    pub address: Ipv4Addr,
    /// Memory that the lab's guests may take there; nothing: a part of what libvirt says that there is.
    pub memory: Option<Size>,
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

    /// The host of this name that is not this machine.
    pub fn other(&self, name: &str) -> Option<&Other> {
        self.others.iter().find(|other| other.host.name.as_str() == name)
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
