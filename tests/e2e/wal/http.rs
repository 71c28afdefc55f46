//! HTTP as a target: what is sent, and what the answers mean.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use write_ahead_log::call::Call;
use write_ahead_log::namespace::TargetKind;

use super::receiver::Receiver;
use super::world::{APPLIED, EQUAL, Lane, Place, failed, refused};
use crate::support::DEADLINE;

fn place(address: &str, settings: &[(&str, &str)]) -> Place {
    Place::new(TargetKind::Http, address, settings)
}

#[test]
fn w8_a_request_says_what_it_is() {
    let receiver = Receiver::start();
    let place = place(&receiver.url("/items/{key}?of={key}"), &[("content-type", "application/json")]);
    let mut put = place.put("a/b ü?", 7, "{}");
    put.attempt = 3;
    put.order = Some("customer:1".to_owned());
    put.headers.insert("traceparent".to_owned(), "00-1-2-01".to_owned());
    put.headers.insert("idempotency-key".to_owned(), "not the caller's".to_owned());
    let mut lane = Lane::new();
    assert_eq!(lane.send(&[put, place.delete("k", 8)]), [APPLIED, APPLIED]);
    let mut requests = receiver.requests();
    requests.sort_by_key(|request| request.method.clone());
    let (delete, put) = (&requests[0], &requests[1]);
    assert_eq!((put.method.as_str(), put.path.as_str()), ("PUT", "/items/a%2Fb%20%C3%BC%3F?of=a%2Fb%20%C3%BC%3F"));
    assert_eq!(put.body, b"{}");
    for (name, value) in [
        ("idempotency-key", "token-a%2Fb%20%C3%BC%3F-7"),
        ("headrace-namespace", place.namespace.as_str()),
        ("headrace-key", "a%2Fb%20%C3%BC%3F"),
        ("headrace-order", "customer:1"),
        ("headrace-sequence", "7"),
        ("headrace-attempt", "3"),
        ("headrace-operation", "put"),
        ("traceparent", "00-1-2-01"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(put.header(name), value, "{name}");
    }
    assert_eq!((delete.method.as_str(), delete.path.as_str()), ("DELETE", "/items/k?of=k"));
    assert_eq!((delete.header("headrace-operation"), delete.header("content-type")), ("delete", ""));
    assert!(delete.body.is_empty());
}

#[test]
fn w8_an_address_without_a_key_is_posted_to_and_methods_may_be_others() {
    let receiver = Receiver::start();
    let mut lane = Lane::new();
    let (hook, patch) = (place(&receiver.url("/hook"), &[]), place(&receiver.url("/items/{key}"), &[("put", "PATCH")]));
    assert_eq!(lane.send(&[hook.put("a", 1, "v"), hook.delete("b", 1), patch.put("c", 1, "v")]), [APPLIED; 3]);
    let seen: BTreeSet<(String, String)> = receiver.requests().into_iter().map(|r| (r.method, r.path)).collect();
    let expected = [("POST", "/hook"), ("PATCH", "/items/c")].map(|(m, p)| (m.to_owned(), p.to_owned()));
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn w9_answers_are_told_apart() {
    let receiver = Receiver::start();
    let mut lane = Lane::new();
    let at = |status: u16| place(&receiver.url(&format!("/status/{status}/{{key}}")), &[]);
    for status in [200, 201, 202, 204] {
        assert_eq!(lane.one(&at(status).put("k", 1, "v")), APPLIED, "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let reply = lane.one(&at(status).put("k", 1, "v"));
        let (reason, after) = failed(&reply);
        assert!(reason.contains(&format!("because of {status}")) && after.is_none(), "{reason}");
    }
    for status in [400, 401, 404, 409, 412, 422] {
        let reply = lane.one(&at(status).put("k", 1, "v"));
        assert!(refused(&reply).contains(&format!("because of {status}")), "{reply:?}");
    }
    for status in [404, 410] {
        assert_eq!(lane.one(&at(status).delete("k", 1)), EQUAL, "it is gone already");
    }
    let reply = lane.one(&at(307).put("k", 1, "v"));
    assert!(refused(&reply).contains("redirects are not followed"), "{reply:?}");
    assert!(receiver.requests().iter().all(|request| !request.path.starts_with("/elsewhere")));
}

#[test]
fn w9_a_server_says_when_to_come_again() {
    let receiver = Receiver::start();
    let mut lane = Lane::new();
    let mut after = |text: &str| {
        let place = place(&receiver.url(&format!("/status/429/{{key}}?{text}")), &[]);
        let reply = lane.one(&place.put("k", 1, "v"));
        failed(&reply).1
    };
    assert_eq!(after("7"), Some(Duration::from_secs(7)));
    assert_eq!(after("999999999"), Some(Duration::from_secs(24 * 60 * 60)), "not for ever");
    assert_eq!(after("Sun,_06_Nov_1994_08:49:37_GMT"), Some(Duration::ZERO));
    assert_eq!(after("Tue,_31_Dec_2199_23:59:59_GMT"), Some(Duration::from_secs(24 * 60 * 60)));
    assert_eq!(after("soon"), None);
}

#[test]
fn w8_two_hundred_keys_are_sent_at_the_same_time() {
    let receiver = Receiver::start();
    let place = place(&receiver.url("/items/{key}"), &[]);
    let calls: Vec<Call> = (0..200).map(|at| place.put(&at.to_string(), at, "v")).collect();
    assert_eq!(Lane::new().send(&calls), vec![APPLIED; 200]);
    let keys: BTreeSet<String> = receiver.requests().iter().map(|r| r.header("headrace-key").to_owned()).collect();
    assert_eq!(keys.len(), 200);
}

#[test]
fn w9_a_long_answer_is_not_read_to_its_end() {
    let receiver = Receiver::start();
    let reply = Lane::new().one(&place(&receiver.url("/long/{key}"), &[]).put("k", 1, "v"));
    assert!(refused(&reply).len() < 1_000, "{reply:?}");
}

#[test]
fn w8_a_server_that_hangs_holds_up_no_other_key_and_no_longer_than_its_timeout() {
    let receiver = Receiver::start();
    let hanging = place(&receiver.url("/hang/{key}"), &[("timeout", "300ms")]);
    let well = place(&receiver.url("/items/{key}"), &[("timeout", "300ms")]);
    let begun = Instant::now();
    let replies = Lane::new().send(&[hanging.put("a", 1, "v"), well.put("b", 1, "v"), hanging.put("c", 1, "v")]);
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < DEADLINE);
    assert_eq!(replies[1], APPLIED);
    for reply in [&replies[0], &replies[2]] {
        assert!(failed(reply).0.contains("no answer in time"), "{reply:?}");
    }
}

#[test]
fn w8_a_server_that_was_restarted_is_found_again() {
    let receiver = Receiver::start();
    let (place, mut lane) = (place(&receiver.url("/items/{key}"), &[("timeout", "2s")]), Lane::new());
    assert_eq!(lane.one(&place.put("k", 1, "v")), APPLIED);
    let address = receiver.address();
    drop(receiver);
    let reply = lane.one(&place.put("k", 2, "v"));
    failed(&reply);
    let receiver = Receiver::start_at(address);
    assert_eq!(lane.settled(&place.put("k", 2, "v")), APPLIED);
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn w9_a_key_that_no_path_can_have_is_refused() {
    let receiver = Receiver::start();
    let place = place(&receiver.url("/items/{key}"), &[]);
    let replies = Lane::new().send(&[place.put("..", 1, "v"), place.put(".", 1, "v"), place.put("...", 1, "v")]);
    assert!(
        refused(&replies[0]).contains("no path can have") && refused(&replies[1]).contains("no path"),
        "{replies:?}"
    );
    assert_eq!(replies[2], APPLIED);
}
