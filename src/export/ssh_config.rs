//! A configuration for OpenSSH's ssh, scp and sftp.

use super::{MARK, Reach, reach::word};
use crate::lab::Lab;

/// A block per node, and what all of them share. A node is called by its name, with or without the domain.
pub fn ssh_config(lab: &Lab, reach: &Reach) -> String {
    let mut text = format!(
        "# {MARK}: lab {}, from outside of its network.\n\
         # ssh -F FILE NODE, scp -F FILE …, or `Include FILE` at the top of ~/.ssh/config.\n",
        lab.name
    );
    let names = |node: &crate::lab::Node| format!("{0} {0}.{1}", node.name, lab.network.domain);
    for node in &lab.nodes {
        let roles: Vec<&str> = node.roles.keys().map(|role| role.as_str()).collect();
        let roles = if roles.is_empty() { String::new() } else { format!(": {}", roles.join(", ")) };
        text.push_str(&format!("\n# {}{roles}\nHost {}\n  HostName {}\n", node.address, names(node), node.name));
    }
    let all: Vec<String> = lab.nodes.iter().map(names).collect();
    text.push_str(&format!("\nHost {}\n  User root\n  IdentityFile {}\n", all.join(" "), word(&reach.key)));
    for (option, value) in reach.options() {
        text.push_str(&format!("  {option} {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::{engine::fixture::document, export::reach::tests::reach};

    #[test]
    fn of_the_document() {
        let mut lab = document();
        lab.nodes.truncate(3);
        lab.nodes[2].roles.clear();
        insta::assert_snapshot!(super::ssh_config(&lab, &reach("/srv/my labs").expect("plain")));
    }
}
