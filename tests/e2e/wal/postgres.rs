//! PostgreSQL as a target: row and fence change together, and the database's own types decide what a value may be.

use testbed::Postgres;
use write_ahead_log::call::Call;
use write_ahead_log::namespace::TargetKind;

use super::world::{APPLIED, EQUAL, Lane, Place, STALE, failed, fence_holds, fences_are_apart, many_keys, refused};
use crate::support::{Session, stores};

/// A table of its own.
fn table(postgres: &Postgres, columns: &str) -> String {
    let table = format!("t{:08x}", fastrand::u32(..));
    postgres.sql(&format!("create table {table} ({columns})")).unwrap();
    table
}

fn place(postgres: &Postgres, table: &str) -> Place {
    Place::new(TargetKind::Postgres, &postgres.url(), &[("table", table), ("key", "id")])
}

fn named(text: &str) -> String {
    format!(r#"{{"name": "{text}"}}"#)
}

#[test]
fn w8_postgres_applies_a_number_only_above_the_last_one() {
    let bed = stores();
    let postgres = bed.postgres().unwrap();
    let table = table(postgres, "id int primary key, name text");
    fence_holds(&place(postgres, &table), named, |key| {
        Some(postgres.sql(&format!("select name from {table} where id = {key}")).unwrap())
            .filter(|name| !name.is_empty())
    });
}

#[test]
fn w8_fences_of_postgres_go_by_namespace_target_and_ordering_key() {
    let bed = stores();
    let postgres = bed.postgres().unwrap();
    let columns = "id int primary key, name text";
    let (one, other) = (table(postgres, columns), table(postgres, columns));
    fences_are_apart(&place(postgres, &one), &place(postgres, &other), named);
}

#[test]
fn w8_postgres_takes_two_hundred_keys_at_once() {
    let bed = stores();
    let postgres = bed.postgres().unwrap();
    let table = table(postgres, "id int primary key, name text");
    many_keys(&place(postgres, &table), named);
    assert_eq!(postgres.sql(&format!("select count(*) from {table}")).unwrap(), "200");
}

#[test]
fn w8_a_row_that_is_refused_leaves_no_fence_behind() {
    let bed = stores();
    let postgres = bed.postgres().unwrap();
    let table = table(postgres, "id int primary key, name text not null");
    let (place, mut lane) = (place(postgres, &table), Lane::new());
    let reply = lane.one(&place.put("1", 5, r#"{"name": null}"#));
    assert!(refused(&reply).contains("\"name\"") && refused(&reply).contains("23502"), "{reply:?}");
    assert_eq!(lane.one(&place.put("1", 5, &named("a"))), APPLIED);
}

#[test]
fn w8_columns_have_the_types_of_the_table() {
    let bed = stores();
    let postgres = bed.postgres().unwrap();
    let columns =
        "id bigint primary key, n numeric, at timestamptz, ok bool, tags text[], doc jsonb, raw bytea, note text";
    let table = table(postgres, columns);
    let (place, mut lane) = (place(postgres, &table), Lane::new());
    let value = r#"{"n": 12345678901234567890.12345, "at": "2026-01-02T03:04:05Z", "ok": true, "tags": ["a", "b\"c"],
        "doc": {"x": [1, null]}, "raw": "\\xdeadbeef", "note": null}"#;
    assert_eq!(lane.one(&place.put("9007199254740993", 1, value)), APPLIED);
    let read = format!("select id, n, at at time zone 'utc', ok, tags, doc, raw, note is null from {table}");
    let row =
        r#"9007199254740993|12345678901234567890.12345|2026-01-02 03:04:05|t|{a,"b\"c"}|{"x": [1, null]}|\xdeadbeef|t"#;
    assert_eq!(postgres.sql(&read).unwrap(), row);
    // What a later value does not name stays.
    assert_eq!(lane.one(&place.put("9007199254740993", 2, r#"{"note": "x", "id": 9007199254740993}"#)), APPLIED);
    assert_eq!(postgres.sql(&format!("select ok, note from {table}")).unwrap(), "t|x");
    assert_eq!(lane.one(&place.put("7", 1, "{}")), APPLIED);
    assert_eq!(postgres.sql(&format!("select count(*) from {table}")).unwrap(), "2");
}

#[test]
fn w9_what_postgres_never_takes_is_refused_with_its_names_and_without_its_values() {
    let bed = stores();
    let postgres = bed.postgres().unwrap();
    let table = table(postgres, "id int primary key, name varchar(3) unique, n int check (n < 10)");
    let (own, mut lane) = (place(postgres, &table), Lane::new());
    assert_eq!(lane.one(&own.put("1", 1, &named("a"))), APPLIED);
    let missing = place(postgres, "no_such_table");
    let calls: Vec<(Call, &str)> = vec![
        (own.put("2", 1, r#"{"naem": "canary"}"#), "naem"),
        (own.put("2", 1, r#"{"n": "canary"}"#), "22P02"),
        (own.put("2", 1, r#"{"name": "canary"}"#), "22001"),
        (own.put("2", 1, &named("a")), "23505"),
        (own.put("2", 1, r#"{"n": 11}"#), "23514"),
        (own.put("canary", 1, &named("b")), "22P02"),
        (own.put("2", 1, "canary"), "no JSON object"),
        (own.put("2", 1, r#"{"name": "can\u0000ary"}"#), "22P05"),
        (missing.put("2", 1, &named("b")), "no_such_table"),
        (own.put("3", 1, &named("c")), ""),
    ];
    let (calls, reasons): (Vec<Call>, Vec<&str>) = calls.into_iter().unzip();
    let mut replies = lane.send(&calls);
    assert_eq!(replies.pop(), Some(APPLIED), "others of the batch go on");
    for (reply, part) in replies.iter().zip(reasons) {
        let reason = refused(reply);
        assert!(reason.contains(part) && !reason.contains("canary"), "{part}: {reason}");
    }
}

#[test]
fn w8_names_of_any_kind_are_names() {
    let bed = stores();
    let postgres = bed.postgres().unwrap();
    let schema = format!("S{:08x} x", fastrand::u32(..));
    postgres
        .sql(&format!(r#"create schema "{schema}"; create table "{schema}"."a""b;c" ("Id" text primary key, "N" int)"#))
        .unwrap();
    let mut place = place(postgres, &format!("{schema}.a\"b;c"));
    place.spec.settings.insert("key".to_owned(), "Id".to_owned());
    let mut lane = Lane::new();
    assert_eq!(lane.one(&place.put("o'k\\", 1, r#"{"N": 1}"#)), APPLIED);
    let count = format!(r#"select "Id", "N" from "{schema}"."a""b;c""#);
    assert_eq!(postgres.sql(&count).unwrap(), "o'k\\|1");
    assert_eq!(lane.one(&place.delete("o'k\\", 2)), APPLIED);
    assert_eq!(postgres.sql(&count).unwrap(), "");
}

#[test]
fn w8_a_row_that_somebody_holds_is_a_failure_of_its_own_and_late_statements_have_no_effect() {
    let bed = stores();
    let postgres = bed.postgres().unwrap();
    let table = table(postgres, "id int primary key, name text");
    let mut place = place(postgres, &table);
    let mut lane = Lane::new();
    assert_eq!(lane.one(&place.put("1", 1, &named("a"))), APPLIED);
    place.spec.settings.insert("timeout".to_owned(), "400ms".to_owned());
    let session = Session::new(postgres);
    session.sql(&format!("begin; select 1 from {table} where id = 1 for update"));
    let replies = lane.send(&[place.put("2", 1, &named("b")), place.put("1", 2, &named("c"))]);
    assert_eq!(replies[0], APPLIED);
    failed(&replies[1]);
    session.sql("rollback");
    let reply = lane.settled(&place.put("1", 2, &named("c")));
    assert!([APPLIED, EQUAL].contains(&reply), "{reply:?}");
    assert_eq!(lane.settled(&place.put("1", 1, &named("a"))), STALE);
    assert_eq!(postgres.sql(&format!("select name from {table} where id = 1")).unwrap(), "c");
}

#[test]
fn w8_a_table_that_is_changed_meanwhile_is_written_all_the_same() {
    let bed = stores();
    let postgres = bed.postgres().unwrap();
    let table = table(postgres, "id int primary key, name text");
    let (place, mut lane) = (place(postgres, &table), Lane::new());
    assert_eq!(lane.one(&place.put("1", 1, &named("5"))), APPLIED);
    postgres.sql(&format!("alter table {table} alter name type int using name::int, add more int")).unwrap();
    assert_eq!(lane.settled(&place.put("1", 2, &named("6"))), APPLIED);
    assert_eq!(lane.one(&place.put("1", 3, r#"{"more": 7}"#)), APPLIED);
    assert_eq!(postgres.sql(&format!("select name, more from {table}")).unwrap(), "6|7");
}

#[test]
fn w8_a_postgres_that_was_restarted_is_found_again() {
    let bed = stores();
    let postgres = Postgres::start(bed.cache(), bed.dirs().unwrap()).unwrap();
    let table = table(&postgres, "id int primary key, name text");
    let (place, mut lane) = (place(&postgres, &table), Lane::new());
    assert_eq!(lane.one(&place.put("1", 1, &named("a"))), APPLIED);
    postgres.kill();
    let reply = lane.one(&place.put("1", 2, &named("b")));
    failed(&reply);
    postgres.start().unwrap();
    assert_eq!(lane.settled(&place.put("1", 2, &named("b"))), APPLIED);
    assert_eq!(lane.one(&place.put("1", 1, &named("a"))), STALE);
}
