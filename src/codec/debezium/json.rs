//! Envelopes, keys and rows from JSON, with or without the schema beside the payload, in one pass.
//!
//! Why visitors by hand: the image's text, the fingerprint of its columns and the check for names that occur twice come
//! from the same pass over the bytes, nothing is built that is thrown away, and no error quotes a value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::columns::Names;
use super::parts::{Part, Parts};
use super::row::{Key, Row};
use super::source::{Scalar, Source, SourceBuilder, SourceField};
use crate::codec::json::describe;
use crate::codec::{DecodeError, Limits};

/// Marks error texts of our own, which are safe to show; serde's quote values.
const OWN: &str = "\u{1}";

/// An envelope, and the text of its schema if it came with one.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) schema: Option<&'a str>,
    /// `None` is a null payload.
    pub(super) parts: Option<Parts>,
}

/// A value's bytes as an envelope.
pub(super) fn envelope<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Envelope<'a>, DecodeError> {
    let text = utf8(bytes)?;
    read(text, EnvelopeSeed { limits, outermost: true }, "change event")
}

/// A key's bytes; `None` is a null payload.
pub(super) fn key(bytes: &[u8], limits: &Limits) -> Result<Option<Key>, DecodeError> {
    let text = utf8(bytes)?;
    if text.trim() == "null" {
        return Ok(None);
    }
    let payload = match text.contains("\"payload\"").then(|| with_schema(text)).flatten() {
        Some("null") => return Ok(None),
        Some(payload) => payload,
        None => text,
    };
    row(payload, limits).map(|row| Some(Key::of(row)))
}

/// The payload, if the text is an object of a schema and a payload and nothing else.
fn with_schema(text: &str) -> Option<&str> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct WithSchema<'a> {
        #[serde(borrow)]
        schema: &'a RawValue,
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let parsed: WithSchema<'_> = serde_json::from_str(text).ok()?;
    let is_schema = matches!(parsed.schema.get(), "null") || parsed.schema.get().starts_with('{');
    is_schema.then(|| parsed.payload.get())
}

/// A JSON object's text as a row.
pub(super) fn row(text: &str, limits: &Limits) -> Result<Row, DecodeError> {
    limits.check_json_depth(text.as_bytes())?;
    read(text, ImageSeed { limits }, "JSON object")?
        .map(|image| image.row)
        .ok_or_else(|| DecodeError::Malformed("null where a JSON object should be".into()))
}

fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes)
        .map_err(|error| DecodeError::Malformed(format!("JSON that is not UTF-8 at byte {}", error.valid_up_to())))
}

fn read<'a, S: DeserializeSeed<'a>>(text: &'a str, seed: S, expected: &str) -> Result<S::Value, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| {
        let text = error.to_string();
        match text.strip_prefix(OWN) {
            Some(own) if own.contains("limit of") => DecodeError::Limit(own.to_owned()),
            Some(own) => DecodeError::Malformed(own.to_owned()),
            None => DecodeError::Malformed(describe(&error, expected)),
        }
    })
}

fn own<E: serde::de::Error>(text: impl fmt::Display) -> E {
    E::custom(format_args!("{OWN}{text}"))
}

/// The envelope's object, or, outermost, the object of a schema and an envelope.
#[derive(Clone, Copy)]
struct EnvelopeSeed<'l> {
    limits: &'l Limits,
    outermost: bool,
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = Envelope<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Envelope { schema: None, parts: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut parts = Parts::default();
        let (mut schema, mut payload) = (None, None);
        while let Some(name) = map.next_key_seed(Text)? {
            match (name.as_ref(), self.outermost) {
                ("schema", true) => {
                    if schema.replace(map.next_value::<&RawValue>()?.get()).is_some() {
                        return Err(own("schema occurs twice"));
                    }
                }
                ("payload", true) => {
                    let inner = EnvelopeSeed { outermost: false, ..self };
                    if payload.replace(map.next_value_seed(inner)?.parts).is_some() {
                        return Err(own("payload occurs twice"));
                    }
                }
                (name, _) => self.part(Part::named(name), &mut parts, &mut map)?,
            }
        }
        match payload {
            Some(parts) => Ok(Envelope { schema, parts }),
            None => Ok(Envelope { schema: None, parts: Some(parts) }),
        }
    }
}

impl EnvelopeSeed<'_> {
    fn part<'de, A: MapAccess<'de>>(self, part: Part, parts: &mut Parts, map: &mut A) -> Result<(), A::Error> {
        if !parts.note(part) {
            return Err(own(format_args!("{part:?} occurs twice")));
        }
        match part {
            Part::Before | Part::After => {
                let image = map.next_value_seed(ImageSeed { limits: self.limits })?;
                let names = image.as_ref().map(|image| image.names);
                let row = image.map(|image| image.row);
                if part == Part::After {
                    parts.names = names.or(parts.names);
                    parts.after = row;
                } else {
                    parts.names = parts.names.or(names);
                    parts.before = row;
                }
            }
            Part::Source => parts.source = map.next_value_seed(SourceSeed)?,
            Part::Op => parts.op = text_of(map.next_value_seed(ScalarSeed)?),
            Part::Status => parts.status = text_of(map.next_value_seed(ScalarSeed)?),
            Part::EventCount | Part::Time | Part::Other => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

fn text_of(value: Scalar<'_>) -> Option<Box<str>> {
    match value {
        Scalar::Text(text) => Some(text.into()),
        _ => None,
    }
}

/// A row image and the fingerprint of its columns' names.
struct Image {
    row: Row,
    names: u64,
}

struct ImageSeed<'l> {
    limits: &'l Limits,
}

impl<'de> DeserializeSeed<'de> for ImageSeed<'_> {
    type Value = Option<Image>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ImageSeed<'_> {
    type Value = Option<Image>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut names = Names::new();
        let mut text = String::with_capacity(512);
        while let Some(quoted) = map.next_key::<&RawValue>()? {
            let quoted = quoted.get();
            match quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(plain) if !plain.contains('\\') => names.add(plain),
                _ => {
                    names.add(&serde_json::from_str::<String>(quoted).map_err(|_| own("a column's name is not text"))?)
                }
            }
            let value = map.next_value::<&RawValue>()?.get();
            if value.starts_with(['{', '[']) {
                self.limits.check_json_depth(value.as_bytes()).map_err(own)?;
            }
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(quoted);
            text.push(':');
            text.push_str(value);
        }
        text.push_str(if text.is_empty() { "{}" } else { "}" });
        let names = names.finish().ok_or_else(|| own("a column occurs twice"))?;
        Ok(Some(Image { row: Row::of_valid(text), names }))
    }
}

struct SourceSeed;

impl<'de> DeserializeSeed<'de> for SourceSeed {
    type Value = Option<Source>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SourceSeed {
    type Value = Option<Source>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a source block")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut source = SourceBuilder::default();
        while let Some(name) = map.next_key_seed(Text)? {
            match SourceField::named(&name) {
                Some(field) => source.set(field, map.next_value_seed(ScalarSeed)?).map_err(own)?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(source.build()))
    }
}

/// A string, borrowed unless it is escaped.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match ScalarSeed.deserialize(deserializer)? {
            Scalar::Text(text) => Ok(text),
            _ => Err(D::Error::custom("not text")),
        }
    }
}

struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Scalar::Big(value), Scalar::Int))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
