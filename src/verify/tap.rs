//! A report as TAP, version 13: what `prove` and every other harness reads.

use super::{
    judgement::{Finding, Verdict, Weight},
    report::Report,
};

/// The whole report.
pub fn render(report: &Report) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", report.results.len() + report.undone.len());
    for (number, result) in (1..).zip(&report.results) {
        let word = if matches!(result.verdict, Verdict::Failed { .. }) { "not ok" } else { "ok" };
        let directive = match &result.verdict {
            Verdict::Skipped { because } => format!(" # SKIP {}", described(because)),
            _ => String::new(),
        };
        text.push_str(&format!("{word} {number} - {}: {}{directive}\n", result.id, described(&result.proves)));
        text.push_str(&format!("  ---\n  duration_ms: {}\n", result.took.as_millis()));
        if let findings @ [_, ..] = result.verdict.findings() {
            text.push_str("  findings:\n");
            findings.iter().for_each(|finding| text.push_str(&diagnostic(finding)));
        }
        text.push_str("  ...\n");
    }
    for finding in &report.left {
        text.push_str(&format!(
            "# could not be cleaned up: {}: {}; {}\n",
            described(&finding.place),
            described(&finding.seen),
            described(&finding.remedy)
        ));
    }
    if !report.undone.is_empty() {
        text.push_str("Bail out! interrupted\n");
    }
    text
}

/// A hash sign would begin a directive, a line end the next test.
fn described(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace('\\', "\\\\").replace('#', "\\#")
}

/// A finding in YAML; texts as JSON writes them, which YAML understands.
fn diagnostic(finding: &Finding) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let severity = match finding.weight {
        Weight::Wrong => "fail",
        Weight::Doubtful => "comment",
    };
    format!(
        "    - severity: {severity}\n      at: {}\n      expected: {}\n      got: {}\n      do: {}\n",
        quoted(&finding.place),
        quoted(&finding.expected),
        quoted(&finding.seen),
        quoted(&finding.remedy)
    )
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests, *};
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    #[test]
    fn tests_with_diagnostics() {
        let report = tests::report(vec![tests::passed(), tests::failed(), tests::skipped()]);
        assert_eq!(
            render(&report),
            "TAP version 13\n1..3\n\
             ok 1 - check-0: something <holds> & lasts\n  ---\n  duration_ms: 1250\n  ...\n\
             not ok 2 - check-1: something <holds> & lasts\n  ---\n  duration_ms: 1250\n  findings:\n    - severity: fail\n\
             \u{20}     at: \"datanode_2\"\n      expected: \"3 rows\"\n      got: \"2 rows\\n# of \\u0001 them\"\n      do: \"look <there>\"\n  ...\n\
             ok 3 - check-2: something <holds> & lasts # SKIP the lab has a single datanode\n  ---\n  duration_ms: 1250\n  ...\n"
        );
        assert_eq!(described("a # b\nc"), "a \\# b c");
    }

    #[test]
    fn an_interrupted_run_bails_out_and_tells_what_is_left() {
        let text = render(&tests::cut_short());
        assert!(text.starts_with("TAP version 13\n1..3\nok 1 - "), "{text}");
        let end = "# could not be cleaned up: the cluster: a <table>; drop it\nBail out! interrupted\n";
        assert!(text.ends_with(end), "{text}");
    }

    /// perl's own reader, which `prove` is made of.
    #[test]
    fn a_real_reader_reads_it() {
        let report = tests::report(vec![tests::passed(), tests::failed(), tests::skipped(), tests::warned()]);
        let script = "use TAP::Parser; local $/; my $p = TAP::Parser->new({tap => <STDIN>}); $p->run; \
                      print join(' ', scalar $p->passed, scalar $p->failed, scalar $p->skipped, $p->tests_planned, \
                      scalar $p->parse_errors);";
        let mut perl = Command::new("perl")
            .args(["-e", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("perl is there");
        perl.stdin.take().expect("a pipe").write_all(render(&report).as_bytes()).expect("it reads");
        let output = perl.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "3 1 1 4 0");
    }
}
