//! What decides how a lab comes out that is built from nothing: with the same inputs, a snapshot of such a lab is as
//! good as building it again.

use crate::{apply::Site, digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Parts of a lab that say what is done about it, and not what it is.
const OUTSIDE: [&str; 3] = ["directory", "nightly", "notify"];

/// The inputs, by name, each with its digest or its own short name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(BTreeMap<String, String>);

impl Inputs {
    /// Those of a site, chosen as `up` would choose.
    pub fn of(site: &Site) -> Inputs {
        let mut inputs = BTreeMap::from([
            ("image".to_owned(), site.image.id().to_owned()),
            ("engine".to_owned(), site.engine.kind().as_str().to_owned()),
            ("accelerator".to_owned(), site.accelerator.as_str().to_owned()),
            ("pgxc-lab".to_owned(), program()),
        ]);
        if let Some(kit) = &site.kit {
            inputs.insert("engine build".to_owned(), kit.id().to_owned());
        }
        // The fitted lab: what lab.yaml says, and what the host's memory made of it.
        let lab = serde_json::to_value(&site.lab).unwrap_or_default();
        for (key, value) in lab.as_object().into_iter().flatten().filter(|(key, _)| !OUTSIDE.contains(&key.as_str())) {
            let text = value.to_string();
            inputs.insert(format!("lab.yaml {key}"), digest::short(&digest::of_text(&text)).to_owned());
        }
        Inputs(inputs)
    }

    /// Digest of all of them: the same key, the same lab.
    pub fn key(&self) -> String {
        let text: String = self.0.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        digest::short(&digest::of_text(&text)).to_owned()
    }

    /// Name of the snapshot of a lab made of them.
    pub fn snapshot(&self) -> String {
        format!("pristine-{}", self.key())
    }

    /// What is not as it was, one line each.
    pub fn changes_since(&self, old: &Inputs) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(old.0.keys()).collect();
        let value = |inputs: &Inputs, name: &String| inputs.0.get(name).cloned().unwrap_or_else(|| "none".into());
        names
            .into_iter()
            .map(|name| (name, value(old, name), value(self, name)))
            .filter(|(_, then, now)| then != now)
            .map(|(name, then, now)| format!("{name}: {then} then, {now} now"))
            .collect()
    }
}

/// This program: its version, and its own digest, since two builds of one version may do different things.
fn program() -> String {
    let own = std::env::current_exe().and_then(|path| digest::of_file(&path)).unwrap_or_default();
    format!("{} {}", env!("CARGO_PKG_VERSION"), digest::short(&own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(pairs: &[(&str, &str)]) -> Inputs {
        Inputs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_changed_input_is_told_and_changes_the_key() {
        let then = inputs(&[("image", "debian-12-aa"), ("engine", "postgres-xc")]);
        let now = inputs(&[("image", "debian-12-bb"), ("engine", "postgres-xc"), ("engine build", "xc-1")]);
        assert_ne!(then.key(), now.key());
        assert_eq!(then.snapshot(), then.clone().snapshot());
        assert_eq!(
            now.changes_since(&then),
            ["engine build: none then, xc-1 now", "image: debian-12-aa then, debian-12-bb now"]
        );
        assert_eq!(now.changes_since(&now), Vec::<String>::new());
    }
}
