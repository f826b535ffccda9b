//! Any YAML document as a tree with places and with every scalar as it was written.
//!
//! YAML libraries turn `0700` into 448 and `1.0` into 1; parameters go to PostgreSQL's own parser, so the text
//! itself is what counts. This is the only file that knows the YAML library.

use super::problem::{Place, Problem};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Location, NonFiniteFloatPolicy, Spanned};
use std::fmt;

/// A node of the document.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// Where it starts.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// The text of a scalar without quotes.
    Scalar(String),
    /// A sequence.
    List(Vec<Tree>),
    /// A mapping in the order of the file, duplicates included; keys are scalars.
    Map(Vec<(Tree, Tree)>),
}

impl Tree {
    /// A scalar.
    pub fn scalar(place: Place, text: String) -> Tree {
        Tree { place, value: Value::Scalar(text) }
    }

    /// The text of a scalar.
    pub fn text(&self) -> &str {
        match &self.value {
            Value::Scalar(text) => text,
            _ => "",
        }
    }
}

/// Reads a document.
pub(super) fn read(text: &str) -> Result<Tree, Problem> {
    let options = serde_yaml::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_yaml::from_str_with_options::<Option<Spanned<Raw>>>(text, options) {
        Ok(Some(raw)) => Ok(tree(raw, text)),
        Ok(None) => Ok(Tree { place: Place::START, value: Value::Null }),
        Err(error) => Err(syntax(&error, text)),
    }
}

/// The library's error as a problem: its place apart, the offending line quoted, a hint for the usual mistakes.
fn syntax(error: &serde_yaml::Error, text: &str) -> Problem {
    let place = error.location().map_or(Place::START, |location| at(&location));
    let message = error.without_snippet().to_string();
    let message = match error.location() {
        Some(location) => message.replace(&format!(" at line {}, column {}", location.line(), location.column()), ""),
        None => message,
    };
    let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    let indentation: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    let hint = if indentation.contains('\t') {
        "indent with spaces: YAML forbids tabs"
    } else {
        "check indentation, colons and quotes on this line and the one before"
    };
    Problem::new(place, format!("not YAML in `{}`: {message}", line.trim()), hint)
}

fn at(location: &Location) -> Place {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
    Place { line: number(location.line()), column: number(location.column()) }
}

/// What the library hands out; numbers and booleans are read again from the text.
enum Raw {
    Null,
    Plain(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn tree(raw: Spanned<Raw>, text: &str) -> Tree {
    let location = raw.referenced;
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Plain(fallback) => Value::Scalar(written(&raw.defined, text).unwrap_or(fallback)),
        Raw::Text(text) => Value::Scalar(text),
        Raw::List(items) => Value::List(items.into_iter().map(|item| tree(item, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (Tree::scalar(at(&key.referenced), key.value), tree(value, text)))
                .collect(),
        ),
    };
    Tree { place: at(&location), value }
}

/// The source text of a plain scalar; `None` when the place is not known or it is not a plain one (`!!int "5"`).
fn written(location: &Location, text: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let text = text.get(start..start + length)?.trim();
    let plain = !text.is_empty() && !text.starts_with(['"', '\'', '!', '&', '|', '>']);
    plain.then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_text_of_scalars() {
        let text = "été: 1\nvalues: [0700, 1.0, on, off, yes, true, 1_000, 0x10, 8GiB, '0.0.0.0', .5, 1e3, -7, ., ~, .inf, &a 0800, *a, \"5\", 1.0.2, !!str 007]\n";
        let Value::Map(entries) = read(text).expect("YAML").value else { panic!("a mapping") };
        let Value::List(items) = &entries[1].1.value else { panic!("a list") };
        let texts: Vec<&str> = items.iter().map(Tree::text).collect();
        let expected = [
            "0700", "1.0", "on", "off", "yes", "true", "1_000", "0x10", "8GiB", "0.0.0.0", ".5", "1e3", "-7", ".", "",
            ".inf", "0800", "0800", "5", "1.0.2", "007",
        ];
        assert_eq!(texts, expected);
        assert_eq!(items[1].place, Place { line: 2, column: 16 });
        assert_eq!(entries[1].0.place, Place { line: 2, column: 1 });
    }

    #[test]
    fn keeps_duplicates_and_odd_keys() {
        let Value::Map(entries) = read("on: 1\non: 2\n171: x\n").expect("YAML").value else { panic!("a mapping") };
        let keys: Vec<&str> = entries.iter().map(|(key, _)| key.text()).collect();
        assert_eq!(keys, ["on", "on", "171"]);
    }

    #[test]
    fn an_empty_document_is_null() {
        assert!(matches!(read("# nothing\n").expect("YAML").value, Value::Null));
    }
}
