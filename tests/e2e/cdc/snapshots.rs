//! Snapshots, truncates, signals: C7, F1, F7, F11 and F12.

use serde_json::{Value, json};
use testbed::{Connect, DebeziumPostgres, Format};

use super::world::{Connector, SHARED, SIGNALS, Setup, View, item};
use crate::support::records::Stored;
use crate::support::{eventually, expect};

fn of_row(records: &[Stored], id: i64, op: &str) -> Option<Value> {
    let mut values = records.iter().map(Stored::json);
    values.find(|value| value["op"] == op && value["after"]["id"] == id)
}

/// The snapshot's records come from Debezium; that they come once more, behind the stream, is produced.
#[test]
fn c7_snapshot_read_never_beats_the_stream() {
    let setup = Setup::new("c7").items().rows("INSERT INTO items VALUES (1, 'read'), (2, 'read'), (3, 'read')");
    let world = setup.connector(Connector::json()).start();
    for id in 1..=3 {
        world.wait_row("items", &id.to_string(), &item(id, "read"));
    }
    world.sql("UPDATE items SET name = 'streamed' WHERE id = 1; DELETE FROM items WHERE id = 2");
    world.wait_row("items", "1", &item(1, "streamed"));
    world.wait_absent("items", "2");
    let reads: Vec<_> = world.records("items").into_iter().filter(|record| record.json()["op"] == "r").collect();
    assert_eq!(reads.len(), 3);
    for read in reads {
        // As a snapshot that was taken anew would send it: of a higher position than the stream's.
        let mut value = read.json();
        value["source"]["lsn"] = json!(1_u64 << 40);
        value["after"]["name"] = json!("read again");
        world.produce("items", &Stored { value: Some(value.to_string().into_bytes()), ..read });
    }
    world.wait_row("items", "3", &item(3, "read again"));
    world.settled(9);
    assert_eq!(world.read("items", "1").row(), Some(item(1, "streamed")));
    assert_eq!(world.read("items", "2"), View::Absent);
}

/// A transaction stays open across the read and commits behind it, at a lower position than what was streamed before.
#[test]
fn f1_incremental_read_raises_no_fence_against_a_transaction_that_was_open() {
    let world = Setup::new("f1").items().start();
    world.sql("INSERT INTO items SELECT id, 'a' FROM generate_series(1, 5) id");
    let open = world.session();
    open.sql("BEGIN; UPDATE items SET name = 'was open' WHERE id = 1; DELETE FROM items WHERE id = 2");
    world.sql("UPDATE items SET name = 'b' WHERE id = 3");
    world.snapshot("items");
    let done = |records: &[Stored]| of_row(records, 5, "r").is_some();
    let records = world.wait_records("items", "the snapshot", done);
    let read = of_row(&records, 1, "r").unwrap();
    assert_eq!((&read["source"]["lsn"], &read["after"]["name"]), (&Value::Null, &json!("a")));
    world.wait_row("items", "3", &item(3, "b"));
    open.sql("COMMIT");
    world.wait_row("items", "1", &item(1, "was open"));
    world.wait_absent("items", "2");
    let records = world.records("items");
    let position = |id| of_row(&records, id, "u").unwrap()["source"]["lsn"].as_u64();
    assert!(position(1) < position(3), "else this test shows nothing");
    assert_eq!(world.read("items", "4").row(), Some(item(4, "a")));
}

