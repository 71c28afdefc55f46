//! Redis as a target: the function decides, whatever comes, and comes again.

use std::time::{Duration, Instant};

use testbed::Redis;
use write_ahead_log::namespace::TargetKind;

use super::world::{APPLIED, EQUAL, Lane, Place, failed, fence_holds, fences_are_apart, many_keys, refused};
use crate::support::{DEADLINE, stores};

fn place(redis: &Redis, settings: &[(&str, &str)]) -> Place {
    Place::new(TargetKind::Redis, redis.url(), settings)
}

fn own() -> Redis {
    let bed = stores();
    Redis::start(bed.cache(), bed.dirs().unwrap()).unwrap()
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn read(redis: &Redis, key: &str) -> Option<String> {
    Some(redis.command(&["GET", key]).unwrap()).filter(|answer| answer != "$-1")
}

#[test]
fn w8_redis_applies_a_number_only_above_the_last_one() {
    let bed = stores();
    let redis = bed.redis().unwrap();
    let place = place(redis, &[]);
    let namespace = place.namespace.clone();
    fence_holds(&place, text, |key| read(redis, &format!("{namespace}:{key}")));
}

#[test]
fn w8_fences_of_redis_go_by_namespace_target_and_ordering_key() {
    let bed = stores();
    let redis = bed.redis().unwrap();
    let place = place(redis, &[]);
    let other = Place::new(TargetKind::Redis, redis.url(), &[("prefix", "another:")]);
    fences_are_apart(&place, &other, text);
}

#[test]
fn w8_redis_takes_two_hundred_keys_at_once() {
    many_keys(&place(stores().redis().unwrap(), &[]), text);
}

#[test]
fn w8_values_and_fences_of_redis_live_as_long_as_their_settings_say() {
    let bed = stores();
    let redis = bed.redis().unwrap();
    let place = place(redis, &[("prefix", "life:"), ("ttl", "1h"), ("fence-ttl", "2h")]);
    assert_eq!(Lane::new().one(&place.put("k", 1, "v")), APPLIED);
    let left = |key: &str| -> i64 { redis.command(&["PTTL", key]).unwrap().trim_start_matches(':').parse().unwrap() };
    let hour = 3_600_000;
    assert!((hour - 60_000..=hour).contains(&left("life:k")));
    let fence = format!("headrace-wal:{}:redis:0::life:k", place.namespace);
    assert!((2 * hour - 60_000..=2 * hour).contains(&left(&fence)));
}

#[test]
fn w9_what_redis_never_takes_is_refused() {
    let bed = stores();
    let redis = bed.redis().unwrap();
    let place = place(redis, &[("prefix", "")]);
    redis.command(&["SET", &format!("headrace-wal:{}:redis:0::k", place.namespace), "somebody's"]).unwrap();
    let reply = Lane::new().one(&place.put("k", 1, "canary"));
    let reason = refused(&reply);
    assert!(reason.contains("WRONGTYPE") && !reason.contains("canary"), "{reason}");
}

#[test]
fn w8_a_redis_that_was_restarted_is_found_again() {
    let redis = own();
    let (place, mut lane) = (place(&redis, &[("timeout", "2s")]), Lane::new());
    assert_eq!(lane.one(&place.put("k", 1, "v")), APPLIED);
    redis.kill();
    let reply = lane.one(&place.put("k", 2, "w"));
    assert!(failed(&reply).0.contains("127.0.0.1"), "{reply:?}");
    redis.start().unwrap();
    assert_eq!(lane.settled(&place.put("k", 2, "w")), APPLIED);
    assert_eq!(lane.one(&place.put("k", 2, "w")), EQUAL);
}

#[test]
fn w8_a_redis_without_its_functions_is_given_them_again() {
    let redis = own();
    let (place, mut lane) = (place(&redis, &[]), Lane::new());
    assert_eq!(lane.one(&place.put("k", 1, "v")), APPLIED);
    redis.command(&["FUNCTION", "FLUSH"]).unwrap();
    let reply = lane.one(&place.put("k", 2, "w"));
    assert!(failed(&reply).0.contains("loaded again"), "{reply:?}");
    assert_eq!(lane.one(&place.put("k", 2, "w")), APPLIED);
}

#[test]
fn w8_a_redis_that_hangs_is_waited_for_no_longer_than_its_timeout() {
    let redis = own();
    let (place, mut lane) = (place(&redis, &[("timeout", "300ms")]), Lane::new());
    assert_eq!(lane.settled(&place.put("k", 1, "v")), APPLIED);
    redis.pause().unwrap();
    let begun = Instant::now();
    let reply = lane.one(&place.put("k", 2, "w"));
    assert!(failed(&reply).0.contains("no answer in time"), "{reply:?}");
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < DEADLINE);
    let reply = lane.one(&place.put("k", 2, "w"));
    failed(&reply);
    redis.resume().unwrap();
    // It may have come through after all; either way it took effect once.
    let reply = lane.settled(&place.put("k", 2, "w"));
    assert!([APPLIED, EQUAL].contains(&reply), "{reply:?}");
    assert_eq!(read(&redis, &format!("{}:k", place.namespace)).as_deref(), Some("w"));
    assert_eq!(lane.settled(&place.put("k", 2, "w")), EQUAL);
}
