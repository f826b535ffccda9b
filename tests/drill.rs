//! `drill` and `fault` on the command line: lists, exit codes, names that nothing has.

use super::program::{run, text};
use std::{fs, path::Path};

const LAB: &str = include_str!("labs/two.yaml");

/// A lab that was up once, with a journal that tells of a fault.
fn recorded(home: &Path) {
    let directory = home.join("labs/two");
    fs::create_dir_all(directory.join("keys")).expect("a directory");
    let record = serde_json::json!({
        "lab_yaml": LAB, "lab_file": "/nowhere/lab.yaml", "engine": "postgres-fdw", "image": "debian-12",
        "proportion": 1_000_000, "uses": [], "accelerator": "tcg",
    });
    fs::write(directory.join("lab.json"), record.to_string()).expect("a record");
    fs::write(directory.join("keys/password"), "secret\n").expect("a password");
    let journal = "{\"at\":1,\"entry\":\"broken\",\"fault\":{\"fault\":\"pause\",\"node\":\"db2\"}}\n\
                   {\"at\":2,\"entry\":\"broken\",\"fault\":{\"fault\":\"stall-nfs\"}}\n\
                   {\"at\":3,\"entry\":\"mended\",\"fault\":{\"fault\":\"stall-nfs\"}}\n";
    fs::write(directory.join("journal.jsonl"), journal).expect("a journal");
}

#[test]
fn drills_are_listed_with_or_without_a_lab() {
    let home = tempfile::tempdir().expect("a directory");
    let all = run(home.path(), "drill", &["list", "--lab", "two"]);
    assert_eq!(all.status.code(), Some(0));
    let all = text(&all.stdout);
    for drill in pgxc_lab::drill::CATALOGUE {
        assert!(all.contains(&format!("\n{}", drill.name)), "{all}");
    }
    assert!(!all.contains("not here"), "without a lab nothing is known: {all}");
    recorded(home.path());
    let here = text(&run(home.path(), "drill", &["list", "--lab", "two"]).stdout);
    let line = here.lines().find(|line| line.starts_with("gtm-killed")).expect("the drill");
    assert!(line.ends_with("(not here: it is about what this engine does not have)"), "{line}");
}

#[test]
fn nothing_to_run_has_an_exit_code_of_its_own() {
    let home = tempfile::tempdir().expect("a directory");
    let none = run(home.path(), "drill", &["run", "--all", "--lab", "two"]);
    assert_eq!(none.status.code(), Some(2));
    assert_eq!(text(&none.stderr), "error: lab `two` is not up\nhint: `pgxc-lab up` makes it\n");
    recorded(home.path());
    let wrong = run(home.path(), "drill", &["run", "gtm-kiled", "--lab", "two"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("`gtm-killed`"), "{}", text(&wrong.stderr));
    let down = run(home.path(), "drill", &["run", "clock-skewed", "--lab", "two"]);
    assert_eq!(down.status.code(), Some(2));
    assert!(text(&down.stderr).starts_with("error: lab `two` is not healthy\n"), "{}", text(&down.stderr));
    let readme = include_str!("../README.md");
    for (code, meaning) in pgxc_lab::drill::report::EXIT_CODES {
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "missing in README.md: {code}");
    }
    for drill in pgxc_lab::drill::CATALOGUE {
        assert!(readme.contains(&format!("| `{}` |", drill.name)), "missing in README.md: {}", drill.name);
    }
}

#[test]
fn a_lab_on_the_machine_itself_is_refused_before_anything_is_touched() {
    let home = tempfile::tempdir().expect("a directory");
    recorded(home.path());
    let path = home.path().join("labs/two/lab.json");
    let record = fs::read_to_string(&path).expect("the record").replace("name: two", "host: system\\nname: two");
    fs::write(&path, record).expect("the record");
    for (verb, words) in [("drill", &["run", "clock-skewed"][..]), ("fault", &["pause", "db2"])] {
        let refused = run(home.path(), verb, &[words, &["--lab", "two"]].concat());
        assert_eq!(refused.status.code(), Some(2));
        let told = text(&refused.stderr);
        assert!(told.starts_with("error: nothing is broken on purpose in a lab of `host: system`\nhint: "), "{told}");
    }
}

#[test]
fn what_is_broken_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    let none = run(home.path(), "fault", &["list", "--lab", "two"]);
    assert_eq!(none.status.code(), Some(4));
    recorded(home.path());
    assert_eq!(text(&run(home.path(), "fault", &["list", "--lab", "two"]).stdout), "FAULT\npause db2\n");
    let status = text(&run(home.path(), "status", &["--lab", "two"]).stdout);
    assert!(status.contains("! broken on purpose: pause db2: `pgxc-lab fault mend` mends it\n"), "{status}");
    let wrong = run(home.path(), "fault", &["pause", "db9", "--lab", "two"]);
    assert_eq!(wrong.status.code(), Some(2));
}
