//! Tests of the typed Avro codec.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::*;
use crate::codec::{SchemaId, Schemas, nullable};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    id: i64,
    name: String,
    note: Option<String>,
    kind: Kind,
    tags: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Fancy,
}

impl AvroSchema for Row {
    const SCHEMA: &'static str = r#"{
        "type": "record", "name": "Row", "namespace": "headrace.test",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "name", "type": "string"},
            {"name": "note", "type": ["null", "string"], "default": null},
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["Plain", "Fancy"]}},
            {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []}
        ]
    }"#;
}

/// What an older program wrote: without `note` and `tags`, with a field that is gone.
const OLDER: &str = r#"{
    "type": "record", "name": "Row", "namespace": "headrace.test",
    "fields": [
        {"name": "gone", "type": "string"},
        {"name": "id", "type": "int"},
        {"name": "name", "type": "string"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["Plain", "Fancy"]}}
    ]
}"#;

fn row() -> Row {
    Row { id: -3, name: "é".into(), note: Some("x".into()), kind: Kind::Fancy, tags: vec!["a".into(), String::new()] }
}

fn bound<T: AvroSchema + Serialize + serde::de::DeserializeOwned + Send + Sync + 'static>() -> (Avro<T>, Arc<Schemas>) {
    let schemas = Arc::new(Schemas::default());
    let codec = avro::<T>();
    let id = schemas.register_local(&codec.writer_schema().unwrap()).unwrap();
    codec.bind(&Binding { schemas: Arc::clone(&schemas), writer: Some(id) });
    (codec, schemas)
}

#[test]
fn the_bytes_are_the_frame_and_the_plain_avro_datum() {
    let (codec, _) = bound::<Row>();
    let mut out = vec![7];
    codec.encode(&row(), &mut out).unwrap();
    let expected = [7, 0, 0, 0, 0, 1, 5, 4, 0xc3, 0xa9, 2, 2, b'x', 2, 4, 2, b'a', 0, 0];
    assert_eq!(out, expected);
    assert_eq!(codec.decode(Some(&out[1..])).unwrap(), row());
}

#[test]
fn an_older_writer_is_resolved_to_the_reader_with_its_defaults() {
    let (codec, schemas) = bound::<Row>();
    schemas.insert(SchemaId(9), OLDER).unwrap();
    let bytes = [0, 0, 0, 0, 9, 2, b'g', 5, 2, b'n', 2];
    let read = codec.decode(Some(&bytes)).unwrap();
    assert_eq!(read, Row { id: -3, name: "n".into(), note: None, kind: Kind::Fancy, tags: vec![] });
}

#[test]
fn the_two_ways_of_reading_agree() {
    // The same schema with an alias differs in nothing that bytes show; a doc keeps the canonical form, so a renamed
    // record forces the slow way.
    let (codec, schemas) = bound::<Row>();
    let renamed = Row::SCHEMA.replace(r#""name": "tags""#, r#""name": "tags", "order": "ignore""#);
    schemas.insert(SchemaId(9), &renamed).unwrap();
    let mut out = Vec::new();
    codec.encode(&row(), &mut out).unwrap();
    out[4] = 9;
    assert_eq!(codec.decode(Some(&out)).unwrap(), row());

    let own = codec.shared.own.as_ref().ok().unwrap();
    let mut other = ParsedSchema::parse(Row::SCHEMA).unwrap();
    other.fingerprint ^= 1;
    assert_eq!(read_datum(own, &other, &out[5..]).unwrap(), row());
}

#[test]
fn a_schema_that_is_not_loaded_is_not_the_records_fault() {
    let (codec, schemas) = bound::<Row>();
    let bytes = [0, 0, 0, 0, 9, 0];
    assert!(matches!(codec.decode(Some(&bytes)), Err(DecodeError::SchemaNotLoaded(SchemaId(9)))));
    schemas.mark_unknown(SchemaId(9));
    assert!(matches!(codec.decode(Some(&bytes)), Err(DecodeError::UnknownSchema(SchemaId(9)))));
    schemas.insert(SchemaId(9), r#"["null","long"]"#).unwrap();
    assert!(matches!(codec.decode(Some(&bytes)), Err(DecodeError::Malformed(_))));
}

#[test]
fn binding_again_replaces_the_id_in_all_clones() {
    let (codec, schemas) = bound::<Row>();
    let clone = codec.clone();
    codec.bind(&Binding { schemas, writer: Some(SchemaId(0x0a0b)) });
    let mut out = Vec::new();
    clone.encode(&row(), &mut out).unwrap();
    assert_eq!(out[..5], [0, 0, 0, 0x0a, 0x0b]);
}

#[test]
fn an_unbound_codec_refuses_to_encode_and_leaves_the_buffer_alone() {
    let mut out = vec![1];
    assert!(matches!(avro::<Row>().encode(&row(), &mut out), Err(EncodeError::Unbound(_))));
    assert_eq!(out, [1]);
    assert!(avro::<Row>().decode(Some(&[0, 0, 0, 0, 1])).is_err());
}

/// A type whose schema does not fit it.
#[derive(Debug, Serialize, Deserialize)]
struct Misfit {
    id: String,
}

impl AvroSchema for Misfit {
    const SCHEMA: &'static str = r#"{"type":"record","name":"Misfit","fields":[{"name":"id","type":"long"}]}"#;
}

#[test]
fn o5_an_error_quotes_no_value() {
    let (codec, _) = bound::<Misfit>();
    let mut out = vec![1];
    let error = codec.encode(&Misfit { id: "secret".into() }, &mut out).unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(out, [1]);
    let error = codec.decode(Some(&[0, 0, 0, 0, 1, 0x80, 0x89, 0x0f])).unwrap_err().to_string();
    assert!(!error.contains("123456") && !error.contains("schema's"), "{error}");
}

struct Broken;

impl AvroSchema for Broken {
    const SCHEMA: &'static str = "{";
}

#[test]
fn a_schema_that_does_not_parse_is_reported_and_no_panic() {
    assert!(avro::<Broken>().schema_error().is_some());
    assert_eq!(avro::<Row>().schema_error(), None);
}

/// A list: a record that holds itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct List {
    value: i32,
    next: Option<Box<List>>,
}

impl AvroSchema for List {
    const SCHEMA: &'static str = r#"{"type":"record","name":"List","fields":[
        {"name":"value","type":"int"},{"name":"next","type":["null","List"],"default":null}]}"#;
}

