//! What is cached: C8 and the facts about columns and keys.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::world::{Setup, View, World, event, item};
use crate::support::{eventually, expect};

const PLACEHOLDER: &str = "__debezium_unavailable_value";
const PLACEHOLDER_BASE64: &str = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";

/// Stored out of line, and not compressed: an update that leaves it alone does not log it.
const TOASTED: &str = "id int PRIMARY KEY, name text, body text, doc jsonb, raw bytea";

fn keep_out_of_line(world: &World) {
    for column in ["body", "doc", "raw"] {
        world.sql(&format!("ALTER TABLE pages ALTER COLUMN {column} SET STORAGE EXTERNAL"));
    }
}

/// 10,000 characters in each of the columns.
fn insert(world: &World, id: i64) {
    let text = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 320) i)";
    world.sql(&format!(
        "INSERT INTO pages SELECT {id}, 'first', {text}, jsonb_build_object('t', {text}), convert_to({text}, 'UTF8')"
    ));
}

fn no_placeholder_is_cached(world: &World) {
    let keys: Vec<String> = world.redis(&["KEYS", &format!("{}.*", world.schema)]);
    for key in keys {
        let content: Option<String> = world.redis(&["HGET", &key, "d"]);
        let content = content.unwrap_or_default();
        assert!(!content.contains(PLACEHOLDER) && !content.contains(PLACEHOLDER_BASE64), "{key}");
    }
}

/// Text, jsonb and bytea spell the placeholder differently; the row's last full image has the content.
#[test]
fn f6_unchanged_toast_columns_are_completed_in_text_jsonb_and_bytea() {
    let world = Setup::new("f6").table("pages", TOASTED).start();
    keep_out_of_line(&world);
    insert(&world, 1);
    eventually("the row", || world.read("pages", "1").row().ok_or_else(|| "a miss".to_owned()));
    let full = world.read("pages", "1").row().unwrap();
    world.sql("UPDATE pages SET name = 'second' WHERE id = 1");
    let mut expected = full;
    expected["name"] = json!("second");
    world.wait_row("pages", "1", &expected);
    let update = world.records("pages").pop().unwrap().json();
    let after = &update["after"];
    assert_eq!([&after["body"], &after["doc"], &after["raw"]], [PLACEHOLDER, PLACEHOLDER, PLACEHOLDER_BASE64]);
    assert!(expected["body"].as_str().unwrap().len() > 9_000);
    no_placeholder_is_cached(&world);
}

/// A consumer that was not there when the row was whole.
#[test]
fn c8_toast_column_that_was_never_seen_leads_to_a_miss_until_the_row_comes_whole() {
    let setup = Setup::new("c8").table("pages", TOASTED).set("processing.start=latest");
    let mut world = setup.prepare();
    keep_out_of_line(&world);
    insert(&world, 1);
    world.wait_records("pages", "the create", |records| records.len() == 1);
    world.app.apply();
    world.app.start_again();
    // Read from the end on: where that is, the first commit tells.
    eventually("the update to be processed", || {
        world.sql("UPDATE pages SET name = name || '.' WHERE id = 1");
        expect(&(world.replies("applied") > 0.0), &true)
    });
    assert!(matches!(world.read("pages", "1"), View::Miss(_)));
    no_placeholder_is_cached(&world);
    world.sql("UPDATE pages SET name = 'whole', body = 'short', doc = '{}', raw = 'x' WHERE id = 1");
    world.wait_row("pages", "1", &json!({"id": 1, "name": "whole", "body": "short", "doc": "{}", "raw": "eA=="}));
}

/// The create of the new key leaves the column out, and its content is in the old key's row, in another partition.
#[test]
fn f5_primary_key_update_with_a_toasted_column_leads_to_a_miss() {
    let world = Setup::new("f5").table("pages", TOASTED).partitions(4).start();
    keep_out_of_line(&world);
    (1..=4).for_each(|id| insert(&world, id));
    (1..=4).for_each(|id: i64| {
        eventually("the row", || world.read("pages", &id.to_string()).row().ok_or_else(|| "a miss".to_owned()));
    });
    world.sql("UPDATE pages SET id = id + 10");
    // Four creates; then a move is a delete, a tombstone and a create.
    world.settled(16);
    for id in 1..=4 {
        world.wait_miss("pages", &id.to_string());
        world.wait_miss("pages", &(id + 10).to_string());
    }
    let records = world.records("pages");
    let moved = |record: &&crate::support::records::Stored| record.header("__debezium.oldkey").is_some();
    let creates: Vec<_> = records.iter().filter(moved).map(|record| record.json()["after"]["body"].clone()).collect();
    assert_eq!(creates, vec![json!(PLACEHOLDER); 4], "else this test shows nothing");
    no_placeholder_is_cached(&world);
    // A later update is no better off: there is no image under the new key.
    world.sql("UPDATE pages SET name = 'later' WHERE id = 11");
    world.settled(17);
    world.wait_miss("pages", "11");
    no_placeholder_is_cached(&world);
}

