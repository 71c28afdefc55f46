//! All parts start, answer a real request, and keep their data over a kill.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Cache, Dirs, Kafka, KafkaVersion, Redis, ScrapeTarget, Testbed, wait};

const DEADLINE: Duration = Duration::from_secs(30);
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

fn topics(kafka: &Kafka, args: &[&str]) -> String {
    let mut all = vec!["--bootstrap-server", kafka.bootstrap_servers()];
    all.extend(args);
    kafka.java_tool(TOPICS, &all).expect("TopicCommand")
}

/// Registers a schema and returns its id.
fn register(url: &str, subject: &str, schema: &str) -> u64 {
    let answer: Value = ureq::post(format!("{url}/subjects/{subject}/versions"))
        .send_json(json!({"schema": schema}))
        .expect("register")
        .body_mut()
        .read_json()
        .expect("json");
    answer["id"].as_u64().expect("an id")
}

fn schema(url: &str, id: u64) -> String {
    let answer: Value =
        ureq::get(format!("{url}/schemas/ids/{id}")).call().expect("schema").body_mut().read_json().expect("json");
    answer["schema"].as_str().expect("a schema").to_owned()
}

#[test]
fn all_parts_answer_and_keep_their_data_over_a_kill() {
    let bed = Testbed::builder()
        .kafka()
        .registry()
        .redis()
        .postgres()
        .connect()
        .prometheus(&[ScrapeTarget::new("nobody", "127.0.0.1:1")])
        .start()
        .expect("all parts");
    let (kafka, registry) = (bed.kafka().expect("kafka"), bed.registry().expect("registry"));
    let (redis, postgres) = (bed.redis().expect("redis"), bed.postgres().expect("postgres"));

    topics(kafka, &["--create", "--topic", "orders", "--partitions", "3"]);
    let id = register(registry.url(), "orders-value", "\"long\"");
    assert_eq!(redis.command(&["SET", "key", "kept"]).expect("SET"), "+OK");
    postgres.sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)").expect("sql");
    let plugins = ureq::get(format!("{}/connector-plugins", bed.connect().expect("connect").rest_url()))
        .call()
        .expect("plugins")
        .body_mut()
        .read_to_string()
        .expect("text");
    assert!(plugins.contains("io.debezium.connector.postgresql.PostgresConnector"), "{plugins}");
    let prometheus = bed.prometheus().expect("prometheus");
    wait::until("the target to be seen as down", DEADLINE, || {
        let up = prometheus.query("up{job=\"nobody\"}").map_err(|e| e.to_string())?;
        if up[0]["value"][1] == "0" { Ok(()) } else { Err(up.to_string()) }
    })
    .expect("up");

    let pid = kafka.pid().expect("pid");
    kafka.kill();
    registry.kill();
    redis.kill();
    postgres.kill();
    assert!(!testbed::is_alive(pid), "kill waits for the end");
    assert!(redis.command(&["PING"]).is_err(), "nobody listens");
    kafka.start().expect("kafka");
    registry.start().expect("registry");
    redis.start().expect("redis");
    postgres.start().expect("postgres");

    assert!(topics(kafka, &["--describe", "--topic", "orders"]).contains("PartitionCount: 3"));
    assert_eq!(schema(registry.url(), id), "\"long\"");
    assert_eq!(redis.command(&["GET", "key"]).expect("GET"), "kept");
    assert_eq!(postgres.sql("SELECT id FROM kept").expect("sql"), "7");
}

#[test]
fn a_paused_redis_is_silent_and_an_emptied_one_forgets() {
    let (cache, dirs) = (Cache::open().expect("cache"), Dirs::new().expect("dirs"));
    let redis = Redis::start(&cache, &dirs).expect("redis");
    redis.command(&["SET", "key", "value"]).expect("SET");
    redis.pause().expect("pause");
    assert!(redis.command(&["GET", "key"]).is_err(), "a stopped process answers nothing");
    redis.resume().expect("resume");
    assert_eq!(redis.command(&["GET", "key"]).expect("GET"), "value");
    redis.restart().expect("restart");
    assert_eq!(redis.command(&["GET", "key"]).expect("GET"), "value");
    redis.restart_empty().expect("restart_empty");
    assert_eq!(redis.command(&["GET", "key"]).expect("GET"), "$-1");
    redis.stop();
    assert!(redis.pause().is_err(), "there is nothing to pause");
}

#[test]
fn a_part_outlives_the_thread_that_started_it() {
    let (cache, dirs) = (Cache::open().expect("cache"), Dirs::new().expect("dirs"));
    let redis = std::thread::scope(|scope| scope.spawn(|| Redis::start(&cache, &dirs)).join());
    let redis = redis.expect("no panic").expect("redis");
    assert_eq!(redis.command(&["PING"]).expect("PING"), "+PONG");
}

#[test]
fn the_oldest_and_the_newest_kafka_start_too() {
    let (cache, dirs) = (Cache::open().expect("cache"), Dirs::new().expect("dirs"));
    for version in [KafkaVersion::V4_2_1, KafkaVersion::V4_4_0] {
        let builder = Kafka::builder().expect("builder").version(version).property("num.partitions", "7");
        let kafka = builder.start(&cache, &dirs).expect("kafka");
        topics(&kafka, &["--create", "--topic", "orders"]);
        assert!(topics(&kafka, &["--describe", "--topic", "orders"]).contains("PartitionCount: 7"), "{version}");
        kafka.stop();
    }
}

#[test]
fn a_part_that_cannot_start_says_why() {
    let (cache, dirs) = (Cache::open().expect("cache"), Dirs::new().expect("dirs"));
    let builder = Kafka::builder().expect("builder").property("num.partitions", "none");
    let error = builder.start(&cache, &dirs).expect_err("not a number");
    assert!(error.to_string().contains("num.partitions"), "{error}");
}
