//! `scale` on its command line: what it refuses, it leaves alone. What it does is seen end to end.

use super::program::{run, text};
use std::fs;

const GTM: &str = "{name: db1, address: 192.168.122.171, roles: [gtm]}";
const DATA: &str = "{name: db2, address: 192.168.122.172, roles: [gtm_proxy, coordinator, datanode]}";
const MORE: &str = "{name: db3, address: 192.168.122.173, roles: [gtm_proxy, coordinator, datanode]}";

#[test]
fn what_is_refused_is_left_alone() {
    let list = format!("name: a\nnodes:\n  - {GTM}\n  - {DATA}\n");
    let three = format!("{list}  - {MORE}\n");
    let line = format!("name: a\nnodes: [{GTM}, {DATA}]\n");
    let long = format!("name: a\nnodes: [{GTM}, {DATA}, {MORE}]\n");
    for (file, arguments, code, words) in [
        (&line, &["add", "datanode"][..], 3, "roles: [gtm_proxy, datanode]\nhint: add these lines to `nodes`"),
        (&list, &["add", "gtm"], 3, "`gtm` is a role of `db1` and of `db3`"),
        (&list, &["add", "--ip", "10.0.0.1"], 3, "10.0.0.1"),
        (&list, &["add", "--name", "db2"], 3, "db2"),
        (&list, &["add", "elephant"], 2, "elephant"),
        (&list, &["remove", "db2"], 3, "the lab without these nodes would not be valid"),
        (&list, &["remove", "db1", "db2"], 2, "the GTM of lab `a` is on `db1`"),
        (&list, &["remove", "db9"], 2, "lab `a` has no node `db9`\nhint: it has db1, db2"),
        (&three, &["remove", "db2"], 2, "`datanode_2` on `db3` would become `datanode_1`"),
        (&long, &["remove", "db3"], 3, "  - name: db3\nhint: take these items"),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lab.yaml");
        fs::write(&path, file).expect("it is written");
        let arguments = [arguments, &["--file", path.to_str().expect("UTF-8")]].concat();
        let output = run(directory.path(), "scale", &arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
        assert_eq!(&fs::read_to_string(&path).expect("it is there"), file, "{arguments:?}");
    }
}

#[test]
fn of_a_lab_that_was_never_made_the_file_is_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lab.yaml");
    let list = format!("name: a\nnodes:\n  - {GTM}\n  - {DATA}\n");
    fs::write(&path, format!("{list}\n  # the third\n  - {MORE}\n# end\n")).expect("it is written");
    let output = run(directory.path(), "scale", &["remove", "db3", "--file", path.to_str().expect("UTF-8")]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains(&format!("\n-  - {MORE}\n")) && told.ends_with("only the file was changed\n"), "{told}");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), format!("{list}# end\n"));
}

#[test]
fn a_lab_without_its_file_cannot_be_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = run(directory.path(), "scale", &["add", "--lab", "a"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("names no file that could be changed"));
}
