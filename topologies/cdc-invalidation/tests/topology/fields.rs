//! What is cached, and under which key: C8, schema changes, templates, odd keys, placeholders.

use serde_json::{Value, json};

use crate::cache::View;
use crate::support::{Bench, Event, content, moved, row};

const PLACEHOLDER: &str = "__debezium_unavailable_value";

#[test]
fn c8_unchanged_toast_column_comes_from_the_last_full_image() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a"), Event::toasted(1, 200, "b")]);
    let expected = json!({"id": 1, "name": "b", "body": "body of a"}).to_string();
    assert_eq!(bench.view(1), View::Content(expected));
    bench.send_all(&[Event::toasted(1, 300, "c")]);
    let expected = json!({"id": 1, "name": "c", "body": "body of a"}).to_string();
    assert_eq!(bench.view(1), View::Content(expected), "the merged image is a base in its turn");
}

#[test]
fn c8_toast_column_that_nobody_has_seen_leads_to_a_miss() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::toasted(1, 200, "b")]);
    assert_eq!(bench.view(1), View::Miss);
    bench.send_all(&[Event::toasted(1, 300, "c"), Event::update(2, 300, "full")]);
    assert_eq!((bench.view(1), bench.view(2)), (View::Miss, content(2, "full")));
    assert!(bench.invalidations().iter().all(|invalidation| !format!("{invalidation:?}").contains(PLACEHOLDER)));
}

#[test]
fn c8_row_that_was_gone_in_between_is_no_base() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a"), Event::delete(1, 200), Event::toasted(1, 400, "c")]);
    assert_eq!(bench.view(1), View::Miss, "its create was not seen: the last image is of another row");
}

#[test]
fn c8_late_update_does_not_lend_its_columns() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a"), Event::update(1, 300, "c"), Event::update(1, 200, "b")]);
    bench.send_all(&[Event::toasted(1, 400, "d")]);
    let expected = json!({"id": 1, "name": "d", "body": "body of c"}).to_string();
    assert_eq!(bench.view(1), View::Content(expected));
}

#[test]
fn f5_primary_key_update_with_a_toasted_column_leads_to_a_miss() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a"), Event::create(2, 110, "other"), Event::delete(2, 120)]);
    let after = json!({"id": 2, "name": "a", "body": PLACEHOLDER});
    bench.send_all(&moved(1, 2, 200, &after));
    assert_eq!((bench.view(1), bench.view(2)), (View::Miss, View::Miss), "its content is in the old key's row only");
    bench.send_all(&[Event::toasted(2, 300, "b")]);
    assert_eq!(bench.view(2), View::Miss, "and the content of the key's former row is no base either");
}

#[test]
fn f5_row_that_moves_to_a_key_takes_no_column_of_the_row_that_was_there() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(2, 110, "other")]);
    // The other row's delete is missing, as from a log that was cut.
    let after = json!({"id": 2, "name": "a", "body": PLACEHOLDER});
    bench.send_all(&moved(1, 2, 200, &after));
    assert_eq!(bench.view(2), View::Miss);
}

#[test]
fn f6_placeholder_is_found_in_text_json_bytes_and_arrays() {
    let bytes: Vec<u8> = PLACEHOLDER.bytes().collect();
    let floats: Vec<f64> = bytes.iter().map(|byte| f64::from(*byte)).collect();
    for value in [
        json!(PLACEHOLDER),
        json!("X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="),
        json!([PLACEHOLDER]),
        json!(bytes),
        json!(floats),
        json!({"nested": PLACEHOLDER}),
    ] {
        let mut bench = Bench::write_through();
        let after = json!({"id": 1, "name": "b", "body": value});
        bench.send_all(&[Event::new("u", 1, Some(5), &Value::Null, &after)]);
        assert_eq!(bench.view(1), View::Miss, "{value}");
    }
    // Text that speaks of it is not it.
    let mut bench = Bench::write_through();
    let after = json!({"id": 1, "name": "b", "body": format!("see \"{PLACEHOLDER}\" in the manual")});
    bench.send_all(&[Event::new("u", 1, Some(5), &Value::Null, &after)]);
    assert_eq!(bench.view(1), View::Content(after.to_string()));
}

#[test]
fn f8_invented_columns_of_a_delete_reach_no_cache() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a"), Event::delete(1, 200), Event::toasted(1, 300, "b")]);
    assert_eq!(bench.view(1), View::Miss, "a merge with the delete's before would have made the body empty");
}

#[test]
fn f9_other_columns_void_the_rows_that_sent_no_event() {
    let mut bench = Bench::write_through();
    bench.send_all(&[Event::create(1, 100, "a"), Event::create(2, 110, "b")]);
    let after = json!({"id": 2, "name": "b", "body": "x", "added": 7});
    bench.send_all(&[Event::new("u", 2, Some(200), &Value::Null, &after)]);
    assert_eq!((bench.view(1), bench.view(2)), (View::Miss, View::Content(after.to_string())));
    // A change from before the new column, late: it may fence, but must not be cached.
    bench.send_all(&[Event::create(3, 105, "late")]);
    assert_eq!(bench.view(3), View::Miss);
    let after = json!({"id": 1, "name": "a", "body": "x", "added": 7});
    bench.send_all(&[Event::new("u", 1, Some(300), &Value::Null, &after)]);
    assert_eq!(bench.view(1), View::Content(after.to_string()));
}

