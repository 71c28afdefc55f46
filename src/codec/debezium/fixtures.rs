//! Change events as Debezium 3.4 writes them for PostgreSQL and MySQL, in all spellings.
//!
//! Why by hand: each fixture holds one fact of the specification, and the spellings of one event must agree.

use std::sync::Arc;

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;

use super::{Change, Envelope, Key, RowChange, envelope};
use crate::codec::{Binding, DecodeError, RecordCodec, SchemaId, Schemas};
use crate::position::{Offset, Partition};
use crate::record::{Headers, RawRecord, Timestamp};

pub(super) type Decoded = Result<(Option<Key>, Change), DecodeError>;

/// A codec with its cache of schemas.
pub(super) fn bound() -> (Envelope, Arc<Schemas>) {
    let schemas = Arc::new(Schemas::default());
    let codec = envelope();
    codec.bind(&Binding { schemas: Arc::clone(&schemas), writer: None });
    (codec, schemas)
}

pub(super) fn decode(codec: &Envelope, key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers) -> Decoded {
    codec.decode(&RawRecord {
        topic: "shop.public.items",
        partition: Partition(0),
        offset: Offset(42),
        timestamp: Timestamp(1),
        key,
        value,
        headers,
    })
}

/// Key and value as JSON, no headers.
pub(super) fn json(key: &str, value: &str) -> (Option<Key>, Change) {
    decode(&bound().0, Some(key.as_bytes()), Some(value.as_bytes()), &Headers::new()).unwrap()
}

/// The row change of a JSON value.
pub(super) fn row(value: &str) -> RowChange {
    match json(KEY, value).1 {
        Change::Row(row) => row,
        other => panic!("not a row: {other:?}"),
    }
}

pub(super) const KEY: &str = r#"{"id":9007199254740993}"#;

pub(super) const AFTER: &str = r#"{"id":9007199254740993,"name":"café \"x\"\n😀","price":"Jw8=","weight":1.5,"active":true,"attributes":"{\"a\": 1}","note":null}"#;

pub(super) const SOURCE: &str = r#"{"version":"3.4.0.Final","connector":"postgresql","name":"shop","ts_ms":1760000000123,"snapshot":"false","db":"shop","sequence":"[\"24023128\",\"24023400\"]","ts_us":1760000000123456,"ts_ns":1760000000123456000,"schema":"public","table":"items","txId":771,"lsn":24023400,"xmin":null}"#;

pub(super) fn event(op: &str, before: &str, after: &str, source: &str) -> String {
    format!(
        r#"{{"before":{before},"after":{after},"source":{source},"transaction":null,"op":"{op}","ts_ms":1760000000456,"ts_us":1760000000456001,"ts_ns":1760000000456001002}}"#
    )
}

/// The schema half of the JSON converter's output, with the given columns.
pub(super) fn connect_schema(columns: &str) -> String {
    let row = |field: &str| {
        format!(
            r#"{{"type":"struct","fields":[{columns}],"optional":true,"name":"shop.public.items.Value","field":"{field}"}}"#
        )
    };
    format!(
        r#"{{"type":"struct","fields":[{},{},{{"type":"string","optional":false,"field":"op"}}],"optional":false,"name":"shop.public.items.Envelope","version":2}}"#,
        row("before"),
        row("after")
    )
}

pub(super) const CONNECT_COLUMNS: &str =
    r#"{"type":"int64","optional":false,"field":"id"},{"type":"string","optional":true,"default":"x","field":"name"}"#;

