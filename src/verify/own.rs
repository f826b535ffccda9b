//! The checks of lab.yaml: a query or a command, and what must come out.

use super::{
    check::Task,
    judgement::{Finding, Findings, Judgement},
    script::{Act, Script, Session},
    seen::Seen,
};
use crate::lab::{Expected, Lab, OwnAsk, OwnCheck, Role};

/// What stands before the names of the checks of lab.yaml on the command line.
pub const OWN: &str = "lab/";

/// The check as it is run: on all its nodes side by side.
pub fn task(check: &OwnCheck, lab: &Lab) -> Task {
    let expected = check.expected.clone();
    // lab.yaml may be ahead of the lab.
    let (places, stranger) = match check.places(lab) {
        Ok(places) => (places, None),
        Err(error) => (Vec::new(), Some(error.message().to_owned())),
    };
    let on = check.on.to_string();
    let what = match &check.ask {
        OwnAsk::Sql(sql) => sql,
        OwnAsk::Command(line) => line,
    };
    Task {
        id: format!("{OWN}{}", check.name),
        proves: format!("`{}` gives what lab.yaml expects", what.trim()),
        how: format!("on {}", if places.is_empty() { check.on.to_string() } else { places.join(", ") }),
        expected: expected.to_string(),
        skip: None,
        tables: &[],
        script: Script::default().together(places.iter().filter_map(|node| lane(check, lab, node))),
        judge: Box::new(move |seen| judge(&expected, &on, stranger.as_deref(), seen)),
        within: Some(check.within),
    }
}

/// SQL goes to the coordinator of a node, else to its datanode.
fn lane(check: &OwnCheck, lab: &Lab, name: &str) -> Option<Vec<super::script::Ask>> {
    let node = lab.node(name)?;
    Some(vec![match &check.ask {
        OwnAsk::Command(line) => {
            let role = node.roles.keys().next().copied().unwrap_or(Role::Gtm);
            Session { role, name: name.to_owned(), number: 0 }.ask(name, Act::Shell(line.clone()))
        }
        OwnAsk::Sql(sql) => {
            let servers = lab.components_of(node).into_iter();
            let server = servers.filter(|placed| matches!(placed.role, Role::Coordinator | Role::Datanode));
            // A session of its own: whatever it sets or opens ends with the check.
            Session::with(&server.max_by_key(|placed| placed.role)?).apart(1).sql(name, sql)
        }
    }])
}

fn judge(expected: &Expected, on: &str, stranger: Option<&str>, seen: &Seen) -> Judgement {
    let mut findings = Findings::default();
    if let Some(why) = stranger {
        findings.add(Finding::wrong(on, expected, why, "`pgxc-lab up` makes what lab.yaml says"));
    } else if seen.0.is_empty() {
        findings.add(Finding::wrong(on, expected, "no node of it has a database", "choose others in lab.yaml"));
    }
    for sight in seen.all("") {
        let text = sight.text();
        if !expected.fits(text.trim()) {
            let remedy = "this check is yours: see `checks` in lab.yaml";
            findings.add(Finding::wrong(&sight.key, expected, text.trim(), remedy));
        }
    }
    findings.or(format!("as expected on {} nodes", seen.0.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::fixture::smaller, verify::seen::Sight};
    use std::time::Duration;

    fn check(ask: OwnAsk, expected: &str) -> OwnCheck {
        OwnCheck {
            name: "rows".parse().expect("a name"),
            ask,
            on: "db-192-168-122-171,db-192-168-122-173".parse().expect("a selector"),
            expected: expected.parse().expect("an expectation"),
            within: Duration::from_secs(10),
        }
    }

    fn seen(rows: &[&str]) -> Seen {
        let rows = rows.iter().map(|row| row.split('|').map(|value| Some(value.to_owned())).collect()).collect();
        Seen(vec![Sight { key: "db1".into(), at: "coordinate_1".into(), rows }])
    }

    #[test]
    fn a_node_that_the_lab_does_not_have_is_no_success() {
        let lab = smaller(2);
        let own = OwnCheck { on: "db9".parse().expect("a selector"), ..check(OwnAsk::Sql("select 1".into()), "1") };
        assert!((task(&own, &lab).judge)(&Seen(Vec::new())).is_err());
    }

    #[test]
    fn after_a_failover_a_role_means_the_node_that_has_it_now() {
        let lab = smaller(2);
        let own = OwnCheck { on: "gtm".parse().expect("a selector"), ..check(OwnAsk::Command("true".into()), "") };
        assert_eq!(task(&own, &lab).how, "on db-192-168-122-171");
        let swapped = lab.with_gtm_on("db-192-168-122-172").expect("it has the standby");
        assert_eq!(task(&own, &swapped).how, "on db-192-168-122-172");
    }

    #[test]
    fn texts_and_patterns_are_held_against_the_answer() {
        let lab = smaller(2);
        for (expected, rows, right) in [
            ("100", vec!["100"], true),
            ("100", vec!["1000"], false),
            ("1|a\n2|b", vec!["1|a", "2|b"], true),
            ("", vec![], true),
            ("", vec!["1"], false),
            ("/^[0-9]+$/", vec!["77"], true),
            ("/^[0-9]+$/", vec!["seven"], false),
        ] {
            let task = task(&check(OwnAsk::Sql("select 1".into()), expected), &lab);
            assert_eq!((task.judge)(&seen(&rows)).is_ok(), right, "{expected} {rows:?}");
        }
    }

    #[test]
    fn sql_goes_to_databases_and_commands_to_nodes() {
        let lab = smaller(2);
        let places = |ask| {
            let task = task(&check(ask, "1"), &lab);
            let names: Vec<String> = task.script.0.iter().flatten().flatten().map(|ask| ask.at.name.clone()).collect();
            names.join(" ")
        };
        assert_eq!(places(OwnAsk::Sql("select 1".into())), "coordinate_1");
        assert_eq!(places(OwnAsk::Command("true".into())), "db-192-168-122-171 db-192-168-122-173");
    }
}
