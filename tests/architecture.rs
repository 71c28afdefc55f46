//! The architecture, kept: layers, names, lengths, schemas, dashboards. Every rule shows on a bad sample that it can fail.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

#[path = "architecture/grafana.rs"]
mod grafana;
#[path = "architecture/lexer.rs"]
mod lexer;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/schemas.rs"]
mod schemas;
#[path = "architecture/tree.rs"]
mod tree;

use tree::File;

/// Every file keeps the rule, and each bad sample breaks it.
fn holds(rule: fn(&File) -> Vec<String>, bad: &[(&str, &str)]) {
    for (path, text) in bad {
        let complaints = rule(&File::new(path, text, path.starts_with("tests/")));
        assert_eq!(complaints.len(), 1, "the rule must see what is wrong with {path}: {text}\n{complaints:?}");
    }
    let complaints: Vec<String> = tree::rust_files().iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn foreign_crates_are_named_in_their_own_folder_only() {
    let bad = [
        ("src/runtime/x.rs", "use rdkafka::Message;"),
        ("src/telemetry/x.rs", "fn f() { let x = rocksdb::DB::open(); }"),
        ("src/kafka/x.rs", "use redis;"),
        ("src/kafka/x.rs", "use kafka_protocol::messages::ApiKey;"),
        ("src/share/x.rs", "fn f() { tokio_rustls::TlsConnector::from(x); }"),
        ("topologies/t/src/lib.rs", "use rocksdb::DB;"),
    ];
    holds(rules::owners, &bad);
    let fine =
        "// use redis::x\nfn f() { log(\"redis::x\"); a::redis::x(); }\n#[cfg(test)] mod tests { use redis::x; }";
    assert!(rules::owners(&File::new("src/kafka/x.rs", fine, false)).is_empty());
}

#[test]
fn task_and_below_are_pure() {
    holds(rules::purity, &[("src/task/x.rs", "use tokio::time;"), ("src/store/x.rs", "fn f() { Instant::now(); }")]);
}

#[test]
fn arrows_point_down_only() {
    let bad = [
        ("src/store/x.rs", "use crate::runtime::App;"),
        ("src/codec/x.rs", "use crate::{error::X, task::{A, cli}, record};"),
        ("src/novelty/x.rs", "use crate::record::Record;"),
        ("src/wire/x.rs", "use crate::kafka::Settings;"),
        ("src/task/x.rs", "use crate::wire::Client;"),
    ];
    holds(rules::layers, &bad);
}

#[test]
fn layers_of_one_rank_do_not_use_each_other() {
    let file = |path, text| File::new(path, text, false);
    let bad = [file("src/kafka/a.rs", "use crate::external::X;"), file("src/external/b.rs", "use crate::kafka::Y;")];
    assert_eq!(rules::beside(&bad).len(), 1);
    assert_eq!(rules::beside(&tree::rust_files()), Vec::<String>::new());
}

#[test]
fn every_module_says_what_it_is() {
    let bad = [("src/x.rs", "use std::fmt;"), ("src/y.rs", "//!\nuse std::fmt;"), ("src/z.rs", "")];
    holds(rules::module_docs, &bad);
}

#[test]
fn files_and_functions_are_short() {
    let file = "//! x\n".repeat(501);
    let function = format!("fn f(a: [u8; 3]) -> u8 {{\n{}}}\nfn g();", "    a();\n".repeat(69));
    holds(rules::lengths, &[("src/x.rs", &file), ("src/y.rs", &function)]);
}

#[test]
fn nothing_outside_tests_panics_by_a_short_cut() {
    let bad = [
        ("src/x.rs", "fn f() { g().unwrap(); }"),
        ("src/x.rs", "fn f() { g().expect(\"x\"); }"),
        ("src/x.rs", "fn f() { todo!(); }"),
    ];
    holds(rules::short_cuts, &bad);
    let fine = "fn f() { g().unwrap_or(1); }\n#[cfg(test)]\nmod tests { fn f() { g().unwrap(); } }";
    assert!(rules::short_cuts(&File::new("src/x.rs", fine, false)).is_empty());
}

#[test]
fn tests_do_not_sleep() {
    let inside = "#[cfg(test)] mod tests { fn f() { std::thread::sleep(x); } }";
    holds(rules::sleeps, &[("tests/e2e/x.rs", "fn f() { thread::sleep(x); }"), ("src/x.rs", inside)]);
}

#[test]
fn names_say_something() {
    let bad = [
        ("src/x.rs", "struct TaskManager;"),
        ("src/x.rs", "trait Helper {}"),
        ("src/x.rs", "fn get_offset() {}"),
        ("src/x.rs", "mod utils;"),
    ];
    holds(rules::names, &bad);
    assert!(rules::names(&File::new("src/x.rs", "struct Implied; fn forget() {}", false)).is_empty());
}

#[test]
fn schemas_are_documented_and_read_what_older_ones_wrote() {
    schemas::check();
}

#[test]
fn dashboards_alerts_and_metrics_agree() {
    grafana::check();
}
