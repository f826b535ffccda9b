//! docs/document.md, the table from the lines of the document to what we make of them: it leaves no line out, and whatever
//! it says of ours is really there. The document itself is no part of the repository; where it lies beside it, what the
//! table quotes is compared with it, too.

use pgxc_lab::{
    config, digest,
    engine::{self, ComponentSetup, Engine},
    guest::{Content, GuestFile, System},
    lab::{EngineKind, Lab, Node, Placed, Role},
    plan,
};
use std::{collections::BTreeMap, fs, path::Path};

const TABLE: &str = include_str!("../docs/document.md");
/// Where the document may lie, and its SHA-256.
const DOCUMENT: &str = "../shared/seed/postgres-xc-8-kvm.txt";
/// How many lines it has.
const LINES: usize = 760;

/// A row of the table.
#[derive(Debug)]
struct Row {
    lines: Vec<usize>,
    quotes: Vec<String>,
    ours: Vec<String>,
    place: String,
    why: String,
}

/// The numbers of `3, 5-7`.
fn numbers(text: &str) -> Vec<usize> {
    let ranges = text.split(", ").map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("`{range}` is no range of lines"));
        number(first)..=number(last)
    });
    ranges.flatten().collect()
}

/// The codes of a cell, without their backticks.
fn codes(cell: &str) -> Vec<String> {
    let code = |text: &str| {
        let inner = |marks: &str| text.trim().strip_prefix(marks)?.strip_suffix(marks);
        inner("``").or_else(|| inner("`")).unwrap_or(text).trim().to_owned()
    };
    if cell.is_empty() { Vec::new() } else { cell.split("<br>").map(code).collect() }
}

/// The cells of the lines of tables with this many columns, headings left out.
fn tables(columns: usize) -> impl Iterator<Item = Vec<&'static str>> {
    TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'))
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .filter(move |cells| cells.len() == columns && cells[0] != "lines")
}

fn rows() -> Vec<Row> {
    let row = |cells: Vec<&str>| Row {
        lines: numbers(cells[0]),
        quotes: codes(cells[1]),
        ours: codes(cells[2]),
        place: cells[3].to_owned(),
        why: cells[4].to_owned(),
    };
    tables(5).map(row).collect()
}

/// `a{1..3}` is a1, a2, a3; several in one text go together. A text without is itself, once.
fn expanded(text: &str) -> Vec<String> {
    let Some((_, length)) = pattern(text) else { return vec![text.to_owned()] };
    let nth = |index: usize| {
        let mut text = text.to_owned();
        while let Some((first, count)) = pattern(&text) {
            assert_eq!(count, length, "ranges of `{text}` have different lengths");
            let (start, end) = (text.find('{').expect("it has one"), text.find('}').expect("it has one"));
            text.replace_range(start..=end, &(first + index).to_string());
        }
        text
    };
    (0..length).map(nth).collect()
}

/// The first `{a..b}` of a text: a, and how many there are.
fn pattern(text: &str) -> Option<(usize, usize)> {
    let start = text.find('{')?;
    let (first, last) = text[start + 1..].split_once('}')?.0.split_once("..")?;
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    Some((first, last + 1 - first))
}

