//! Names of the nodes.

use super::MARK;
use crate::lab::Lab;

/// /etc/hosts in the document's form: the own name is not on 127.0.0.1, so that a node means the same address everywhere.
pub(super) fn file(lab: &Lab) -> String {
    format!("{MARK}127.0.0.1 localhost.localdomain localhost\n{}", name_lines(lab))
}

/// Lines of /etc/hosts for the nodes and the gateway.
pub(crate) fn name_lines(lab: &Lab) -> String {
    let mut text = String::new();
    for node in &lab.nodes {
        text.push_str(&format!("{} {}.{} {}\n", node.address, node.name, lab.network.domain, node.name));
    }
    text.push_str(&format!("{} lab-gateway\n", lab.network.gateway));
    text
}
