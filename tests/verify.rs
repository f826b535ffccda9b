//! `verify` on the command line: its help, its exit codes, names that no check has.

use super::program::{run, text};
use std::{fs, path::Path, process::Output};

const LAB: &str = include_str!("labs/two.yaml");

fn verify(home: &Path, arguments: &[&str]) -> Output {
    run(home, "verify", arguments)
}

/// A lab that was up once, as its record tells.
fn recorded(home: &Path) {
    let directory = home.join("labs/two");
    fs::create_dir_all(&directory).expect("a directory");
    let record = serde_json::json!({
        "lab_yaml": LAB, "lab_file": "/nowhere/lab.yaml", "engine": "postgres-xc", "image": "debian-12",
        "proportion": 1_000_000, "uses": [], "accelerator": "tcg",
    });
    fs::write(directory.join("lab.json"), record.to_string()).expect("a record");
}

#[test]
fn help_tells_exit_codes_and_every_check() {
    let home = tempfile::tempdir().expect("a directory");
    let help = text(&verify(home.path(), &["--help"]).stdout);
    for part in [
        "EXIT CODES OF VERIFY\n  0  everything is right\n  1  a check failed\n  2  nothing could be checked",
        "\n  3  nothing failed, but there are warnings\n",
        "\n  hash        quick  rows by hash lie where Postgres-XC's hash puts them, and\n",
        "\nCHECKS\n  postgres-xc:\n",
        "\n  postgres-fdw:\n",
    ] {
        assert!(help.contains(part), "{part} is missing in\n{help}");
    }
    let readme = include_str!("../README.md");
    for (code, meaning) in pgxc_lab::verify::EXIT_CODES {
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "missing in README.md: {code}");
    }
}

#[test]
fn a_lab_that_is_not_up_cannot_be_checked() {
    let home = tempfile::tempdir().expect("a directory");
    let none = verify(home.path(), &["--lab", "two"]);
    assert_eq!(none.status.code(), Some(2));
    assert_eq!(text(&none.stderr), "error: lab `two` is not up\nhint: `pgxc-lab up` makes it\n");
    assert!(none.stdout.is_empty());
    recorded(home.path());
    let down = verify(home.path(), &["--lab", "two", "--suite", "full"]);
    assert_eq!(down.status.code(), Some(2));
    assert_eq!(text(&down.stderr), "error: lab `two` is not running\nhint: `pgxc-lab up` starts it\n");
}

#[test]
fn a_lab_that_is_half_restored_or_half_failed_over_is_not_checked() {
    let home = tempfile::tempdir().expect("a directory");
    recorded(home.path());
    let mark = home.path().join("labs/two/restoring");
    fs::write(&mark, "loaded").expect("a mark");
    let restoring = verify(home.path(), &["--lab", "two"]);
    assert_eq!(restoring.status.code(), Some(2));
    assert!(text(&restoring.stderr).starts_with("error: a restore of `loaded` did not end"));
    fs::remove_file(mark).expect("the mark");
    let path = home.path().join("labs/two/lab.json");
    let mut record: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("the record")).expect("JSON");
    record["failover"] = serde_json::json!({ "state": "begun", "gtm": "db1" });
    fs::write(&path, record.to_string()).expect("the record");
    let begun = text(&verify(home.path(), &["--lab", "two"]).stderr);
    assert!(begun.starts_with("error: a failover of the GTM"), "{begun}");
}

#[test]
fn an_unknown_check_is_refused_with_the_nearest_one() {
    let home = tempfile::tempdir().expect("a directory");
    recorded(home.path());
    let wrong = verify(home.path(), &["--lab", "two", "--only", "hsah"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(text(&wrong.stderr), "error: engine postgres-xc has no check `hsah`\nhint: did you mean `hash`?\n");
    let far = text(&verify(home.path(), &["--lab", "two", "--only", "hash,everything"]).stderr);
    assert!(far.contains("`everything`") && far.contains("known are `components`, `registered`"), "{far}");
    for line in [vec!["--suite", "slow"], vec!["--suite", "full", "--only", "hash"], vec!["--tap", "--json"]] {
        assert_eq!(verify(home.path(), &line).status.code(), Some(2), "{line:?}");
    }
}

#[test]
fn catalogues_have_names_of_one_kind_and_whole_descriptions() {
    use pgxc_lab::{lab::EngineKind, verify};
    for engine in [EngineKind::PostgresXc, EngineKind::PostgresFdw] {
        let mut ids: Vec<&str> = verify::catalogue(engine).map(|check| check.id).collect();
        assert!(
            ids.iter().all(|id| id.chars().all(|c| c.is_ascii_lowercase() || c == '-') && id.len() <= 12),
            "{ids:?}"
        );
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{ids:?}");
        for check in verify::catalogue(engine) {
            for words in [check.proves, check.how, check.expected] {
                assert!(!words.is_empty() && !words.ends_with('.'), "{}: {words}", check.id);
            }
            assert!(check.tables.iter().all(|table| table.name.starts_with("pgxc_lab_verify_")), "{}", check.id);
        }
    }
}
