//! Compares a document with the schema: unknown keys, keys given twice, values of the wrong kind.
//!
//! Whatever is wrong is reported and taken out, so that the rest can still be read and checked.

use super::{
    document::{Tree, Value},
    problem::{Place, Problem},
    schema, suggest,
};
use serde_json::Value as Json;
use std::collections::HashMap;

/// Takes out what the shape of lab.yaml does not know.
pub(super) fn prune(tree: &mut Tree, problems: &mut Vec<Problem>) {
    let schema = schema::inlined();
    if matches!(tree.value, Value::Null) {
        tree.value = Value::Map(Vec::new());
    }
    if !fits(tree, "lab.yaml", &schema, problems) {
        tree.value = Value::Map(Vec::new());
    }
}

/// Whether a node has a kind that the schema allows; what is below it is pruned on the way.
fn fits(tree: &mut Tree, name: &str, schema: &Json, problems: &mut Vec<Problem>) -> bool {
    let kind = match &tree.value {
        Value::Null => "null",
        Value::Scalar(_) => "scalar",
        Value::List(_) => "array",
        Value::Map(_) => "object",
    };
    let Some(schema) = alternatives(schema).into_iter().find(|alternative| allows(alternative, kind)) else {
        problems.push(wrong_kind(tree, name, schema));
        return false;
    };
    match &mut tree.value {
        Value::List(items) => {
            let items_schema = &schema["items"];
            items.retain_mut(|item| fits(item, &format!("an item of {name}"), items_schema, problems));
        }
        Value::Map(entries) => prune_map(entries, name, schema, problems),
        Value::Null | Value::Scalar(_) => {}
    }
    true
}

fn prune_map(entries: &mut Vec<(Tree, Tree)>, name: &str, schema: &Json, problems: &mut Vec<Problem>) {
    let known: Vec<&str> =
        schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let free = Some(&schema["additionalProperties"]).filter(|schema| schema.is_object());
    let mut seen: HashMap<String, Place> = HashMap::new();
    entries.retain_mut(|(key, value)| {
        let text = key.text();
        if let Some(first) = seen.get(text) {
            let (line, column) = (first.line, first.column);
            let hint = format!("keep one of them: the first is at {line}:{column}");
            problems.push(Problem::new(key.place, format!("key `{text}` is given twice in {name}"), hint));
            // It goes, but what is wrong inside it is told as well.
            if let Some(schema) = schema["properties"].get(text) {
                fits(value, &format!("`{text}`"), schema, problems);
            }
            return false;
        }
        seen.insert(text.to_owned(), key.place);
        let Some(value_schema) = schema["properties"].get(text).or(free) else {
            let hint = suggest::hint(text, &known);
            problems.push(Problem::new(key.place, format!("unknown key `{text}` in {name}"), hint));
            return false;
        };
        if matches!(value.value, Value::Null) {
            // An empty value stands where its key stands: its own place is the next line.
            value.place = key.place;
        }
        fits(value, &format!("`{text}`"), value_schema, problems)
    });
}

/// The schemas of which one must hold.
fn alternatives(schema: &Json) -> Vec<&Json> {
    for combination in ["anyOf", "oneOf", "allOf"] {
        if let Some(list) = schema[combination].as_array() {
            return list.iter().flat_map(alternatives).collect();
        }
    }
    vec![schema]
}

/// A section may be empty (all its lines commented out); other values may not, unless the schema says so.
fn allows(schema: &Json, kind: &str) -> bool {
    types(schema).into_iter().any(|allowed| match allowed {
        "object" => kind == "object" || kind == "null" && schema["properties"].is_object(),
        "array" | "null" => kind == allowed,
        _ => kind == "scalar",
    })
}

fn types(schema: &Json) -> Vec<&str> {
    match &schema["type"] {
        Json::Array(list) => list.iter().filter_map(Json::as_str).collect(),
        Json::String(one) => vec![one],
        _ if schema["properties"].is_object() => vec!["object"],
        // An enumeration of constants.
        _ => vec!["string"],
    }
}

fn wrong_kind(tree: &Tree, name: &str, schema: &Json) -> Problem {
    let wanted: Vec<&str> = alternatives(schema).into_iter().flat_map(types).collect();
    let wants = |kind: &str| wanted.contains(&kind);
    let wanted = match (wants("object"), wants("array")) {
        (true, _) => "a mapping: indented lines `key: value`",
        (_, true) => "a list: `[first, second]`, or `- item` lines",
        _ => "a single value",
    };
    let message = match &tree.value {
        Value::Null => format!("{name} has no value"),
        Value::Scalar(text) => format!("{name} cannot be the single value `{text}`"),
        Value::List(_) => format!("{name} cannot be a list"),
        Value::Map(_) => format!("{name} cannot be a mapping"),
    };
    let hint = match &tree.value {
        Value::Null => format!("write {wanted}; or take the line out, which means its default"),
        _ => format!("write {wanted}"),
    };
    Problem::new(tree.place, message, hint)
}
