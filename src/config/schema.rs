//! lab.schema.json: what editors know about lab.yaml, made from the raw shape.

use super::{
    shape::LabFile,
    typed::{Entries, OneOrMany},
};
use crate::lab::EngineKind;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use std::borrow::Cow;

/// The JSON schema of lab.yaml, as it is checked in.
pub fn schema() -> String {
    let schema = SchemaSettings::draft07().for_deserialize().into_generator().into_root_schema_for::<LabFile>();
    format!("{:#}\n", schema.to_value())
}

/// The same with every reference resolved, for the check of keys.
pub(super) fn inlined() -> serde_json::Value {
    let settings = SchemaSettings::draft07().for_deserialize().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<LabFile>().to_value()
}

/// Stand-ins for scalars, which the raw shape keeps as texts: each is only a schema.
macro_rules! scalar {
    ($($name:ident: $schema:tt;)*) => {$(
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

scalar! {
    HostName: { "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" };
    SizeText: { "type": ["string", "integer"], "pattern": "^[0-9]+ *([KMGT](i?B)?|B)?$", "examples": ["8GiB", "512MiB"] };
    Cpus: { "type": "integer", "minimum": 1, "maximum": 255 };
    Port: { "type": "integer", "minimum": 1, "maximum": 65535 };
    Keep: { "type": "integer", "minimum": 1, "maximum": 10000 };
    Seconds: { "type": "integer", "minimum": 1, "maximum": 3600 };
    Flag: { "type": "boolean" };
    Text: { "type": ["string", "number", "boolean"] };
    Uid: { "type": "integer", "minimum": 1, "maximum": 60000 };
}

impl JsonSchema for Entries {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Entries".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } })
    }
}

impl JsonSchema for OneOrMany {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
    }
}

/// One engine or a list of them.
pub(super) fn engines(generator: &mut SchemaGenerator) -> Schema {
    let engine = generator.subschema_for::<EngineKind>();
    json_schema!({ "anyOf": [engine, { "type": "array", "items": engine, "minItems": 1 }] })
}
