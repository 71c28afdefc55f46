//! Mutations over HTTP, by real brokers and a real registry.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headrace::codec::{Avro, AvroSchema as _, Binding, Codec as _, SchemaId, Schemas, avro};
use serde_json::{Value, json};
use testbed::{Kafka, Testbed, spawn};
use write_ahead_log::mutation::{Mutation, Operation};

use super::support::{Asked, Log, TOKEN};
use crate::support::{App, bed, queues};

const LOG: &str = "/v1/shop/log";

/// `examples/put.py`.
fn put(app: &App, arguments: &[&str]) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies/write-ahead-log/examples/put.py");
    let mut command = Command::new("python3");
    command.arg(script).args(["--delay", "1h"]).args([&app.url(), "shop"]).args(arguments).env("WAL_TOKEN", TOKEN);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    spawn(command).unwrap()
}

fn delayed(token: &str, key: &str) -> Value {
    json!({ "token": token, "key": key, "delay": "1h", "value": { "a": 1 } })
}

fn datum(mutation: &Mutation) -> Vec<u8> {
    let (codec, schemas): (Avro<Mutation>, _) = (avro(), Arc::new(Schemas::default()));
    schemas.insert(SchemaId(1), Mutation::SCHEMA).unwrap();
    codec.bind(&Binding { schemas, writer: Some(SchemaId(1)) });
    let mut framed = Vec::new();
    codec.encode(mutation, &mut framed).unwrap();
    framed.split_off(5)
}

