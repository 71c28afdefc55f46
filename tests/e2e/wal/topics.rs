//! Topics as targets: each mutation is a record there, once and in order by key, whatever is killed; and what a topic that does not
//! take it costs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use testbed::Testbed;
use write_ahead_log::entry::{MutationResult, State};
use write_ahead_log::mutation::{Mutation, Operation};
use write_ahead_log::namespace::{Namespace, TargetKind, TargetSpec};

use super::application::{Log, now, put};
use super::effects::Effects;
use crate::support::records::Stored;
use crate::support::{App, Topics, bed, eventually, transactions};

const PARTITIONS: i32 = 3;
const KEYS: usize = 20;
const KILLS: usize = 4;
/// What a writer has under way at a time, and how much it writes at most.
const PORTION: usize = 100;
const PORTIONS: usize = 100;

/// The cluster, and a topic on it that is a target.
struct Feed {
    bed: Arc<Testbed>,
    topics: Topics,
    topic: String,
}

impl Feed {
    fn new(topic: &str) -> Self {
        let bed = bed();
        let topics = Topics::new(bed.kafka().unwrap().bootstrap_servers());
        Feed { bed, topics, topic: topic.to_owned() }
    }

    fn target(&self) -> TargetSpec {
        TargetSpec::new("feed", TargetKind::Topic, self.topic.as_str())
    }

    /// One that writes there, and tries again soon.
    fn namespace(&self) -> Namespace {
        let mut namespace = Namespace { targets: vec![self.target()], ..Namespace::default() };
        (namespace.retry.max_attempts, namespace.retry.backoff_ms) = (1_000, 50);
        namespace.retry.longest_backoff_ms = 500;
        (namespace.breaker.failures, namespace.breaker.open_ms) = (100, 100);
        namespace
    }

    fn is_open(&self) -> Result<(), String> {
        let servers = self.bed.kafka().unwrap().bootstrap_servers();
        match transactions::open_in(servers, &self.topic)?.is_empty() {
            true => Err("no transaction is open".to_owned()),
            false => Ok(()),
        }
    }

