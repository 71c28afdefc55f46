//! Which change wins: C1 to C3, C6, C9 and the facts about positions.

use serde_json::json;

use super::world::{Setup, View, event, item};
use crate::support::eventually;
use crate::support::expect;

/// Rows of a table without a primary key can't be told apart; the rows of the table beside it go on.
#[test]
fn c1_rows_without_a_primary_key_become_dead_letters_and_the_others_pass() {
    let world = Setup::new("c1").items().table("logs", "line text").start();
    world.sql("INSERT INTO logs VALUES ('a'), ('b'); INSERT INTO items VALUES (1, 'x')");
    world.wait_row("items", "1", &item(1, "x"));
    eventually("two dead letters", || expect(&world.dead_letters().len(), &2));
    let letters = world.dead_letters();
    assert_eq!(letters[0].value, world.records("logs")[0].value, "byte for byte");
    assert_eq!(letters[0].header("headrace.dlq.class"), Some(&b"null-key"[..]));
}

#[test]
fn c1_rows_without_a_primary_key_void_their_table_where_that_is_configured() {
    let setup = Setup::new("c1_table").table("logs", "line text").invalidate().cdc("null-keys = \"table\"");
    let world = setup.start();
    assert_eq!(world.fill("logs", "1", &world.token("logs", "1"), "a page made of many rows"), "filled");
    world.sql("INSERT INTO logs VALUES ('a')");
    world.settled(1);
    world.wait_miss("logs", "1");
    assert_eq!(world.dead_letters(), []);
}

/// Two updates of one transaction share `ts_ms` and `txId`; then the log's positions start anew, as after a failover.
/// The database can't be made to go back, so the changes of the new epoch are produced.
#[test]
fn c2_order_is_of_epochs_and_positions_and_never_of_clocks() {
    let mut world = Setup::new("c2").items().start();
    world.sql("INSERT INTO items VALUES (1, 'a')");
    world.sql("BEGIN; UPDATE items SET name = 'b'; UPDATE items SET name = 'c'; COMMIT");
    world.wait_row("items", "1", &item(1, "c"));
    let times: Vec<_> = world.records("items").iter().map(|record| record.json()["source"]["ts_ms"].clone()).collect();
    assert_eq!(times[1], times[2], "the clock can't tell them apart");

    world.topics.produce(&world.topic("items"), &event("c2", "u", 1, 8, &item(1, "of another log")));
    world.settled(4);
    assert_eq!(world.read("items", "1").row(), Some(item(1, "c")), "in one epoch it is old");
    assert!(world.app.terminate().success());
    world.app.set("cdc.epoch=2");
    world.app.start_again();
    world.topics.produce(&world.topic("items"), &event("c2", "u", 1, 9, &item(1, "after the failover")));
    world.wait_row("items", "1", &item(1, "after the failover"));
}

/// Everything once more: the connector's records byte for byte, then a second application without any state, whose calls
/// reach Redis.
#[test]
fn c3_redelivered_changes_change_nothing() {
    let world = Setup::new("c3").items().start();
    world.sql("INSERT INTO items VALUES (1, 'a'), (2, 'b'); UPDATE items SET name = 'c' WHERE id = 1");
    world.sql("DELETE FROM items WHERE id = 2");
    let records = world.wait_records("items", "five records", |records| records.len() == 5);
    world.settled(5);
    let (invalidations, applied) = (world.invalidations(), world.replies("applied"));
    records.iter().for_each(|record| world.produce("items", record));
    world.settled(10);
    assert_eq!((world.invalidations(), world.replies("applied")), (invalidations, applied));

    let mut second = Setup::new("c3_second").items().produced().prepare();
    let sections = format!("topics.row-changes=[\"{}\"]", world.topic("items"));
    second.app.set(&sections);
    second.app.set("redis.namespace=c3");
    second.app.apply();
    second.app.start_again();
    eventually("four calls", || expect(&(second.replies("stale") + second.replies("equal")), &4.0));
    assert_eq!((second.replies("equal"), second.replies("applied")), (2.0, 0.0));
    assert_eq!(world.read("items", "1").row(), Some(item(1, "c")));
    assert_eq!(world.read("items", "2"), View::Absent);
}

/// The two halves come at one position, and go to different partitions.
#[test]
fn c6_primary_key_update_moves_the_cached_row() {
    let world = Setup::new("c6").items().partitions(4).start();
    world.sql("INSERT INTO items SELECT id, 'row ' || id FROM generate_series(1, 8) id");
    world.wait_row("items", "8", &item(8, "row 8"));
    world.sql("UPDATE items SET id = id + 100");
    for id in 1..=8 {
        world.wait_row("items", &(id + 100).to_string(), &item(id + 100, &format!("row {id}")));
        world.wait_miss("items", &id.to_string());
    }
    let records = world.records("items");
    let partitions: std::collections::BTreeSet<_> = records.iter().map(|record| record.partition).collect();
    assert!(partitions.len() > 1, "in several partitions");
    // Where a row moved away, another may come to.
    world.sql("UPDATE items SET id = 1 WHERE id = 108");
    world.wait_row("items", "1", &item(1, "row 8"));
}

