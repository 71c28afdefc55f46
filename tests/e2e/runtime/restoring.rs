//! Restores beside the work: a slow one holds up nobody, and whatever interrupts it costs none of what it has read.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use headrace::error::FatalError;
use headrace::position::{Offset, Partition, TaskId};
use headrace::runtime::Implementation;
use headrace::store::{StateDirectory, StoreIndex, StoreOptions, StoreResources, StoreSpec};
use headrace::telemetry::TaskState;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testbed::{Kafka, wait};

use super::child::{Kind, Process};
use super::intake::{Damage, segment};
use super::running::Running;
use super::support::{Bench, PATIENCE, broker, broker_alone, task, tokio};
use crate::support::Topics;
use crate::wire::told::limit;

/// Tasks of the tests that restore much: each of two members of a group can have one.
const TASKS: i32 = 2;
/// Records of each of their changelogs; a key is written twice.
const RECORDS: u64 = 120_000;
const KEYS: u64 = RECORDS / 2;
/// Bytes per second that a restore may read; the broker counts over ten seconds, so that the first half comes at once.
const SLOW: f64 = 2_500_000.0;
/// For what is killed again and again: the last time there must be enough left for another file.
const SLOWER: f64 = 800_000.0;

/// A topology with changelogs of so much that a restore of them can be met in its middle.
struct Much {
    bench: Bench,
}

impl Much {
    fn new(kafka: &Kafka, name: &str) -> Self {
        let bench = Bench::bare(kafka, name);
        for topic in [bench.input(), bench.output(), bench.dead(), bench.changelog()] {
            bench.create(&topic, TASKS);
        }
        let mut config = bench.client();
        let producer: BaseProducer = config.set("enable.idempotence", "true").create().expect("producer");
        let changelog = bench.changelog();
        for number in 0..RECORDS {
            for partition in 0..TASKS {
                let (key, value) = (key(partition, number % KEYS), value(number));
                let mut record = BaseRecord::to(&changelog).key(&key).payload(&value).partition(partition);
                while let Err((_, back)) = producer.send(record) {
                    producer.poll(Duration::from_millis(5));
                    record = back;
                }
            }
        }
        producer.flush(PATIENCE).expect("flush");
        Much { bench }
    }

    /// From now on its instances restore slowly.
    fn slow_down(&self, instances: &[&str], bytes_per_second: f64) {
        for instance in instances {
            // By what the native client is called, and librdkafka's.
            for role in ["restore-0", "restore"] {
                let client = format!("{}-{instance}-{role}", self.bench.application);
                tokio().block_on(limit(&self.bench.servers, &client, "consumer_byte_rate", bytes_per_second));
            }
        }
    }

    /// Both restores at a time: librdkafka would read one after the other.
    fn run(&self, instance: &str, directory: &Path) -> Running {
        let mut options = self.bench.options(instance, directory);
        options.clients.fetcher = Implementation::Native;
        // As by default: with less memory it is one at a time.
        options.restore_bytes = 64 << 20;
        self.bench.run(options)
    }

    /// What a task's state holds, number by key, and up to where it says it does.
    fn state(&self, directory: &Path, partition: i32) -> (BTreeMap<String, u64>, Option<Offset>) {
        let topology = self.bench.topology(Duration::ZERO, true);
        let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
        let state = StateDirectory::open(directory, &self.bench.application).expect("directory");
        let resources = StoreResources::new(StoreOptions::default());
        let mut state = state.open_task(of(partition), &specs, topology.state_id(), &resources).expect("open");
        let store = StoreIndex(0);
        let mut held = BTreeMap::new();
        for number in 0..KEYS {
            let key = key(partition, number);
            if let Some(value) = state.read(store, key.as_bytes()).expect("read") {
                held.insert(key, String::from_utf8(value).expect("text").parse().expect("a number"));
            }
        }
        (held, state.changelog_next(store))
    }

    /// Each state has each key's last write.
    fn assert_whole(&self, directory: &Path) {
        for partition in 0..TASKS {
            let (held, next) = self.state(directory, partition);
            assert!(next >= Some(Offset(i64::try_from(RECORDS).expect("few"))), "{next:?}");
            assert_eq!(held.len() as u64, KEYS);
            let wrong = held.iter().find(|(key, number)| **key != self::key(partition, **number - KEYS));
            assert_eq!(wrong, None);
        }
    }
}

fn of(partition: i32) -> TaskId {
    TaskId { sub_topology: 0, partition: Partition(partition) }
}

fn key(partition: i32, number: u64) -> String {
    format!("key-{partition}-{number:08}")
}

/// A number, as incompressible as numbers are, and long.
fn value(number: u64) -> String {
    format!("{number:0180}")
}

/// Waits until both restores have read some of their changelogs, and none all of it.
fn wait_middle(running: &Running) {
    wait::until("the middle of the restores", PATIENCE, || {
        let views = running.telemetry.health.tasks();
        assert!(views.iter().all(|view| view.state != TaskState::Running), "too quick: {views:?}");
        let begun = views.iter().filter_map(|view| view.restore).filter(|progress| progress.ratio() > 0.05);
        if begun.count() == 2 { Ok(()) } else { Err(format!("{views:?}")) }
    })
    .expect("the middle");
}