    /// Tokens by key, in the order of the topic. All records of a key lie in one partition.
    fn tokens(&self, isolation: &str) -> BTreeMap<String, Vec<String>> {
        let mut tokens: BTreeMap<String, (i32, Vec<String>)> = BTreeMap::new();
        for record in self.topics.read_as(&self.topic, isolation) {
            let of_key = tokens.entry(text(record.key.as_deref())).or_insert((record.partition, Vec::new()));
            assert_eq!(of_key.0, record.partition, "{record:?}");
            of_key.1.push(text(record.header("headrace-token")));
        }
        tokens.into_iter().map(|(key, (_, tokens))| (key, tokens)).collect()
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

/// Tokens by key, in the order in which they were written.
fn by_key(written: &[Mutation]) -> BTreeMap<String, Vec<String>> {
    let mut tokens: BTreeMap<String, Vec<String>> = BTreeMap::new();
    written.iter().for_each(|own| tokens.entry(own.key.clone()).or_default().push(own.token.clone()));
    tokens
}

fn numbered(number: usize) -> Mutation {
    put(&format!("key-{:02}", number % KEYS), &format!("t{number:05}"))
}

/// Writes mutations, all keys in turns, until it is told to stop; gives them.
fn write_until(log: &Log, stop: &AtomicBool) -> Vec<Mutation> {
    let portions = (0..PORTIONS).take_while(|_| !stop.load(Ordering::Acquire)).map(|portion| {
        let mutations: Vec<Mutation> = (0..PORTION).map(|number| numbered(portion * PORTION + number)).collect();
        log.write(&mutations);
        mutations
    });
    portions.flatten().collect()
}

/// Waits until each mutation has ended at so many targets.
#[track_caller]
fn wait_ended(log: &Log, written: &[Mutation], targets: usize) -> BTreeMap<String, Vec<MutationResult>> {
    eventually("all to have ended", || {
        let results = log.results();
        let ended = written.iter().filter(|own| results.get(&own.token).is_some_and(|all| all.len() >= targets));
        match ended.count() {
            count if count == written.len() => Ok(results),
            count => Err(format!("{count} of {}", written.len())),
        }
    })
}

/// Stops a writer, whatever becomes of the test.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn w7_what_is_written_is_a_record_of_the_topic_in_order_by_key() {
    let (feed, log) = (Feed::new("wal-topics-order.feed"), Log::new("wal-topics-order"));
    feed.topics.create(&feed.topic, PARTITIONS);
    log.set("shop", &feed.namespace());
    let mut app = log.app("one");
    app.start_again();
    let mut written: Vec<Mutation> = (0..200).map(numbered).collect();
    written[0].headers.insert("traceparent".to_owned(), "00-a-b-01".to_owned());
    written[0].value = Some(Vec::new());
    let delete = Mutation { operation: Operation::Delete, value: None, ..put("key-07", "gone") };
    written.push(Mutation { order: Some("customer".to_owned()), delay_ms: Some(300), ..delete });
    log.write(&written);
    let results = wait_ended(&log, &written, 1);
    assert!(results.values().flatten().all(|own| own.state == State::Applied), "{results:?}");
    assert_eq!(feed.tokens("read_committed"), by_key(&written));

    let records = feed.topics.read(&feed.topic);
    let of = |token: &str| -> &Stored {
        records.iter().find(|record| text(record.header("headrace-token")) == token).unwrap()
    };
    let (first, gone) = (of("t00000"), of("gone"));
    assert_eq!((first.value.as_deref(), first.header("traceparent")), (Some(&b""[..]), Some(&b"00-a-b-01"[..])));
    assert_eq!((gone.value.as_deref(), gone.header("headrace-order")), (None, Some(&b"customer"[..])));
    assert_eq!(of("t00001").value.as_deref(), Some(&b"t00001"[..]));
    for (name, value) in [
        ("headrace-namespace", "shop".to_owned()),
        ("headrace-created-at", written[0].created_at.to_string()),
        ("headrace-sequence", results["t00000"][0].number.unwrap().to_string()),
    ] {
        assert_eq!(text(first.header(name)), value, "{name}");
    }
    assert_eq!(first.header("headrace-order"), None);
    assert!(app.metric("headrace_records_out_total", "sink=\"(named)\"") >= 201.0);
    assert_eq!(app.metric("headrace_aborts_total", ""), 0.0);
    assert!(app.terminate().success());
}

/// Transactions of the other kind, which the application falls back to on clusters without those of its own.
#[test]
fn w7_librdkafkas_transactions_write_to_topics_too() {
    let (feed, log) = (Feed::new("wal-topics-rdkafka.feed"), Log::new("wal-topics-rdkafka"));
    log.set("shop", &feed.namespace());
    let mut app = log.app("one");
    app.set("processing.producer=rdkafka");
    app.start_again();
    let written: Vec<Mutation> = (0..100).map(numbered).collect();
    log.write(&written);
    eventually("somebody to be parked", || match app.metric("headrace_processor_events_total", "event=\"parked\"") {
        0.0 => Err("nobody".to_owned()),
        _ => Ok(()),
    });
    feed.topics.create(&feed.topic, PARTITIONS);
    wait_ended(&log, &written, 1);
    assert_eq!(feed.tokens("read_committed"), by_key(&written));
    assert!(app.terminate().success());
}

/// The same mutations go to an HTTP receiver besides, which is told at least once: it is the control arm.
#[test]
fn w7_kills_leave_each_token_once_in_the_topic_and_in_its_order() {
    let (feed, log) = (Feed::new("wal-topics-kills.feed"), Log::new("wal-topics-kills"));
    let effects = Effects::start(1, 0);
    feed.topics.create(&feed.topic, PARTITIONS);
    let mut namespace = feed.namespace();
    namespace.targets.push(TargetSpec::new("book", TargetKind::Http, effects.url()));
    log.set("shop", &namespace);
    let mut apps = [log.app("one"), log.app("two")];
    apps.iter_mut().for_each(App::start_again);
    let stop = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&log, &stop));
        let stops = Stop(&stop);
        for kill in 0..KILLS {
            let app = &mut apps[kill % 2];
            app.wait_ready();
            eventually("a transaction to be open", || feed.is_open());
            app.kill();
            app.run();
        }
        drop(stops);
        writer.join().unwrap()
    });
    assert!(written.len() > 10 * KEYS, "{} mutations are nothing to be killed at", written.len());
    let results = wait_ended(&log, &written, 2);
    let wrong: Vec<_> = results.values().filter(|all| all.len() != 2 || all[0].state != State::Applied).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");

    let committed = feed.tokens("read_committed");
    assert_eq!(committed, by_key(&written), "each once, in its order");
    let count = |tokens: &BTreeMap<String, Vec<String>>| tokens.values().map(Vec::len).sum::<usize>();
    let aborted = count(&feed.tokens("read_uncommitted")) - count(&committed);
    let book = effects.book();
    println!("{} mutations, {KILLS} kills: {aborted} aborted records, {} calls again", written.len(), book.repeated);
    assert!(aborted > 0, "no kill met an open transaction: nothing was to be withstood");
    assert!(book.repeated > 0, "what is told at least once was told no more than that: the check proves nothing");
    drop(book);
    for app in &mut apps {
        app.wait_ready();
        assert!(app.terminate().success());
    }
}

#[test]
fn w7_m8_a_topic_that_is_not_there_parks_its_mutations_and_ends_nothing() {
    let (feed, log) = (Feed::new("wal-topics-missing.feed"), Log::new("wal-topics-missing"));
    let effects = Effects::start(1, 0);
    let mut namespace = feed.namespace();
    namespace.targets.push(TargetSpec::new("book", TargetKind::Http, effects.url()));
    log.set("shop", &namespace);
    let mut app = log.app("one");
    app.start_again();
    let written: Vec<Mutation> = (0..60).map(numbered).collect();
    log.write(&written);
    eventually("another target to have them", || match effects.book().effects.values().map(Vec::len).sum::<usize>() {
        60 => Ok(()),
        count => Err(format!("{count} of 60")),
    });
    eventually("the store to know why", || {
        let (status, body) = app.get("/state/entries?prefix=shop/t00000")?;
        let known = status == 200 && body.contains("PARKED") && body.contains("does not exist");
        if known { Ok(()) } else { Err(format!("{status}: {body}")) }
    });
    feed.topics.create(&feed.topic, PARTITIONS);
    wait_ended(&log, &written, 2);
    assert_eq!(feed.tokens("read_committed"), by_key(&written));
    assert_eq!(app.metric("headrace_aborts_total", ""), 0.0, "no transaction was lost to it");
    assert!(app.terminate().success());
}

