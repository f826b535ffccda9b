//! A lab's block in this machine's /etc/hosts, on request. Whatever else is in the file stays as it is, to the byte.

use crate::{
    error::{Class, Error, Result, ResultExt},
    file,
    guest::name_lines,
    lab::Lab,
};
use std::{fs::OpenOptions, os::unix::fs::FileExt, path::Path};

/// The file.
pub const HOSTS: &str = "/etc/hosts";

/// In the first line of a block that had to end somebody's last line, which had no end.
const OPEN: &str = " behind a line without an end";

fn first_line(lab: &str, open: &str) -> String {
    format!("# pgxc-lab {lab} begins{open}: `pgxc-lab destroy` takes this away\n")
}

fn last_line(lab: &str) -> String {
    format!("# pgxc-lab {lab} ends\n")
}

/// The text with the lab's block in it, in place of an older one.
///
/// # Errors
/// When an older one is damaged.
pub fn with_block(text: &str, lab: &Lab) -> Result<String> {
    let mut text = without_block(text, lab.name.as_str())?;
    let open = !text.is_empty() && !text.ends_with('\n');
    if open {
        text.push('\n');
    }
    let name = lab.name.as_str();
    Ok(text + &first_line(name, if open { OPEN } else { "" }) + &name_lines(lab) + &last_line(name))
}

/// The text without it.
///
/// # Errors
/// When it has no end: nobody could tell which lines are whose.
pub fn without_block(text: &str, lab: &str) -> Result<String> {
    let begins = ["", OPEN].map(|open| (first_line(lab, open), open));
    let starts_line = |place: usize| place == 0 || text[..place].ends_with('\n');
    let found = begins.iter().find_map(|(line, open)| {
        text.match_indices(line.as_str())
            .map(|(place, _)| place)
            .find(|place| starts_line(*place))
            .map(|at| (at, *open))
    });
    let Some((start, open)) = found else { return Ok(text.to_owned()) };
    let end = last_line(lab);
    let Some(length) = text[start..].find(&format!("\n{end}")) else {
        return Err(Error::new(Class::Host, format!("the block of lab `{lab}` in `{HOSTS}` has no last line"))
            .hint(format!("remove its lines, the first of which begins with `# pgxc-lab {lab} begins`")));
    };
    let (mut before, after) = (&text[..start], &text[start + length + 1 + end.len()..]);
    if open == OPEN && after.is_empty() {
        before = before.strip_suffix('\n').unwrap_or(before);
    }
    Ok(format!("{before}{after}"))
}

/// Lines of others that give a name of the lab another address: whoever asks would get theirs.
pub fn clashes(text: &str, lab: &Lab) -> Vec<String> {
    let others = without_block(text, lab.name.as_str()).unwrap_or_else(|_| text.to_owned());
    let ours = name_lines(lab);
    let ours: Vec<(&str, &str)> = ours.lines().flat_map(entries).collect();
    let clash =
        |(address, name): &(&str, &str)| ours.iter().any(|own| own.1.eq_ignore_ascii_case(name) && own.0 != *address);
    let found = others.lines().flat_map(entries).filter(clash);
    found.map(|(address, name)| format!("`{HOSTS}` says that `{name}` is {address}")).collect()
}

/// Addresses with their names.
fn entries(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
    let address = words.next().unwrap_or_default();
    words.map(move |name| (address, name))
}

/// What is in the file; a machine without one has nothing in it.
///
/// # Errors
/// When it cannot be read: what others have there could not be kept.
pub fn hosts_text() -> Result<String> {
    Ok(file::read_if_there(Path::new(HOSTS))?.unwrap_or_default())
}

/// Takes a lab's block out of a file; one that is not there is no failure.
///
/// # Errors
/// When the file cannot be read or written, or the block is damaged.
pub fn remove_block(path: &Path, lab: &str) -> Result<()> {
    let Some(text) = file::read_if_there(path)? else { return Ok(()) };
    rewrite(path, &text, &without_block(&text, lab)?)
}

