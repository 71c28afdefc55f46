//! Envelopes and keys from Avro, straight from the bytes: images become JSON text, the rest is read field by field.
//!
//! Why not through generic values: a row is rendered once into the text it is kept as, and what is not needed is skipped.

use std::borrow::Cow;

use super::columns;
use super::parts::{Part, Parts};
use super::row::{Key, Row};
use super::source::{Scalar, Source, SourceBuilder, SourceField};
use crate::codec::layout::{Cursor, Layout, Node, NodeId, Record};
use crate::codec::schemas::ParsedSchema;
use crate::codec::{DecodeError, Limits};

/// An envelope's parts and its columns' fingerprint. `None` is a null datum.
pub(super) fn envelope(
    schema: &ParsedSchema,
    datum: &[u8],
    limits: &Limits,
) -> Result<Option<(Parts, Option<u64>)>, DecodeError> {
    let layout = &schema.layout;
    let mut cursor = Cursor::new(layout, datum, limits);
    let Some(record) = record(&mut cursor, layout, layout.root())? else {
        cursor.finish()?;
        return Ok(None);
    };
    let mut parts = Parts::default();
    for field in &record.fields {
        let part = Part::named(&field.name);
        parts.note(part);
        match part {
            Part::Before => parts.before = row(&mut cursor, layout, field.node)?,
            Part::After => parts.after = row(&mut cursor, layout, field.node)?,
            Part::Source => parts.source = source(&mut cursor, layout, field.node)?,
            Part::Op => parts.op = text(scalar(&mut cursor, layout, field.node)?),
            Part::Status => parts.status = text(scalar(&mut cursor, layout, field.node)?),
            Part::EventCount | Part::Time | Part::Other => cursor.skip(field.node)?,
        }
    }
    cursor.finish()?;
    let columns = *schema.columns.get_or_init(|| columns::of_avro(&schema.json));
    Ok(Some((parts, columns)))
}

/// A key. `None` is a null datum.
pub(super) fn key(schema: &ParsedSchema, datum: &[u8], limits: &Limits) -> Result<Option<Key>, DecodeError> {
    let mut cursor = Cursor::new(&schema.layout, datum, limits);
    let row = row(&mut cursor, &schema.layout, schema.layout.root())?;
    cursor.finish()?;
    Ok(row.map(Key::of))
}

/// The record behind a possible union; `None` is null.
fn record<'a>(cursor: &mut Cursor<'_>, layout: &'a Layout, node: NodeId) -> Result<Option<&'a Record>, DecodeError> {
    match layout.node(cursor.unwrapped(node)?) {
        Node::Null => Ok(None),
        Node::Record(record) => Ok(Some(record)),
        other => Err(DecodeError::Malformed(format!("{} where a record should be", other.kind()))),
    }
}

fn row(cursor: &mut Cursor<'_>, layout: &Layout, node: NodeId) -> Result<Option<Row>, DecodeError> {
    let node = cursor.unwrapped(node)?;
    match layout.node(node) {
        Node::Null => Ok(None),
        Node::Record(_) => {
            let mut text = String::with_capacity(512);
            cursor.render(node, &mut text)?;
            Ok(Some(Row::of_valid(text)))
        }
        other => Err(DecodeError::Malformed(format!("{} where a row should be", other.kind()))),
    }
}

fn source<'a>(cursor: &mut Cursor<'a>, layout: &'a Layout, node: NodeId) -> Result<Option<Source>, DecodeError> {
    let Some(record) = record(cursor, layout, node)? else { return Ok(None) };
    let mut source = SourceBuilder::default();
    for field in &record.fields {
        match SourceField::named(&field.name) {
            Some(known) => source.set(known, scalar(cursor, layout, field.node)?).map_err(DecodeError::Malformed)?,
            None => cursor.skip(field.node)?,
        }
    }
    Ok(Some(source.build()))
}

fn scalar<'a>(cursor: &mut Cursor<'a>, layout: &'a Layout, node: NodeId) -> Result<Scalar<'a>, DecodeError> {
    let node = cursor.unwrapped(node)?;
    Ok(match layout.node(node) {
        Node::Null => Scalar::Null,
        Node::Boolean => Scalar::Bool(cursor.boolean()?),
        Node::Int | Node::Long => Scalar::Int(cursor.long()?),
        Node::String => Scalar::Text(Cow::Borrowed(cursor.string()?)),
        Node::Enum(_) => Scalar::Text(Cow::Borrowed(cursor.symbol(node)?)),
        _ => {
            cursor.skip(node)?;
            Scalar::Other
        }
    })
}

fn text(value: Scalar<'_>) -> Option<Box<str>> {
    match value {
        Scalar::Text(text) => Some(text.into()),
        _ => None,
    }
}
