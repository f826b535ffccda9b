//! The section `checks`: what `verify` asks besides its own.

use super::{checker::Checker, nodes::Draft, scalars};
use crate::{
    config::{
        defaults,
        problem::Place,
        shape::CheckFile,
        typed::{Field, Placed},
    },
    lab::{Expected, NodeName, OwnAsk, OwnCheck, Role, Selector, has_database},
};
use std::time::Duration;

/// Checks all of them.
pub(super) fn checks(check: &mut Checker, list: &[Placed<CheckFile>], nodes: &[Draft]) -> Vec<OwnCheck> {
    check.unique("check", list.iter().filter_map(|item| item.value.name.0.clone()));
    list.iter().filter_map(|item| own(check, item.place, &item.value, nodes)).collect()
}

fn own(check: &mut Checker, place: Place, file: &CheckFile, nodes: &[Draft]) -> Option<OwnCheck> {
    let hint = "write `name: ` and a short name";
    let name: Option<NodeName> = check.required(&file.name, place, "a check", "name", hint);
    let hint = "write what must come out, or `expected: ''` for nothing";
    let expected: Option<Expected> = check.required(&file.expected, place, "a check", "expected", hint);
    let seconds = scalars::number::<u32>("a number of seconds", 1, 3600);
    let within = check.value(&file.within, defaults::WITHIN, seconds);
    let ask = ask(check, place, file);
    let on = ask.as_ref().and_then(|ask| on(check, &file.on, ask, nodes));
    Some(OwnCheck { name: name?, ask: ask?, on: on?, expected: expected?, within: Duration::from_secs(within?.into()) })
}

fn ask(check: &mut Checker, place: Place, file: &CheckFile) -> Option<OwnAsk> {
    let (field, ask): (_, fn(String) -> OwnAsk) = match (file.sql.value(), file.command.value()) {
        (Some(_), None) => (&file.sql, OwnAsk::Sql),
        (None, Some(_)) => (&file.command, OwnAsk::Command),
        (None, None) => {
            check.report(place, "a check asks nothing", "write `sql` or `command`");
            return None;
        }
        (Some(_), Some(_)) => {
            check.report(place, "a check has `sql` and `command`", "keep one of them, and write two checks for both");
            return None;
        }
    };
    check.value(field, "", said).map(ask)
}

fn said(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a check asks an empty line: write what is to be run".to_owned()),
        _ if text.contains('\0') => Err("a check asks with a NUL character: leave it out".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Which nodes are asked; some of those of SQL have a database.
fn on(check: &mut Checker, field: &Field<String>, ask: &OwnAsk, nodes: &[Draft]) -> Option<Selector> {
    // Names that are wrong were reported; nothing can be said about the right ones before all are.
    let known: Vec<(&str, Vec<Role>)> = nodes
        .iter()
        .map(|node| Some((node.name.as_ref()?.as_str(), node.roles.keys().copied().collect())))
        .collect::<Option<_>>()?;
    let default = match ask {
        OwnAsk::Sql(_) => Role::Coordinator.as_str(),
        OwnAsk::Command(_) => "all",
    };
    let place = field.place().unwrap_or(Place::START);
    let selector: Selector = check.parsed(field, default)?;
    let picked = match selector.pick_among(&known) {
        Ok(picked) => picked,
        Err(error) => {
            check.report(place, error.message(), error.hint_text().unwrap_or("name a node of this lab, or a role"));
            return None;
        }
    };
    let database = |name: &String| {
        let roles = known.iter().find(|(known, _)| known == name).map(|(_, roles)| roles.as_slice());
        has_database(roles.unwrap_or_default().iter())
    };
    if matches!(ask, OwnAsk::Sql(_)) && !picked.iter().any(database) {
        check.report(
            place,
            format!("no node of `{selector}` has a database for `sql`"),
            "choose coordinators or datanodes",
        );
        return None;
    }
    Some(selector)
}
