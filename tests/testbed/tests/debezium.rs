//! Debezium delivers real change events, as JSON and as Avro whose ids the registry's Confluent API knows.

use std::collections::BTreeMap;
use std::time::Duration;

use testbed::{DebeziumPostgres, Format, Testbed, wait};

const DEADLINE: Duration = Duration::from_secs(20);

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

/// The first four records of the table's topic: insert, update, delete, tombstone.
fn consume(bed: &Testbed, table: &str, args: &[&str]) -> String {
    let kafka = bed.kafka().expect("kafka");
    let topic = format!("{table}.public.{table}");
    let mut all = vec!["--bootstrap-server", kafka.bootstrap_servers(), "--topic", &topic, "--from-beginning"];
    all.extend(["--max-messages", "4", "--timeout-ms", "30000"]);
    all.extend(args);
    kafka.java_tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &all).expect("consume")
}

#[test]
fn delivers_insert_update_delete_and_tombstone() {
    let bed = Testbed::builder().kafka().registry().postgres().connect().start().expect("start");
    change_a_row(&bed, "plain", Format::Json { schemas: false });
    println!("{}", consume(&bed, "plain", &["--property", "print.key=true"]));
    change_a_row(&bed, "wrapped", Format::Json { schemas: true });
    println!("{}", consume(&bed, "wrapped", &["--property", "print.key=true"]));
    change_a_row(&bed, "framed", Format::Avro(bed.registry().expect("registry")));
    println!("{}", consume(&bed, "framed", &["--property", "print.key=true"]));
}
