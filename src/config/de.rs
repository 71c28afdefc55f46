//! Deserialising the merged document, with the key's path in every error and text coerced to what the field wants.
//!
//! serde's own deserialisers lose the place (and `flatten` loses it twice), and variables and flags have only text: an
//! integer field takes `"5"` from the environment, but not from a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use super::problem::KeyPath;
use super::source::{self, Value};
use super::value::SECRET;

/// The merged document as a tree.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// A key with its value.
    Leaf(&'a Value),
    /// A section.
    Section(BTreeMap<&'a str, Node<'a>>),
}

/// Why a value doesn't fit, and whose.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) path: Option<KeyPath>,
    pub(super) reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Fault { path: None, reason: reason.to_string() }
    }
}

impl Fault {
    fn at(mut self, path: &KeyPath) -> Fault {
        self.path.get_or_insert_with(|| path.clone());
        self
    }
}

/// A deserialiser of one node.
pub(super) struct De<'a> {
    pub(super) node: &'a Node<'a>,
    pub(super) path: KeyPath,
    pub(super) secrets: &'a BTreeSet<KeyPath>,
}

impl<'a> De<'a> {
    fn value(&self) -> Option<&'a Value> {
        match self.node {
            Node::Leaf(value) => Some(value),
            Node::Section(_) => None,
        }
    }

    fn is_unset(&self) -> bool {
        self.value().is_some_and(Value::is_empty)
    }
}

/// Deserialises a value of no further path: the content of arrays, too.
struct DeValue<'a>(&'a Value);

fn wrong<'de, V: Visitor<'de>>(value: &Value, visitor: &V) -> Fault {
    let found = match value {
        Value::Text(text) | Value::Bare(text) => Unexpected::Str(text),
        Value::Integer(number) => Unexpected::Signed(*number),
        Value::Float(number) => Unexpected::Float(*number),
        Value::Boolean(flag) => Unexpected::Bool(*flag),
        Value::Array(_) => Unexpected::Seq,
        Value::Table(_) => Unexpected::Map,
    };
    de::Error::invalid_type(found, visitor)
}

macro_rules! coerced {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            if let Value::Bare(text) = self.0 {
                match source::parse_value(text) {
                    Some(Value::Integer(number)) => return visitor.visit_i64(number),
                    Some(Value::Float(number)) => return visitor.visit_f64(number),
                    Some(Value::Boolean(flag)) => return visitor.visit_bool(flag),
                    _ => return Err(wrong(self.0, &visitor)),
                }
            }
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for DeValue<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Text(text) | Value::Bare(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(flag) => visitor.visit_bool(*flag),
            Value::Array(values) => visitor.visit_seq(de::value::SeqDeserializer::new(values.iter().map(DeValue))),
            Value::Table(entries) => visitor.visit_map(de::value::MapDeserializer::new(
                entries.iter().map(|(key, value)| (key.as_str(), DeValue(value))),
            )),
        }
    }

    coerced! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Bare(text) => match source::parse_value(text) {
                Some(array @ Value::Array(_)) => DeValue(&array).deserialize_any(visitor),
                _ => Err(de::Error::custom("has to be an array in TOML's syntax, such as [\"a\", \"b\"]")),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Text(text) | Value::Bare(text) => {
                let variant: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                visitor.visit_enum(variant)
            }
            Value::Table(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.as_str(), DeValue(value)));
                visitor.visit_enum(MapAccessDeserializer::new(de::value::MapDeserializer::new(entries)))
            }
            other => Err(wrong(other, &visitor)),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Fault> for DeValue<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The entries of a section, each with its path.
struct Entries<'a, I> {
    rest: I,
    next: Option<(&'a str, &'a Node<'a>)>,
    path: &'a KeyPath,
    secrets: &'a BTreeSet<KeyPath>,
}

impl<'de, 'a, I: Iterator<Item = (&'a str, &'a Node<'a>)>> de::MapAccess<'de> for Entries<'a, I> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.next = self.rest.next();
        let Some((key, _)) = self.next else { return Ok(None) };
        let name: StrDeserializer<'_, Fault> = key.into_deserializer();
        seed.deserialize(name).map(Some).map_err(|fault| fault.at(&self.path.child(key)))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.next.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = self.path.child(key);
        seed.deserialize(De { node, path: path.clone(), secrets: self.secrets }).map_err(|fault| fault.at(&path))
    }
}

macro_rules! delegated {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match self.value() {
                Some(value) => DeValue(value).$method(visitor),
                None => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            Node::Leaf(value) => DeValue(value).deserialize_any(visitor),
            Node::Section(entries) => {
                let rest = entries.iter().map(|(key, node)| (*key, node));
                visitor
                    .visit_map(Entries { rest, next: None, path: &self.path, secrets: self.secrets })
                    .map_err(|fault| fault.at(&self.path))
            }
        }
    }

    delegated! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_seq
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_unset() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name == SECRET && !self.secrets.contains(&self.path) {
            let key = self.path.last();
            return Err(de::Error::custom(format!(
                "is a secret, but the defaults have no `{key}-file` beside it, so it would be shown and taken from a file"
            )));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.node {
            Node::Leaf(value) => DeValue(value).deserialize_enum(name, variants, visitor),
            Node::Section(entries) => {
                let rest = entries.iter().map(|(key, node)| (*key, node));
                let entries = Entries { rest, next: None, path: &self.path, secrets: self.secrets };
                visitor.visit_enum(MapAccessDeserializer::new(entries))
            }
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}