#[test]
fn w1_what_has_succeeded_lies_on_the_topic_and_its_status_is_told() {
    let log = Log::new(queues(), "wal-intake", "");
    let mut app = log.app();
    app.start_again();

    let before = log.ask(&app, Asked::get("/v1/shop/status/one"));
    assert!(before.status == 404 && before.body["error"].as_str().unwrap().contains("nothing is known"), "{before:?}");
    let one = log.ask(&app, Asked::post(LOG, delayed("one", "k/1").to_string()));
    assert_eq!((one.status, one.body), (200, json!({ "durable": "succeeded", "token": "one" })));
    let made_up = log.ask(&app, Asked::post(LOG, r#"{"key":"k/1","operation":"delete","delay":"1h"}"#));
    assert_eq!((made_up.status, made_up.body["token"].as_str().map(str::len)), (200, Some(36)), "{made_up:?}");
    let binary = Mutation {
        namespace: "shop".to_owned(),
        token: "binary".to_owned(),
        created_at: 1_790_000_000_000,
        key: "k/2".to_owned(),
        value: Some(vec![0, 255]),
        delay_ms: Some(3_600_000),
        ..Mutation::default()
    };
    let posted = log.ask(&app, Asked { kind: "application/avro", ..Asked::post(LOG, datum(&binary)) });
    assert_eq!((posted.status, &posted.body["durable"]), (200, &json!("succeeded")), "{posted:?}");

    let stored = log.mutations();
    let of = |token: &str| stored.iter().find(|(_, mutation)| mutation.token == token).unwrap();
    let (key, mutation) = of("one");
    assert_eq!(
        (key.as_str(), mutation.value.as_deref(), mutation.delay_ms),
        ("shop/k/1", Some(&br#"{"a":1}"#[..]), Some(3_600_000))
    );
    assert_eq!(of("binary"), &("shop/k/2".to_owned(), binary));
    assert_eq!(of(made_up.body["token"].as_str().unwrap()).1.operation, Operation::Delete);

    let status = log.wait_state(&app, "one", "delayed");
    let target = &status["targets"][0];
    assert_eq!((&target["target"], &target["attempts"]), (&json!("api"), &json!(0)), "{status}");
    assert_eq!(target["due"].as_i64(), Some(mutation.created_at + 3_600_000), "{status}");
    // It is sent again, and nothing happens twice.
    assert_eq!(log.ask(&app, Asked::post(LOG, delayed("one", "k/1").to_string())).status, 200);
    let taken_back = log.ask(&app, Asked::delete("/v1/shop/log/one?key=k%2F1"));
    assert_eq!(taken_back.status, 202, "{taken_back:?}");
    assert_eq!(taken_back.body["targets"][0], json!({ "target": "api", "token": "one", "durable": "succeeded" }));
    log.wait_state(&app, "one", "cancelled");
    assert!(app.terminate().success());
}

#[test]
fn w1_a_batch_is_in_the_log_in_its_order_and_mistakes_are_told_one_by_one() {
    let log = Log::new(queues(), "wal-batch", "");
    let mut app = log.app();
    app.start_again();
    let item = |number: usize| json!({ "token": format!("{number:03}"), "key": format!("k{number}"), "order": "o", "text": "x", "delay": "1h" });
    let all: Vec<Value> = (0..500).map(item).collect();
    let answered = log.ask(&app, Asked::post(LOG, json!(all).to_string()));
    assert_eq!(answered.status, 200, "{answered:?}");
    let answers = answered.body.as_array().unwrap();
    assert!(answers.len() == 500 && answers.iter().all(|answer| answer["durable"] == "succeeded"));
    assert!(answers.iter().zip(&all).all(|(answer, item)| answer["token"] == item["token"]));
    let stored: Vec<String> = log.mutations().into_iter().map(|(_, mutation)| mutation.token).collect();
    assert!(stored.len() == 500 && stored.is_sorted(), "one ordering key is one partition: {stored:?}");

    let lines = format!("{}\n{{\"key\":\"k\"}}\n{}", item(500), item(501));
    let mixed = log.ask(&app, Asked { kind: "application/x-ndjson", ..Asked::post(LOG, lines) });
    assert_eq!((mixed.status, mixed.body.as_array().unwrap().len()), (207, 3), "{mixed:?}");
    let bad = &mixed.body[1];
    assert!(bad["durable"] == "failed" && bad["reason"].as_str().unwrap().starts_with("item 1: value: a PUT has none"));
    assert_eq!(log.mutations().len(), 502);

    let post = |path, token, kind, body: Vec<u8>| log.ask(&app, Asked { token, kind, ..Asked::post(path, body) });
    let (json, good) = ("application/json", || item(502).to_string().into_bytes());
    assert_eq!(post(LOG, None, json, good()).status, 401);
    assert_eq!(post(LOG, Some("wrong"), json, good()).status, 401);
    let unknown = post("/v1/nowhere/log", Some(TOKEN), json, good());
    assert!(unknown.status == 404 && unknown.body["error"].as_str().unwrap().contains("namespaces set"), "{unknown:?}");
    assert_eq!(post(LOG, Some(TOKEN), "text/plain", good()).status, 415);
    assert_eq!(post(LOG, Some(TOKEN), json, b"{".to_vec()).status, 400);
    assert_eq!(post(LOG, Some(TOKEN), json, vec![b' '; 5 << 20]).status, 413);
    let large = json!({ "key": "k", "text": "x".repeat(3 << 20) }).to_string();
    let large = post(LOG, Some(TOKEN), json, large.into_bytes());
    assert_eq!((large.status, &large.body["durable"]), (413, &json!("failed")), "{large:?}");
    let other = log.ask(&app, Asked::delete("/v1/shop/log/000"));
    assert!(other.status == 400 && other.body["error"].as_str().unwrap().contains("key"), "{other:?}");
    assert_eq!(log.mutations().len(), 502, "nothing of these is there");
    assert!(app.terminate().success());
}

#[test]
fn w1_without_brokers_it_is_unknown_and_sent_again_it_succeeds_w16_and_others_have_room() {
    let kafka = Kafka::builder().unwrap().property("group.min.session.timeout.ms", "1000");
    let own = Arc::new(Testbed::builder().kafka_with(kafka).registry().start().unwrap());
    let log = Log::new(own, "wal-away", "[intake]\ntimeout = \"5s\"\nrequests = 2\n");
    let mut app = log.app();
    app.start_again();
    // The schema is known from here on: what is away is Kafka.
    assert_eq!(log.ask(&app, Asked::post(LOG, delayed("first", "k").to_string())).status, 200);

    let kafka = log.bed.kafka().unwrap();
    kafka.pause().unwrap();
    let begun = Instant::now();
    let path = |token: &str, path: &'static str| Asked::post(path, delayed(token, "k").to_string());
    let asked = vec![path("a", LOG), path("b", LOG), path("c", LOG), path("d", "/v1/other/log")];
    let answers = log.ask_all(&app, asked);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let statuses: Vec<u16> = answers.iter().map(|answered| answered.status).collect();
    let crowded = statuses[..3].iter().filter(|status| **status == 429).count();
    assert_eq!((crowded, statuses[3]), (1, 503), "two at a time, and the other has its own: {answers:?}");
    for answered in answers {
        assert!(answered.retry_after, "{answered:?}");
        assert!(answered.status == 429 || answered.body["durable"] == "unknown", "never failed: {answered:?}");
    }

    let mut script = put(&app, &["greeting=hello"]);
    let mut out = BufReader::new(script.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let token = line.split(' ').next().unwrap().to_owned();
    assert!(line.starts_with(&format!("{token} unknown ")), "{line}");
    kafka.resume().unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(script.wait().unwrap().success(), "{rest}");
    assert!(rest.contains(&format!("{token} succeeded\n")), "{rest}");
    assert!(rest.ends_with(&format!("{token} api delayed\n")), "{rest}");
    let again = log.ask(&app, path("a", LOG));
    assert_eq!((again.status, &again.body["durable"]), (200, &json!("succeeded")), "{again:?}");
    log.wait_state(&app, "a", "delayed");
    assert!(app.terminate().success());
}

#[test]
fn the_example_says_what_can_not_be_taken() {
    let log = Log::new(bed(), "wal-example", "");
    let mut app = log.app();
    app.start_again();
    let said = put(&app, &["a=1", "=2"]).wait_with_output().unwrap();
    let out = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(1), "{out}");
    assert!(out.contains(" succeeded\n") && out.contains(" failed item 1: key: is empty"), "{out}");
    assert!(out.ends_with(" api delayed\n"), "{out}");
    assert!(app.terminate().success());
}
