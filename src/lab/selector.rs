//! Which nodes something is for.

use super::{Lab, Role};
use crate::error::{Class, Error, Result};
use std::{fmt, str::FromStr};

/// The word for every node.
const ALL: &str = "all";

/// `all`, roles and names of nodes, with commas between; nothing is looked up before [`Selector::pick`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<String>);

impl Selector {
    /// The words, in the order in which they were written.
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// Names of the nodes of this lab that it means, each once, in the order of lab.yaml.
    ///
    /// # Errors
    /// A word that is neither a role nor a node of the lab, or a selection without nodes.
    pub fn pick(&self, lab: &Lab) -> Result<Vec<String>> {
        let nodes: Vec<(&str, Vec<Role>)> =
            lab.nodes.iter().map(|node| (node.name.as_str(), node.roles.keys().copied().collect())).collect();
        self.pick_among(&nodes)
    }

    /// The same for names and roles from elsewhere, such as the record of the last `up`.
    ///
    /// # Errors
    /// As [`Selector::pick`].
    pub fn pick_among(&self, nodes: &[(&str, Vec<Role>)]) -> Result<Vec<String>> {
        for word in &self.0 {
            let known = word == ALL || role(word).is_some() || nodes.iter().any(|(name, _)| name == word);
            if !known {
                let names: Vec<String> = nodes.iter().map(|(name, _)| format!("`{name}`")).collect();
                return Err(Error::new(
                    Class::Usage,
                    format!("the lab has no node `{word}`, and no role is called so"),
                )
                .hint(format!("use `all`, {}, or a node: {}", roles(), names.join(", "))));
            }
        }
        let meant = |word: &String, name: &str, has: &[Role]| {
            word == ALL || word == name || role(word).is_some_and(|role| has.contains(&role))
        };
        let picked: Vec<String> = nodes
            .iter()
            .filter(|(name, has)| self.0.iter().any(|word| meant(word, name, has)))
            .map(|(name, _)| (*name).to_owned())
            .collect();
        if picked.is_empty() {
            return Err(Error::new(Class::Usage, format!("no node of the lab has the role `{self}`")));
        }
        Ok(picked)
    }
}

fn role(word: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.as_str() == word)
}

fn roles() -> String {
    Role::ALL.map(|role| format!("`{}`", role.as_str())).join(", ")
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Selector, String> {
        let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
        if words.iter().any(String::is_empty) {
            return Err("a name is missing: use `all`, a role, or names of nodes with commas between".to_owned());
        }
        Ok(Selector(words))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(selector: &str) -> Result<String> {
        let nodes = [
            ("db1", vec![Role::Gtm]),
            ("db2", vec![Role::GtmProxy, Role::Datanode, Role::Coordinator]),
            ("db3", vec![Role::GtmProxy, Role::Datanode]),
        ];
        let selector: Selector = selector.parse().unwrap();
        Ok(selector.pick_among(&nodes)?.join(" "))
    }

    #[test]
    fn words_are_everything_roles_and_names() {
        for (selector, nodes) in [
            ("all", "db1 db2 db3"),
            ("datanode", "db2 db3"),
            ("db3,db1", "db1 db3"),
            ("db2, coordinator", "db2"),
            ("db1,all", "db1 db2 db3"),
        ] {
            assert_eq!(pick(selector).unwrap(), nodes, "{selector}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let error = pick("db1,db9").unwrap_err();
        assert_eq!(error.class(), Class::Usage);
        assert!(error.message().contains("`db9`"), "{error}");
        assert!(error.hint_text().unwrap().contains("`db3`"), "{error}");
        assert!(pick("gtm_standby").is_err());
        for wrong in ["", "db1,", ",", "db1,,db2"] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong:?}");
        }
    }
}
