//! What the specification's facts (F1 to F14) and rules (C1 to C13) ask of the envelope codec.

use super::fixtures::*;
use super::*;
use crate::codec::{DecodeError, Limits, SchemaId};
use crate::record::Headers;

fn headers(name: &str, value: &str) -> Headers {
    let mut headers = Headers::new();
    headers.push(name, value);
    headers
}

fn class_of(change: &Change) -> &'static str {
    match change {
        Change::Unreadable { class, .. } => class,
        other => panic!("readable: {other:?}"),
    }
}

#[test]
fn a_create_is_read_with_its_row_and_its_position() {
    let (key, change) = json(KEY, &event("c", "null", AFTER, SOURCE));
    let Change::Row(change) = change else { panic!("no row") };
    assert_eq!(key.unwrap().text(), KEY);
    assert_eq!(change.op, Op::Create);
    assert_eq!((change.before.as_ref(), change.after.as_ref().unwrap().text()), (None, AFTER));
    let source = &change.source;
    assert_eq!(source.table_name(), "public.items");
    assert_eq!((source.connector.as_ref(), source.database.as_ref()), ("postgresql", "shop"));
    assert_eq!((source.lsn, source.tx_id), (Some(24_023_400), Some(771)));
    assert_eq!(source.sequence, (Some(24_023_128), Some(24_023_400)));
    assert_eq!((source.ts_ms, source.ts_us), (Some(1_760_000_000_123), Some(1_760_000_000_123_456)));
    assert_eq!((source.snapshot, change.moved), (Snapshot::No, None));
    assert!(source.fingerprint.is_some() && source.binlog.is_none());
}

