//! Debezium delivers real change events, as JSON and as Avro whose ids the registry's Confluent API knows.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::{DebeziumPostgres, Format, Registry, Testbed, wait};

const DEADLINE: Duration = Duration::from_secs(60);

/// Captures a fresh table, and inserts, updates and deletes one row.
fn change_a_row(bed: &Testbed, table: &str, format: Format<'_>) {
    let postgres = bed.postgres().expect("postgres");
    postgres
        .sql(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, amount numeric(10,2), at timestamptz)"))
        .expect("create table");
    postgres.sql(&format!("ALTER TABLE {table} REPLICA IDENTITY FULL")).expect("replica identity");
    let connector = DebeziumPostgres {
        postgres,
        topic_prefix: table.to_owned(),
        tables: vec![format!("public.{table}")],
        slot: format!("slot_{table}"),
        format,
        extra: BTreeMap::new(),
    };
    let connect = bed.connect().expect("connect");
    connect.create_connector(table, &connector.config()).expect("create connector");
    connect.wait_running(table, DEADLINE).expect("running");
    let slot = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'slot_{table}' AND active");
    wait::until("an active slot", DEADLINE, || match postgres.sql(&slot) {
        Ok(count) if count == "1" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .expect("slot");
    postgres.sql(&format!("INSERT INTO {table} VALUES (1, 10.50, now())")).expect("insert");
    postgres.sql(&format!("UPDATE {table} SET amount = 11 WHERE id = 1")).expect("update");
    postgres.sql(&format!("DELETE FROM {table} WHERE id = 1")).expect("delete");
}

/// The first `count` records of the table's topic as the console prints them, `<key>\t<value>`.
fn consume(bed: &Testbed, table: &str, count: usize) -> Vec<String> {
    let kafka = bed.kafka().expect("kafka");
    let (topic, count) = (format!("{table}.public.{table}"), count.to_string());
    let mut args = vec!["--bootstrap-server", kafka.bootstrap_servers(), "--topic", &topic, "--from-beginning"];
    args.extend(["--max-messages", &count, "--timeout-ms", "30000"]);
    // A record's bytes may hold a line feed (an Avro length of five does).
    args.extend(["--formatter-property", "print.key=true", "--formatter-property", "line.separator=<end>"]);
    let text = kafka.java_tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &args).expect("consume");
    text.split_terminator("<end>").map(str::to_owned).collect()
}

/// Key and value of a record in JSON.
fn parse(record: &str) -> (Value, Value) {
    let (key, value) = record.split_once('\t').expect("a key and a value");
    let json = |text: &str| serde_json::from_str(text).expect("JSON");
    (json(key), json(value))
}

/// The schema that a Confluent frame names, as the registry's Confluent API knows it.
fn schema_of(registry: &Registry, framed: &str) -> Value {
    let frame = framed.as_bytes();
    assert_eq!(frame[..4], [0, 0, 0, 0], "magic byte and a small id: {framed:?}");
    let url = format!("{}/schemas/ids/{}", registry.url(), frame[4]);
    let answer: Value = ureq::get(&url).call().expect("known to the API").body_mut().read_json().expect("JSON");
    assert!(answer["references"].as_array().is_none_or(Vec::is_empty), "one schema in one piece: {answer}");
    serde_json::from_str(answer["schema"].as_str().expect("a schema")).expect("JSON")
}

#[test]
fn delivers_changes_as_json_and_goes_on_after_a_kill() {
    let bed = Testbed::builder().postgres().connect().start().expect("start");
    change_a_row(&bed, "plain", Format::Json { schemas: false });
    let records: Vec<_> = consume(&bed, "plain", 4).iter().map(|record| parse(record)).collect();
    let ops: Vec<_> = records.iter().map(|(key, value)| (key["id"].clone(), value["op"].clone())).collect();
    assert_eq!(ops, [(json!(1), json!("c")), (json!(1), json!("u")), (json!(1), json!("d")), (json!(1), Value::Null)]);
    assert_eq!(records[2].1["before"]["id"], 1, "{records:?}");

    let connect = bed.connect().expect("connect");
    connect.kill();
    bed.postgres().expect("postgres").sql("INSERT INTO plain VALUES (2, 1, now())").expect("insert");
    connect.start().expect("connect");
    connect.wait_running("plain", DEADLINE).expect("the connector is back");
    // What came after the last write of offsets comes again; then the row that nobody saw.
    wait::until("the row inserted while Connect was away", DEADLINE, || {
        let end = end_offset(&bed, "plain");
        let records = consume(&bed, "plain", end);
        records.iter().any(|record| parse(record).0["id"] == 2).then_some(()).ok_or(format!("{end} records"))
    })
    .expect("delivered");
    connect.pause_connector("plain").expect("pause");
    connect.wait_state("plain", "PAUSED", DEADLINE).expect("paused");
    connect.delete_connector("plain").expect("delete");
    assert!(connect.status("plain").is_err());
}

fn end_offset(bed: &Testbed, table: &str) -> usize {
    let kafka = bed.kafka().expect("kafka");
    let topic = format!("{table}.public.{table}");
    let args = ["--bootstrap-server", kafka.bootstrap_servers(), "--topic", &topic];
    let text = kafka.java_tool("org.apache.kafka.tools.GetOffsetShell", &args).expect("offsets");
    text.trim().rsplit_once(':').expect("topic:partition:offset").1.parse().expect("a number")
}

#[test]
fn delivers_json_with_its_schema_and_avro_with_a_known_id() {
    let bed = Testbed::builder().registry().postgres().connect().start().expect("start");
    change_a_row(&bed, "wrapped", Format::Json { schemas: true });
    let (_, value) = parse(&consume(&bed, "wrapped", 1)[0]);
    assert_eq!(value["payload"]["op"], "c");
    assert_eq!(value["schema"]["name"], "wrapped.public.wrapped.Envelope");

    let registry = bed.registry().expect("registry");
    change_a_row(&bed, "framed", Format::Avro(registry));
    let records = consume(&bed, "framed", 4);
    let (key, value) = records[0].split_once('\t').expect("a key and a value");
    assert_eq!(schema_of(registry, key)["name"], "Key");
    let schema = schema_of(registry, value);
    assert_eq!((&schema["namespace"], &schema["name"]), (&json!("framed.public.framed"), &json!("Envelope")));
    assert!(records[3].ends_with("\tnull"), "a tombstone has no bytes: {:?}", records[3]);
}
