//! A judgement that both engines share: components of a kind are alike.

use super::{
    judgement::{Finding, Findings, Judgement},
    seen::{Seen, Sight},
};
use std::collections::BTreeMap;

/// Compares answers of two columns, name and value, with the others of their kind: what more than half have is expected.
/// Questions are named `KIND/COMPONENT`.
pub(super) fn judge(seen: &Seen, remedy: &str) -> Judgement {
    let mut kinds: BTreeMap<&str, Vec<&Sight>> = BTreeMap::new();
    for sight in seen.all("") {
        kinds.entry(sight.key.split('/').next().unwrap_or_default()).or_default().push(sight);
    }
    let mut findings = Findings::default();
    let mut settings = 0;
    for sights in kinds.values() {
        let tables: Vec<BTreeMap<&str, &str>> = sights.iter().map(|sight| table(sight)).collect();
        let mut names: Vec<&str> = tables.iter().flat_map(|table| table.keys().copied()).collect();
        names.sort_unstable();
        names.dedup();
        settings += names.len();
        for name in names {
            let values: Vec<&str> =
                tables.iter().map(|table| table.get(name).copied().unwrap_or("(not set)")).collect();
            match most_common(&values) {
                Some(common) => {
                    for (sight, value) in sights.iter().zip(&values).filter(|(_, value)| **value != common) {
                        let expected = format!("{name} = {common}, as most");
                        findings.add(Finding::wrong(component(sight), expected, format!("{name} = {value}"), remedy));
                    }
                }
                None => {
                    let all: Vec<&str> = sights.iter().map(|sight| component(sight)).collect();
                    let each: Vec<String> =
                        all.iter().zip(&values).map(|(who, value)| format!("{value} on {who}")).collect();
                    let expected = format!("one value of {name}");
                    findings.add(Finding::wrong(all.join(", "), expected, each.join(", "), remedy));
                }
            }
        }
    }
    if seen.all("").any(|sight| sight.rows.is_empty()) {
        findings.add(Finding::wrong("the cluster", "settings", "none", remedy));
    }
    findings.or(format!("{settings} settings of {} components", seen.0.len()))
}

fn table(sight: &Sight) -> BTreeMap<&str, &str> {
    sight
        .rows
        .iter()
        .filter_map(|row| {
            let name = row.first().and_then(|name| name.as_deref())?;
            Some((name, row.get(1).and_then(|value| value.as_deref()).unwrap_or_default()))
        })
        .collect()
}

pub(super) fn component(sight: &Sight) -> &str {
    sight.key.rsplit('/').next().unwrap_or_default()
}

/// The value that more than half have.
fn most_common<'a>(values: &[&'a str]) -> Option<&'a str> {
    let count = |value: &str| values.iter().filter(|other| **other == value).count();
    values.iter().find(|value| count(value) * 2 > values.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_one_is_named_and_of_a_tie_all_are() {
        let sight = |key: &str, value: &str| Sight {
            key: key.into(),
            at: String::new(),
            rows: vec![vec![Some("port".into()), Some(value.into())]],
        };
        let places = |sights: Vec<Sight>| -> Vec<(String, String)> {
            let findings = judge(&Seen(sights), "look").err().unwrap_or_default().0;
            findings.into_iter().map(|finding| (finding.place, finding.seen)).collect()
        };
        let three = vec![sight("d/a", "1"), sight("d/b", "2"), sight("d/c", "1"), sight("c/x", "9")];
        assert_eq!(places(three), [("b".to_owned(), "port = 2".to_owned())]);
        let two = vec![sight("d/a", "1"), sight("d/b", "2")];
        assert_eq!(places(two), [("a, b".to_owned(), "1 on a, 2 on b".to_owned())]);
        assert!(places(vec![sight("d/a", "1"), sight("d/b", "1")]).is_empty());
    }
}