/// A producer that is somebody else's, with a transaction open in which it has set one key.
fn open_transaction(bench: &Bench, partition: i32, key: &str) -> BaseProducer {
    let mut config = bench.client();
    // Not one of the application's own, which would be ended at once (rule R-31).
    config.set("transactional.id", format!("stranger-of-{}-{partition}", bench.application));
    let producer: BaseProducer = config.set("transaction.timeout.ms", "60000").create().expect("producer");
    producer.init_transactions(PATIENCE).expect("init");
    producer.begin_transaction().expect("begin");
    let changelog = bench.changelog();
    producer.send(BaseRecord::to(&changelog).key(key).payload("100").partition(partition)).expect("send");
    producer.flush(PATIENCE).expect("flush");
    producer
}

#[test]
fn r15_r22_tasks_process_and_commit_while_others_wait_for_transactions_at_the_ends_of_their_changelogs() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "beside"), tempfile::tempdir().expect("directory"));
    let topics = Topics::new(&bench.servers);
    bench.produce(0..4_000, 50);
    let input = topics.read(&bench.input());
    let key_of = |partition| {
        let record = input.iter().find(|record| record.partition == partition).expect("each has some");
        String::from_utf8(record.key.clone().expect("a key")).expect("text")
    };
    let dead = [0, 1].map(|partition| (key_of(partition), open_transaction(&bench, partition, &key_of(partition))));
    let running = bench.run(bench.options("one", directory.path()));
    let drained = |partition| {
        let end = topics.end(&bench.input(), partition);
        match topics.committed(&bench.application, &bench.input(), partition) {
            Some(next) if next == end => Ok(()),
            next => Err(format!("{partition}: {next:?} of {end}")),
        }
    };
    wait::until("the others are done", PATIENCE, || drained(2).and_then(|()| drained(3))).expect("done");
    // More for all of them.
    bench.produce(4_000..6_000, 50);
    wait::until("they go on", PATIENCE, || drained(2).and_then(|()| drained(3))).expect("done");
    for partition in [0, 1] {
        let known = topics.committed(&bench.application, &bench.input(), partition);
        assert_eq!(known, None, "the control: {partition} was to be still in its restore");
        let views = running.telemetry.health.tasks();
        assert!(views.iter().any(|view| view.task == task(partition) && view.state != TaskState::Running), "{views:?}");
    }
    assert!(!running.telemetry.health.not_ready().is_empty(), "R-30: not ready while it restores");
    dead[0].1.commit_transaction(PATIENCE).expect("commit");
    dead[1].1.abort_transaction(PATIENCE).expect("abort");
    running.wait_ready();
    bench.wait_drained();
    running.stop().expect("stopped");
    let output = bench.read(&bench.output());
    for ((key, _), first) in dead.iter().zip(["101", "1"]) {
        let record = output.iter().find(|record| record.key == *key).and_then(|record| record.value.clone());
        assert_eq!(record.expect("counted").split(' ').next(), Some(first), "{key}");
    }
    assert_eq!(bench.stored(directory.path(), 50), bench.folded());
}

#[test]
fn r15_r18_a_revoke_in_the_middle_of_a_restore_is_answered_at_once_and_keeps_what_was_read() {
    let (kafka, _guard) = broker();
    let much = Much::new(kafka, "restore-revoked");
    much.slow_down(&["left", "right"], SLOW);
    let (left, right) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let first = much.run("left", left.path());
    wait_middle(&first);
    let second = much.run("right", right.path());
    wait::until("one has moved", PATIENCE, || match first.telemetry.health.tasks().len() {
        1 => Ok(()),
        tasks => Err(format!("{tasks} tasks")),
    })
    .expect("moved");
    let (moved, views) = (second.telemetry.health.tasks(), first.telemetry.health.tasks());
    assert!(views.iter().all(|view| view.state == TaskState::Restoring), "the control: in the middle: {views:?}");
    second.stop().expect("stopped");
    first.wait_ready();
    assert_eq!(first.telemetry.health.tasks().len(), 2, "{moved:?}");
    // Each record once: nothing that was read before the revoke was read again after it.
    assert_eq!(first.metric("headrace_restore_records_total") as u64, 2 * RECORDS);
    first.stop().expect("stopped");
    much.assert_whole(left.path());
}

