//! All kinds in one batch: each call has its own fate.

use std::time::{Duration, Instant};

use headrace::processor::Reply;
use write_ahead_log::namespace::TargetKind;
use write_ahead_log::targets::Options;

use super::receiver::Receiver;
use super::world::{APPLIED, EQUAL, Lane, Place, failed, refused};
use crate::support::stores;

/// A port that nobody listens at.
fn nobody() -> u16 {
    testbed::free_port().unwrap()
}

#[test]
fn w8_a_target_that_is_away_fails_alone() {
    let bed = stores();
    let (redis, postgres, receiver) = (bed.redis().unwrap(), bed.postgres().unwrap(), Receiver::start());
    let table = format!("t{:08x}", fastrand::u32(..));
    postgres.sql(&format!("create table {table} (id int primary key, name text)")).unwrap();
    let rows: &[(&str, &str)] = &[("table", &table), ("key", "id")];
    let well = [
        Place::new(TargetKind::Redis, redis.url(), &[]).put("1", 1, "v"),
        Place::new(TargetKind::Postgres, &postgres.url(), rows).put("1", 1, r#"{"name": "v"}"#),
        Place::new(TargetKind::Http, &receiver.url("/items/{key}"), &[]).put("1", 1, "v"),
    ];
    let port = nobody();
    let away = [
        Place::new(TargetKind::Redis, &format!("redis://127.0.0.1:{port}"), &[("timeout", "1s")]).put("1", 1, "v"),
        Place::new(TargetKind::Postgres, &format!("postgres://postgres@127.0.0.1:{port}/postgres"), rows)
            .put("1", 1, "{}"),
        Place::new(TargetKind::Http, &format!("http://127.0.0.1:{port}/{{key}}"), &[]).put("1", 1, "v"),
        Place::new(TargetKind::Http, &receiver.url("/hang/{key}"), &[("timeout", "500ms")]).put("2", 1, "v"),
    ];
    let mixed: Vec<_> =
        away.iter().zip(well.iter().cycle()).flat_map(|(away, well)| [away.clone(), well.clone()]).take(6).collect();
    let mut lane = Lane::new();
    let replies = lane.send(&mixed);
    for (at, reply) in replies.iter().enumerate() {
        if at % 2 == 0 { _ = failed(reply) } else { assert_eq!(*reply, APPLIED, "{at}") }
    }
    // And once more, when all have been met: what is away is asked again, what was applied is not.
    let begun = Instant::now();
    let replies = lane.send(&[away[3].clone(), well[0].clone(), well[1].clone()]);
    assert!(failed(&replies[0]).0.contains("no answer in time"));
    assert_eq!(replies[1..], [EQUAL, EQUAL]);
    assert!(begun.elapsed() >= Duration::from_millis(500));
}

#[test]
fn o5_passwords_are_in_no_reply() {
    let bed = stores();
    let (redis, postgres, receiver) = (bed.redis().unwrap(), bed.postgres().unwrap(), Receiver::start());
    let port = nobody();
    let rows: &[(&str, &str)] = &[("table", "no_such"), ("key", "id")];
    let mut replies = Vec::new();
    for (kind, address, settings) in [
        (TargetKind::Redis, format!("redis://:canary@127.0.0.1:{port}"), &[] as &[(&str, &str)]),
        (TargetKind::Redis, format!("redis://:canary@127.0.0.1:{}", redis.port()), &[]),
        (TargetKind::Redis, "redis://:canary@127.0.0.1:port".to_owned(), &[]),
        (TargetKind::Postgres, format!("postgres://postgres:canary@127.0.0.1:{port}/postgres"), rows),
        (TargetKind::Postgres, format!("postgres://postgres:canary@127.0.0.1:{}/nowhere", postgres.port()), rows),
        (TargetKind::Postgres, format!("postgres://postgres:canary@127.0.0.1:{}/postgres", postgres.port()), rows),
        (TargetKind::Postgres, "postgres://postgres:canary@127.0.0.1:port/postgres".to_owned(), rows),
        (TargetKind::Http, format!("http://user:canary@127.0.0.1:{port}/{{key}}?token=canary"), &[]),
        (
            TargetKind::Http,
            receiver.url("/status/400/{key}?token=canary").replace("http://", "http://user:canary@"),
            &[],
        ),
        (TargetKind::Http, "http://user:canary@127.0.0.1:port/{key}".to_owned(), &[]),
        (TargetKind::Http, receiver.url("/{key}"), &[("token-env", "HEADRACE_SECRET_THAT_IS_NOT_SET")]),
        (TargetKind::Http, receiver.url("/{key}"), &[("token-env", "HOME")]),
    ] {
        let place = Place::new(kind, &address, settings);
        assert!(!format!("{:?}", place.spec).contains("canary"), "{:?}", place.spec);
        replies.push(Lane::new().one(&place.put("1", 1, "{}")));
    }
    let texts: Vec<String> = replies.iter().map(|reply| format!("{reply:?}")).collect();
    assert!(texts.iter().all(|text| !text.contains("canary") && !text.contains("Done")), "{}", texts.join("\n"));
    assert!(texts[10].contains("HEADRACE_SECRET_THAT_IS_NOT_SET") && texts[11].contains("begins with"), "{texts:?}");
}

#[test]
fn w8_what_is_no_call_for_a_connection_is_refused_and_the_others_go_on() {
    let bed = stores();
    let well = Place::new(TargetKind::Redis, bed.redis().unwrap().url(), &[]).put("1", 1, "v").encode().unwrap();
    let replies = Lane::new().send_bodies(&[b"\xff".to_vec(), well]);
    assert!(refused(&replies[0]).contains("not a call"));
    assert_eq!(replies[1], APPLIED);
}

#[test]
fn w8_connections_are_bounded_and_opened_again() {
    let bed = stores();
    let mut lane = Lane::with(Options { most_links: 1 });
    let address = bed.redis().unwrap().url();
    let places =
        [Place::new(TargetKind::Redis, address, &[]), Place::new(TargetKind::Redis, &format!("{address}/1"), &[])];
    for number in 1..5 {
        for place in &places {
            assert_eq!(lane.one(&place.put("1", number, "v")), APPLIED);
        }
    }
    let both: Vec<Reply> = lane.send(&places.clone().map(|place| place.put("1", 9, "v")));
    assert_eq!(both, [APPLIED, APPLIED]);
    assert_eq!(lane.send(&[]), []);
}
