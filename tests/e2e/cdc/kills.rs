//! The claim as a whole: killed again and again under load, the cache ends equal to the database. And the control arm: a
//! consumer as one would write it at first, which under the same kills does not.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use serde_json::Value;

use super::check::{Verdict, compare, ghosts};
use super::world::{Setup, View, World};
use crate::support::{DEADLINE, Session, eventually, expect};

const KILLS: usize = 10;
const ROWS: i64 = 400;
/// Statements between two kills; each changes one row or a few.
const STATEMENTS: usize = 600;
/// Records that the naive consumer takes at a time.
const BATCH: i64 = 100;
/// Records that are processed before a kill, of those that the statements make.
const PROGRESS: i64 = 200;

/// Changes rows, as many as it is told to each time: mostly updates, some deletes and inserts, some moves to another key.
fn write(session: &Session, rounds: &Receiver<()>) {
    let mut random = 0x9e37_79b9_u64;
    let mut next = |below: i64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as i64 % below
    };
    for change in rounds.iter().flat_map(|()| 0..STATEMENTS).enumerate().map(|(change, _)| change) {
        let (id, kind) = (next(ROWS), next(10));
        let statement = match kind {
            0 => format!("DELETE FROM items WHERE id = {id}"),
            1 | 2 => format!("INSERT INTO items VALUES ({id}, 'i{change}') ON CONFLICT DO NOTHING"),
            3 => format!(
                "UPDATE items SET id = {to} WHERE id = {id} AND NOT EXISTS (SELECT 1 FROM items WHERE id = {to})",
                to = next(ROWS)
            ),
            _ => format!("UPDATE items SET name = 'u{change}' WHERE id BETWEEN {id} AND {id} + 2"),
        };
        session.sql(&statement);
    }
}

fn verdict(world: &World, read: impl Fn(&str) -> View) -> (Verdict, usize) {
    let rows = world.sql("SELECT id, name FROM items");
    let there: std::collections::BTreeSet<String> = rows.iter().map(|row| row[0].clone()).collect();
    let gone = (0..ROWS).map(|id| id.to_string()).filter(|id| !there.contains(id));
    (compare(&rows, &read), ghosts(gone, &read))
}

#[test]
fn c_exactly_the_database_after_ten_kills_under_load_and_a_naive_consumer_is_not() {
    let mut world = Setup::new("kills").items().partitions(2).set("kafka.session-timeout=2s").start();
    let session = world.session();
    world.sql(&format!("INSERT INTO items SELECT id, 'first' FROM generate_series(0, {ROWS} - 1) id"));
    let topic = world.topic("items");
    std::thread::scope(|scope| {
        // Dropped at the end of the closure, or by a panic in it: that ends the writer.
        let (start, rounds) = sync_channel(1);
        scope.spawn(move || write(&session, &rounds));
        for kill in 0..KILLS {
            let from = processed(&world, &topic);
            start.send(()).unwrap();
            eventually(&format!("progress before kill {kill}"), || {
                let progress = processed(&world, &topic) - from;
                if progress >= PROGRESS { Ok(()) } else { Err(format!("{progress} records")) }
            });
            world.app.kill();
            world.app.start_again();
        }
    });
    world.settled_with_the_connector();
    let (rows, ghosts) = verdict(&world, |id| world.read("items", id));
    assert_eq!((rows.stale, rows.lost, ghosts), (0, 0, 0), "{} rows are right", rows.right);
    assert_eq!(world.dead_letters(), []);

    let cache = naive(&world, &topic);
    let read = |id: &str| cache.get(id).map_or_else(|| View::Miss(String::new()), |row| View::Hit(row.clone()));
    let (rows, ghosts) = verdict(&world, read);
    assert!(rows.stale + rows.lost + ghosts > 0, "the check finds nothing wrong with the naive consumer");
}

fn processed(world: &World, topic: &str) -> i64 {
    (0..2).map(|partition| world.topics.committed("kills", topic, partition).unwrap_or(0)).sum()
}

/// Commits each batch and then writes it, without versions. It is killed as often as the other, each time between the two,
/// and the last time with the last batch: so it is not by luck that the check finds it.
fn naive(world: &World, topic: &str) -> BTreeMap<String, String> {
    let end: i64 = (0..2).map(|partition| world.topics.end(topic, partition)).sum();
    let (mut cache, mut done) = (BTreeMap::new(), 0);
    for kill in 1..=KILLS as i64 {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", world.bed.kafka().unwrap().bootstrap_servers());
        config.set("group.id", "kills-naive").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let (begun, until) = (Instant::now(), end * kill / KILLS as i64);
        while done < until {
            let wanted = if until - done < 2 * BATCH { until - done } else { BATCH };
            let mut batch = Vec::new();
            while (batch.len() as i64) < wanted {
                assert!(begun.elapsed() < DEADLINE, "the naive consumer is at {done} of {end}");
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                batch.push(message.detach());
            }
            consumer.commit_consumer_state(CommitMode::Sync).unwrap();
            done += wanted;
            if done < until {
                batch.iter().for_each(|record| set(&mut cache, record.key(), record.payload()));
            }
        }
    }
    cache
}

fn set(cache: &mut BTreeMap<String, String>, key: Option<&[u8]>, value: Option<&[u8]>) {
    let key: Value = serde_json::from_slice(key.unwrap()).unwrap();
    let value: Value = value.map_or(Value::Null, |value| serde_json::from_slice(value).unwrap());
    let id = key["id"].to_string();
    match &value["after"] {
        Value::Null => cache.remove(&id),
        after => cache.insert(id, after.to_string()),
    };
}

/// The control arm's check must be able to pass: without kills the naive consumer is right in the end.
#[test]
fn check_of_the_kill_test_passes_an_undisturbed_consumer() {
    let world = Setup::new("calm").items().partitions(2).start();
    world.sql("INSERT INTO items VALUES (1, 'a'), (2, 'b'), (3, 'c')");
    world.sql("UPDATE items SET name = 'd' WHERE id = 1; DELETE FROM items WHERE id = 2");
    world.settled(6);
    let mut cache = BTreeMap::new();
    for record in world.records("items") {
        set(&mut cache, record.key.as_deref(), record.value.as_deref());
    }
    let read = |id: &str| cache.get(id).map_or_else(|| View::Miss(String::new()), |row| View::Hit(row.clone()));
    expect(&verdict(&world, read), &(Verdict { right: 2, stale: 0, lost: 0 }, 0)).unwrap();
    expect(&verdict(&world, |id| world.read("items", id)), &(Verdict { right: 2, stale: 0, lost: 0 }, 0)).unwrap();
}
