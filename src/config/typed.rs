//! From the tree to Rust types, with the place of every value: a serde deserializer over [`Tree`].

use super::{
    document::{Tree, Value},
    problem::{Place, Problem},
    shape::LabFile,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
    value::{Error, MapDeserializer, SeqDeserializer},
};
use std::{borrow::Cow, fmt, marker::PhantomData};

/// The raw shape of a document whose keys were checked before.
pub(super) fn from_tree(tree: Tree) -> Result<LabFile, Problem> {
    let place = tree.place;
    LabFile::deserialize(tree)
        .map_err(|error| Problem::new(place, error.to_string(), "compare the file with lab.schema.json"))
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub place: Place,
    pub value: T,
}

/// A key that may be left out.
#[derive(Clone, Debug)]
pub(super) struct Field<T>(pub Option<Placed<T>>);

impl<T> Default for Field<T> {
    fn default() -> Field<T> {
        Field(None)
    }
}

impl<T> Field<T> {
    /// Its value.
    pub fn value(&self) -> Option<&T> {
        self.0.as_ref().map(|placed| &placed.value)
    }

    /// Where it stands.
    pub fn place(&self) -> Option<Place> {
        self.0.as_ref().map(|placed| placed.place)
    }
}

impl<T: Clone + Default> Field<T> {
    /// Its value or an empty one: for sections, whose keys have their own defaults.
    pub fn section(&self) -> T {
        self.value().cloned().unwrap_or_default()
    }
}

/// One text or a list of them.
#[derive(Clone, Debug)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<Placed<String>>),
}

/// A mapping with free keys, in the order of the file; `None`: the key was given no value.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries(pub Vec<(Placed<String>, Placed<Option<String>>)>);

/// Name under which [`Placed`] asks this deserializer for a place.
const PLACED: &str = "pgxc_lab::config::Placed";

impl<'de> IntoDeserializer<'de, Error> for Tree {
    type Deserializer = Tree;

    fn into_deserializer(self) -> Tree {
        self
    }
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Scalar(text) => visitor.visit_string(text),
            Value::List(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter())),
            Value::Map(entries) => visitor.visit_map(MapDeserializer::new(entries.into_iter())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == PLACED {
            visitor.visit_seq(PlacedAccess { numbers: vec![self.place.column, self.place.line], tree: Some(self) })
        } else {
            self.deserialize_any(visitor)
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple map struct enum identifier ignored_any
    }
}

/// Hands out line, column and value, in this order.
struct PlacedAccess {
    numbers: Vec<usize>,
    tree: Option<Tree>,
}

impl<'de> SeqAccess<'de> for PlacedAccess {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if let Some(number) = self.numbers.pop() {
            return seed.deserialize(number.into_deserializer()).map(Some);
        }
        self.tree.take().map(|tree| seed.deserialize(tree)).transpose()
    }
}

struct PlacedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PlacedVisitor<T> {
    type Value = Placed<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Placed<T>, A::Error> {
        let missing = |at| de::Error::invalid_length(at, &"line, column and value");
        let line = access.next_element()?.ok_or_else(|| missing(0))?;
        let column = access.next_element()?.ok_or_else(|| missing(1))?;
        let value = access.next_element()?.ok_or_else(|| missing(2))?;
        Ok(Placed { place: Place { line, column }, value })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Placed<T>, D::Error> {
        deserializer.deserialize_tuple_struct(PLACED, 3, PlacedVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
        Option::deserialize(deserializer).map(Field)
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<OneOrMany, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(access)).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Places are not part of the file: the schema is that of the value.
macro_rules! schema_of_value {
    ($type:ident) => {
        impl<T: JsonSchema> JsonSchema for $type<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }

            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    };
}

schema_of_value!(Placed);
schema_of_value!(Field);
