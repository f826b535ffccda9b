//! A node more in the text of a lab.yaml: written as the node before it is, and every other byte stays.
//!
//! That the edited text says what was meant, and nothing else, is
//! not believed but seen: it is parsed like any lab.yaml and compared with what the old text said.

use super::{
    Problems,
    items::{Items, content},
};
use crate::lab::{Lab, Newcomer, Role};
use std::path::Path;

/// Why there is no new text.
#[derive(Debug)]
pub enum Refusal {
    /// The list is written in a way that is left alone: these lines say what is to be added to `nodes`.
    Style(String),
    /// The lab with that node breaks a rule.
    Rules(Problems),
}

/// The text of `lab` with one node more at the end of the list. `path` names the file in problems.
///
/// # Errors
/// When the list cannot be edited safely, or the new lab would not be valid.
pub fn with_node(text: &str, path: &Path, lab: &Lab, node: &Newcomer) -> Result<String, Refusal> {
    let by_hand = || Refusal::Style(block(node, "  ", " "));
    let new = edited(text, node).ok_or_else(by_hand)?;
    let larger = super::parse(&new, path).map_err(Refusal::Rules)?;
    if says_no_more(lab, &larger, node) { Ok(new) } else { Err(by_hand()) }
}

/// Whether a lab is another one with this node at its end, and the same in everything else.
fn says_no_more(lab: &Lab, larger: &Lab, node: &Newcomer) -> bool {
    let mut rest = larger.clone();
    let Some(last) = rest.nodes.pop() else { return false };
    rest == *lab
        && last.name == node.name
        && last.address == node.address
        && node.export.as_ref().is_none_or(|export| *export == last.export)
        && last.roles.keys().eq(&node.roles)
}

/// The new text, where the list of nodes is one of blocks or of one-line mappings.
fn edited(text: &str, node: &Newcomer) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let items = Items::of(&lines)?;
    let last = items.lines.last()?;
    let first = lines[last.start];
    let dash = first.find('-')?;
    let (indent, rest) = (&first[..dash], &first[dash + 1..]);
    let gap = &rest[..rest.len() - rest.trim_start_matches(' ').len()];
    let written = match content(rest) {
        "" => return None,
        flow if flow.starts_with('{') => {
            if !flow.ends_with('}') || last.len() != 1 {
                return None;
            }
            let pairs: Vec<String> = pairs(node).iter().map(|(key, value)| format!("{key}: {value}")).collect();
            format!("{indent}-{gap}{{{}}}\n", pairs.join(", "))
        }
        _ => block(node, indent, gap),
    };
    let ending = if first.ends_with("\r\n") { "\r\n" } else { "\n" };
    let mut new = lines[..last.end].concat();
    if !new.ends_with('\n') {
        new.push_str(ending);
    }
    if items.apart {
        new.push_str(ending);
    }
    new.push_str(&written.replace('\n', ending));
    new.push_str(&lines[last.end..].concat());
    Some(new)
}

fn block(node: &Newcomer, indent: &str, gap: &str) -> String {
    let mut text = String::new();
    for (number, (key, value)) in pairs(node).into_iter().enumerate() {
        let lead = if number == 0 { "-" } else { " " };
        text.push_str(&format!("{indent}{lead}{gap}{key}: {value}\n"));
    }
    text
}

