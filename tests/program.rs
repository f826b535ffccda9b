//! The program under test, on its command line.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs a verb with a home of its own.
pub fn run(home: &Path, verb: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pgxc-lab"))
        .arg("--home")
        .arg(home)
        .arg(verb)
        .args(arguments)
        .env_remove("PGXC_LAB_FILE")
        .output()
        .expect("the binary of this crate runs")
}

/// What it wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