/// `t` and `m` are the database's own; no database sends an operation that is unknown, so that one is produced.
#[test]
fn c9_truncate_voids_messages_pass_and_unknown_operations_are_set_aside() {
    let world = Setup::new("c9").items().topic("shared.message").start();
    world.sql("INSERT INTO items VALUES (1, 'a'), (2, 'b')");
    world.wait_row("items", "2", &item(2, "b"));
    world.sql("SELECT pg_logical_emit_message(true, 'c9', 'hello')");
    world.sql("TRUNCATE items");
    world.wait_miss("items", "1");
    world.wait_miss("items", "2");
    world.sql("INSERT INTO items VALUES (2, 'again')");
    world.wait_row("items", "2", &item(2, "again"));
    let messages = world.topics.read("shared.message");
    assert!(messages.iter().any(|record| record.json()["op"] == "m"), "the message has come");
    assert_eq!(world.dead_letters(), []);

    let mut unknown = event("c9", "z", 2, 1 << 40, &item(2, "?"));
    unknown.headers = vec![("trace".into(), None), ("trace".into(), Some(vec![0xff, 0]))];
    world.produce("items", &unknown);
    world.wait_miss("items", "2");
    eventually("a dead letter", || expect(&world.dead_letters().len(), &1));
    let letter = &world.dead_letters()[0];
    assert_eq!((&letter.key, &letter.value), (&unknown.key, &unknown.value), "byte for byte");
    assert_eq!(letter.headers[..2], unknown.headers);
    assert_eq!(letter.header("headrace.dlq.class"), Some(&b"unknown-op"[..]));
}

/// Two transactions side by side: the one that wrote first commits last.
#[test]
fn f2_row_below_the_highest_position_of_its_partition_is_cached() {
    let world = Setup::new("f2").items().start();
    world.sql("INSERT INTO items VALUES (1, 'a'), (2, 'b')");
    let early = world.session();
    early.sql("BEGIN; UPDATE items SET name = 'early, committed last' WHERE id = 1");
    world.sql("UPDATE items SET name = 'late, committed first' WHERE id = 2");
    world.wait_row("items", "2", &item(2, "late, committed first"));
    early.sql("COMMIT");
    world.wait_row("items", "1", &item(1, "early, committed last"));
    let positions: Vec<_> =
        world.records("items").iter().map(|record| record.json()["source"]["lsn"].as_u64()).collect();
    assert!(positions[3] < positions[2], "else this test shows nothing: {positions:?}");
}

#[test]
fn f3_copied_rows_and_both_halves_of_a_move_share_a_position_and_all_count() {
    let world = Setup::new("f3").items().start();
    let lines: String = (1..=300).map(|id| format!("{id}\trow {id}\n")).collect();
    world.copy("items", &lines);
    for id in [1, 100, 101, 300] {
        world.wait_row("items", &id.to_string(), &item(id, &format!("row {id}")));
    }
    world.sql("UPDATE items SET id = 1000 WHERE id = 300");
    world.wait_row("items", "1000", &item(1000, "row 300"));
    world.wait_miss("items", "300");
    let mut rows = std::collections::BTreeMap::<u64, Vec<String>>::new();
    for record in world.records("items").iter().filter(|record| record.value.is_some()) {
        let value = record.json();
        rows.entry(value["source"]["lsn"].as_u64().unwrap()).or_default().push(value["op"].to_string());
    }
    assert!(rows.values().any(|ops| ops.len() > 10), "a COPY shares positions: {} of them", rows.len());
    assert!(rows.values().any(|ops| ops[..] == ["\"d\"", "\"c\""]), "so does a move");
    assert!((1..300).all(|id| world.read("items", &id.to_string()).row() == Some(item(id, &format!("row {id}")))));
}

/// A log of 4 GiB takes too long to write: the positions are produced.
#[test]
fn f4_positions_compare_as_64_bit_numbers_down_to_redis() {
    let world = Setup::new("f4").items().produced().start();
    let steps = [99_999_999, 100_000_000, (1 << 32) - 1, 1 << 32, (1 << 53) + 1, (1 << 53) + 2, (1 << 63) - 1];
    for (at, lsn) in steps.into_iter().enumerate() {
        let mut record = event("f4", "u", 1, lsn, &item(1, &format!("step {at}")));
        if at == 3 {
            // The first entry of the sequence is another transaction's, and may be null.
            let text = String::from_utf8(record.value.unwrap()).unwrap();
            record.value = Some(text.replace(&format!("[\\\"{lsn}\\\","), "[null,").into_bytes());
        }
        world.produce("items", &record);
        world.wait_row("items", "1", &item(1, &format!("step {at}")));
    }
    for lsn in steps {
        world.produce("items", &event("f4", "u", 1, lsn - 1, &json!({"id": 1, "name": "old"})));
    }
    world.settled(14);
    assert_eq!(world.read("items", "1").row(), Some(item(1, "step 6")));
    // The same again where only Redis remembers.
    let mut second = Setup::new("f4_second").items().produced().prepare();
    second.app.set(&format!("topics.row-changes=[\"{}\"]", world.topic("items")));
    second.app.set("redis.namespace=f4");
    second.app.apply();
    second.app.start_again();
    eventually("seven calls", || expect(&(second.replies("stale") + second.replies("equal")), &7.0));
    assert_eq!(world.read("items", "1").row(), Some(item(1, "step 6")));
}
