//! The sections `nightly` and `notify`.

use super::{checker::Checker, scalars};
use crate::{
    config::{
        defaults,
        problem::Place,
        shape::{NightlyFile, NotifyFile},
        typed::OneOrMany,
    },
    lab::{Nightly, Notify},
};

/// Checks both.
pub(super) fn nightly(check: &mut Checker, nightly: &NightlyFile, notify: &NotifyFile) -> Option<Nightly> {
    let keep = check.value(&nightly.keep, defaults::KEEP, scalars::number::<u32>("a number of runs", 1, 10000));
    let command = match &notify.command.0 {
        Some(placed) => command(check, placed.place, &placed.value).map(Some),
        None => Some(None),
    };
    let webhook = match &notify.webhook.0 {
        Some(_) => check.value(&notify.webhook, "", url).map(Some),
        None => Some(None),
    };
    Some(Nightly { keep: usize::try_from(keep?).ok()?, notify: Notify { command: command?, webhook: webhook? } })
}

/// A program with its arguments; a single text is a line for the shell.
fn command(check: &mut Checker, place: Place, value: &OneOrMany) -> Option<Vec<String>> {
    let words = match value {
        OneOrMany::One(line) => vec!["sh".to_owned(), "-c".to_owned(), line.clone()],
        OneOrMany::Many(words) => words.iter().map(|word| word.value.clone()).collect(),
    };
    let empty = match value {
        OneOrMany::One(line) => line.trim().is_empty(),
        OneOrMany::Many(words) => words.first().is_none_or(|program| program.value.trim().is_empty()),
    };
    if empty {
        check.report(place, "`command` names no program", "write one, or take the line out to tell nobody");
        return None;
    }
    if words.iter().any(|word| word.contains('\0')) {
        check.report(place, "`command` holds a NUL character", "no program can be given one");
        return None;
    }
    Some(words)
}

fn url(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a URL for a webhook: write one that begins with `https` or `http`")),
    }
}
