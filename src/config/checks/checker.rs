//! Collects problems while values are read.

use crate::config::{
    defaults::Pairs,
    problem::{Place, Problem},
    shape::Texts,
    typed::{Entries, Field, OneOrMany, Placed},
};
use std::{fmt::Display, str::FromStr};

/// Reads values and keeps what is wrong with them.
///
/// Readers return `message: hint` as their error, like the types of [`crate::lab`].
pub(super) struct Checker<'p> {
    problems: &'p mut Vec<Problem>,
}

impl<'p> Checker<'p> {
    pub fn new(problems: &'p mut Vec<Problem>) -> Checker<'p> {
        Checker { problems }
    }

    /// Reports a broken rule.
    pub fn report(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(place, message, hint));
    }

    /// Reports what a reader said.
    pub fn refuse(&mut self, place: Place, error: &str) {
        let (message, hint) = error.rsplit_once(": ").unwrap_or((error, "see the comments in lab.yaml"));
        self.report(place, message, hint);
    }

    /// A value, or its default when it is not written; `None` when it is bad.
    pub fn value<T>(
        &mut self,
        field: &Field<String>,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.placed(field, default, read).map(|placed| placed.value)
    }

    /// The same with its place: the start of the file for a default.
    pub fn placed<T>(
        &mut self,
        field: &Field<String>,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let place = field.place().unwrap_or(Place::START);
        match read(field.value().map_or(default, String::as_str)) {
            Ok(value) => Some(Placed { place, value }),
            Err(error) => {
                self.refuse(place, &error);
                None
            }
        }
    }

    /// A value of a type that reads itself.
    pub fn parsed<T: FromStr<Err = String>>(&mut self, field: &Field<String>, default: &str) -> Option<T> {
        self.value(field, default, str::parse)
    }

    /// A value that must be written.
    pub fn required<T: FromStr<Err = String>>(
        &mut self,
        field: &Field<String>,
        owner: Place,
        owner_name: &str,
        key: &str,
        hint: &str,
    ) -> Option<T> {
        if field.value().is_none() {
            self.report(owner, format!("{owner_name} has no `{key}`"), hint);
            return None;
        }
        self.parsed(field, "")
    }

    /// The good ones of a list.
    pub fn list<T>(
        &mut self,
        field: &Field<Texts>,
        default: &[&str],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(items) = field.value() else {
            return default.iter().filter_map(|text| read(text).ok()).collect();
        };
        let mut good = Vec::new();
        for item in items {
            match read(&item.value) {
                Ok(value) => good.push(value),
                Err(error) => self.refuse(item.place, &error),
            }
        }
        good
    }

    /// A list of names that must differ.
    pub fn names<T>(
        &mut self,
        field: &Field<Texts>,
        default: &[&str],
        what: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.unique(what, field.value().into_iter().flatten().cloned());
        self.list(field, default, read)
    }

    /// One choice or several in order of preference, at least one.
    pub fn choices<T>(
        &mut self,
        field: &Field<OneOrMany>,
        default: &[&str],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let texts = field.0.clone().map(|placed| Placed {
            place: placed.place,
            value: match placed.value {
                OneOrMany::One(text) => vec![Placed { place: placed.place, value: text }],
                OneOrMany::Many(texts) => texts,
            },
        });
        if let Some(Placed { place, value }) = &texts
            && value.is_empty()
        {
            self.report(
                *place,
                "the list `[]` has no choice",
                format!("name one at least, such as `{}`", default.join("`, `")),
            );
        }
        self.names(&Field(texts), default, "choice", read)
    }

    /// Reports everything that is there twice.
    pub fn unique<T: PartialEq + Display>(&mut self, what: &str, items: impl IntoIterator<Item = Placed<T>>) {
        let mut seen: Vec<Placed<T>> = Vec::new();
        for item in items {
            match seen.iter().find(|known| known.value == item.value) {
                Some(Placed { place: Place { line, column }, value }) => {
                    let hint = format!("each must be different; the first is at {line}:{column}");
                    self.report(item.place, format!("{what} `{value}` is given twice"), hint);
                }
                None => seen.push(item),
            }
        }
    }

    /// Defaults with what the file changes (same key), adds (new key) and leaves out (no value), in this order.
    pub fn merged(
        &mut self,
        field: &Field<Entries>,
        defaults: Pairs,
        read: impl Fn(&str, &str) -> Result<(), String>,
    ) -> Vec<(String, Placed<String>)> {
        let own = |(key, value): &(&str, &str)| {
            ((*key).to_owned(), Placed { place: Place::START, value: (*value).to_owned() })
        };
        let mut all: Vec<(String, Placed<String>)> = defaults.iter().map(own).collect();
        let entries = field.value().map(|entries| entries.0.as_slice()).unwrap_or_default();
        let folded = entries.iter().map(|(key, _)| Placed { place: key.place, value: key.value.to_lowercase() });
        self.unique("key", folded);
        for (key, value) in entries {
            let name = key.value.to_lowercase();
            if let Err(error) = read(&name, value.value.as_deref().unwrap_or("0")) {
                self.refuse(key.place, &error);
                continue;
            }
            let position = all.iter().position(|(known, _)| *known == name);
            match (&value.value, position) {
                (Some(text), Some(position)) => all[position].1 = Placed { place: value.place, value: text.clone() },
                (Some(text), None) => all.push((name, Placed { place: value.place, value: text.clone() })),
                (None, Some(position)) => drop(all.remove(position)),
                (None, None) => {}
            }
        }
        all
    }
}
