//! What can't be processed: dead letters with the original, and a miss instead of a stale value.

use cdc_invalidation::rows::Action;
use headrace::dead_letter::names;
use headrace::record::Header;
use headrace::task::Outcome;
use headrace::testing::Driven;
use serde_json::{Value, json};

use crate::cache::View;
use crate::support::{Bench, Event, content, row};

/// The class, after a check that key, value and headers are the original's.
fn class_of(letter: &Driven, original: &Event) -> String {
    assert_eq!(letter.key.as_deref(), original.key.as_deref().map(str::as_bytes));
    assert_eq!(letter.value.as_deref(), original.value.as_deref().map(str::as_bytes));
    assert_eq!(letter.headers.0[..original.headers.0.len()], original.headers.0[..], "the original's headers first");
    String::from_utf8(letter.headers.last(names::CLASS).unwrap().to_vec()).unwrap()
}

fn with_odd_headers(mut event: Event) -> Event {
    event.headers.0.push(Header { name: "trace".into(), value: None });
    event.headers.0.push(Header { name: "trace".into(), value: Some(vec![0xff, 0]) });
    event
}

#[test]
fn c9_unknown_op_becomes_a_dead_letter_and_a_miss() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a")]);
    bench.invalidations();
    let unknown = with_odd_headers(Event::update(1, 200, "b").edit(|value| value["op"] = json!("x")));
    assert!(matches!(bench.send(&unknown), Outcome::SetAside { .. }));
    let letters = bench.dead_letters();
    assert_eq!(class_of(&letters[0], &unknown), "unknown-op");
    assert_eq!(bench.view(1), View::Miss);
    let dropped = bench.invalidations().remove(0);
    assert_eq!((dropped.action, dropped.version.as_str()), (Action::Drop, ""));
    bench.send_all(&[Event::toasted(1, 300, "c")]);
    assert_eq!(bench.view(1), View::Miss, "nor is the image of before a base: any column may have changed");
}

#[test]
fn c13_undecodable_value_becomes_a_dead_letter_and_a_miss() {
    let truncated = |event: &Event| event.value.as_deref().map(|value| value[..value.len() / 2].to_owned());
    let event = Event::update(1, 200, "b");
    let sourceless = event.clone().edit(|value| value["source"] = Value::Null);
    let flattened = event.clone().edit(|value| *value = row(1, "b"));
    let cut = Event { value: truncated(&event), ..event.clone() };
    let textual = event.source(|source| source["lsn"] = json!("two hundred"));
    for (bad, class) in
        [(cut, "malformed"), (sourceless, "malformed"), (textual, "malformed"), (flattened, "not-an-envelope")]
    {
        let mut bench = Bench::write_through();
        bench.send_all(&[Event::create(1, 100, "a")]);
        let bad = with_odd_headers(bad);
        bench.send(&bad);
        let letters = bench.dead_letters();
        assert_eq!((letters.len(), class_of(&letters[0], &bad).as_str()), (1, class));
        assert_eq!(bench.view(1), View::Miss, "{class}");
        bench.send_all(&[Event::update(1, 300, "c")]);
        assert_eq!(bench.view(1), content(1, "c"), "a drop fences nothing");
    }
}

#[test]
fn undecodable_key_becomes_a_dead_letter_and_nothing_else() {
    let mut bench = Bench::write_through();
    let bad = with_odd_headers(Event { key: Some("{not json".into()), ..Event::update(1, 200, "b") });
    bench.send(&bad);
    assert_eq!(class_of(&bench.dead_letters()[0], &bad), "malformed");
    assert!(bench.cache.answers.is_empty() && bench.invalidations().is_empty());
}

#[test]
fn c1_row_without_a_key_is_refused_by_default() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a")]);
    let keyless = Event { key: None, ..Event::update(1, 200, "b") };
    bench.send(&keyless);
    let letters = bench.dead_letters();
    assert_eq!(class_of(&letters[0], &keyless), "null-key");
    assert_eq!(letters[0].headers.last(names::ATTEMPTS), Some(&b"3"[..]));
    assert_eq!(bench.view(1), content(1, "a"));
}

#[test]
fn c1_row_without_a_key_voids_its_table_where_that_is_configured() {
    let mut bench = Bench::new(&["cdc.mode=write-through", "cdc.null-keys=table"]);
    bench.send_all(&[Event::create(1, 100, "a"), Event::create(2, 300, "b")]);
    bench.send_all(&[Event { key: None, ..Event::update(1, 200, "b") }]);
    assert_eq!((bench.view(1), bench.view(2)), (View::Miss, content(2, "b")));
    assert!(bench.dead_letters().is_empty());
}

#[test]
fn c13_change_above_the_limit_becomes_a_dead_letter_and_a_miss() {
    let mut bench = Bench::new(&["cdc.mode=write-through", "cdc.max-change=2 KiB"]);
    bench.send_all(&[Event::create(1, 100, "fits")]);
    let large = with_odd_headers(Event::update(1, 200, &"x".repeat(4096)));
    bench.send(&large);
    assert_eq!(class_of(&bench.dead_letters()[0], &large), "limit");
    assert_eq!(bench.view(1), View::Miss, "fail to a miss, never to a stale value");
}

#[test]
fn c13_change_without_a_position_leads_to_a_miss_where_the_row_was_cached() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "old")]);
    let lost = Event::update(1, 200, "new").source(|source| source["lsn"] = Value::Null);
    bench.send(&lost);
    assert_eq!(class_of(&bench.dead_letters()[0], &lost), "no-position");
    assert_eq!(bench.view(1), View::Miss, "fail to a miss, never to a stale value");
}

#[test]
fn key_template_that_does_not_fit_names_itself() {
    let mut bench = Bench::new(&["cdc.key-template=item:{sku}"]);
    let event = Event::create(1, 100, "a");
    bench.send(&event);
    assert_eq!(class_of(&bench.dead_letters()[0], &event), "key-template");
}
