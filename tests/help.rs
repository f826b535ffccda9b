//! Help, manual pages and completions: generated from the command line, true and readable on a narrow terminal.

use super::program::text;
use clap::{Command, CommandFactory, ValueEnum};
use pgxc_lab::{
    cli::{self, Arguments},
    error::Class,
};
use std::process::{self, Output};

/// Columns of the narrowest terminal that help is written for.
const COLUMNS: usize = 80;

fn pgxc_lab(arguments: &[&str]) -> Output {
    process::Command::new(env!("CARGO_BIN_EXE_pgxc-lab"))
        .args(arguments)
        .env_remove("COLUMNS")
        .output()
        .expect("the binary of this crate runs")
}

/// Every verb that a person sees, with the words that lead to it.
fn verbs() -> Vec<(Vec<String>, Command)> {
    fn collect(words: &[String], command: &Command, verbs: &mut Vec<(Vec<String>, Command)>) {
        verbs.push((words.to_vec(), command.clone()));
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
            let words = [words, &[verb.get_name().to_owned()]].concat();
            collect(&words, verb, verbs);
        }
    }
    let mut command = Arguments::command();
    command.build();
    let mut verbs = Vec::new();
    collect(&[], &command, &mut verbs);
    verbs
}

#[test]
fn help_fits_80_columns() {
    for (words, mut command) in verbs() {
        for help in [command.render_help(), command.render_long_help()] {
            for line in help.to_string().lines() {
                assert!(line.chars().count() <= COLUMNS, "`pgxc-lab {}` is too wide: {line}", words.join(" "));
            }
        }
    }
}

#[test]
fn the_binary_prints_help_as_data() {
    for arguments in [vec!["--help"], vec!["-h"], vec!["up", "--help"], vec!["help", "sql"], vec!["image", "--help"]] {
        let output = pgxc_lab(&arguments);
        assert!(output.status.success(), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}");
        let help = text(&output.stdout);
        assert!(help.lines().all(|line| line.chars().count() <= COLUMNS), "{help}");
        assert!(help.contains("EXAMPLES"), "{help}");
    }
}

#[test]
fn every_verb_has_an_example() {
    for (words, command) in verbs().into_iter().filter(|(words, _)| words.len() < 2) {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let name = [vec!["pgxc-lab".to_owned()], words].concat().join(" ");
        assert!(examples.starts_with("EXAMPLES\n") && examples.contains(&name), "{name}: {examples}");
    }
}

#[test]
fn every_verb_and_option_says_what_it_does() {
    for (words, command) in verbs() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty() && !about.ends_with('.'), "{words:?}: {about}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{words:?} {}", argument.get_id());
        }
    }
}

#[test]
fn exit_codes_and_variables_are_documented() {
    let help = text(&pgxc_lab(&["--help"]).stdout);
    for class in Class::ALL {
        assert!(help.contains(&format!("{:>3}  {}", class.exit_code(), class.meaning())), "{class:?}: {help}");
    }
    for variable in [cli::FILE_VARIABLE, cli::HOME_VARIABLE, "PGXC_SOURCE", "FLEX_SOURCE", "NO_COLOR"] {
        assert!(help.contains(variable), "{variable}: {help}");
    }
}

#[test]
fn hidden_verbs_stay_hidden() {
    let help = text(&pgxc_lab(&["--help"]).stdout);
    assert!(!help.contains("internal-host") && !help.contains("schema"), "{help}");
}

#[test]
fn a_wrong_command_line_has_its_exit_code() {
    for arguments in [vec!["fly"], vec!["up", "--fast"], vec!["exec"], vec!["sql", "-c", "SELECT 1", "-f", "a.sql"]] {
        let output = pgxc_lab(&arguments);
        assert_eq!(output.status.code(), Some(i32::from(Class::Usage.exit_code())), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{arguments:?}");
    }
}

#[test]
fn every_verb_has_a_manual_page() {
    let pages = cli::man_pages();
    for (words, _) in verbs() {
        let name = format!("{}.1", [vec!["pgxc-lab".to_owned()], words].concat().join("-"));
        let (_, page) = pages.iter().find(|(file, _)| *file == name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(page.contains(".TH ") && page.contains(".SH NAME"), "{name}");
    }
    let (first, page) = &pages[0];
    assert_eq!(first, "pgxc-lab.1");
    assert!(page.contains(".SH \"EXIT CODES\"") && page.contains(".SH \"ENVIRONMENT\""), "{page}");
}

#[test]
fn every_shell_has_completions() {
    for shell in clap_complete::Shell::value_variants() {
        let script = cli::completions(*shell);
        assert!(script.contains("pgxc-lab") && script.contains("destroy"), "{shell}");
    }
}

#[test]
fn the_readme_names_every_verb_and_exit_code() {
    let readme = include_str!("../README.md");
    for (words, _) in verbs() {
        let name = [vec!["pgxc-lab".to_owned()], words].concat().join(" ");
        assert!(readme.contains(&name), "`{name}` is missing in README.md");
    }
    for class in Class::ALL {
        let row = format!("| {} | {} |", class.exit_code(), class.meaning());
        assert!(readme.contains(&row), "missing in README.md: {row}");
    }
}
