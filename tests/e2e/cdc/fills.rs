//! Readers that fill the cache: C4, C5 and F14. Reader and database are real; a fill is late by the order of the calls.

use serde_json::json;

use super::world::{Connector, Setup, View, item};
use crate::support::{eventually, expect};

/// The default life of a fence.
const TOMBSTONE_MILLIS: i64 = 600_000;

#[test]
fn c4_deleted_row_is_known_as_gone_for_longer_than_a_fill_and_its_tombstone_is_nothing() {
    let world = Setup::new("c4").items().start();
    world.sql("INSERT INTO items VALUES (1, 'a')");
    world.wait_row("items", "1", &item(1, "a"));
    world.sql("DELETE FROM items");
    let records = world.wait_records("items", "create, delete and tombstone", |records| records.len() == 3);
    assert_eq!(records[2].value, None);
    world.settled(3);
    assert_eq!(world.read("items", "1"), View::Absent);
    let left: i64 = world.redis(&["PTTL", &world.key("items", "1")]);
    assert!(left > TOMBSTONE_MILLIS - 60_000 && left <= TOMBSTONE_MILLIS, "{left} ms");
    assert_eq!((world.dead_letters(), world.invalidations()), (vec![], 2));
    // A reader that saw the row before its deletion comes too late.
    assert_eq!(world.fill("items", "1", "1@whatever|.0|", "{}"), "refused");
    assert_eq!(world.read("items", "1"), View::Absent);
}

#[test]
fn c5_fill_is_refused_after_a_change_and_after_an_eviction_and_taken_otherwise() {
    let world = Setup::new("c5").items().invalidate().start();
    world.sql("INSERT INTO items VALUES (1, 'a')");
    world.settled(1);
    let row = |name: &str| item(1, name).to_string();

    let token = world.token("items", "1");
    assert_eq!(world.fill("items", "1", &token, &row("a")), "filled");
    assert_eq!(world.read("items", "1"), View::Hit(row("a")));

    world.sql("UPDATE items SET name = 'b'");
    world.settled(2);
    let token = world.token("items", "1");
    world.sql("UPDATE items SET name = 'c'");
    world.settled(3);
    assert_eq!(world.fill("items", "1", &token, &row("b")), "refused", "the token is older than the change");

    let token = world.token("items", "1");
    let evicted: i64 = world.redis(&["DEL", &world.key("items", "1")]);
    assert_eq!(evicted, 1);
    assert_eq!(world.fill("items", "1", &token, &row("c")), "refused", "the fence was evicted: nobody knows");
    // Nor does another reader's lease after the eviction make the old token good.
    let second = world.token("items", "1");
    assert_eq!(world.fill("items", "1", &token, &row("c")), "refused");
    assert_eq!(world.fill("items", "1", &second, &row("c")), "filled");
    assert_eq!(world.fill("items", "1", &second, &row("?")), "refused", "a token is good once");
    assert_eq!(world.read("items", "1"), View::Hit(row("c")));
}

/// The fence must be as good for a change that was evicted before the reader came, and for a truncate in between.
#[test]
fn c5_fill_across_a_truncate_or_a_new_column_is_refused() {
    let world = Setup::new("c5_table").items().invalidate().start();
    world.sql("INSERT INTO items VALUES (1, 'a'), (2, 'b')");
    world.settled(2);
    let token = world.token("items", "1");
    world.sql("TRUNCATE items");
    world.settled(3);
    assert_eq!(world.fill("items", "1", &token, "{}"), "refused");
    let token = world.token("items", "1");
    world.sql("ALTER TABLE items ADD COLUMN stock int DEFAULT 7; INSERT INTO items VALUES (3, 'c', 8)");
    world.settled(4);
    assert_eq!(world.fill("items", "1", &token, "{}"), "refused", "it was read without the column");
}

/// What a reader has filled carries no position, and no change has told of these rows: a connector of its own, made after
/// them, does not read them.
#[test]
fn f7_truncate_voids_what_readers_have_filled_again_and_again() {
    let rows = "INSERT INTO items VALUES (1, 'a'), (2, 'b')";
    let connector = Connector::json().with("snapshot.mode", "no_data").with("skipped.operations", "none");
    let world = Setup::new("f7_filled").items().invalidate().rows(rows).connector(connector).start();
    let fill = |id: &str| {
        assert_eq!(world.fill("items", id, &world.token("items", id), "{}"), "filled");
        assert_eq!(world.read("items", id), View::Hit("{}".to_owned()));
    };
    fill("1");
    for round in 0..3 {
        fill("2");
        world.sql("TRUNCATE items");
        for id in ["1", "2"] {
            world.wait_miss("items", id);
        }
        fill("1");
        world.sql("INSERT INTO items VALUES (1, 'again')");
        world.wait_miss("items", "1");
        fill("1");
        world.settled(2 * (round + 1));
        assert_eq!(world.read("items", "1"), View::Hit("{}".to_owned()), "read after the truncate: it stays");
    }
}

/// In either order: the fill before the change and after it. A cache without fences keeps the old row in the second.
#[test]
fn f14_fill_that_is_older_than_the_row_never_stays() {
    let world = Setup::new("f14").items().invalidate().start();
    world.sql("INSERT INTO items VALUES (1, 'old'), (2, 'old')");
    world.settled(2);
    let read = |id: i64| {
        let token = world.token("items", &id.to_string());
        let rows = world.sql(&format!("SELECT name FROM items WHERE id = {id}"));
        (token, item(id, &rows[0][0]).to_string())
    };
    let (first, second) = (read(1), read(2));
    assert_eq!(world.fill("items", "1", &first.0, &first.1), "filled");
    world.sql("UPDATE items SET name = 'new'");
    world.settled(4);
    assert_eq!(world.fill("items", "2", &second.0, &second.1), "refused");
    for id in [1, 2] {
        assert!(matches!(world.read("items", &id.to_string()), View::Miss(_)), "{id}");
        let (token, content) = read(id);
        assert_eq!(content, item(id, "new").to_string());
        assert_eq!(world.fill("items", &id.to_string(), &token, &content), "filled");
    }
    // A replay of what came before does not make the good fill void or old.
    for record in world.records("items") {
        world.produce("items", &record);
    }
    world.settled(8);
    assert_eq!(world.read("items", "2").row(), Some(item(2, "new")));
}

#[test]
fn c4_fill_of_an_absent_row_is_overtaken_by_its_insert() {
    let world = Setup::new("c4_absent").items().invalidate().start();
    let entry = world.key("items", "1");
    let token = world.token("items", "1");
    let table = format!("{}:{}.items", world.name, world.schema);
    let arguments = ["FCALL", "headrace_fill", "3", &entry, &table, &world.name, &token, "60000"];
    assert_eq!(world.redis::<String>(&arguments), "filled");
    assert_eq!(world.read("items", "1"), View::Absent);
    world.sql("INSERT INTO items VALUES (1, 'a')");
    world.wait_miss("items", "1");
    let token = world.token("items", "1");
    eventually("the fill", || expect(&world.fill("items", "1", &token, &json!({}).to_string()).as_str(), &"filled"));
}
