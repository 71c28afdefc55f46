//! Kills and outages: C10 and C11. Redis is stopped and loses data here, so these tests have one of their own each.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testbed::Redis;

use super::world::{Setup, View, World, item};
use crate::support::{bed, eventually, expect};

/// Redis has the change, Kafka does not know it: the commit is far away.
#[test]
fn c10_kill_between_redis_and_commit_ends_in_equal_calls() {
    let mut world = Setup::new("c10").items().set("processing.commit-interval=6s").start();
    world.sql("INSERT INTO items VALUES (1, 'a'); UPDATE items SET name = 'b'");
    world.wait_row("items", "1", &item(1, "b"));
    let topic = world.topic("items");
    assert_eq!(world.topics.committed("c10", &topic, 0).unwrap_or(0), 0, "else this test shows nothing");
    world.app.kill();
    assert_eq!(world.topics.read("c10.invalidations"), []);
    world.app.set("processing.commit-interval=100ms");
    world.app.start_again();
    world.settled(2);
    assert_eq!((world.replies("stale"), world.replies("equal"), world.replies("applied")), (1.0, 1.0, 0.0));
    assert_eq!(world.read("items", "1").row(), Some(item(1, "b")));
    assert_eq!(world.invalidations(), 2, "once each");
}

#[test]
fn c10_state_and_offsets_survive_a_kill_together() {
    let mut world = Setup::new("c10_state").items().start();
    world.sql("INSERT INTO items VALUES (1, 'a')");
    world.settled(1);
    world.app.kill();
    world.app.start_again();
    // The newest version is remembered: the same record is no news.
    let record = world.records("items").remove(0);
    world.produce("items", &record);
    world.sql("UPDATE items SET name = 'b'");
    world.settled(3);
    assert_eq!(world.invalidations(), 2);
    assert_eq!(world.replies("applied"), 1.0);
    assert!(world.app.terminate().success());
}

fn own_redis() -> Redis {
    let bed = bed();
    Redis::start(bed.cache(), bed.dirs().unwrap()).unwrap()
}

/// Every entry is a miss or right; none is older than the database.
fn nothing_is_stale(world: &World) {
    for row in world.sql("SELECT id, name FROM items") {
        match world.read("items", &row[0]) {
            View::Hit(content) => assert_eq!(content, item(row[0].parse().unwrap(), &row[1]).to_string()),
            View::Absent => panic!("{} is there", row[0]),
            View::Miss(_) => {}
        }
    }
}

#[test]
fn c11_input_waits_while_redis_is_away_says_so_and_goes_on_by_itself() {
    let redis = own_redis();
    let world = Setup::new("c11").items().redis(redis.url()).start();
    world.sql("INSERT INTO items VALUES (1, 'a')");
    world.wait_row("items", "1", &item(1, "a"));
    world.settled(1);
    redis.stop();
    world.sql(
        "INSERT INTO items SELECT id, 'b' FROM generate_series(2, 2000) id; UPDATE items SET name = 'c' WHERE id = 1",
    );
    let reason = eventually("/readyz to name redis", || {
        let (status, body) = world.app.get("/readyz")?;
        let body: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let reasons = body["reasons"].as_array().cloned().unwrap_or_default();
        let redis = reasons.into_iter().find(|reason| reason["what"] == "redis");
        redis.filter(|_| status == 503).ok_or_else(|| format!("{status}: {body}"))
    });
    assert!(reason["since"].as_str().is_some_and(|since| since.starts_with("20")), "{reason}");
    assert!(!reason["why"].as_str().unwrap().is_empty());
    let topic = world.topic("items");
    eventually("the changes to pile up", || expect(&world.topics.end(&topic, 0), &2001));
    eventually("the outage to be on the dashboard", || {
        let away = world.app.metric("headrace_dependency_away_seconds", "redis");
        if away >= 1.0 { Ok(()) } else { Err(format!("{away}")) }
    });
    assert_eq!(world.topics.committed("c11", &topic, 0), Some(1), "nothing was given up");
    assert_eq!(world.app.get("/healthz").unwrap().0, 200, "it lives, it waits");
    redis.start().unwrap();
    world.settled(2001);
    eventually("/readyz", || expect(&world.app.get("/readyz")?.0, &200));
    assert_eq!(world.dead_letters(), []);
    let verdict = super::check::compare(&world.sql("SELECT id, name FROM items"), |id| world.read("items", id));
    assert_eq!((verdict.right, verdict.stale, verdict.lost), (2000, 0, 0));
}