#[test]
fn a_recursive_schema_reads_lists_and_stops_at_the_depth_limit() {
    let (codec, _) = bound::<List>();
    let list = List { value: 1, next: Some(Box::new(List { value: 2, next: None })) };
    let mut out = Vec::new();
    codec.encode(&list, &mut out).unwrap();
    assert_eq!(codec.decode(Some(&out)).unwrap(), list);

    let mut bomb = vec![0, 0, 0, 0, 1];
    bomb.extend(std::iter::repeat_n([2_u8, 2], 100_000).flatten());
    assert!(matches!(codec.decode(Some(&bomb)), Err(DecodeError::Limit(_))));
}

#[test]
fn allocation_bombs_and_cut_or_padded_data_are_refused() {
    let (codec, schemas) = bound::<Row>();
    let mut good = Vec::new();
    codec.encode(&row(), &mut good).unwrap();
    for len in 0..good.len() {
        assert!(matches!(codec.decode(Some(&good[..len])), Err(DecodeError::Malformed(_))), "{len}");
    }
    good.push(0);
    assert!(matches!(codec.decode(Some(&good)), Err(DecodeError::Malformed(text)) if text.contains("left over")));

    // An array of 2^40 nulls in six bytes, and a string of 2^40.
    schemas.insert(SchemaId(8), r#"{"type":"array","items":"null"}"#).unwrap();
    let nulls = [0, 0, 0, 0, 8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0];
    assert!(matches!(codec.decode(Some(&nulls)), Err(DecodeError::Limit(_))));
    let string = [0, 0, 0, 0, 1, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    let error = codec.decode(Some(&string)).unwrap_err().to_string();
    assert!(error.starts_with("name: a string of"), "{error}");
}

#[test]
fn null_is_none_when_nullable() {
    let (codec, _) = bound::<Row>();
    assert!(matches!(codec.decode(None), Err(DecodeError::Null)));
    let codec = nullable(codec);
    assert_eq!(codec.decode(None).unwrap(), None);
    assert!(codec.writer_schema().is_some());
}

proptest::proptest! {
    #[test]
    fn any_row_round_trips(id: i64, name: String, note: Option<String>, tags: Vec<String>) {
        let (codec, _) = bound::<Row>();
        let row = Row { id, name, note, kind: Kind::Plain, tags };
        let mut out = Vec::new();
        codec.encode(&row, &mut out).unwrap();
        proptest::prop_assert_eq!(codec.decode(Some(&out)).unwrap(), row);
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error_and_never_a_panic(datum: Vec<u8>, older: bool) {
        let (codec, schemas) = bound::<Row>();
        schemas.insert(SchemaId(9), OLDER).unwrap();
        let mut bytes = vec![0, 0, 0, 0, if older { 9 } else { 1 }];
        bytes.extend(datum);
        let _ = codec.decode(Some(&bytes));
    }
}
