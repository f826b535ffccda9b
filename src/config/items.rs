//! Where the nodes stand in the text of a lab.yaml. Only the common ways to write a list are read: blocks and one-line
//! mappings, one item after the other.

use std::ops::Range;

/// The items of the list `nodes`.
pub(super) struct Items {
    /// The lines of each, from that with its dash to its last one; comments and empty lines after that are not its own.
    pub lines: Vec<Range<usize>>,
    /// Whether an empty line stands before the last one, and it is not the only one.
    pub apart: bool,
}

impl Items {
    /// Those of a text, of which these are the lines; `None` where the list is written in another way.
    pub fn of(lines: &[&str]) -> Option<Items> {
        let head = lines.iter().position(|line| line.starts_with("nodes:") && content(line) == "nodes:")?;
        let mut found: Option<(usize, Items)> = None;
        for (number, line) in lines.iter().enumerate().skip(head + 1) {
            if content(line).is_empty() {
                continue;
            }
            let indent = line.len() - line.trim_start_matches(' ').len();
            let begins = line[indent..].starts_with("- ");
            match &mut found {
                None if begins => {
                    let only = std::iter::once(number..number + 1).collect();
                    found = Some((indent, Items { lines: only, apart: false }));
                }
                Some((dash, items)) if begins && indent == *dash => {
                    items.apart = lines[number - 1].trim().is_empty();
                    items.lines.push(number..number + 1);
                }
                Some((dash, items)) if indent > *dash => {
                    if let Some(last) = items.lines.last_mut() {
                        last.end = number + 1;
                    }
                }
                None | Some(_) => break,
            }
        }
        found.map(|(_, items)| items)
    }
}

/// A line without indentation, comment and ending.
pub(super) fn content(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') {
        return "";
    }
    line.find(" #").map_or(line, |at| &line[..at]).trim_end()
}
