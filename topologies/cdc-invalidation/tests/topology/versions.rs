//! Which change wins: C1 to C3, C6, C7, C9 and what goes with them.

use cdc_invalidation::rows::Action;
use serde_json::{Value, json};

use crate::cache::View;
use crate::support::{Bench, Event, content, moved, row};

#[test]
fn c2_newest_version_wins_whatever_comes_late() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a"), Event::update(1, 300, "c"), Event::update(1, 200, "b")]);
    assert_eq!(bench.view(1), content(1, "c"));
    assert_eq!(bench.invalidations().len(), 2, "the late one changes nothing");
}

#[test]
fn c2_wall_clock_decides_nothing() {
    let mut bench = Bench::write_through();
    let later = Event::update(1, 200, "new").source(|source| source["ts_ms"] = json!(1));
    bench.send_all(&[Event::create(1, 100, "old"), later]);
    assert_eq!(bench.view(1), content(1, "new"));
}

#[test]
fn c2_higher_epoch_wins_over_any_position_of_the_last() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 900_000, "before the failover")]);
    let old = bench.invalidations().remove(0);
    let mut next = Bench::new(&["cdc.mode=write-through", "cdc.epoch=2"]);
    next.cache = std::mem::take(&mut bench.cache);
    next.send_all(&[Event::update(1, 50, "after the failover")]);
    assert_eq!(next.view(1), content(1, "after the failover"));
    assert!(next.invalidations()[0].version > old.version);
}

#[test]
fn c3_redelivery_is_a_no_op() {
    let mut bench = Bench::write_through();
    let events = [Event::create(1, 100, "a"), Event::update(1, 200, "b"), Event::delete(1, 300), Event::tombstone(1)];
    bench.send_all(&events);
    let (state, calls) = (bench.stored("public.items", r#"{"id":1}"#), bench.cache.answers.len());
    bench.invalidations();
    bench.send_all(&events);
    assert_eq!(bench.stored("public.items", r#"{"id":1}"#), state);
    assert_eq!((bench.invalidations().len(), bench.cache.answers.len()), (0, calls));
    assert_eq!(bench.view(1), View::Absent);
}

#[test]
fn c3_a_call_sent_twice_to_redis_applies_once() {
    let mut bench = Bench::write_through();
    let events = [Event::create(1, 100, "a"), Event::update(1, 200, "b")];
    bench.send_all(&events);
    // The state of before, the cache of after: what a kill between the reply and the commit leaves.
    let mut again = Bench::write_through();
    again.cache = std::mem::take(&mut bench.cache);
    again.cache.answers.clear();
    again.send_all(&events);
    assert_eq!(again.cache.answers, ["stale", "equal"]);
    assert_eq!(again.view(1), content(1, "b"));
}

#[test]
fn c4_tombstone_is_a_no_op_even_where_the_row_is_newer() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a"), Event::delete(1, 200), Event::create(1, 300, "again")]);
    let calls = bench.cache.answers.len();
    bench.send_all(&[Event::tombstone(1), Event::tombstone(2)]);
    assert_eq!(bench.view(1), content(1, "again"), "fact F11: it has no version and must not delete a newer row");
    assert_eq!(bench.cache.answers.len(), calls);
    assert!(bench.dead_letters().is_empty());
}

#[test]
fn c6_primary_key_update_moves_the_row() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a")]);
    bench.send_all(&moved(1, 2, 200, &row(2, "a")));
    assert_eq!((bench.view(1), bench.view(2)), (View::Miss, content(2, "a")));
    let actions: Vec<_> = bench.invalidations().iter().map(|invalidation| invalidation.action).collect();
    assert_eq!(actions, [Action::Set, Action::Invalidate, Action::Set], "the old key's absence is not certain");
    // Back to the key that it had: delete and create of one key at one position of the log (fact F3).
    bench.send_all(&moved(2, 1, 300, &row(1, "b")));
    assert_eq!((bench.view(1), bench.view(2)), (content(1, "b"), View::Miss));
}

#[test]
fn c6_delete_and_create_of_one_key_at_one_position_end_with_the_create() {
    for swapped in [false, true] {
        let mut bench = Bench::write_through();
        bench.send_all(&[Event::create(1, 100, "a")]);
        let mut pair = [Event::delete(1, 200), Event::create(1, 200, "b")];
        if swapped {
            pair.reverse();
        }
        bench.send_all(&pair);
        assert_eq!(bench.view(1), content(1, "b"), "swapped: {swapped}");
    }
}

#[test]
fn f3_rows_that_share_a_position_are_all_applied() {
    let mut bench = Bench::write_through();
    let rows: Vec<_> = (0..100).map(|id| Event::create(id, 500, &format!("row {id}"))).collect();
    bench.send_all(&rows);
    assert!((0..100).all(|id| bench.view(id) == content(id, &format!("row {id}"))));
}

#[test]
fn c7_snapshot_never_beats_the_stream_even_at_a_higher_position() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::update(1, 100, "streamed"), Event::read(1, 900, "from the snapshot")]);
    assert_eq!(bench.view(1), content(1, "streamed"));
    // The deletion was streamed, the read began before it: the row must stay gone.
    bench.send_all(&[Event::delete(1, 200), Event::read(1, 900, "from the snapshot")]);
    assert_eq!(bench.view(1), View::Absent);
}

