//! A report as JUnit XML: what CI servers show.

use super::{
    judgement::{Finding, Verdict},
    report::{About, Report, Result as CheckResult},
    text,
};
use crate::error::{Class, Result, ResultExt};
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};
use std::{io, time::Duration};

/// The whole report.
///
/// # Errors
/// A mistake in pgxc-lab itself: it writes into memory.
pub fn render(report: &Report, about: &About) -> Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(&mut writer, report, about).or_error(Class::Internal, || "cannot write XML".into())?;
    let mut text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    text.push('\n');
    Ok(text)
}

fn write(writer: &mut Writer<Vec<u8>>, report: &Report, about: &About) -> io::Result<()> {
    let tally = report.tally();
    let count = |count: usize| count.to_string();
    let name = format!("pgxc-lab verify {}", about.lab);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let totals = [
        ("name", name),
        ("tests", count(report.results.len() + report.undone.len())),
        ("failures", count(tally.failed)),
        ("errors", count(report.undone.len())),
        ("skipped", count(tally.skipped)),
        ("time", seconds(report.took)),
    ];
    let attributes = || totals.iter().map(|(key, value)| (*key, value.as_str()));
    writer.create_element("testsuites").with_attributes(attributes()).write_inner_content(|writer| {
        writer.create_element("testsuite").with_attributes(attributes()).write_inner_content(|writer| {
            report.results.iter().try_for_each(|result| case(writer, result, about))?;
            report.undone.iter().try_for_each(|id| undone(writer, id, about))?;
            match report.left.as_slice() {
                [] => Ok(()),
                left => content(writer, "system-err", &[], &format!("could not be cleaned up:\n{}", words(left))),
            }
        })?;
        Ok(())
    })?;
    Ok(())
}

/// A check that an interruption came before.
fn undone(writer: &mut Writer<Vec<u8>>, id: &str, about: &About) -> io::Result<()> {
    let class = format!("{}.{}", about.lab, about.engine);
    let element = writer.create_element("testcase").with_attributes([("name", id), ("classname", class.as_str())]);
    element.write_inner_content(|writer| content(writer, "error", &[("message", "interrupted before it")], ""))?;
    Ok(())
}

fn case(writer: &mut Writer<Vec<u8>>, result: &CheckResult, about: &About) -> io::Result<()> {
    let class = format!("{}.{}", about.lab, about.engine);
    let took = seconds(result.took);
    let element = writer.create_element("testcase").with_attributes([
        ("name", result.id.as_str()),
        ("classname", class.as_str()),
        ("time", took.as_str()),
    ]);
    element.write_inner_content(|writer| {
        match &result.verdict {
            Verdict::Passed { saw } => content(writer, "system-out", &[], &format!("{}: {saw}", result.proves))?,
            Verdict::Skipped { because } => content(writer, "skipped", &[("message", because)], "")?,
            Verdict::Warned { findings } => content(writer, "system-out", &[], &words(findings))?,
            Verdict::Failed { findings } => {
                content(writer, "failure", &[("message", &result.proves), ("type", "wrong")], &words(findings))?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn content(writer: &mut Writer<Vec<u8>>, name: &str, attributes: &[(&str, &str)], text: &str) -> io::Result<()> {
    let clean: Vec<(&str, String)> = attributes.iter().map(|(key, value)| (*key, allowed(value))).collect();
    let element = writer.create_element(name).with_attributes(clean.iter().map(|(key, value)| (*key, value.as_str())));
    match text {
        "" => element.write_empty()?,
        text => element.write_text_content(BytesText::new(&allowed(text)))?,
    };
    Ok(())
}

fn words(findings: &[Finding]) -> String {
    findings.iter().map(text::of_finding).collect()
}

/// XML 1.0 has no way to write most control characters.
fn allowed(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests, *};
    use quick_xml::Reader;

    #[test]
    fn an_interrupted_run_keeps_what_it_has() {
        let about = About { lab: "two".into(), engine: "postgres-xc", suite: "full" };
        let xml = render(&tests::cut_short(), &about).expect("XML");
        for part in [
            "tests=\"3\" failures=\"0\" errors=\"2\"",
            "<testcase name=\"check-0\"",
            "<testcase name=\"check-9\" classname=\"two.postgres-xc\">",
            "<error message=\"interrupted before it\"/>",
            "<system-err>could not be cleaned up:\n        the cluster\n",
            "a &lt;table&gt;",
        ] {
            assert!(xml.contains(part), "{part} is missing in\n{xml}");
        }
    }

    #[test]
    fn cases_with_failures() {
        let report = tests::report(vec![tests::passed(), tests::failed(), tests::skipped(), tests::warned()]);
        let about = About { lab: "two".into(), engine: "postgres-xc", suite: "full" };
        let xml = render(&report, &about).expect("XML");
        let totals =
            "name=\"pgxc-lab verify two\" tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"5.400\"";
        for part in [
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
            &format!("<testsuites {totals}>"),
            &format!("<testsuite {totals}>"),
            "<testcase name=\"check-0\" classname=\"two.postgres-xc\" time=\"1.250\">",
            "<failure message=\"something &lt;holds&gt; &amp; lasts\" type=\"wrong\">        datanode_2\n",
            "# of \u{fffd} them",
            "<skipped message=\"the lab has a single datanode\"/>",
        ] {
            assert!(xml.contains(part), "{part} is missing in\n{xml}");
        }
        let mut reader = Reader::from_str(&xml);
        reader.config_mut().check_end_names = true;
        while !matches!(reader.read_event().expect("well-formed"), Event::Eof) {}
    }
}
