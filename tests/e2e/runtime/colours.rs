//! A topology in two halves, with a table, and the checker of all that it writes.
//!
//! ```text
//! in ─▶ rekey ─▶ by-colour (repartition) ─▶ tally (counts, sums, minima, maxima; names, a table) ─▶ out
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use headrace::codec::text;
use headrace::dead_letter::Policy;
use headrace::error::{RecordError, Stage};
use headrace::kafka::{Admin, TopicWanted};
use headrace::processor::{Context, Fault, Processor};
use headrace::record::Record;
use headrace::runtime::{Environment, Options};
use headrace::store::{
    Bounds, GlobalTable, StateDirectory, Store, StoreIndex, StoreOptions, StoreResources, StoreSpec, Stores, Table,
};
use headrace::topology::Topology;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use testbed::{Kafka, wait};

use super::support::{Bench, PARTITIONS, PATIENCE, tokio};

/// Keys behind the repartition.
pub(crate) const COLOURS: u64 = 23;
/// The stores behind it.
pub(crate) const STORES: [&str; 4] = ["counts", "sums", "minima", "maxima"];
/// The table.
pub(crate) const NAMES: &str = "names";

/// Of each key and store the value.
pub(crate) type Contents = BTreeMap<(String, String), String>;

pub(crate) fn names_topic(bench: &Bench) -> String {
    format!("{}.names", bench.application)
}

pub(crate) fn between(bench: &Bench) -> String {
    Topology::repartition_topic(&bench.application, "by-colour")
}

/// A bench with all topics: the inputs as somebody else makes them, the others as `apply` does.
pub(crate) fn bench(kafka: &Kafka, name: &str) -> Bench {
    let bench = Bench::bare(kafka, name);
    bench.create(&bench.input(), PARTITIONS);
    let admin = Admin::new(&bench.settings("admin")).expect("admin");
    let config = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    let names = TopicWanted { name: names_topic(&bench), partitions: PARTITIONS, replication: 1, config };
    admin.create(&names).expect("create");
    apply(&bench);
    bench
}

pub(crate) fn apply(bench: &Bench) -> Vec<headrace::runtime::Plan> {
    let directory = tempfile::tempdir().expect("directory");
    let environment = Environment::new(topology(bench, Duration::ZERO), bench.options("admin", directory.path()));
    tokio().block_on(environment.apply(false)).expect("applied")
}

/// Two stream threads, and deletions as soon as there is something to delete.
pub(crate) fn options(bench: &Bench, instance: &str, directory: &Path) -> Options {
    let mut options = bench.options(instance, directory);
    (options.stream_threads, options.purge_interval) = (2, Duration::from_millis(300));
    options
}

pub(crate) fn topology(bench: &Bench, pace: Duration) -> Topology {
    let mut builder = Topology::builder("colours");
    let numbers = builder.source("numbers", &bench.input(), (text(), text()));
    let rekeyed = builder.process("rekey", numbers, Rekey { pace });
    let by_colour = builder.repartition("by-colour", rekeyed, text(), text());
    let stores = STORES.map(|name| builder.store(name, Stores::rocks(text(), text()).with_changelog()));
    let names = builder.table(NAMES, &names_topic(bench), text(), text());
    let tallied = builder.process("tally", by_colour, Tally { stores, names, pace });
    builder.sink("tallied", tallied, &bench.output(), text(), text());
    builder.dead_letters(&bench.dead(), Policy::after_attempts(1));
    builder.build().expect("topology")
}

pub(crate) fn colour(number: u64) -> String {
    format!("colour-{}", number % COLOURS)
}

/// Spread, so that least and largest change now and then.
fn amount(number: u64) -> i64 {
    (number * 7919 % 20_011) as i64 - 10_000
}

fn refused(reason: String) -> Fault {
    RecordError::new(Stage::Process, "not-ours", reason).into()
}

/// Gives each number the key of its colour.
#[derive(Clone)]
struct Rekey {
    pace: Duration,
}