#[test]
fn c7_stream_beats_the_snapshot_even_at_a_lower_position() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::read(1, 900, "from the snapshot"), Event::update(1, 100, "open while it was taken")]);
    assert_eq!(bench.view(1), content(1, "open while it was taken"));
}

#[test]
fn f1_incremental_read_is_believed_until_the_next_change_at_whatever_position() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 1000, "a"), Event::incremental(1, "read")]);
    assert_eq!(bench.view(1), content(1, "read"));
    bench.send_all(&[Event::update(1, 1001, "b")]);
    assert_eq!(bench.view(1), content(1, "b"), "the read raised no fence");
    // A row that nobody has seen yet: a transaction that was open across the read commits at a low position.
    bench.send_all(&[Event::incremental(2, "read"), Event::update(2, 1, "low")]);
    assert_eq!(bench.view(2), content(2, "low"));
}

#[test]
fn f1_incremental_read_that_overtook_a_delete_does_not_bring_the_row_back() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a"), Event::delete(1, 200), Event::incremental(1, "a")]);
    assert_ne!(bench.view(1), content(1, "a"));
    bench.send_all(&[Event::create(1, 300, "b")]);
    assert_eq!(bench.view(1), content(1, "b"));
}

#[test]
fn f1_incremental_read_that_is_replayed_over_kept_state_does_not_beat_what_came_after_it() {
    let mut bench = Bench::write_through();
    let read = Event::incremental(1, "read");
    bench.send_all(&[Event::create(1, 100, "read"), read.clone(), Event::update(1, 200, "new")]);
    // At-least-once: the store kept what the committed offsets do not know of.
    bench.send_at(1, &read);
    bench.send_at(2, &Event::update(1, 200, "new"));
    assert_eq!(bench.view(1), View::Miss, "it has no position to tell by: the reader asks the database");
    bench.send_all(&[Event::update(1, 300, "newer")]);
    assert_eq!(bench.view(1), content(1, "newer"));
}

#[test]
fn f2_position_below_the_highest_of_its_partition_is_not_a_duplicate() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 1000, "a"), Event::create(2, 500, "b")]);
    assert_eq!((bench.view(1), bench.view(2)), (content(1, "a"), content(2, "b")));
}

