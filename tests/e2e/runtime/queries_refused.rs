//! Interactive queries that get no value: a key in several partitions, a store in memory, too many at once.

use std::collections::BTreeMap;

use headrace::codec::text;
use headrace::processor::{Context, Fault, Processor};
use headrace::record::Record;
use headrace::store::{Store, StoreIndex, Stores};
use headrace::topology::Topology;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use testbed::{http_get, wait};

use super::operator::Operator;
use super::serving::Serving;
use super::support::{Bench, PARTITIONS, PATIENCE, broker};

/// More than are answered at a time.
const CROWD: usize = 50;

/// Counts by value, so that a key of the store is wherever records with this value are.
#[derive(Clone)]
struct ByValue {
    counts: Store<String, String>,
    last: Store<String, String>,
}

impl Processor for ByValue {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.counts.index(), self.last.index()]
    }

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let mut counts = context.store(&self.counts);
        let count = counts.read(&record.value)?.map_or(0, |count| count.parse().unwrap_or(0)) + 1;
        counts.write(&record.value, Some(&count.to_string()))?;
        context.store(&self.last).write(&record.value, Some(&record.key))
    }
}

fn serving(bench: &Bench, directory: &std::path::Path) -> Serving {
    bench.create(&Topology::changelog_topic(&bench.application, "last"), PARTITIONS);
    let mut builder = Topology::builder("counting");
    let numbers = builder.source("numbers", &bench.input(), (text(), text()));
    let counts = builder.store("counts", Stores::rocks(text(), text()).with_changelog());
    let last = builder.store("last", Stores::memory(text(), text()));
    builder.process("count", numbers, ByValue { counts, last });
    Serving::start(bench, builder.build().expect("topology"), bench.options("one", directory))
}

/// Sixty records of one value, and one of another; how many of the sixty are in each partition.
fn send(bench: &Bench) -> BTreeMap<i64, i64> {
    // As Java places keys, and as `record-key` looks for them.
    let producer: BaseProducer = bench.client().set("partitioner", "murmur2_random").create().expect("producer");
    let send = |key: usize, value: &str| {
        let (key, input) = (format!("k-{key}"), bench.input());
        producer.send(BaseRecord::to(&input).key(&key).payload(value)).map_err(|(error, _)| error).expect("sent");
        producer.flush(PATIENCE).expect("flush");
    };
    (0..60).for_each(|key| send(key, "red"));
    let operator = Operator::new(bench);
    let ends: BTreeMap<_, _> =
        (0..PARTITIONS).map(|partition| (i64::from(partition), operator.end(&bench.input(), partition))).collect();
    assert!(ends.values().all(|end| *end > 0), "{ends:?}");
    send(0, "blue");
    ends
}

#[test]
fn a_key_in_several_partitions_is_refused_with_their_names_and_each_has_its_own() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "ambiguous"), tempfile::tempdir().expect("directory"));
    let serving = serving(&bench, directory.path());
    let sent = send(&bench);
    bench.wait_drained();
    let site = &serving.site;
    let told = site.until("/counts/red", 409);
    assert_eq!(told["partitions"], json!(sent.keys().collect::<Vec<_>>()), "{told}");
    assert!(told["error"].as_str().is_some_and(|error| error.contains("partition=")), "the way out: {told}");
    for (partition, count) in &sent {
        let (status, found) = site.ask(&format!("/counts/red?partition={partition}"));
        assert_eq!((status, &found["value"]), (200, &count.to_string().into()), "{found}");
    }
    // One partition has the other value, and the record's key says which that is for both.
    let blue = site.until("/counts/blue", 200);
    let by_record = site.until("/counts/blue?record-key=k-0", 200);
    assert_eq!((&blue["value"], &blue["partition"]), (&"1".into(), &by_record["partition"]));
    let red = site.until("/counts/red?record-key=k-0", 200);
    assert_eq!(red["value"].as_str(), Some(&*sent[&red["partition"].as_i64().expect("a number")].to_string()));
    serving.stop().expect("stopped");
}

#[test]
fn a_store_in_memory_says_that_it_can_not_be_asked() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "in-memory"), tempfile::tempdir().expect("directory"));
    let serving = serving(&bench, directory.path());
    serving.running.wait_ready();
    for path in ["/last/red", "/last", "/last?prefix=r", "/last/red?partition=0"] {
        let told = serving.site.until(path, 501);
        assert!(told["error"].as_str().is_some_and(|error| error.contains("memory")), "{path}: {told}");
    }
    serving.stop().expect("stopped");
}

#[test]
fn too_many_at_once_are_refused_and_the_metrics_still_answer() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "crowd"), tempfile::tempdir().expect("directory"));
    let serving = serving(&bench, directory.path());
    serving.running.wait_ready();
    serving.site.wait_partitions();
    // Each waits for a record that does not come.
    let waits = format!("/counts/red?partition=0&min-position={}:0:1000&timeout=10s", bench.input());
    let statuses = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..CROWD).map(|_| scope.spawn(|| serving.site.ask(&waits))).collect();
        wait::until("a refusal", PATIENCE, || {
            // It is answered while as many as there may be still wait.
            let (status, metrics) = http_get(&format!("http://{}/metrics", serving.site.address)).expect("an answer");
            let refused =
                metrics.lines().any(|line| line.starts_with("headrace_queries_total") && line.contains("busy"));
            if status == 200 && refused { Ok(()) } else { Err(format!("{status}")) }
        })
        .expect("refused");
        asked.into_iter().map(|asked| asked.join().expect("asked")).collect::<Vec<(u16, Value)>>()
    });
    let of = |wanted: u16| statuses.iter().filter(|(status, _)| *status == wanted).count();
    assert_eq!(of(504) + of(503), CROWD, "{statuses:?}");
    assert!(of(503) > 0 && of(504) > 0, "{statuses:?}");
    let busy = statuses.iter().filter(|(status, _)| *status == 503);
    busy.for_each(|(_, body)| assert!(body["error"].as_str().is_some_and(|why| why.contains("too many")), "{body}"));
    assert_eq!(serving.site.ask("/counts/red?partition=0").0, 404, "there is room again");
    serving.stop().expect("stopped");
}