impl Processor for Rekey {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let started = Instant::now();
        let number: u64 = record.value.parse().map_err(|_| refused("no number".to_owned()))?;
        context.forward(&record.map(colour(number), record.value.clone()));
        while started.elapsed() < self.pace {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

/// Count, sum, least and largest amount of each colour, with its name.
#[derive(Clone)]
struct Tally {
    stores: [Store<String, String>; 4],
    names: Table<String, String>,
    pace: Duration,
}

impl Processor for Tally {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        self.stores.iter().map(Store::index).chain([self.names.index()]).collect()
    }

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let started = Instant::now();
        let number: u64 = record.value.parse().map_err(|_| refused("no number".to_owned()))?;
        let mut known = [None; 4];
        for (store, known) in self.stores.iter().zip(&mut known) {
            *known = context.store(store).read(&record.key)?.and_then(|text| text.parse::<i64>().ok());
        }
        let tally = fold(known, number).ok_or_else(|| refused(format!("the stores disagree: {known:?}")))?;
        for (store, part) in self.stores.iter().zip(tally) {
            context.store(store).write(&record.key, Some(&part.to_string()))?;
        }
        let name = context.table(&self.names).read(&record.key)?.unwrap_or_else(|| "none".to_owned());
        let parts = tally.map(|part| part.to_string()).join(" ");
        context.forward(&record.map(record.key.clone(), format!("{parts} {number} {name}")));
        while started.elapsed() < self.pace {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

fn fold(known: [Option<i64>; 4], number: u64) -> Option<[i64; 4]> {
    let amount = amount(number);
    match known {
        [None, None, None, None] => Some([1, amount, amount, amount]),
        [Some(count), Some(sum), Some(min), Some(max)] => {
            Some([count + 1, sum + amount, min.min(amount), max.max(amount)])
        }
        _ => None,
    }
}

/// Names all colours, in their `edition`th edition.
pub(crate) fn name(bench: &Bench, edition: u64) {
    let mut config = bench.client();
    // As Java places keys: whoever writes the topic of a table has to.
    config.set("partitioner", "murmur2_random").set("enable.idempotence", "true");
    let producer: BaseProducer = config.create().expect("producer");
    let topic = names_topic(bench);
    for number in 0..COLOURS {
        let (key, value) = (colour(number), format!("name-{edition}"));
        producer.send(BaseRecord::to(&topic).key(&key).payload(&value)).map_err(|(error, _)| error).expect("sent");
    }
    producer.flush(PATIENCE).expect("flush");
}

/// Checks all output of the numbers below `numbers`, each in `editions` editions of names at most; a line for each violation.
pub(crate) fn violations(bench: &Bench, numbers: u64, editions: u64) -> Vec<String> {
    let mut violations = Vec::new();
    let (mut seen, mut tallies) = (BTreeSet::new(), BTreeMap::<String, [i64; 4]>::new());
    let mut newest = BTreeMap::<String, u64>::new();
    for record in bench.read(&bench.output()) {
        let value = record.value.unwrap_or_default();
        let parts: Vec<&str> = value.split(' ').collect();
        let &[count, sum, min, max, number, name] = parts.as_slice() else { panic!("not ours: {value}") };
        let number: u64 = number.parse().expect("a number");
        if !seen.insert(number) || colour(number) != record.key {
            violations.push(format!("{}: {number} once more, or of another key", record.key));
        }
        let before = tallies.get(&record.key).map_or([None; 4], |tally| tally.map(Some));
        let due = fold(before, number).expect("all or none");
        if [count, sum, min, max].map(|part| part.parse().ok()) != due.map(Some) {
            violations.push(format!("{}: {value}, due was {due:?}", record.key));
        }
        tallies.insert(record.key.clone(), due);
        let edition = name.strip_prefix("name-").and_then(|edition| edition.parse::<u64>().ok());
        let last = newest.entry(record.key.clone()).or_default();
        match edition {
            Some(edition) if (*last..editions).contains(&edition) => *last = edition,
            _ => violations.push(format!("{}: {name} after edition {last}", record.key)),
        }
    }
    let missing = (0..numbers).filter(|number| !seen.contains(number)).count();
    if missing > 0 || seen.len() as u64 != numbers {
        violations.push(format!("{} of {numbers} numbers are in the output", seen.len()));
    }
    let expected: Contents = tallies
        .into_iter()
        .flat_map(|(colour, tally)| {
            STORES.into_iter().zip(tally).map(move |(store, part)| (store, colour.clone(), part))
        })
        .map(|(store, colour, part)| ((store.to_owned(), colour), part.to_string()))
        .collect();
    let mut folded = folded(bench);
    folded.retain(|(store, _), _| store != NAMES);
    if folded != expected {
        violations.push("the changelogs are not what the outputs make".to_owned());
    }
    violations.truncate(10);
    violations
}

/// What the changelogs and the table's topic make.
pub(crate) fn folded(bench: &Bench) -> Contents {
    let changelogs = STORES.map(|store| (store, Topology::changelog_topic(&bench.application, store)));
    let mut folded = Contents::new();
    for (store, topic) in changelogs.into_iter().chain([(NAMES, names_topic(bench))]) {
        for record in bench.read(&topic) {
            let key = (store.to_owned(), record.key);
            match record.value {
                Some(value) => folded.insert(key, value),
                None => folded.remove(&key),
            };
        }
    }
    folded
}

/// What is in the stores on disk, the table among them. The application must have ended.
pub(crate) fn stored(bench: &Bench, directory: &Path) -> Contents {
    let topology = topology(bench, Duration::ZERO);
    let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
    let state = StateDirectory::open(directory, &bench.application).expect("directory");
    let resources = StoreResources::new(StoreOptions::default());
    let mut stored = Contents::new();
    for task in state.tasks().expect("tasks") {
        assert_eq!(task.sub_topology, 1, "the first half has no stores");
        let mut opened = state.open_task(task, &specs, topology.state_id(), &resources).expect("open");
        for spec in &specs {
            let mut scan = opened.range(spec.index, Bounds::ALL).expect("scan");
            while let Some((key, value)) = scan.next().expect("an entry") {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
                let before = stored.insert((spec.name.clone(), text(key)), text(value));
                assert!(before.is_none(), "a key in two tasks");
            }
        }
    }
    stored
}

/// Of the input, the topic between and the table's: committed positions, ends, and first offsets, summed.
pub(crate) fn progress(bench: &Bench) -> [(String, i64, i64, i64); 3] {
    let mut config = bench.client();
    config.set("group.id", &bench.application).set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().expect("consumer");
    [bench.input(), between(bench), names_topic(bench)].map(|topic| {
        wait::until("the positions", PATIENCE, || {
            let mut list = TopicPartitionList::new();
            list.add_partition_range(&topic, 0, PARTITIONS - 1);
            let committed = consumer.committed_offsets(list, PATIENCE / 6).map_err(|error| error.to_string())?;
            let offset = |offset| if let Offset::Offset(next) = offset { next } else { 0 };
            let (mut first, mut end) = (0, 0);
            for partition in 0..PARTITIONS {
                let bounds = consumer.fetch_watermarks(&topic, partition, PATIENCE / 6);
                let (low, high) = bounds.map_err(|error| error.to_string())?;
                (first, end) = (first + low, end + high);
            }
            let committed = committed.elements().iter().map(|element| offset(element.offset())).sum();
            Ok::<_, String>((topic.clone(), committed, end, first))
        })
        .expect("progress")
    })
}

/// Waits until all input is committed, on both sides of the topic between, and gone from there.
pub(crate) fn wait_drained(bench: &Bench) {
    wait::until("everything is drained, and deleted between", PATIENCE, || {
        let progress = progress(bench);
        let [_, (_, _, end, first), _] = &progress;
        let drained = progress.iter().all(|(_, committed, end, _)| committed == end);
        if drained && first == end && *end > 0 { Ok(()) } else { Err(format!("{progress:?}")) }
    })
    .expect("drained");
}

/// Looks each number's colour up in a global table.
pub(crate) fn looking_up(bench: &Bench) -> Topology {
    let mut builder = Topology::builder("looking-up");
    let names = builder.global_table(NAMES, &names_topic(bench), text(), text());
    let numbers = builder.source("numbers", &bench.input(), (text(), text()));
    let named = builder.process("name", numbers, LookUp { names });
    builder.sink("named", named, &bench.output(), text(), text());
    builder.build().expect("topology")
}

#[derive(Clone)]
struct LookUp {
    names: GlobalTable<String, String>,
}

impl Processor for LookUp {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let number: u64 = record.value.parse().map_err(|_| refused("no number".to_owned()))?;
        let name = context.global(&self.names).read(&colour(number))?.unwrap_or_else(|| "none".to_owned());
        context.forward(&record.map(record.key.clone(), name));
        Ok(())
    }
}
