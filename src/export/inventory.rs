//! An inventory for Ansible, in YAML.

use super::{MARK, Reach};
use crate::{
    engine::Engine,
    error::{Class, Result, ResultExt},
    lab::{Lab, Node, Role},
};
use serde_json::{Map, Value, json};

/// Hosts with their components, groups by role, and the way to reach them; the names of groups are those that
/// `pgxc-lab exec --on` takes.
///
/// # Errors
/// None that a lab could cause; the writer of YAML asks for it.
pub fn inventory(lab: &Lab, engine: &dyn Engine, reach: &Reach) -> Result<String> {
    let arguments: Vec<String> =
        reach.options().iter().map(|(option, value)| format!("-o '{option}={value}'")).collect();
    let hosts: Map<String, Value> =
        lab.nodes.iter().map(|node| (node.name.to_string(), host(lab, engine, node))).collect();
    let groups: Map<String, Value> = Role::ALL
        .into_iter()
        .map(|role| (role, lab.placed(role)))
        .filter(|(_, placed)| !placed.is_empty())
        .map(|(role, placed)| {
            let members: Map<String, Value> =
                placed.iter().map(|placed| (placed.node.name.to_string(), json!({}))).collect();
            (role.as_str().to_owned(), json!({ "hosts": members }))
        })
        .collect();
    let inventory = json!({ "all": {
        "vars": {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": reach.key,
            "ansible_ssh_common_args": arguments.join(" "),
            "lab_name": lab.name,
            "lab_engine": engine.kind(),
            "lab_gateway": lab.network.gateway,
            "lab_domain": lab.network.domain,
        },
        "hosts": hosts,
        "children": groups,
    }});
    // Folded lines would be right, but nobody could search for an option in them.
    let options = serde_yaml::ser_options! { prefer_block_scalars: false };
    let yaml = serde_yaml::to_string_with_options(&inventory, options)
        .or_error(Class::Internal, || "cannot write YAML".into())?;
    Ok(format!("# {MARK}: lab {}. Ansible reads it as YAML when its name ends in .yaml.\n{yaml}", lab.name))
}

/// What a play may want to know of a node. `lab_components` has what the engine runs there, by role.
fn host(lab: &Lab, engine: &dyn Engine, node: &Node) -> Value {
    let components: Map<String, Value> = lab
        .components_of(node)
        .into_iter()
        .filter(|placed| engine.runs(placed.role))
        .map(|placed| {
            let setup = engine.component(lab, placed);
            let component = json!({
                "name": placed.name,
                "port": placed.component.port,
                "directory": setup.directory,
                "unit": setup.unit,
            });
            (placed.role.as_str().to_owned(), component)
        })
        .collect();
    json!({ "lab_address": node.address, "lab_export": node.export, "lab_components": components })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{PostgresFdw, PostgresXc, fixture::document},
        export::reach::tests::reach,
    };

    fn tree(text: &str) -> Value {
        serde_yaml::from_str(text).expect("YAML")
    }

    #[test]
    fn of_the_document() {
        let mut lab = document();
        lab.nodes.truncate(3);
        let text = inventory(&lab, &PostgresXc, &reach("/srv/my labs").expect("plain")).expect("YAML");
        insta::assert_snapshot!(text);
    }

    /// YAML 1.1, which Ansible reads, has more words for yes and no than 1.2.
    #[test]
    fn names_stay_texts() {
        let mut lab = document();
        lab.nodes.truncate(3);
        for (node, name) in lab.nodes.iter_mut().zip(["no", "on", "12"]) {
            node.name = name.parse().expect("a name");
        }
        let text = inventory(&lab, &PostgresXc, &reach("/var/lib/pgxc-lab").expect("plain")).expect("YAML");
        for line in ["    \"no\":", "    \"on\":", "    \"12\":"] {
            assert!(text.lines().any(|known| known.replace('\'', "\"") == line), "{line} in {text}");
        }
    }

    #[test]
    fn says_what_runs_and_reads_back() {
        let lab = document();
        let reach = reach("/var/lib/pgxc-lab").expect("plain");
        let tree = tree(&inventory(&lab, &PostgresFdw, &reach).expect("YAML"));
        let all = &tree["all"];
        assert_eq!(all["hosts"].as_object().map(Map::len), Some(8));
        assert_eq!(all["children"]["datanode"]["hosts"].as_object().map(Map::len), Some(6));
        assert_eq!(all["children"]["gtm"]["hosts"]["db-192-168-122-171"], json!({}));
        assert_eq!(all["hosts"]["db-192-168-122-171"]["lab_components"], json!({}), "the gtm stays idle");
        assert_eq!(all["hosts"]["db-192-168-122-178"]["lab_components"]["datanode"]["port"], 1923);
        let arguments = all["vars"]["ansible_ssh_common_args"].as_str().expect("a text");
        assert!(
            arguments.contains("-o 'ProxyCommand=/usr/local/bin/pgxc-lab --home /var/lib/pgxc-lab "),
            "{arguments}"
        );
    }
}