/// Gives a file a new text, from where it differs on: lines before that cannot be lost, and it stays the same file.
///
/// # Errors
/// When the disk refuses.
pub fn rewrite(path: &Path, old: &str, new: &str) -> Result<()> {
    if old == new {
        return Ok(());
    }
    let same = old.bytes().zip(new.bytes()).take_while(|(old, new)| old == new).count();
    let write = || {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.write_all_at(&new.as_bytes()[same..], same as u64)?;
        file.set_len(new.len() as u64)?;
        file.sync_all()
    };
    write().or_error(Class::Host, || format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::document;

    const THEIRS: [&str; 4] =
        ["", "127.0.0.1 localhost\n", "127.0.0.1 localhost", "# a\r\n\n10.1.1.1\tmail # theirs\n\n"];

    #[test]
    fn what_others_have_there_stays_to_the_byte() {
        let lab = document();
        for theirs in THEIRS {
            let with = with_block(theirs, &lab).expect("nothing is damaged");
            assert!(with.starts_with(theirs) && with.contains("\n192.168.122.173 "), "{with}");
            assert_eq!(with_block(&with, &lab).expect("nothing is damaged"), with, "twice is once");
            assert_eq!(without_block(&with, lab.name.as_str()).expect("nothing is damaged"), theirs);
            // Others go on after it.
            let more = format!("{with}10.1.1.2 more\n");
            let left = without_block(&more, lab.name.as_str()).expect("nothing is damaged");
            assert!(left.starts_with(theirs) && left.ends_with("\n10.1.1.2 more\n") || theirs.is_empty(), "{left}");
            assert_eq!(without_block(&with, "other").expect("nothing is damaged"), with, "another lab's");
        }
    }

    #[test]
    fn a_block_without_an_end_is_not_guessed_at() {
        let with = with_block(THEIRS[1], &document()).expect("nothing is damaged");
        let damaged = with.replace(" ends\n", "\n");
        assert!(without_block(&damaged, document().name.as_str()).is_err());
    }

    #[test]
    fn a_name_of_somebody_elses_is_told() {
        let lab = document();
        let (node, address) = (lab.nodes[0].name.to_string(), lab.nodes[0].address);
        let told = |text: &str| clashes(text, &lab);
        assert_eq!(
            told(&format!("10.1.1.1 mail {node} # theirs\n")),
            [format!("`/etc/hosts` says that `{node}` is 10.1.1.1")]
        );
        for fine in [format!("{address} {node}\n"), format!("# 10.1.1.1 {node}\n"), format!("10.1.1.1 {node}-2\n")] {
            assert!(told(&fine).is_empty(), "{fine}");
        }
        assert!(told(&with_block("", &lab).expect("nothing is damaged")).is_empty(), "not our own");
    }

    #[test]
    fn a_file_is_written_from_the_first_difference_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("hosts");
        let with = with_block(THEIRS[2], &document()).expect("nothing is damaged");
        for (old, new) in [("", THEIRS[2]), (THEIRS[2], &with), (&with, THEIRS[2])] {
            rewrite(&path, old, new).expect("it writes");
            assert_eq!(std::fs::read_to_string(&path).expect("it is there"), new);
        }
        std::fs::write(&path, &with).expect("it writes");
        remove_block(&path, document().name.as_str()).expect("it is whole");
        remove_block(&path, document().name.as_str()).expect("twice, too");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), THEIRS[2]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("hosts");
        let theirs = b"10.1.1.1 m\xfcller\n";
        std::fs::write(&path, theirs).expect("it writes");
        assert!(remove_block(&path, document().name.as_str()).is_err(), "there may be a block in it");
        assert_eq!(std::fs::read(&path).expect("it is there"), theirs);
        remove_block(&directory.path().join("none"), document().name.as_str()).expect("there is nothing to remove");
    }
}