#[test]
fn r16_r18_a_stop_in_the_middle_of_a_restore_is_quick_and_keeps_what_was_read() {
    let (kafka, _guard) = broker();
    let much = Much::new(kafka, "restore-stopped");
    much.slow_down(&["one"], SLOW);
    let directory = tempfile::tempdir().expect("directory");
    let first = much.run("one", directory.path());
    wait_middle(&first);
    first.stop().expect("stopped");
    let mut kept = 0;
    for partition in 0..TASKS {
        let (held, next) = much.state(directory.path(), partition);
        let next = next.map_or(0, |next| u64::try_from(next.0).expect("an offset"));
        assert!(next < RECORDS, "in the middle: {next}");
        assert_eq!(held.len() as u64, next.min(KEYS), "all that it says, and no more");
        kept += next;
    }
    assert!(kept > 0);
    let second = much.run("other", directory.path());
    second.wait_ready();
    assert_eq!(second.metric("headrace_restore_records_total") as u64, 2 * RECORDS - kept);
    second.stop().expect("stopped");
    much.assert_whole(directory.path());
}

#[test]
fn r23_a_kill_in_the_middle_of_a_bulk_restore_leaves_no_state_that_claims_what_it_does_not_hold() {
    let (kafka, _guard) = broker();
    let much = Much::new(kafka, "restore-killed");
    much.slow_down(&["one"], SLOWER);
    let directory = tempfile::tempdir().expect("directory");
    let mut before = [0; TASKS as usize];
    for _ in 0..3 {
        let process =
            Process::start(&much.bench, Kind::ExactlyOnce, "one", directory.path(), Duration::from_millis(50));
        let path = directory.path().join(&much.bench.application).join("0_0");
        let files = || std::fs::read_dir(&path).map_or(0, |entries| entries.flatten().filter(is_table).count());
        let known = files();
        wait::until("another file of the store", PATIENCE, || match files() {
            now if now > known => Ok(()),
            now => Err(format!("{now} files")),
        })
        .expect("at work");
        process.kill();
        for partition in 0..TASKS {
            let (held, next) = much.state(directory.path(), partition);
            let next = next.map_or(0, |next| u64::try_from(next.0).expect("an offset"));
            assert!(next >= before[usize::try_from(partition).expect("few")], "what was read is kept");
            before[usize::try_from(partition).expect("few")] = next;
            for number in next.saturating_sub(KEYS)..next {
                let last = held.get(&key(partition, number % KEYS)).copied();
                assert!(last >= Some(number), "it claims offset {next}, and has {last:?} where {number} was written");
            }
        }
    }
    assert!(before.iter().any(|next| (1..RECORDS).contains(next)), "the control: killed in the middle: {before:?}");
    let running = much.bench.run(much.bench.options("two", directory.path()));
    running.wait_ready();
    running.stop().expect("stopped");
    much.assert_whole(directory.path());
}

fn is_table(entry: &std::fs::DirEntry) -> bool {
    entry.path().extension().is_some_and(|extension| extension == "sst")
}

#[test]
fn r15_a_broker_that_goes_in_the_middle_of_a_restore_is_waited_for() {
    let (kafka, _guard) = broker_alone();
    let much = Much::new(kafka, "restore-broker");
    much.slow_down(&["one"], SLOW);
    let directory = tempfile::tempdir().expect("directory");
    let running = much.run("one", directory.path());
    wait_middle(&running);
    kafka.kill();
    wait::until("unready", PATIENCE, || match running.telemetry.health.not_ready() {
        reasons if reasons.iter().any(|reason| reason.what.contains("kafka")) => Ok(()),
        reasons => Err(format!("{reasons:?}")),
    })
    .expect("it says that kafka is away");
    kafka.start().expect("broker");
    // The session may have ended meanwhile: then the partitions come back, and the restores go on from where they were.
    wait::until("both run", PATIENCE, || {
        let views = running.telemetry.health.tasks();
        let run = views.iter().filter(|view| view.state == TaskState::Running).count();
        if run == 2 { Ok(()) } else { Err(format!("{views:?}")) }
    })
    .expect("restored");
    assert_eq!(running.metric("headrace_restore_records_total") as u64, 2 * RECORDS, "each once");
    running.stop().expect("stopped");
    much.assert_whole(directory.path());
}

#[test]
fn r22_a_damaged_changelog_ends_the_application_by_its_name_and_with_the_way_out() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "damaged-changelog"), tempfile::tempdir().expect("directory"));
    bench.produce(0..2_000, 50);
    let first = bench.run(bench.options("one", directory.path()));
    bench.wait_drained();
    first.stop().expect("stopped");
    std::fs::remove_dir_all(directory.path().join(&bench.application)).expect("the disk is lost");

    let damage = Damage::of_batch(&segment(kafka, &bench.changelog(), 0), 0);

    let mut options = bench.options("one", directory.path());
    options.clients.fetcher = Implementation::Native;
    let error = bench.run(options.clone()).ended().expect_err("it was to end");
    assert!(matches!(error, FatalError::Environment(_)), "{error:?}");
    let text = error.to_string();
    let named = format!("{}-0@0", bench.changelog());
    assert!(text.contains(&named) && text.contains("checksum") && text.contains("kafka-delete-records"), "{text}");

    damage.mend();
    let second = bench.run(options);
    second.wait_ready();
    second.stop().expect("stopped");
    assert_eq!(bench.stored(directory.path(), 50), bench.folded());
}