#[test]
fn w7_a_topic_that_is_deleted_under_way_costs_a_transaction_and_ends_nothing() {
    let (feed, log) = (Feed::new("wal-topics-deleted.feed"), Log::new("wal-topics-deleted"));
    feed.topics.create(&feed.topic, PARTITIONS);
    log.set("shop", &feed.namespace());
    let mut app = log.app("one");
    app.start_again();
    let stop = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&log, &stop));
        let stops = Stop(&stop);
        eventually("a transaction to be open", || feed.is_open());
        feed.topics.delete(&feed.topic);
        eventually("an aborted transaction", || match app.metric("headrace_aborts_total", "") {
            0.0 => Err("none".to_owned()),
            _ => Ok(()),
        });
        drop(stops);
        writer.join().unwrap()
    });
    eventually("somebody to be parked", || match app.metric("headrace_processor_events_total", "event=\"parked\"") {
        0.0 => Err("nobody".to_owned()),
        _ => Ok(()),
    });
    feed.topics.create(&feed.topic, PARTITIONS);
    let results = wait_ended(&log, &written, 1);
    assert!(results.values().flatten().all(|own| own.state == State::Applied));
    // What was there before went with the topic: of each key the end of what was written is left, once each.
    let expected = by_key(&written);
    let tokens = feed.tokens("read_committed");
    assert!(!tokens.is_empty());
    for (key, tokens) in tokens {
        assert!(expected[&key].ends_with(&tokens), "{key}: {tokens:?}");
    }
    assert_eq!(app.terminate().code(), Some(0), "it is the process of the beginning");
}

#[test]
fn w7_w9_what_a_topic_has_no_room_for_is_given_up_and_its_key_goes_on() {
    let (feed, log) = (Feed::new("wal-topics-large.feed"), Log::new("wal-topics-large"));
    feed.topics.create_with(&feed.topic, PARTITIONS, &[("max.message.bytes", "10000")]);
    log.set("shop", &feed.namespace());
    let mut app = log.app("one");
    app.start_again();
    let large = Mutation { value: Some(vec![b'x'; 20_000]), ..put("k", "large") };
    let written = [put("k", "before"), large, put("k", "after")];
    log.write(&written);
    let results = wait_ended(&log, &written, 1);
    let result = &results["large"][0];
    let reason = result.reason.as_deref().unwrap_or_default();
    assert_eq!((result.state, result.attempts), (State::Exhausted, 1), "{result:?}");
    assert!(reason.contains("raise max.message.bytes"), "{reason}");
    let kept = log.exhausted();
    assert_eq!(kept.len(), 1);
    assert_eq!(text(kept[0].header("headrace-target")), "feed");
    assert_eq!(feed.tokens("read_committed")["k"], ["before", "after"]);
    assert!(app.terminate().success());
}

#[test]
fn w7_the_logs_own_topics_are_nobodys_targets() {
    let (feed, log) = (Feed::new("wal-topics-own.mutations"), Log::new("wal-topics-own"));
    let mut app = log.app("one");
    app.start_again();
    for own in ["wal-topics-own.mutations", "wal-topics-own.mutations.shop", "wal-topics-own-lanes-repartition"] {
        let toml = format!("[[targets]]\nname = \"feed\"\nkind = \"topic\"\naddress = \"{own}\"\n");
        let said = app.said(&["namespaces", "set", "shop", "--file", "-"], &toml);
        assert_eq!(said.code, Some(64), "{said:?}");
        assert!(said.errors.contains("is one of the log's own topics; choose another"), "{said:?}");
    }
    let toml = "[[targets]]\nname = \"feed\"\nkind = \"topic\"\naddress = \"wal-topics-own.feed\"\n";
    let said = app.said(&["namespaces", "explain", "shop", "--file", "-"], toml);
    assert!(said.out.contains("exactly once for read_committed consumers, in order by key"), "{said:?}");
    // Whoever writes to the topic of namespaces himself has not asked.
    log.set("shop", &feed.namespace());
    let written = [Mutation { created_at: now(), ..put("k", "round") }];
    log.write(&written);
    let results = wait_ended(&log, &written, 1);
    let reason = results["round"][0].reason.as_deref().unwrap_or_default();
    assert!(results["round"][0].state == State::Exhausted && reason.contains("the application's own"), "{results:?}");
    let begun = feed.topics.read(&feed.topic).len();
    assert_eq!(begun, 1, "nothing went round");
    assert!(app.terminate().success());
}