/// Blanks and single quotes do not count.
fn plain(line: &str) -> String {
    line.replace('\'', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// All that is made for the document's lab with CentOS 5.9, by the words of the table's fourth column.
struct Made {
    lab: Lab,
    engine: Box<dyn Engine>,
}

impl Made {
    fn new() -> Made {
        let lab = match config::load(Path::new("lab.yaml")) {
            Ok(loaded) => loaded.lab,
            Err(problems) => panic!("{problems}"),
        };
        Made { lab, engine: engine::of(EngineKind::PostgresXc) }
    }

    fn node(&self, last: &str) -> &Node {
        self.lab.node(&format!("db-192-168-122-{last}")).unwrap_or_else(|| panic!("the lab has no node {last}"))
    }

    fn component(&self, last: &str, role: &str) -> (Placed<'_>, ComponentSetup) {
        let placed = self.lab.components_of(self.node(last)).into_iter().find(|placed| placed.role.as_str() == role);
        let placed = placed.unwrap_or_else(|| panic!("{last} has no {role}"));
        (placed, self.engine.component(&self.lab, placed))
    }

    /// The text at a place.
    fn text(&self, place: &str) -> String {
        let words: Vec<&str> = place.split(' ').collect();
        match words[..] {
            ["guest", last, path] => {
                content(engine::guest_files(self.engine.as_ref(), System::El5, &self.lab, self.node(last)), path)
            }
            ["data", last, path] => {
                let components = engine::components(self.engine.as_ref(), &self.lab, self.node(last));
                content(components.into_iter().flat_map(|component| component.files).collect(), path)
            }
            ["initialise", last, role] => self.component(last, role).1.initialise,
            ["tune", last] => {
                let node = self.node(last);
                let files = engine::guest_files(self.engine.as_ref(), System::El5, &self.lab, node);
                System::El5.guest().tune_script(&self.lab, node, &files)
            }
            ["register", last] => {
                let (placed, _) = self.component(last, Role::Coordinator.as_str());
                // What initdb leaves.
                let row = [placed.name.as_str(), "C", "5432", "localhost", "f", "f", "0"];
                let row = row.map(|value| Some(value.to_owned())).to_vec();
                self.engine.registration(&self.lab, placed, &[row]).join("\n")
            }
            ["inventory"] => self.engine.inventory().to_owned(),
            ["plan"] => {
                let plan = plan::up(&self.lab, self.engine.as_ref());
                plan.steps().map(|step| format!("{} {}\n", step.id, step.title)).collect()
            }
            ["build"] => {
                let build = self.engine.build(&self.lab).expect("it is built");
                format!("prefix {}\noptions {}\n{}", build.prefix, build.options.join(" "), build.script)
            }
            [path] => fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}")),
            _ => panic!("`{place}` is no place"),
        }
    }
}

fn content(files: Vec<GuestFile>, path: &str) -> String {
    let file = files.into_iter().find(|file| file.path == path).unwrap_or_else(|| panic!("there is no {path}"));
    match file.content {
        Content::Text(text) => text,
        Content::Link(target) => format!("-> {target}"),
        Content::Directory => String::new(),
    }
}

#[test]
fn no_line_is_left_out_or_there_twice() {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let others = tables(2).flat_map(|cells| numbers(cells[0]));
    for line in rows().into_iter().flat_map(|row| row.lines).chain(others) {
        *seen.entry(line).or_default() += 1;
    }
    let wrong: Vec<usize> = (1..=LINES).filter(|line| seen.remove(line) != Some(1)).collect();
    assert!(wrong.is_empty() && seen.is_empty(), "missing or twice: {wrong:?}; no lines of the document: {seen:?}");
}

#[test]
fn what_is_said_of_ours_is_there() {
    let made = Made::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in rows() {
        let places = expanded(&row.place);
        let same = row.ours == ["same"];
        for wanted in if same { &row.quotes } else { &row.ours } {
            let wanted = expanded(wanted);
            let pairs = wanted.len().max(places.len());
            assert!([1, pairs].contains(&wanted.len()) && [1, pairs].contains(&places.len()), "{row:?}");
            for index in 0..pairs {
                let (wanted, place) = (&wanted[index % wanted.len()], &places[index % places.len()]);
                let lines = texts
                    .entry(place.clone())
                    .or_insert_with(|| made.text(place).lines().map(plain).collect::<Vec<String>>());
                let wanted = plain(wanted);
                let there = |line: &String| if same { *line == wanted } else { line.contains(&wanted) };
                if !lines.iter().any(there) {
                    wrong.push(format!("{:?}: `{wanted}` is not in {place}", row.lines));
                }
            }
        }
        // What is not the same says why, unless only the way of writing differs.
        if !same && row.why.is_empty() && !is_written_otherwise(&row) {
            wrong.push(format!("{:?}: nothing tells why `{}` differs", row.lines, row.ours.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether ours is a value of lab.yaml, a statement without its `;`, or the content that an editor was opened for.
fn is_written_otherwise(row: &Row) -> bool {
    let bare = |text: &str| plain(text).trim_end_matches(';').to_owned();
    row.place == "lab.yaml"
        || row.ours.iter().all(|ours| row.quotes.iter().any(|quote| bare(quote) == bare(ours)))
        || row.quotes.iter().any(|quote| quote.starts_with("vi ") || quote.starts_with("su - "))
        || row.quotes.first().is_some_and(|quote| quote.starts_with("chkconfig ") || quote.starts_with("ln -s "))
}

#[test]
fn quotes_are_the_documents() {
    let Ok(document) = fs::read_to_string(DOCUMENT) else {
        eprintln!("the document is not at {DOCUMENT}: what the table quotes was not compared with it");
        return;
    };
    assert!(TABLE.contains(&digest::of_text(&document)), "the table was made from another document");
    let lines: Vec<&str> = document.lines().collect();
    assert_eq!(lines.len(), LINES);
    for row in rows() {
        let quotes: Vec<String> = row.quotes.iter().flat_map(|quote| expanded(quote)).collect();
        assert_eq!(row.lines.len() % quotes.len(), 0, "{row:?} quotes neither each line nor one for all");
        for (number, quote) in row.lines.iter().zip(quotes.iter().cycle()) {
            let line = plain(lines[number - 1]);
            assert!(line.contains(&plain(quote)), "line {number} is `{line}`, quoted as `{quote}`");
        }
    }
    // Each line that is none of the table's is no setting: those have a `=` and no `#`, `|` or `//` before it.
    for number in tables(2).flat_map(|cells| numbers(cells[0])) {
        let before = lines[number - 1].split('=').next().unwrap_or_default();
        let setting = lines[number - 1].contains('=') && !["#", "|", "//"].iter().any(|sign| before.contains(sign));
        assert!(!setting, "line {number} is a setting: {}", lines[number - 1]);
    }
}

#[test]
fn ranges() {
    assert_eq!(numbers("3, 5-7"), [3, 5, 6, 7]);
    assert_eq!(expanded("a{1..2} {8..9}"), ["a1 8", "a2 9"]);
    assert_eq!(expanded("${x}"), ["${x}"]);
    assert_eq!(codes("`a`<br>`` b`c` ``"), ["a", "b`c`"]);
}
