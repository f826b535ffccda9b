//! A port of a node, as a person writes it.

use crate::lab::NodeName;
use std::{fmt, str::FromStr};

/// `NODE:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The node.
    pub node: NodeName,
    /// Its TCP port, never 0.
    pub port: u16,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        let (node, port) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` has no port: write the node, a colon and the port, as in `db3:5432`"))?;
        match port.parse() {
            Ok(port) if port > 0 => Ok(Endpoint { node: node.parse()?, port }),
            _ => Err(format!("`{port}` is not a TCP port: use a number from 1 to 65535")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_node_and_a_port() {
        let endpoint: Endpoint = "db3:5432".parse().unwrap();
        assert_eq!((endpoint.node.as_str(), endpoint.port), ("db3", 5432));
        assert_eq!(endpoint.to_string(), "db3:5432");
        for wrong in ["db3", "db3:", "db3:0", "db3:65536", "db3:sql", "DB:1", ":1"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