/// Null key, arbitrary partition; late records of before stay void wherever they are.
#[test]
fn f7_truncate_is_a_fence_on_the_whole_table_by_position() {
    let world = Setup::new("f7").items().partitions(4).start();
    world.sql("INSERT INTO items SELECT id, 'before' FROM generate_series(1, 8) id");
    for id in 1..=8 {
        world.wait_row("items", &id.to_string(), &item(id, "before"));
    }
    let before = world.records("items");
    world.sql("BEGIN; TRUNCATE items; INSERT INTO items VALUES (1, 'after'); COMMIT");
    world.wait_row("items", "1", &item(1, "after"));
    for id in 2..=8 {
        world.wait_miss("items", &id.to_string());
    }
    let records = world.records("items");
    let truncate = records.iter().find(|record| record.json()["op"] == "t").expect("skipped.operations = none");
    assert_eq!(truncate.key, None);
    before.iter().for_each(|record| world.produce("items", record));
    world.settled(18);
    for id in 2..=8 {
        world.wait_miss("items", &id.to_string());
    }
    assert_eq!(world.read("items", "1").row(), Some(item(1, "after")));
}

/// A snapshot opens and closes windows in the signal table, whose topic is read like any other.
#[test]
fn f11_signal_records_are_rows_and_a_tombstone_deletes_nothing() {
    let signals = format!("{SHARED}.{SIGNALS}");
    let world = Setup::new("f11").items().topic(&signals).start();
    world.sql("INSERT INTO items VALUES (1, 'a'); DELETE FROM items; INSERT INTO items VALUES (1, 'b')");
    world.wait_row("items", "1", &item(1, "b"));
    let tombstone = world.records("items").into_iter().find(|record| record.value.is_none()).unwrap();
    world.produce("items", &tombstone);
    world.settled(5);
    assert_eq!(world.read("items", "1").row(), Some(item(1, "b")));
    world.snapshot("items");
    eventually("a closed window", || {
        let closed = |record: &Stored| record.json()["after"]["type"] == "snapshot-window-close";
        expect(&world.topics.read(&signals).iter().any(closed), &true)
    });
    world.wait_records("items", "the read", |records| of_row(records, 1, "r").is_some());
    world.settled(6);
    assert_eq!(world.read("items", "1").row(), Some(item(1, "b")));
    assert_eq!(world.dead_letters(), []);
}

/// A Connect worker of its own is killed while it delivers the table; started again, it delivers all of it.
#[test]
fn f12_snapshot_that_was_killed_and_begun_again_ends_with_every_row() {
    const ROWS: i64 = 20_000;
    let rows = format!("INSERT INTO items SELECT id, 'row ' || id FROM generate_series(1, {ROWS}) id");
    let world = Setup::new("f12").items().rows(&rows).produced().start();
    let bed = &world.bed;
    let bootstrap = bed.kafka().unwrap().bootstrap_servers();
    let connect = Connect::start_worker(bed.cache(), bed.dirs().unwrap(), bootstrap).unwrap();
    let settings = [("max.batch.size", "100"), ("max.queue.size", "200"), ("snapshot.fetch.size", "100")];
    let connector = DebeziumPostgres {
        postgres: bed.postgres().unwrap(),
        topic_prefix: "f12".to_owned(),
        tables: vec!["e2e_f12.items".to_owned()],
        slot: "slot_f12".to_owned(),
        format: Format::Json { schemas: false },
        extra: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    connect.create_connector("f12", &connector.config()).unwrap();
    let topic = world.topic("items");
    eventually("a part of the snapshot", || expect(&(world.topics.end(&topic, 0) > 200), &true));
    connect.kill();
    let before = world.topics.end(&topic, 0);
    assert!(before < ROWS, "it was too quick: {before}");
    world.sql("UPDATE items SET name = 'meanwhile' WHERE id <= 100");
    connect.start().unwrap();
    eventually("the whole table", || expect(&(world.topics.end(&topic, 0) >= before + ROWS), &true));
    world.sql("UPDATE items SET name = 'at the end' WHERE id = 1");
    world.wait_row("items", "1", &item(1, "at the end"));
    let verdict = super::check::compare(&world.sql("SELECT id, name FROM items"), |id| world.read("items", id));
    assert_eq!((verdict.stale, verdict.lost, verdict.right), (0, 0, ROWS as usize));
    assert_eq!(world.dead_letters(), []);
}
