//! Names: of labs, nodes, users and components.

use std::{fmt, str::FromStr};

/// Longest host name and longest node name of Postgres-XC (NAMEDATALEN - 1).
const LONGEST_NAME: usize = 63;

macro_rules! text_newtype {
    ($type:ident) => {
        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

/// A host name of one label: lower-case letters, digits and inner hyphens, at most 63 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

text_newtype!(NodeName);

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<NodeName, String> {
        let right = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.is_empty()
            && !text.starts_with('-')
            && !text.ends_with('-');
        if text.len() > LONGEST_NAME {
            Err(format!("`{text}` has {} characters: at most {LONGEST_NAME} are allowed", text.len()))
        } else if right {
            Ok(NodeName(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a host name: use lower-case letters, digits and inner hyphens"))
        }
    }
}

impl<'de> serde::Deserialize<'de> for NodeName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<NodeName, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An identifier: of a component (Postgres-XC folds them to lower case, 63 characters) or a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(String);

text_newtype!(Identifier);

impl FromStr for Identifier {
    type Err = String;

    fn from_str(text: &str) -> Result<Identifier, String> {
        let right = !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if text.len() > LONGEST_NAME {
            Err(format!("`{text}` has {} characters: at most {LONGEST_NAME} are allowed", text.len()))
        } else if right {
            Ok(Identifier(text.to_owned()))
        } else {
            Err(format!("`{text}` is not an identifier: use lower-case letters, digits and underscores"))
        }
    }
}

/// The name of each component of a kind, with `{n}` for its number (`{nn}`: two digits at least).
///
/// Postgres-XC orders datanodes by name, so more than nine want `{nn}`: `datanode_10` sorts before `datanode_2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(String);

text_newtype!(NamePattern);

impl NamePattern {
    /// The name of number `n`, counted from 1.
    ///
    /// # Errors
    /// When the result is not an [`Identifier`].
    pub fn name(&self, n: usize) -> Result<Identifier, String> {
        self.0.replace("{nn}", &format!("{n:02}")).replace("{n}", &n.to_string()).parse()
    }
}

impl FromStr for NamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<NamePattern, String> {
        let pattern = NamePattern(text.to_owned());
        pattern.name(1).map(|_| pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names() {
        assert!("db-192-168-122-171".parse::<NodeName>().is_ok());
        for text in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
            assert!(text.parse::<NodeName>().is_err(), "{text}");
        }
    }

    #[test]
    fn patterns() {
        let name = |pattern: &str, n| pattern.parse::<NamePattern>().and_then(|p| p.name(n)).map(|i| i.0);
        assert_eq!(name("datanode_{n}", 3), Ok("datanode_3".to_owned()));
        assert_eq!(name("datanode_{nn}", 3), Ok("datanode_03".to_owned()));
        assert_eq!(name("one", 1), Ok("one".to_owned()));
        assert!(name("Data node {n}", 1).is_err());
    }
}
