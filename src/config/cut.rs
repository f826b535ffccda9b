//! The last nodes out of the text of a lab.yaml: with the comments that stand right above each, and every other byte stays.
//!
//! As when a node is added, what comes out is not believed but seen: it is parsed and compared with what was meant.

use super::{append::Refusal, items::Items};
use crate::lab::Lab;
use std::path::Path;

/// The text of `lab` without its last nodes, so that it says `smaller`. `path` names the file in problems.
///
/// # Errors
/// When the list cannot be edited safely, or the new lab would not be valid.
pub fn without_last(text: &str, path: &Path, lab: &Lab, smaller: &Lab) -> Result<String, Refusal> {
    let gone = || lab.nodes.iter().skip(smaller.nodes.len());
    let by_hand = || Refusal::Style(gone().map(|node| format!("  - name: {}\n", node.name)).collect());
    let new = edited(text, smaller.nodes.len()).ok_or_else(by_hand)?;
    let seen = super::parse(&new, path).map_err(Refusal::Rules)?;
    if seen == *smaller { Ok(new) } else { Err(by_hand()) }
}

/// The new text, in which so many nodes are left.
fn edited(text: &str, left: usize) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let items = Items::of(&lines)?.lines;
    let (last, end) = (items.get(left.checked_sub(1)?)?.end, items.last()?.end);
    let first = items.get(left)?.start;
    let comments = lines[last..first].iter().rev().take_while(|line| line.trim_start().starts_with('#')).count();
    let mut start = first - comments;
    // The empty line that kept it apart from the one before.
    if start > last && lines[start - 1].trim().is_empty() {
        start -= 1;
    }
    Some([&lines[..start], &lines[end..]].concat().concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "lab.yaml";
    const GTM: &str = "{name: db1, address: 192.168.122.171, roles: [gtm]}";
    const DATA: &str = "{name: db2, address: 192.168.122.172, roles: [gtm_proxy, coordinator, datanode]}";
    const MORE: &str = "{name: db3, address: 192.168.122.173, roles: [gtm_proxy, datanode]}";
    const LAST: &str = "{name: db4, address: 192.168.122.174, roles: []}";

    fn cut(text: &str, left: usize) -> Result<String, Refusal> {
        let lab = super::super::parse(text, Path::new(PATH)).expect("a lab");
        let mut smaller = lab.clone();
        smaller.nodes.truncate(left);
        without_last(text, Path::new(PATH), &lab, &smaller)
    }

    #[test]
    fn nodes_go_with_their_comments_and_all_else_stays() {
        let block = "  - name: db3 # the third\n    # with its own\n    address: 192.168.122.173\n    roles:\n      - gtm_proxy\n      - datanode\n";
        let after = "  # the end\n\n# size\nvm: {memory: 512MiB} # small\n";
        let before =
            format!("# mine\nname: a # b\nnodes: # all\n  # the GTM\n  - {GTM} # one\n\n  # data\n  - {DATA}  # two\n");
        for gone in [
            format!("  - {MORE}\n"),
            format!("  # the third,\n  # and no more\n  - {MORE} # three\n"),
            format!("\n  # apart\n  - {MORE}\n"),
            block.to_owned(),
            format!("\n{block}"),
            format!("  - {MORE}\n  # a plain one\n  - {LAST}\n"),
            format!("\n{block}\n  - {LAST}\n"),
        ] {
            let wanted = format!("{before}{after}");
            assert_eq!(cut(&format!("{before}{gone}{after}"), 2).expect("it can be edited"), wanted, "{gone}");
            let crlf = |text: &str| text.replace('\n', "\r\n");
            let text = cut(&crlf(&format!("{before}{gone}{after}")), 2).expect("the same with CRLF");
            assert_eq!(text, crlf(&wanted));
        }
    }

    #[test]
    fn what_was_added_and_taken_away_leaves_no_trace() {
        let document = include_str!("../../lab.yaml");
        let lab = super::super::parse(document, Path::new(PATH)).expect("the document's lab");
        let node = crate::lab::Newcomer::of(&lab, crate::lab::Asked::default()).expect("room");
        let larger = super::super::with_node(document, Path::new(PATH), &lab, &node).expect("it can be edited");
        assert_eq!(cut(&larger, lab.nodes.len()).expect("it can be edited"), document);
    }

    #[test]
    fn other_styles_are_left_alone_and_the_nodes_are_told() {
        for text in [
            format!("name: a\nnodes: [{GTM}, {DATA}, {MORE}]\n"),
            format!("name: a\n\"nodes\":\n  - {GTM}\n  - {DATA}\n  - {MORE}\n"),
            // Parameters would follow the memory of another smallest guest.
            format!(
                "name: a\nnodes:\n  - {GTM}\n  - {DATA}\n  - {{name: db3, address: 192.168.122.173, memory: 1GiB}}\n"
            ),
        ] {
            let refused = cut(&text, 2);
            let Err(Refusal::Style(lines)) = refused else { panic!("{text}: {refused:?}") };
            assert_eq!(lines, "  - name: db3\n");
        }
    }

    #[test]
    fn a_lab_that_would_break_a_rule_is_refused() {
        let own = "checks:\n  - {name: x, command: 'true', on: db3, expected: ''}\n";
        let refused = cut(&format!("name: a\nnodes:\n  - {GTM}\n  - {DATA}\n  - {MORE}\n{own}"), 2);
        let Err(Refusal::Rules(problems)) = refused else { panic!("{refused:?}") };
        assert!(problems.to_string().contains("db3"), "{problems}");
    }
}