#[test]
fn updates_deletes_and_reads_are_told_apart() {
    assert_eq!(row(&event("u", "null", AFTER, SOURCE)).op, Op::Update);
    let delete = row(&event("d", r#"{"id":1,"name":""}"#, "null", SOURCE));
    assert_eq!((delete.op, delete.after, delete.before.unwrap().text()), (Op::Delete, None, r#"{"id":1,"name":""}"#));
    let read = row(&event("r", "null", AFTER, &SOURCE.replace(r#""snapshot":"false""#, r#""snapshot":"first""#)));
    assert_eq!((read.op, read.source.snapshot), (Op::Read, Snapshot::Initial));
}

#[test]
fn f1_an_incremental_read_has_neither_lsn_nor_transaction() {
    let source = SOURCE
        .replace("\"lsn\":24023400", "\"lsn\":null")
        .replace("\"txId\":771", "\"txId\":null")
        .replace("\"false\"", "\"incremental\"");
    let source = row(&event("r", "null", AFTER, &source)).source;
    assert_eq!((source.lsn, source.tx_id, source.snapshot), (None, None, Snapshot::Incremental));
    assert_eq!(source.sequence, (Some(24_023_128), Some(24_023_400)));
}

#[test]
fn f4_an_lsn_above_53_bits_is_exact_and_one_in_text_is_refused() {
    let wide = SOURCE.replace("\"lsn\":24023400", "\"lsn\":18446744073709551615");
    assert_eq!(row(&event("c", "null", AFTER, &wide)).source.lsn, Some(u64::MAX));
    let text = SOURCE.replace("\"lsn\":24023400", "\"lsn\":\"24023400\"");
    assert_eq!(class_of(&json(KEY, &event("c", "null", AFTER, &text)).1), "malformed");
    let first = SOURCE.replace(r#"[\"24023128\","#, "[null,");
    assert_eq!(row(&event("c", "null", AFTER, &first)).source.sequence, (None, Some(24_023_400)));
}

#[test]
fn f5_a_moved_row_names_its_other_key_in_each_spelling_of_the_header() {
    let (codec, schemas) = bound();
    let delete = event("d", r#"{"id":1}"#, "null", SOURCE);
    let with_schema = r#"{"schema":{"type":"struct","fields":[]},"payload":{"id":2}}"#;
    for header in [r#"{"id":2}"#, " {\"id\" : 2}\n", with_schema] {
        let decoded =
            decode(&codec, Some(KEY.as_bytes()), Some(delete.as_bytes()), &headers("__debezium.newkey", header));
        let Change::Row(change) = decoded.unwrap().1 else { panic!("no row") };
        assert_eq!(change.moved, Some(Moved::To(Some(Key::parse(r#"{"id":2}"#).unwrap()))));
    }
    let create = event("c", "null", AFTER, SOURCE);
    let framed =
        framed(&schemas, 5, AVRO_KEY_SCHEMA, apache_avro::types::Value::Record(vec![("id".into(), 3_i64.into())]));
    let mut avro = Headers::new();
    avro.push("__debezium.oldkey", framed);
    let Change::Row(change) = decode(&codec, Some(KEY.as_bytes()), Some(create.as_bytes()), &avro).unwrap().1 else {
        panic!("no row")
    };
    assert_eq!(change.moved, Some(Moved::From(Some(Key::parse(r#"{"id":3}"#).unwrap()))));
    avro.push("__debezium.oldkey", [0, 0, 0, 0, 99, 1]);
    let decoded = decode(&codec, Some(KEY.as_bytes()), Some(create.as_bytes()), &avro);
    assert!(matches!(decoded, Err(DecodeError::SchemaNotLoaded(SchemaId(99)))));
}

#[test]
fn f5_a_header_with_raw_newlines_is_read_and_a_broken_one_is_not_forgotten() {
    let delete = event("d", r#"{"id":"a"}"#, "null", SOURCE);
    let (codec, _) = bound();
    let moved = |header: &str| {
        let headers = headers("__debezium.newkey", header);
        match decode(&codec, Some(KEY.as_bytes()), Some(delete.as_bytes()), &headers).unwrap().1 {
            Change::Row(change) => change.moved,
            other => panic!("no row: {other:?}"),
        }
    };
    let newline = Key::parse(r#"{"id":"a\nb"}"#).unwrap();
    assert_eq!(moved("{\"id\":\"a\nb\"}"), Some(Moved::To(Some(newline))));
    assert_eq!(moved("Struct{id=2}"), Some(Moved::To(None)));
    // A header of an update or of another name means nothing.
    let other = headers("newkey", "{}");
    let Change::Row(change) = decode(&codec, None, Some(delete.as_bytes()), &other).unwrap().1 else {
        panic!("no row")
    };
    assert_eq!(change.moved, None);
}

#[test]
fn f6_placeholders_are_found_in_text_bytea_json_and_arrays() {
    let text = "\"__debezium_unavailable_value\"";
    let bytea = "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"";
    let numbers: Vec<_> = b"__debezium_unavailable_value".iter().map(u8::to_string).collect();
    let numbers = format!("[{}]", numbers.join(","));
    let in_array = format!("[{text}]");
    let uuid = "[\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"]";
    for value in [text, bytea, &numbers, &in_array, uuid] {
        let row = Row::parse(&format!(r#"{{"id":1,"doc":{value}}}"#)).unwrap();
        assert!(row.has_placeholder(), "{value}");
        assert!(Row::is_placeholder(row.column("doc").unwrap()));
        assert!(!Row::is_placeholder(row.column("id").unwrap()));
    }
    for value in [
        r#""see __debezium_unavailable_value""#,
        r#""\"__debezium_unavailable_value\"""#,
        r#""x\"__debezium_unavailable_value""#,
        "[95,95,100]",
        "null",
    ] {
        assert!(!Row::parse(&format!(r#"{{"id":1,"doc":{value}}}"#)).unwrap().has_placeholder(), "{value}");
    }
}

#[test]
fn f7_a_truncate_has_no_key_and_is_about_the_table() {
    let value = event("t", "null", "null", SOURCE);
    for key in [None, Some(&b"not json"[..])] {
        let (key, change) = decode(&bound().0, key, Some(value.as_bytes()), &Headers::new()).unwrap();
        let Change::Truncate(source) = change else { panic!("no truncate") };
        assert_eq!((key, source.lsn, source.table_name()), (None, Some(24_023_400), "public.items".into()));
    }
}

#[test]
fn f9_the_fingerprint_changes_with_the_columns_and_with_nothing_else() {
    let bare = |after: &str| row(&event("c", "null", after, SOURCE)).source.fingerprint.unwrap();
    assert_eq!(bare(r#"{"id":1,"name":"a"}"#), bare(r#"{"id":2,"name":null}"#));
    assert_ne!(bare(r#"{"id":1,"name":"a"}"#), bare(r#"{"id":1,"name":"a","added":null}"#));
    assert_ne!(bare(r#"{"id":1,"name":"a"}"#), bare(r#"{"name":"a","id":1}"#));
    let deleted = row(&event("d", r#"{"id":1,"name":"a"}"#, "null", SOURCE)).source.fingerprint;
    assert_eq!(deleted, Some(bare(r#"{"id":1,"name":"a"}"#)));

    let with_schema = |columns: &str| {
        let value = format!(
            r#"{{"schema":{},"payload":{}}}"#,
            connect_schema(columns),
            event("c", "null", r#"{"id":1,"name":"a"}"#, SOURCE)
        );
        row(&value).source.fingerprint.unwrap()
    };
    let plain = with_schema(CONNECT_COLUMNS);
    assert_eq!(plain, with_schema(&CONNECT_COLUMNS.replace(r#""default":"x","#, "")));
    assert_ne!(plain, with_schema(&CONNECT_COLUMNS.replace("int64", "int32")));
    assert_ne!(plain, with_schema(&CONNECT_COLUMNS.replace(r#""field":"name""#, r#""field":"title""#)));
    assert_ne!(plain, bare(r#"{"id":1,"name":"a"}"#));
}

#[test]
fn f9_the_fingerprint_of_avro_is_the_same_under_another_id() {
    let (codec, schemas) = bound();
    let fingerprint = |id: u32, schema: &str, value| {
        let value = framed(&schemas, id, schema, value);
        match decode(&codec, None, Some(&value), &Headers::new()).unwrap().1 {
            Change::Row(change) => change.source.fingerprint.unwrap(),
            other => panic!("no row: {other:?}"),
        }
    };
    let first = fingerprint(1, &avro_schema(""), avro_event("c"));
    assert_eq!(
        first,
        fingerprint(2, &avro_schema("").replace(r#"{"name":"note","#, r#"{"doc":"d","name":"note","#), avro_event("c"))
    );
    let scale = avro_schema("").replace("\"scale\":2", "\"scale\":3");
    assert_ne!(first, fingerprint(3, &scale, avro_event("c")));
}

#[test]
fn avro_and_json_of_one_event_are_one_change() {
    let (codec, schemas) = bound();
    let value = framed(&schemas, 7, &avro_schema(""), avro_event("c"));
    let key = apache_avro::types::Value::Record(vec![("id".into(), 9_007_199_254_740_993_i64.into())]);
    let key = framed(&schemas, 8, AVRO_KEY_SCHEMA, key);
    let (avro_key, avro_change) = decode(&codec, Some(&key), Some(&value), &Headers::new()).unwrap();
    let (json_key, json_change) = json(KEY, &event("c", "null", AFTER, SOURCE));
    assert_eq!(avro_key, json_key);
    let (Change::Row(mut avro), Change::Row(json)) = (avro_change, json_change) else { panic!("no rows") };
    assert_eq!(avro.after.as_ref().unwrap().text(), AFTER);
    avro.source.fingerprint = json.source.fingerprint;
    assert_eq!(avro, json);

    // A key in JSON beside a value in Avro: each is found out for itself.
    assert!(decode(&codec, Some(KEY.as_bytes()), Some(&value), &Headers::new()).is_ok());
}

#[test]
fn f13_keys_are_exact_whatever_they_hold() {
    let change = event("c", "null", AFTER, SOURCE);
    for text in [
        r#"{"id":""}"#,
        r#"{"id":"null"}"#,
        r#"{"id":null}"#,
        r#"{"id":"a\nb"}"#,
        r#"{"id":"😀"}"#,
        r#"{"id":9223372036854775807}"#,
        r#"{"b":1,"a":"x y"}"#,
        r#"{"schema":"public","payload":"x"}"#,
        r#"{"amount":12345678901234567890.1230}"#,
    ] {
        assert_eq!(json(text, &change).0.unwrap().text(), text);
        let wrapped = format!(r#"{{"schema":{{"type":"struct","fields":[]}},"payload":{text}}}"#);
        assert_eq!(json(&wrapped, &change).0.unwrap().text(), text);
    }
    let spaced = json("{ \"b\" : 1,\n\t\"a\":\"x \\u0079\" }", &change).0.unwrap();
    assert_eq!(spaced.text(), r#"{"b":1,"a":"x y"}"#);
    for null in ["null", r#"{"schema":null,"payload":null}"#] {
        assert_eq!(json(null, &change).0, None);
    }
}

#[test]
fn c4_a_null_value_is_a_tombstone_and_no_error() {
    let (codec, _) = bound();
    let (key, change) = decode(&codec, Some(KEY.as_bytes()), None, &Headers::new()).unwrap();
    assert_eq!((key.unwrap().text(), change), (KEY, Change::Tombstone));
    for null in ["null", r#"{"schema":null,"payload":null}"#] {
        assert_eq!(json(KEY, null).1, Change::Tombstone);
    }
}

#[test]
fn c9_messages_heartbeats_and_transaction_boundaries_are_watermarks() {
    let message = format!(r#"{{"op":"m","ts_ms":1,"source":{SOURCE},"message":{{"prefix":"p","content":"eA=="}}}}"#);
    let Change::Watermark(Some(source)) = json(r#"{"prefix":"p"}"#, &message).1 else { panic!("no watermark") };
    assert_eq!(source.lsn, Some(24_023_400));

    assert_eq!(json(r#"{"serverName":"shop"}"#, r#"{"ts_ms":1760000000000}"#).1, Change::Watermark(None));
    assert_eq!(class_of(&json(KEY, r#"{"ts_ms":1760000000000}"#).1), NOT_AN_ENVELOPE);

    let begin = r#"{"status":"BEGIN","id":"771:24023400","event_count":null,"data_collections":null,"ts_ms":1}"#;
    let end = r#"{"status":"END","id":"771:24023400","event_count":2,"data_collections":[{"data_collection":"public.items","event_count":2}],"ts_ms":1}"#;
    for boundary in [begin, end] {
        assert_eq!(json(r#"{"id":"771:24023400"}"#, boundary).1, Change::Watermark(None));
    }
    assert_eq!(class_of(&json(KEY, r#"{"status":"BEGIN","id":1}"#).1), NOT_AN_ENVELOPE);
}

#[test]
fn c9_unknown_operations_and_flattened_rows_are_unreadable_with_a_class_of_their_own() {
    assert_eq!(class_of(&json(KEY, &event("x", "null", AFTER, SOURCE)).1), UNKNOWN_OP);
    assert_eq!(class_of(&json(KEY, r#"{"id":1,"name":"a","__deleted":"false"}"#).1), NOT_AN_ENVELOPE);
    assert_eq!(class_of(&json(KEY, r#"{"op":"c","id":1}"#).1), NOT_AN_ENVELOPE);
    assert_eq!(class_of(&json(KEY, &event("c", "null", "null", SOURCE)).1), "malformed");
    assert_eq!(class_of(&json(KEY, &event("c", "null", AFTER, "null")).1), "malformed");
}

#[test]
fn c13_an_unreadable_value_still_names_its_key_unless_a_schema_is_merely_not_loaded() {
    let (codec, schemas) = bound();
    let value = [0, 0, 0, 0, 9, 1, 2, 3];
    let decoded = decode(&codec, Some(KEY.as_bytes()), Some(&value), &Headers::new());
    assert!(matches!(decoded, Err(DecodeError::SchemaNotLoaded(SchemaId(9)))));
    schemas.mark_unknown(SchemaId(9));
    let (key, change) = decode(&codec, Some(KEY.as_bytes()), Some(&value), &Headers::new()).unwrap();
    assert_eq!((key.unwrap().text(), class_of(&change)), (KEY, "unknown-schema-id"));

    // A key that can't be read leaves nothing to invalidate.
    let broken = decode(&codec, Some(b"{"), Some(&value), &Headers::new());
    assert!(matches!(broken, Err(DecodeError::Malformed(_))));
    let unloaded = decode(&codec, Some(&[0, 0, 0, 0, 8, 2]), Some(b"{"), &Headers::new());
    assert!(matches!(unloaded, Err(DecodeError::SchemaNotLoaded(SchemaId(8)))));
}

#[test]
fn malformed_json_is_unreadable_and_quotes_nothing() {
    let good = event("c", "null", AFTER, SOURCE);
    let bomb = event("c", "null", &format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000)), SOURCE);
    let open = "[".repeat(100_000);
    for (value, class) in [
        (&good.as_bytes()[..good.len() - 1], "malformed"),
        (format!("{good} x").as_bytes(), "malformed"),
        (good.replace("\"op\"", "\"before\"").as_bytes(), "malformed"),
        (event("c", "null", r#"{"secret":1,"secret":2}"#, SOURCE).as_bytes(), "malformed"),
        (event("c", "null", r#"{"secret":1,"\u0073ecret":2}"#, SOURCE).as_bytes(), "malformed"),
        (event("c", "null", "\"secret\"", SOURCE).as_bytes(), "malformed"),
        (good.replace("\"lsn\":24023400", "\"lsn\":1,\"lsn\":2").as_bytes(), "malformed"),
        (b"\"secret\"", "malformed"),
        (b"", "malformed"),
        (b"{\"op\":\"c\",\"after\":{\"a\":\"\xff\"}}", "malformed"),
        (bomb.as_bytes(), "limit"),
        (open.as_bytes(), "malformed"),
    ] {
        let change = decode(&bound().0, Some(KEY.as_bytes()), Some(value), &Headers::new()).unwrap().1;
        assert_eq!(class_of(&change), class, "{change:?}");
        assert!(!format!("{change:?}").contains("secret"), "{change:?}");
    }
}

#[test]
fn limits_hold_for_values_and_for_keys() {
    let codec = bound().0.limits(Limits { max_bytes: 30, max_depth: 64 });
    let value = event("c", "null", AFTER, SOURCE);
    let change = decode(&codec, Some(KEY.as_bytes()), Some(value.as_bytes()), &Headers::new()).unwrap().1;
    assert_eq!(class_of(&change), "limit");
    let decoded = decode(&codec, Some(&[b' '; 31]), Some(b"null"), &Headers::new());
    assert!(matches!(decoded, Err(DecodeError::Limit(_))));
}

#[test]
fn mysql_positions_are_read_too() {
    let source = r#"{"version":"3.4.0.Final","connector":"mysql","name":"m","ts_ms":1,"snapshot":"false","db":"inventory","sequence":null,"table":"products","server_id":223344,"gtid":"36a2:5","file":"mysql-bin.000003","pos":805,"row":1,"thread":7,"query":null}"#;
    let source = row(&event("u", "null", AFTER, source)).source;
    assert_eq!(source.table_name(), "inventory.products");
    let expected = Binlog {
        file: Some("mysql-bin.000003".into()),
        pos: Some(805),
        row: Some(1),
        gtid: Some("36a2:5".into()),
        server_id: Some(223_344),
    };
    assert_eq!(source.binlog.as_deref(), Some(&expected));
}

#[test]
fn columns_come_in_order_with_their_exact_text() {
    let row =
        Row::parse("{ \"a\\n\" : [1, {\"x\":\"}\\\"\"}] , \"b\":9007199254740993.10,\"c\":\"\",\"d\":null }").unwrap();
    let columns: Vec<_> = row.columns().map(|(name, value)| (name.into_owned(), value.to_owned())).collect();
    let expected = [("a\n", "[1, {\"x\":\"}\\\"\"}]"), ("b", "9007199254740993.10"), ("c", "\"\""), ("d", "null")];
    assert_eq!(columns, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!((row.column("c"), row.column("x")), (Some("\"\""), None));
    assert_eq!(Row::parse("{}").unwrap().columns().count(), 0);
    assert!(Row::parse("[1]").is_err() && Row::parse("null").is_err());
    assert_eq!(format!("{row:?}"), format!("Row({} bytes)", row.text().len()));
}

fn value() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
    use proptest::prelude::*;
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn any_row_keeps_its_columns_and_their_text(
        columns in proptest::collection::btree_map(proptest::prelude::any::<String>(), value(), 0..8),
    ) {
        let text = serde_json::to_string(&columns).unwrap();
        let read = row(&event("c", "null", &text, SOURCE)).after.unwrap();
        proptest::prop_assert_eq!(read.text(), &text);
        let back: Vec<_> = read.columns().map(|(name, text)| (name.into_owned(), text.to_owned())).collect();
        let expected: Vec<_> = columns.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        proptest::prop_assert_eq!(back, expected);
        let pretty = serde_json::to_string_pretty(&columns).unwrap();
        proptest::prop_assert_eq!(Key::parse(&pretty).unwrap(), Key::parse(&text).unwrap());
    }

    #[test]
    fn any_bytes_decode_or_fail_and_never_panic(key: Vec<u8>, value: Vec<u8>) {
        let _ = decode(&bound().0, Some(&key), Some(&value), &Headers::new());
    }

    #[test]
    fn a_damaged_event_decodes_or_fails_and_never_panics(at in 0_usize..1000, byte: u8, avro: bool, cut: bool) {
        let (codec, schemas) = bound();
        let mut value = if avro {
            framed(&schemas, 7, &avro_schema(""), avro_event("u"))
        } else {
            event("u", "null", AFTER, SOURCE).into_bytes()
        };
        let at = at % value.len();
        value[at] = byte;
        if cut {
            value.truncate(at);
        }
        let _ = decode(&codec, Some(KEY.as_bytes()), Some(&value), &Headers::new());
    }

    #[test]
    fn any_text_as_a_row_or_key_is_refused_or_walked_without_panic(text: String) {
        for text in [text.clone(), format!("{{{text}}}"), format!("{{\"a\":{text}}}")] {
            if let Ok(row) = Row::parse(&text) {
                let _ = (row.columns().count(), row.has_placeholder(), Key::parse(&text).unwrap());
            }
            let _ = Row::is_placeholder(&text);
        }
    }
}

/// What one record costs, and what it costs merely to find the end of the JSON and to build a tree of it; run with
/// `--ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn decode_cost() {
    fn best(mut step: impl FnMut()) -> f64 {
        let rounds = (0..60).map(|_| {
            let start = std::time::Instant::now();
            (0..5000).for_each(|_| step());
            start.elapsed().as_secs_f64() / 5000.0 * 1e9
        });
        rounds.fold(f64::MAX, f64::min)
    }
    let (codec, schemas) = bound();
    let update = event("u", AFTER, AFTER, SOURCE);
    let create = event("c", "null", &AFTER.replace("café", &"x".repeat(500)), SOURCE);
    let with_schema =
        format!(r#"{{"schema":{},"payload":{update}}}"#, connect_schema(&[CONNECT_COLUMNS; 20].join(",")));
    let avro = framed(&schemas, 7, &avro_schema(""), avro_event("u"));
    let headers = Headers::new();
    for (name, value) in [
        ("json update", update.as_bytes()),
        ("json create", create.as_bytes()),
        ("json with schema", with_schema.as_bytes()),
        ("avro", &avro[..]),
    ] {
        let ours = best(|| {
            std::hint::black_box(decode(&codec, Some(KEY.as_bytes()), Some(value), &headers).unwrap());
        });
        let skip = best(|| {
            let _ = std::hint::black_box(serde_json::from_slice::<serde::de::IgnoredAny>(value));
        });
        let tree = best(|| {
            let _ = std::hint::black_box(serde_json::from_slice::<serde_json::Value>(value));
        });
        println!("{name}: {} bytes: {ours:.0} ns; skipped {skip:.0} ns, as a tree {tree:.0} ns", value.len());
    }
}