/// With the default replica identity.
#[test]
fn f8_invented_columns_of_a_delete_and_the_missing_before_reach_no_cache() {
    let columns = "id int PRIMARY KEY, name text NOT NULL, amount int NOT NULL";
    let world = Setup::new("f8").table("items", columns).start();
    world.sql("INSERT INTO items VALUES (1, 'a', 5); UPDATE items SET amount = 6; DELETE FROM items");
    world.wait_absent("items", "1");
    let records = world.records("items");
    assert_eq!(records[1].json()["before"], Value::Null, "of an update");
    let before = records[2].json()["before"].clone();
    assert_eq!(before, json!({"id": 1, "name": "", "amount": 0}), "of a delete: nobody wrote this row");
    world.sql("INSERT INTO items VALUES (1, 'b', 7)");
    world.wait_row("items", "1", &json!({"id": 1, "name": "b", "amount": 7}));
}

/// Untouched rows have a new column, and no event says so.
#[test]
fn f9_column_that_is_added_with_a_default_voids_the_untouched_rows() {
    let world = Setup::new("f9").items().start();
    world.sql("INSERT INTO items VALUES (1, 'touched'), (2, 'untouched')");
    world.wait_row("items", "2", &item(2, "untouched"));
    world.sql("ALTER TABLE items ADD COLUMN stock int DEFAULT 7");
    world.settled(2);
    assert_eq!(world.records("items").len(), 2, "no event says so");
    world.sql("UPDATE items SET name = 'again' WHERE id = 1");
    world.wait_row("items", "1", &json!({"id": 1, "name": "again", "stock": 7}));
    world.wait_miss("items", "2");
    // The reader fills what it finds now, and that holds.
    assert_eq!(world.fill("items", "2", &world.token("items", "2"), r#"{"stock":7}"#), "filled");
    assert_eq!(world.read("items", "2"), View::Hit(r#"{"stock":7}"#.to_owned()));
}

/// What was read and what was streamed differ in their spelling; the cache holds the last of them to the letter.
#[test]
fn f10_times_and_numbers_are_cached_as_they_came() {
    let columns =
        "id bigint PRIMARY KEY, at timestamptz, until timestamptz, price numeric(10,2), free numeric, big bigint";
    let world = Setup::new("f10").table("odd", columns).start();
    world.sql("INSERT INTO odd VALUES (1, '0001-01-01 00:00:00+00', 'infinity', 10.50, 1.500, 9007199254740993)");
    let streamed = last_after(&world, 1);
    eventually("the streamed row", || expect(&world.read("odd", "1"), &View::Hit(streamed.clone())));
    world.snapshot("odd");
    let read = last_after(&world, 2);
    eventually("the row that was read", || expect(&world.read("odd", "1"), &View::Hit(read.clone())));
    assert!(streamed.contains("\"infinity\"") && streamed.contains("9007199254740993"), "{streamed}");
    let [streamed, read] = [streamed, read].map(|text| serde_json::from_str::<Value>(&text).unwrap()["at"].clone());
    assert_ne!(streamed, read, "else this test shows nothing");
    world.sql("UPDATE odd SET price = 11.00");
    let updated = last_after(&world, 3);
    eventually("the updated row", || expect(&world.read("odd", "1"), &View::Hit(updated.clone())));
}

/// The text of the last row image, once the topic has that many records.
fn last_after(world: &World, records: usize) -> String {
    let found = world.wait_records("odd", "the record", |found| found.len() >= records);
    let value = found[records - 1].value.clone().unwrap();
    let value: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&value).unwrap();
    value["after"].get().to_owned()
}

#[test]
fn f13_odd_keys_have_entries_of_their_own() {
    let world =
        Setup::new("f13").table("words", "k text PRIMARY KEY, n int").table("numbers", "k bigint PRIMARY KEY, n int");
    let world = world.start();
    let words = ["", "null", "a\nb", "🦀", "a:b", "a%3Ab", "{k}", " "];
    for (n, word) in words.iter().enumerate() {
        world.sql(&format!("INSERT INTO words VALUES ('{word}', {n})"));
    }
    let numbers = [i64::MAX, 9_007_199_254_740_993, 9_007_199_254_740_992, -1];
    for (n, number) in numbers.iter().enumerate() {
        world.sql(&format!("INSERT INTO numbers VALUES ({number}, {n})"));
    }
    for (n, word) in words.iter().enumerate() {
        let escaped = word.replace('%', "%25").replace(':', "%3A").replace('{', "%7B").replace('}', "%7D");
        world.wait_row("words", &escaped, &json!({"k": word, "n": n}));
    }
    for (n, number) in numbers.iter().enumerate() {
        world.wait_row("numbers", &number.to_string(), &json!({"k": number, "n": n}));
    }
    assert_eq!(world.dead_letters(), []);
}

/// A changelog takes a megabyte: a larger row can't be kept, so it is not cached. It must not stop the others.
#[test]
fn row_that_is_too_large_for_the_changelog_leads_to_a_miss_and_holds_up_nobody() {
    let world = Setup::new("large").items().produced().start();
    world.produce("items", &event("large", "c", 1, 100, &item(1, "small")));
    world.wait_row("items", "1", &item(1, "small"));
    world.produce("items", &event("large", "u", 1, 200, &item(1, &"x".repeat(1_500_000))));
    world.produce("items", &event("large", "c", 2, 300, &item(2, "next")));
    world.wait_row("items", "2", &item(2, "next"));
    world.wait_miss("items", "1");
    assert_eq!(world.dead_letters(), []);
}
