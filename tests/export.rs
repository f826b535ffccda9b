//! What other tools make of exports: ssh reads its configuration, XML's reader the diagram, YAML's the inventory.

use super::program::{run, text};
use quick_xml::{Reader, events::Event};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

fn export(home: &Path, arguments: &[&str]) -> Output {
    run(home, "export", arguments)
}

#[test]
fn ssh_understands_its_configuration() {
    let directory = tempfile::tempdir().expect("a directory");
    let home = directory.path().join("my labs");
    let file = directory.path().join("lab.ssh");
    let written =
        export(&home, &["ssh-config", "--file", "tests/labs/two.yaml", "--out", file.to_str().expect("UTF-8")]);
    assert!(written.status.success(), "{}", text(&written.stderr));
    assert_eq!(text(&written.stdout), format!("{}\n", file.display()));
    for name in ["db2", "db2.sky-mobi.com"] {
        let seen = Command::new("ssh").arg("-G").arg("-F").arg(&file).arg(name).output().expect("ssh runs");
        assert!(seen.status.success(), "{}", text(&seen.stderr));
        let seen = text(&seen.stdout);
        let keys = home.join("labs/two/keys");
        for line in [
            "hostname db2".to_owned(),
            "user root".to_owned(),
            "port 22".to_owned(),
            "stricthostkeychecking true".to_owned(),
            "identitiesonly yes".to_owned(),
            format!("identityfile {}", keys.join("lab").display()),
            format!("userknownhostsfile \"{}\"", keys.join("known_hosts").display()),
            format!(
                "proxycommand {} --home \"{}\" --lab two forward --stdio %h:%p",
                env!("CARGO_BIN_EXE_pgxc-lab"),
                home.display()
            ),
        ] {
            // Versions differ in whether they show a path with quotes.
            let found = seen.lines().any(|known| known.replace('"', "") == line.replace('"', ""));
            assert!(found, "`{line}` is missing for {name} in\n{seen}");
        }
    }
    // Forty nodes, all of them in one pattern.
    let forty =
        export(&home, &["ssh-config", "--file", "tests/labs/forty.yaml", "--out", file.to_str().expect("UTF-8")]);
    assert!(forty.status.success(), "an export replaces an older one: {}", text(&forty.stderr));
    let last = Command::new("ssh").arg("-G").arg("-F").arg(&file).arg("db38").output().expect("ssh runs");
    assert!(text(&last.stdout).contains("--lab forty forward --stdio"), "{}", text(&last.stderr));
    let other = Command::new("ssh").arg("-G").arg("-F").arg(&file).arg("example.org").output().expect("ssh runs");
    assert!(!text(&other.stdout).contains("proxycommand"), "other hosts are left alone: {}", text(&other.stdout));
}

#[test]
fn every_diagram_is_xml_with_words() {
    let home = tempfile::tempdir().expect("a directory");
    for (file, nodes) in
        [("lab.yaml", 8), ("tests/labs/two.yaml", 2), ("tests/labs/four.yaml", 4), ("tests/labs/forty.yaml", 40)]
    {
        let drawn = export(home.path(), &["diagram", "--file", file]);
        assert!(drawn.status.success(), "{file}: {}", text(&drawn.stderr));
        let svg = text(&drawn.stdout);
        let mut reader = Reader::from_str(&svg);
        let (mut open, mut cards, mut titles, mut words) = (Vec::new(), 0, 0, String::new());
        loop {
            match reader.read_event().unwrap_or_else(|error| panic!("{file}: {error}")) {
                Event::Start(element) => {
                    let name = element.name().as_ref().to_owned();
                    titles += usize::from(name == "title");
                    open.push(name);
                }
                Event::Empty(element) => {
                    let class = element.try_get_attribute("class").expect("attributes");
                    cards += usize::from(class.is_some_and(|class| class.value.as_ref() == "card"));
                }
                Event::Text(inner) if open.last().is_some_and(|name| name == "desc") => {
                    words.push_str(&inner.into_inner());
                }
                Event::End(_) => drop(open.pop()),
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!((open.len(), cards, titles), (0, nodes, nodes + 1), "{file}");
        assert!(words.contains(&format!("{nodes} nodes in the network")), "{file}: {words}");
    }
}

/// `cargo run -- export diagram > docs/images/lab.svg` makes it anew.
#[test]
fn the_picture_in_the_readme_is_the_present_one() {
    let home = tempfile::tempdir().expect("a directory");
    let drawn = export(home.path(), &["diagram", "--file", "lab.yaml"]);
    assert!(
        text(&drawn.stdout) == fs::read_to_string("docs/images/lab.svg").expect("it is there"),
        "docs/images/lab.svg is stale"
    );
}

#[test]
fn passwords_lie_in_files_for_their_owner_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let lab = directory.path().join("lab.yaml");
    let two = include_str!("labs/two.yaml");
    fs::write(&lab, format!("{two}cluster: {{password: 'pass:word'}}\n")).expect("a file");
    let (lab, out) = (lab.to_str().expect("UTF-8"), directory.path().join("pgpass"));
    let out = out.to_str().expect("UTF-8");
    let written = export(directory.path(), &["pgpass", "--file", lab, "--out", out]);
    assert!(written.status.success(), "{}", text(&written.stderr));
    assert_eq!(fs::metadata(out).expect("it is there").permissions().mode() & 0o777, 0o600);
    let lines = fs::read_to_string(out).expect("it is there");
    assert!(lines.lines().any(|line| line == "127.0.0.1:1921:*:postgres:pass\\:word"), "{lines}");
    let shown = export(directory.path(), &["pgpass", "--file", lab]);
    assert!(text(&shown.stderr).contains("this holds a password"), "{}", text(&shown.stderr));

    // Without one in lab.yaml, the first `up` makes it.
    let none = export(directory.path(), &["pgpass", "--file", "tests/labs/two.yaml"]);
    assert_eq!(none.status.code(), Some(4), "{}", text(&none.stderr));
    assert!(none.stdout.is_empty() && text(&none.stderr).contains("hint: `pgxc-lab up` makes it"));
}

#[test]
fn a_lab_that_is_named_must_be_there() {
    let home = tempfile::tempdir().expect("a directory");
    let none = export(home.path(), &["hosts", "--lab", "gone"]);
    assert_eq!(none.status.code(), Some(4), "{}", text(&none.stderr));
    assert!(text(&none.stderr).contains("lab `gone` is not up"), "{}", text(&none.stderr));
}