#[test]
fn f4_position_orders_as_a_number_across_digits_32_bits_and_63() {
    for (low, high) in [
        (99_999_999, 100_000_000),
        (u64::from(u32::MAX), u64::from(u32::MAX) + 1),
        ((1 << 53) + 1, (1 << 53) + 2),
        (i64::MAX as u64 - 1, i64::MAX as u64),
    ] {
        let mut bench = Bench::write_through();
        bench.send_all(&[Event::create(1, low, "low"), Event::update(1, high, "high"), Event::update(1, low, "low")]);
        assert_eq!(bench.view(1), content(1, "high"), "{low} < {high}");
    }
    // Java has no unsigned type: above 2^63 a position arrives negative.
    let mut bench = Bench::write_through();
    let negative = Event::update(1, 7, "high").source(|source| source["lsn"] = json!(-5));
    bench.send_all(&[Event::create(1, 1 << 62, "low"), negative]);
    assert_eq!(bench.view(1), content(1, "high"));
}

#[test]
fn f4_null_in_the_sequence_and_a_later_commit_there_decide_nothing() {
    let mut bench = Bench::write_through();
    let first = Event::create(1, 100, "a").source(|source| source["sequence"] = json!("[null,\"100\"]"));
    let old = Event::update(1, 50, "old").source(|source| source["sequence"] = json!("[\"999999\",\"50\"]"));
    bench.send_all(&[first, old]);
    assert_eq!(bench.view(1), content(1, "a"));
}

#[test]
fn c9_truncate_voids_older_rows_and_spares_newer_ones() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "old"), Event::create(2, 300, "new"), Event::truncate(200)]);
    assert_eq!((bench.view(1), bench.view(2)), (View::Miss, content(2, "new")));
    bench.send_all(&[Event::update(1, 150, "late"), Event::truncate(120)]);
    assert_eq!(bench.view(1), View::Miss, "a change from before the truncate stays void");
    bench.send_all(&[Event::create(1, 400, "again")]);
    assert_eq!(bench.view(1), content(1, "again"));
}

#[test]
fn c9_message_heartbeat_and_transaction_boundaries_change_nothing() {
    let mut bench = Bench::write_through();
    let message = Event::create(1, 100, "x").edit(|value| {
        *value = json!({"op": "m", "ts_ms": 1, "source": value["source"].clone(),
            "message": {"prefix": "p", "content": "AA=="}});
    });
    let heartbeat = Event {
        topic: "shop.public.heartbeat".into(),
        key: Some(json!({"serverName": "shop"}).to_string()),
        value: Some(json!({"ts_ms": 1}).to_string()),
        ..message.clone()
    };
    let end = json!({"status": "END", "id": "771:1", "event_count": 2, "data_collections": [], "ts_ms": 1});
    let end = Event { value: Some(end.to_string()), ..message.clone() };
    bench.send_all(&[message, heartbeat, end]);
    assert!(bench.cache.answers.is_empty() && bench.invalidations().is_empty() && bench.dead_letters().is_empty());
}

#[test]
fn invalidate_mode_drops_content_and_fences_without_writing_rows() {
    let mut bench = Bench::new(&[]);
    bench.send_all(&[Event::create(1, 100, "secret"), Event::update(1, 200, "secret")]);
    assert_eq!(bench.view(1), View::Miss);
    let last = bench.invalidations().pop().unwrap();
    assert_eq!(last.action, Action::Invalidate);
    assert_eq!(bench.cache.version("public.items:1"), Some(last.version.as_str()));
    assert_eq!(bench.stored("public.items", r#"{"id":1}"#).unwrap().image, None, "no row is kept where none is cached");
}

#[test]
fn mysql_orders_by_file_number_then_position_then_row() {
    let at = |file: &str, pos: u64, row: u64, name: &str| {
        Event::update(1, 1, name).source(|source| {
            *source = json!({"connector": "mysql", "name": "shop", "ts_ms": 1, "snapshot": "false", "db": "public",
                "table": "items", "server_id": 1, "gtid": Value::Null, "file": file, "pos": pos, "row": row});
        })
    };
    let mut bench = Bench::write_through();
    bench.send_all(&[at("binlog.000009", 900, 0, "a"), at("binlog.000010", 4, 0, "b"), at("binlog.000010", 4, 1, "c")]);
    bench.send_all(&[at("binlog.000009", 999, 9, "late"), at("binlog.000010", 4, 0, "late")]);
    assert_eq!(bench.view(1), content(1, "c"));
}