/// The Avro envelope of the same table. `before` writes the row's type out, `after` names it.
pub(super) fn avro_schema(more_columns: &str) -> String {
    format!(
        r#"{{"type":"record","name":"Envelope","namespace":"shop.public.items","fields":[
 {{"name":"before","type":["null",{{"type":"record","name":"Value","fields":[
   {{"name":"id","type":"long"}},
   {{"name":"name","type":"string"}},
   {{"name":"price","type":{{"type":"bytes","scale":2,"precision":6,"connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}}}},
   {{"name":"weight","type":"double"}},
   {{"name":"active","type":"boolean"}},
   {{"name":"attributes","type":["null",{{"type":"string","connect.name":"io.debezium.data.Json"}}],"default":null}},
   {{"name":"note","type":["null","string"],"default":null}}{more_columns}
  ],"connect.name":"shop.public.items.Value"}}],"default":null}},
 {{"name":"after","type":["null","Value"],"default":null}},
 {{"name":"source","type":{{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":[
   {{"name":"version","type":"string"}},
   {{"name":"connector","type":"string"}},
   {{"name":"name","type":"string"}},
   {{"name":"ts_ms","type":"long"}},
   {{"name":"snapshot","type":[{{"type":"string","connect.version":1,"connect.parameters":{{"allowed":"true,first,last,false,incremental"}},"connect.default":"false","connect.name":"io.debezium.data.Enum"}},"null"],"default":"false"}},
   {{"name":"db","type":"string"}},
   {{"name":"sequence","type":["null","string"],"default":null}},
   {{"name":"ts_us","type":["null","long"],"default":null}},
   {{"name":"ts_ns","type":["null","long"],"default":null}},
   {{"name":"schema","type":"string"}},
   {{"name":"table","type":"string"}},
   {{"name":"txId","type":["null","long"],"default":null}},
   {{"name":"lsn","type":["null","long"],"default":null}},
   {{"name":"xmin","type":["null","long"],"default":null}}]}}}},
 {{"name":"transaction","type":["null","string"],"default":null}},
 {{"name":"op","type":"string"}},
 {{"name":"ts_ms","type":["null","long"],"default":null}}]}}"#
    )
}

pub(super) const AVRO_KEY_SCHEMA: &str =
    r#"{"type":"record","name":"Key","namespace":"shop.public.items","fields":[{"name":"id","type":"long"}]}"#;

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

fn null() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

fn fields(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The row [`AFTER`] as Avro.
pub(super) fn avro_after() -> Value {
    fields(vec![
        ("id", Value::Long(9_007_199_254_740_993)),
        ("name", Value::String("café \"x\"\n😀".into())),
        ("price", Value::Bytes(vec![0x27, 0x0f])),
        ("weight", Value::Double(1.5)),
        ("active", Value::Boolean(true)),
        ("attributes", some(Value::String("{\"a\": 1}".into()))),
        ("note", null()),
    ])
}

/// The event of [`AFTER`] and [`SOURCE`] as Avro.
pub(super) fn avro_event(op: &str) -> Value {
    let source = fields(vec![
        ("version", Value::String("3.4.0.Final".into())),
        ("connector", Value::String("postgresql".into())),
        ("name", Value::String("shop".into())),
        ("ts_ms", Value::Long(1_760_000_000_123)),
        ("snapshot", Value::Union(0, Box::new(Value::String("false".into())))),
        ("db", Value::String("shop".into())),
        ("sequence", some(Value::String(r#"["24023128","24023400"]"#.into()))),
        ("ts_us", some(Value::Long(1_760_000_000_123_456))),
        ("ts_ns", some(Value::Long(1_760_000_000_123_456_000))),
        ("schema", Value::String("public".into())),
        ("table", Value::String("items".into())),
        ("txId", some(Value::Long(771))),
        ("lsn", some(Value::Long(24_023_400))),
        ("xmin", null()),
    ]);
    fields(vec![
        ("before", null()),
        ("after", some(avro_after())),
        ("source", source),
        ("transaction", null()),
        ("op", Value::String(op.into())),
        ("ts_ms", some(Value::Long(1_760_000_000_456))),
    ])
}

/// A framed datum. Logical types are written as what they are made of.
pub(super) fn framed(schemas: &Schemas, id: u32, schema: &str, value: Value) -> Vec<u8> {
    schemas.insert(SchemaId(id), schema).unwrap();
    let plain = apache_avro::Schema::parse_str(&schema.replace(r#","logicalType":"decimal""#, "")).unwrap();
    let mut bytes = vec![0];
    bytes.extend(id.to_be_bytes());
    bytes.extend(GenericDatumWriter::builder(&plain).build().unwrap().write_value_to_vec(value).unwrap());
    bytes
}