#[test]
fn c11_redis_that_comes_back_empty_serves_misses_and_caches_again() {
    let redis = own_redis();
    let world = Setup::new("c11_empty").items().redis(redis.url()).start();
    world.sql("INSERT INTO items SELECT id, 'a' FROM generate_series(1, 50) id");
    world.settled(50);
    world.wait_row("items", "50", &item(50, "a"));
    world.sql("DELETE FROM items WHERE id = 2");
    world.settled(52);
    let token = match world.read("items", "999") {
        View::Miss(token) => token,
        other => panic!("{other:?}"),
    };
    redis.restart_empty().unwrap();
    // Nothing changes meanwhile: the idle connection is looked after all the same.
    eventually("the functions to be loaded again", || {
        let functions: Vec<redis::Value> = world.redis(&["FUNCTION", "LIST"]);
        expect(&functions.len(), &1)
    });
    world.sql("UPDATE items SET name = 'b' WHERE id = 1");
    world.wait_row("items", "1", &item(1, "b"));
    nothing_is_stale(&world);
    assert!(matches!(world.read("items", "50"), View::Miss(_)));
    // The lease numbers have begun anew; a token of before must fit none of them.
    world.read("items", "999");
    assert_eq!(world.fill("items", "999", &token, "{}"), "refused");
}

/// The disk of yesterday: entries that were right then.
#[test]
fn c11_redis_that_comes_back_with_older_data_serves_no_stale_hit() {
    older_data("c11_older", false);
}

/// The same with nobody who remembers: the binary was killed meanwhile.
#[test]
fn c11_older_data_is_found_by_a_process_that_remembers_nothing() {
    older_data("c11_amnesia", true);
}

fn older_data(name: &str, kill: bool) {
    let redis = own_redis();
    let mut world = Setup::new(name).items().redis(redis.url()).start();
    world.sql("INSERT INTO items SELECT id, 'old' FROM generate_series(1, 50) id");
    world.settled(50);
    let data = redis.log().parent().unwrap().join("data");
    let backup = data.with_file_name("backup");
    // Stopped in an orderly way, so that the copy is whole.
    redis.stop();
    copy(&data, &backup);
    redis.start().unwrap();
    eventually("/readyz", || expect(&world.app.get("/readyz")?.0, &200));
    world.sql("UPDATE items SET name = 'new' WHERE id <= 25; DELETE FROM items WHERE id = 50");
    world.settled(77);
    if kill {
        world.app.kill();
    }
    redis.stop();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    redis.start().unwrap();
    let content: Option<String> = world.redis(&["HGET", &world.key("items", "1"), "d"]);
    assert_eq!(content, Some(item(1, "old").to_string()), "the older data is there, else this test shows nothing");
    if kill {
        world.app.start_again();
    } else {
        eventually("/readyz", || expect(&world.app.get("/readyz")?.0, &200));
    }
    // No change comes: a table at rest must not be served from the older data for ever.
    world.wait_miss("items", "1");
    nothing_is_stale(&world);
    world.sql("INSERT INTO items VALUES (51, 'after')");
    world.wait_row("items", "51", &item(51, "after"));
    assert!(matches!(world.read("items", "50"), View::Miss(_)), "a deleted row is no hit");
    world.sql("UPDATE items SET name = 'newer' WHERE id = 1");
    world.wait_row("items", "1", &item(1, "newer"));
    nothing_is_stale(&world);
}

fn copy(from: &Path, to: &PathBuf) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}
