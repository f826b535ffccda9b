//! A report for a person: one line per check, and under a line what was found.

use super::{
    judgement::{Finding, Verdict, Weight},
    report::{Report, Result},
};
use crate::ui;

/// How the lines are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Width of the longest name.
    pub width: usize,
    /// Whether a check that passed tells what it saw.
    pub detail: Detail,
}

/// How much a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What the check proves.
    Claim,
    /// Also what it saw.
    Sight,
}

/// The line above all.
pub fn header(layout: Layout) -> String {
    line(layout, "", "CHECK", "TIME", "PROVES")
}

fn line(layout: Layout, verdict: &str, id: &str, took: &str, proves: &str) -> String {
    format!("{verdict:<4}  {id:<width$}  {took:>6}  {proves}", width = layout.width).trim_end().to_owned() + "\n"
}

/// One check.
pub fn result(result: &Result, layout: Layout) -> String {
    let took = match result.verdict {
        Verdict::Skipped { .. } => "-".to_owned(),
        _ => ui::seconds(result.took),
    };
    let mut text = line(layout, result.verdict.word(), &result.id, &took, &result.proves);
    match &result.verdict {
        Verdict::Skipped { because } => text.push_str(&format!("        not here: {because}\n")),
        Verdict::Passed { saw } if layout.detail == Detail::Sight => text.push_str(&format!("        saw: {saw}\n")),
        verdict => verdict.findings().iter().for_each(|finding| text.push_str(&of_finding(finding))),
    }
    text
}

/// What was found, over several lines.
pub fn of_finding(finding: &Finding) -> String {
    let word = match finding.weight {
        Weight::Wrong => "",
        Weight::Doubtful => " (warning)",
    };
    let mut text = format!("        {}{word}\n", finding.place);
    for (what, words) in [("expected", &finding.expected), ("saw", &finding.seen), ("do", &finding.remedy)] {
        let words = if words.is_empty() { "(nothing)" } else { words.as_str() };
        for (number, line) in words.lines().enumerate() {
            let what = if number == 0 { format!("{what}:") } else { String::new() };
            text.push_str(&format!("          {what:<9} {line}\n"));
        }
    }
    text
}

/// The last line.
pub fn footer(report: &Report) -> String {
    let tally = report.tally();
    let mut parts = vec![format!("{} passed", tally.passed)];
    let undone = report.undone.len();
    for (count, what) in
        [(tally.warned, "with warnings"), (tally.failed, "failed"), (tally.skipped, "skipped"), (undone, "not done")]
    {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let mut text = format!("{} in {}\n", parts.join(", "), ui::seconds(report.took));
    if !report.left.is_empty() {
        text.push_str("could not be cleaned up:\n");
        report.left.iter().for_each(|finding| text.push_str(&of_finding(finding)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests, *};

    #[test]
    fn a_failure_tells_where_what_and_what_to_do() {
        let report = tests::report(vec![tests::passed(), tests::failed(), tests::skipped(), tests::warned()]);
        let layout = Layout { width: 8, detail: Detail::Claim };
        let lines: String = report.results.iter().map(|one| result(one, layout)).collect();
        let claim = "something <holds> & lasts";
        assert_eq!(
            format!("{}{lines}{}", header(layout), footer(&report)),
            format!(
                "      CHECK       TIME  PROVES\n\
                 ok    check-0     1.3s  {claim}\n\
                 FAIL  check-1     1.3s  {claim}\n        datanode_2\n          expected: 3 rows\n          saw:      2 rows\n\
                 \u{20}                   # of \u{1} them\n          do:       look <there>\n\
                 skip  check-2        -  {claim}\n        not here: the lab has a single datanode\n\
                 warn  check-3     1.3s  {claim}\n        one (warning)\n          expected: nothing\n          saw:      something\n\
                 \u{20}         do:       wait\n\
                 1 passed, 1 with warnings, 1 failed, 1 skipped in 5.4s\n"
            )
        );
        let detailed = result(&report.results[0], Layout { width: 8, detail: Detail::Sight });
        assert!(detailed.ends_with("lasts\n        saw: all\n"), "{detailed}");
    }
}