/// Keys and values in the order in which the reference lab has them.
fn pairs(node: &Newcomer) -> Vec<(&'static str, String)> {
    // As people write them: the proxy, who takes SQL, who keeps rows.
    let order = [Role::Gtm, Role::GtmStandby, Role::GtmProxy, Role::Coordinator, Role::Datanode];
    let roles: Vec<&str> = order.iter().filter(|role| node.roles.contains(role)).map(|role| role.as_str()).collect();
    let mut pairs = vec![("name", node.name.to_string()), ("address", node.address.to_string())];
    pairs.extend(node.export.iter().map(|export| ("export", export.clone())));
    pairs.push(("roles", format!("[{}]", roles.join(", "))));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Asked;

    const PATH: &str = "lab.yaml";
    const GTM: &str = "{name: db1, address: 192.168.122.171, roles: [gtm]}";
    const DATA: &str = "{name: db2, address: 192.168.122.172, roles: [gtm_proxy, coordinator, datanode]}";
    const NEW: &str = "{name: db3, address: 192.168.122.173, roles: [gtm_proxy, coordinator, datanode]}";

    fn added(text: &str, asked: Asked) -> Result<String, Refusal> {
        let lab = super::super::parse(text, Path::new(PATH)).expect("a lab");
        let node = Newcomer::of(&lab, asked).expect("room");
        with_node(text, Path::new(PATH), &lab, &node)
    }

    #[test]
    fn a_node_is_written_like_the_one_before_and_all_else_stays() {
        let block = |indent: &str, name: &str, last: u8| {
            format!(
                "{indent}- name: {name}\n{indent}  address: 192.168.122.{last}\n{indent}  roles: [gtm_proxy, coordinator, datanode]\n"
            )
        };
        let (old, new) = (block("  ", "db2", 172), block("  ", "db3", 173));
        let (flush, flush_new) = (block("", "db2", 172), block("", "db3", 173));
        for (before, written, after) in [
            // One line each, with comments everywhere.
            (
                format!("# mine\nname: a # b\nnodes: # all\n  # the GTM\n  - {GTM} # one\n  - {DATA}  # two\n"),
                format!("  - {NEW}\n"),
                "  # the end\n\n# size\nvm: {memory: 512MiB}\n",
            ),
            (format!("name: a\nnodes:\n- {GTM}\n- {DATA}\n"), format!("- {NEW}\n"), ""),
            (format!("name: a\nnodes:\n  - {GTM}\n{old}"), new.clone(), "vm: {memory: 512MiB}\n"),
            (format!("name: a\nnodes:\n- {GTM}\n{flush}"), flush_new, "vm: {memory: 512MiB}\n"),
            // An empty line between nodes.
            (format!("name: a\nnodes:\n  - {GTM}\n\n{old}"), format!("\n{new}"), "\nvm: {memory: 512MiB}\n"),
            // A list of roles over several lines.
            (
                format!(
                    "name: a\nnodes:\n  - {GTM}\n  - name: db2\n    address: 192.168.122.172\n    roles:\n      - gtm_proxy\n      # both\n      - coordinator\n      - datanode\n"
                ),
                new.clone(),
                "\nvm: {memory: 512MiB}\n",
            ),
        ] {
            let text = added(&format!("{before}{after}"), Asked::default()).expect("it can be edited");
            assert_eq!(text, format!("{before}{written}{after}"));
            let crlf = |text: &str| text.replace('\n', "\r\n");
            let text = added(&crlf(&format!("{before}{after}")), Asked::default()).expect("the same with CRLF");
            assert_eq!(text, crlf(&format!("{before}{written}{after}")));
        }
    }

    #[test]
    fn a_file_without_its_last_line_end_gets_it() {
        let text = added(&format!("name: a\nnodes:\n  - {GTM}\n  - {DATA}"), Asked::default()).expect("edited");
        assert_eq!(text, format!("name: a\nnodes:\n  - {GTM}\n  - {DATA}\n  - {NEW}\n"));
    }

    #[test]
    fn the_documents_lab_takes_a_seventh_data_node() {
        let text = added(include_str!("../../lab.yaml"), Asked::default()).expect("edited");
        let node = "  - name: db-192-168-122-179\n    address: 192.168.122.179\n    roles: [gtm_proxy, coordinator, datanode]\n";
        assert_eq!(text.replace(node, ""), include_str!("../../lab.yaml"));
    }

    #[test]
    fn other_styles_are_left_alone_and_the_lines_are_told() {
        for text in [
            format!("name: a\nnodes: [{GTM}, {DATA}]\n"),
            format!("{{name: a, nodes: [{GTM}, {DATA}]}}\n"),
            format!("name: a\n\"nodes\":\n  - {GTM}\n  - {DATA}\n"),
            format!(
                "name: a\nnodes:\n  - {GTM}\n  - {{name: db2, address: 192.168.122.172,\n     roles: [gtm_proxy, coordinator, datanode]}}\n"
            ),
            format!("name: a\nnodes: &all\n  - {GTM}\n  - {DATA}\n"),
            // The list of another key is not taken for it.
            format!(
                "name: a\nchecks:\n  - name: b\n    expected: 1\n    sql: |\n     nodes:\n      - x\nnodes: [{GTM}, {DATA}]\n"
            ),
        ] {
            let refused = added(&text, Asked::default());
            let Err(Refusal::Style(lines)) = refused else { panic!("{text}: {refused:?}") };
            assert!(lines.starts_with("  - name: db3\n    address: 192.168.122.173\n"), "{lines}");
        }
    }

    #[test]
    fn a_lab_that_would_break_a_rule_is_refused() {
        let text = format!("name: a\nnodes:\n  - {GTM}\n  - {DATA}\n");
        let second = Asked { roles: vec![Role::Gtm], ..Asked::default() };
        let taken = Asked { name: "db1".parse().ok(), ..Asked::default() };
        for (asked, word) in [(second, "`gtm` is a role of `db1` and of `db3`"), (taken, "db1")] {
            let refused = added(&text, asked);
            let Err(Refusal::Rules(problems)) = refused else { panic!("{refused:?}") };
            assert!(problems.to_string().contains(word), "{problems}");
        }
    }
}
