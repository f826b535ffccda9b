//! How failures are printed.

use super::{Colours, say, text};
use crate::error::Error;
use std::time::Duration;

/// Lines of evidence per failure: the end of a log tells most, and eight nodes may fail at once.
const EVIDENCE_LINES: usize = 20;

/// A step that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its id.
    pub step: String,
    /// Its node.
    pub node: Option<String>,
    /// Why.
    pub error: Error,
    /// How long it took to fail.
    pub took: Duration,
}

/// Prints an error that ends the program: `error: …`, its causes, `hint: …`.
pub fn print_error(error: &Error) {
    say(&error_text(error, Colours::of_stderr()));
}

/// Prints every failure of a run.
pub(super) fn print(failures: &[Failure], skipped: usize) {
    let colours = Colours::of_stderr();
    for failure in failures {
        say(&format!("\n{}", failure_text(failure, colours)));
    }
    if skipped > 0 {
        say(&format!("\n{} not run because of what failed", text::counted(skipped, "step")));
    }
}

fn error_text(error: &Error, colours: Colours) -> String {
    let mut lines = vec![format!("{} {}", colours.red("error:"), error.message())];
    lines.extend(cause_lines(error));
    lines.extend(hint_lines(error, colours));
    lines.join("\n")
}

fn failure_text(failure: &Failure, colours: Colours) -> String {
    let node = failure.node.as_deref().unwrap_or("host");
    let (step, took) = (&failure.step, text::seconds(failure.took));
    let mut lines = vec![format!("{} {node}: step `{step}` after {took}", colours.red("failed:"))];
    lines.push(format!("  {}", failure.error.message()));
    let evidence = cause_lines(&failure.error);
    let left_out = evidence.len().saturating_sub(EVIDENCE_LINES);
    if left_out > 0 {
        lines.push(format!("  … {} left out", text::counted(left_out, "earlier line")));
    }
    lines.extend(evidence.into_iter().skip(left_out));
    lines.extend(hint_lines(&failure.error, colours).map(|hint| format!("  {hint}")));
    lines.join("\n")
}

fn cause_lines(error: &Error) -> Vec<String> {
    error
        .causes()
        .iter()
        .flat_map(|cause| {
            let marks = std::iter::once("caused by: ").chain(std::iter::repeat("           "));
            cause.trim_end().lines().zip(marks).map(|(line, mark)| format!("  {mark}{line}"))
        })
        .collect()
}

fn hint_lines(error: &Error, colours: Colours) -> impl Iterator<Item = String> {
    error.hint_text().map(|hint| format!("{} {hint}", colours.cyan("hint:"))).into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;

    fn error() -> Error {
        Error::new(Class::Guest, "`db3` does not answer on port 22")
            .evidence("connection refused")
            .hint("pgxc-lab logs db3")
    }

    #[test]
    fn an_error_without_colours_is_its_display() {
        assert_eq!(error_text(&error(), Colours::Forbidden), format!("error: {}", error()));
    }

    #[test]
    fn colours_only_underline() {
        let text = error_text(&error(), Colours::Allowed);
        assert!(text.starts_with("\x1b[1;31merror:\x1b[0m `db3`"), "{text}");
    }

    #[test]
    fn a_failure_shows_the_end_of_its_evidence() {
        let log: Vec<String> = (1..=30).map(|number| format!("line {number}")).collect();
        let error = error().evidence(log.join("\n"));
        let failure =
            Failure { step: "db3/boot".into(), node: Some("db3".into()), error, took: Duration::from_secs(90) };
        let text = failure_text(&failure, Colours::Forbidden);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "failed: db3: step `db3/boot` after 1m 30s");
        assert_eq!(lines[1], "  `db3` does not answer on port 22");
        assert_eq!(lines[2], "  … 11 earlier lines left out");
        assert_eq!(lines[3], "             line 11");
        assert_eq!(lines[lines.len() - 1], "  hint: pgxc-lab logs db3");
        assert_eq!(lines.len(), 3 + EVIDENCE_LINES + 1);
    }
}