#[test]
fn f10_numbers_come_out_as_they_went_in() {
    let image = r#"{"id":9007199254740993,"amount":10.50,"at":"0001-01-01T00:00:00Z","until":"infinity","big":1e400}"#;
    let marker = "\"@\"";
    let event = Event::update(1, 100, "x").edit(|value| value["after"] = json!("@"));
    let event = Event { value: event.value.map(|value| value.replace(marker, image)), ..event };
    let mut bench = Bench::write_through();
    bench.send_all(&[event]);
    assert_eq!(bench.view(1), View::Content(image.to_owned()));
}

#[test]
fn f13_odd_keys_stay_apart() {
    let mut bench = Bench::write_through();
    let keys = [
        json!(""),
        json!("null"),
        json!("a\nb"),
        json!("🦀"),
        json!(9_007_199_254_740_993_i64),
        json!(9_007_199_254_740_992_i64),
        json!("a:b"),
        json!("a%3Ab"),
    ];
    for (index, key) in keys.iter().enumerate() {
        let mut event = Event::create(1, 100, &format!("row {index}"));
        event.key = Some(json!({"id": key}).to_string());
        bench.send_all(&[event]);
    }
    let cached: std::collections::BTreeSet<_> =
        bench.invalidations().into_iter().map(|invalidation| invalidation.cache_key).collect();
    assert_eq!(cached.len(), keys.len(), "{cached:?}");
    for (index, cached) in
        ["public.items:", "public.items:null", "public.items:a\nb", "public.items:🦀"].iter().enumerate()
    {
        let view = bench.cache.view(cached, "headrace:cdc:public.items");
        assert_eq!(view, content(1, &format!("row {index}")), "{cached:?}");
    }
}

#[test]
fn tables_have_templates_of_their_own() {
    let mut bench = Bench::with(&["cdc.mode=write-through"], |config| {
        let template = |text: &str| text.to_owned().try_into().unwrap();
        config.cdc.key_templates.insert("public.orders".into(), template("order:{id}"));
        config.cdc.key_templates.insert("public.lines".into(), template("order:{order_id}:line:{no}"));
    });
    let of = |table: &str, key: Value| {
        let mut event = Event::create(1, 100, "a").source(|source| source["table"] = json!(table));
        event.topic = format!("shop.public.{table}");
        event.key = Some(key.to_string());
        event
    };
    bench.send_all(&[
        of("orders", json!({"id": 7})),
        of("lines", json!({"order_id": 7, "no": 2})),
        of("plain", json!({"a": 1, "b": "x"})),
    ]);
    let keys: Vec<_> = bench.invalidations().into_iter().map(|invalidation| invalidation.cache_key).collect();
    assert_eq!(keys, ["order:7", "order:7:line:2", "public.plain:1:x"]);
}

#[test]
fn tables_that_are_not_selected_pass_by() {
    let mut bench = Bench::with(&[], |config| config.cdc.tables = vec!["public.orders".into()]);
    bench.send_all(&[Event::create(1, 100, "a"), Event::delete(1, 200), Event::truncate(300)]);
    assert!(bench.cache.answers.is_empty() && bench.invalidations().is_empty());
    assert_eq!(bench.stored("public.items", r#"{"id":1}"#), None);
}

#[test]
fn json_with_its_schema_reads_as_json_without() {
    let wrap = |text: &str| format!(r#"{{"schema":{{"type":"struct","fields":[]}},"payload":{text}}}"#);
    let plain = Event::create(1, 100, "a");
    let wrapped =
        Event { key: plain.key.as_deref().map(wrap), value: plain.value.as_deref().map(wrap), ..plain.clone() };
    let mut bench = Bench::write_through();
    bench.send_all(&[wrapped]);
    assert_eq!(bench.view(1), View::Content(row(1, "a").to_string()));
    bench.send_all(&[plain]);
    assert_eq!(bench.invalidations().len(), 1, "one change in two spellings is one change");
}

#[test]
fn row_above_the_limit_is_not_cached_and_each_change_of_it_invalidates() {
    let mut bench = Bench::new(&["cdc.mode=write-through", "cdc.max-image=1 KiB"]);
    bench.send_all(&[Event::create(1, 100, "small"), Event::update(1, 200, &"x".repeat(2000))]);
    assert_eq!(bench.view(1), View::Miss);
    assert_eq!(bench.stored("public.items", r#"{"id":1}"#).unwrap().image, None, "nor kept");
    bench.send_all(&[Event::toasted(1, 300, "b")]);
    assert_eq!(bench.view(1), View::Miss, "the row of before is no base");
    bench.send_all(&[Event::update(1, 400, "small again")]);
    assert_eq!(bench.view(1), content(1, "small again"));
    assert!(bench.dead_letters().is_empty());
}
