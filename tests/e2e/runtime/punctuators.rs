//! Punctuators on a real broker: what their ticks have done is committed once, whatever is killed, stopped or fails (rule R-27).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use headrace::clock::wall_clock;
use headrace::codec::text;
use headrace::dead_letter::{Policy, names};
use headrace::error::{FatalError, RecordError, Stage};
use headrace::processor::{Clock, Context, Fault, Processor, Punctuator, Tick};
use headrace::record::{Record, Timestamp};
use headrace::store::{Bounds, Store, StoreIndex, Stores};
use headrace::topology::Topology;
use headrace::wire::{Client, Settings, remove_member};
use nix::sys::signal::Signal;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use testbed::wait;

use super::child::{Kind, Process};
use super::support::{Bench, PARTITIONS, PATIENCE, Read, broker, tokio};
use crate::support::transactions::open_in;

mod stream_time;

/// Of the punctuators below, in milliseconds.
const INTERVAL: u64 = 100;
const COMMIT: Duration = Duration::from_millis(50);

/// What a processor does at its ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Counts its ticks, and forwards the count.
    Count,
    /// Forwards the sum of each key since the last tick, and forgets it.
    Sum,
    Nothing,
    Fail,
}

#[derive(Clone)]
struct Ticking {
    does: Does,
    punctuator: Punctuator,
    counts: Store<String, String>,
    pace: Duration,
}

impl Ticking {
    fn add(&self, key: &String, more: u64, context: &mut Context<'_, String, String>) -> Result<u64, Fault> {
        let known = context.store(&self.counts).read(key)?.map_or(0, |sum| sum.parse().unwrap_or(0));
        context.store(&self.counts).write(key, Some(&(known + more).to_string()))?;
        Ok(known + more)
    }
}

impl Processor for Ticking {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.counts.index()]
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        vec![self.punctuator.clone()]
    }

    fn punctuate(&mut self, tick: &Tick<'_>, context: &mut Context<'_, String, String>) -> Result<(), Fault> {
        let forward = |context: &mut Context<'_, String, String>, key: String, number: u64| {
            let text = format!("{number} {} {}", tick.at.0, tick.missed);
            context.forward(&Record::new(key, text, tick.at));
        };
        match self.does {
            Does::Nothing => {}
            Does::Count | Does::Fail => {
                let key = format!("p{}", context.partition());
                let count = self.add(&key, 1, context)?;
                forward(context, key, count);
            }
            Does::Sum => {
                let sums: Result<Vec<_>, Fault> =
                    context.store(&self.counts).range(Bounds::ALL)?.map(|entry| Ok(entry?)).collect();
                for (key, sum) in sums? {
                    context.store(&self.counts).write(&key, None)?;
                    forward(context, key, sum.parse().unwrap_or(0));
                }
            }
        }
        match self.does {
            Does::Fail => Err(RecordError::new(Stage::Process, "tick-rejected", "as it was told").into()),
            _ => Ok(()),
        }
    }

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let started = Instant::now();
        self.add(&record.key, record.value.parse().unwrap_or(0), context)?;
        while started.elapsed() < self.pace {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

fn topology(bench: &Bench, does: Does, punctuator: Punctuator, pace: Duration, dead_letters: bool) -> Topology {
    let mut builder = Topology::builder("ticking");
    let records = builder.source("records", &bench.input(), (text(), text()));
    let counts = builder.store("counts", Stores::rocks(text(), text()).with_changelog());
    let ticks = builder.process("clock", records, Ticking { does, punctuator, counts, pace });
    builder.sink("ticks", ticks, &bench.output(), text(), text());
    if dead_letters {
        builder.dead_letters(&bench.dead(), Policy::after_attempts(2));
    }
    builder.build().expect("topology")
}

fn every(clock: Clock) -> Punctuator {
    let interval = Duration::from_millis(INTERVAL);
    match clock {
        Clock::WallClock => Punctuator::wall_clock("tick", interval),
        Clock::StreamTime => Punctuator::stream_time("tick", interval).anchored_at(Timestamp(stream_time::ANCHOR)),
    }
}

/// Counts the ticks of the wall clock, without input.
pub(crate) fn counting(bench: &Bench) -> Topology {
    topology(bench, Does::Count, every(Clock::WallClock), Duration::ZERO, true)
}

/// Sums the input up between ticks of stream time.
pub(crate) fn summing(bench: &Bench, pace: Duration) -> Topology {
    topology(bench, Does::Sum, every(Clock::StreamTime), pace, true)
}

fn new_bench(kafka: &testbed::Kafka, name: &str) -> Bench {
    let bench = Bench::new(kafka, name);
    bench.create(&Topology::changelog_topic(&bench.application, "clock-punctuators"), PARTITIONS);
    bench
}

/// A tick's output: its number, when it was due, and how many it stands for besides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    number: u64,
    at: i64,
    missed: u64,
}

impl Told {
    fn from(value: &str) -> Told {
        let mut parts = value.split(' ').map(|part| part.parse::<i64>().expect("a number"));
        let mut next = || parts.next().expect("three numbers");
        Told { number: next().unsigned_abs(), at: next(), missed: next().unsigned_abs() }
    }
}

/// The output by key, in its order.
fn told(records: Vec<Read>) -> BTreeMap<String, Vec<Told>> {
    let mut told = BTreeMap::<String, Vec<Told>>::new();
    for Read { key, value, .. } in records {
        told.entry(key).or_default().push(Told::from(&value.expect("a value")));
    }
    told
}

/// What is wrong with the ticks of the wall clock: each is counted, one after the other, each at a later time, which is
/// reached in whole intervals.
fn violations(told: &BTreeMap<String, Vec<Told>>) -> Vec<String> {
    let mut violations = Vec::new();
    for (key, ticks) in told {
        let first = ticks.first().map_or(0, |tick| tick.at);
        let mut last = first - i64::try_from(INTERVAL).expect("small");
        for (tick, expected) in ticks.iter().zip(1..) {
            if tick.number != expected {
                violations.push(format!("{key}: {tick:?} where number {expected} was due"));
            }
            let intervals = i64::try_from((tick.missed + 1) * INTERVAL).expect("small");
            if tick.at <= last || (tick.at - first) % i64::try_from(INTERVAL).expect("small") != 0 {
                violations.push(format!("{key}: {tick:?} after {last}"));
            }
            if tick.number > 1 && tick.at - last != intervals {
                violations.push(format!("{key}: {tick:?} after {last}: ticks are missing that it does not know of"));
            }
            last = tick.at;
        }
    }
    violations
}

/// Reads the output while it grows.
struct Reader {
    consumer: BaseConsumer,
    told: BTreeMap<String, Vec<Told>>,
}

impl Reader {
    fn start(bench: &Bench, isolation: &str) -> Self {
        let mut config = bench.client();
        config.set("group.id", format!("{}-live", bench.application)).set("isolation.level", isolation);
        let consumer: BaseConsumer = config.set("enable.auto.commit", "false").create().expect("consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&bench.output(), 0, PARTITIONS - 1);
        list.set_all_offsets(Offset::Beginning).expect("offsets");
        consumer.assign(&list).expect("assign");
        Reader { consumer, told: BTreeMap::new() }
    }

    fn wait(&mut self, what: &str, is_there: impl Fn(&BTreeMap<String, Vec<Told>>) -> bool) {
        let started = Instant::now();
        while !is_there(&self.told) {
            let counts: Vec<_> = self.told.iter().map(|(key, ticks)| (key, ticks.len())).collect();
            assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}; {counts:?}");
            if let Some(message) = self.consumer.poll(Duration::from_millis(100)) {
                let message = message.expect("a message");
                let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.expect("bytes")).into_owned();
                self.told.entry(text(message.key())).or_default().push(Told::from(&text(message.payload())));
            }
        }
    }

    /// Until each task has so many ticks that were due after this call. What is read late was not done late: a count of
    /// ticks would also be reached by older ones.
    fn wait_for_more(&mut self, more: usize) {
        let called = wall_clock().0;
        let grown = |ticks: &Vec<Told>| ticks.iter().filter(|tick| tick.at > called).count() >= more;
        self.wait("ticks of each task", |told| told.len() == 4 && told.values().all(grown));
    }
}

fn wait_open(bench: &Bench) {
    let started = Instant::now();
    while open_in(&bench.servers, &bench.output()).expect("the broker's answer").is_empty() {
        assert!(started.elapsed() < PATIENCE, "no transaction is ever open");
    }
}

#[test]
fn r27_ticks_of_the_wall_clock_are_committed_once_over_kills_without_any_input() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (new_bench(kafka, "ticks"), tempfile::tempdir().expect("directory"));
    let mut reader = Reader::start(&bench, "read_committed");
    for _ in 0..5 {
        let process = Process::start(&bench, Kind::WallClock, "one", directory.path(), COMMIT);
        reader.wait_for_more(2);
        wait_open(&bench);
        process.kill();
    }
    let last = bench.run_topology(counting(&bench), bench.options("one", directory.path()));
    reader.wait_for_more(2);
    last.stop().expect("stopped");
    let committed = told(bench.read(&bench.output()));
    assert_eq!(committed.len(), 4, "each task has its ticks");
    assert_eq!(violations(&committed), Vec::<String>::new());
    let counts: BTreeMap<_, _> = committed.iter().map(|(key, ticks)| (key.clone(), ticks.len().to_string())).collect();
    assert_eq!(bench.folded(), counts, "and its store with them");
    let aborted = told(bench.read_as(&bench.output(), "read_uncommitted"));
    assert_ne!(
        violations(&aborted),
        Vec::<String>::new(),
        "no kill met a tick, or the check can't tell right from wrong"
    );
}

#[test]
fn r18_ticks_are_known_after_the_disk_is_lost() {
    let (kafka, _guard) = broker();
    let bench = new_bench(kafka, "disks");
    let mut reader = Reader::start(&bench, "read_committed");
    for _ in 0..3 {
        let directory = tempfile::tempdir().expect("directory");
        let process = Process::start(&bench, Kind::WallClock, "one", directory.path(), COMMIT);
        reader.wait_for_more(2);
        process.kill();
    }
    assert_eq!(violations(&told(bench.read(&bench.output()))), Vec::<String>::new());
}

/// Puts an instance out of its group, which it hears at its next heartbeat: until then it goes on with its ticks.
fn put_out(bench: &Bench, instance: &str) {
    let client = Client::new(Settings::new(&bench.servers, []).expect("settings"));
    let member = format!("{}-{instance}-0", bench.application);
    tokio().block_on(remove_member(&client, &bench.application, &member)).expect("put out");
}

/// Without positions in its transactions it would: no input moves them, and the broker looks at the membership with them.
#[test]
fn r14_an_owner_that_is_none_any_more_commits_no_tick_after_another_took_over() {
    let (kafka, _guard) = broker();
    let bench = new_bench(kafka, "zombies");
    let directories = [tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory")];
    let zombie = Process::start(&bench, Kind::WallClock, "one", directories[0].path(), Duration::from_millis(1));
    let other = Process::start(&bench, Kind::WallClock, "two", directories[1].path(), COMMIT);
    let mut committed = Reader::start(&bench, "read_committed");
    let mut all = Reader::start(&bench, "read_uncommitted");
    let mut round = |disown: &dyn Fn(&mut Reader)| {
        // While it has nothing, it has nothing to try.
        bench.wait_owner("one");
        committed.wait_for_more(2);
        disown(&mut committed);
        committed.wait_for_more(3);
        assert_eq!(violations(&committed.told), Vec::<String>::new());
        all.wait("what is committed", |all| {
            committed.told.iter().all(|(key, ticks)| all.get(key).is_some_and(|all| all.len() >= ticks.len()))
        });
        !violations(&all.told).is_empty()
    };
    // One that was stopped may hear that it is none any more before it has looked at the clock.
    round(&|committed| {
        zombie.signal(Signal::SIGSTOP);
        committed.wait_for_more(3);
        zombie.signal(Signal::SIGCONT);
    });
    let tried = (0..30).any(|_| round(&|_| put_out(&bench, "one")));
    zombie.kill();
    other.kill();
    assert!(tried, "it never tried to commit a tick that was not its own any more, so this proved nothing");
}

#[test]
fn kip_1146_an_anchored_punctuator_ticks_on_its_anchor() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (new_bench(kafka, "anchored"), tempfile::tempdir().expect("directory"));
    let anchored = Punctuator::wall_clock("tick", Duration::from_millis(INTERVAL)).anchored_at(Timestamp(37));
    let mut reader = Reader::start(&bench, "read_committed");
    for _ in 0..2 {
        let topology = topology(&bench, Does::Count, anchored.clone(), Duration::ZERO, false);
        let running = bench.run_topology(topology, bench.options("one", directory.path()));
        reader.wait_for_more(2);
        running.stop().expect("stopped");
    }
    let told = told(bench.read(&bench.output()));
    assert_eq!(violations(&told), Vec::<String>::new());
    let interval = i64::try_from(INTERVAL).expect("small");
    assert!(told.values().flatten().all(|tick| tick.at % interval == 37), "{told:?}");
}

#[test]
fn r8_a_tick_that_does_nothing_opens_no_transaction() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (new_bench(kafka, "idle"), tempfile::tempdir().expect("directory"));
    let idle = topology(&bench, Does::Nothing, every(Clock::WallClock), Duration::ZERO, true);
    let running = bench.run_topology(idle, bench.options("one", directory.path()));
    wait::until("calls", PATIENCE, || match running.metric("headrace_punctuations_total") {
        calls if calls >= 20.0 => Ok(()),
        calls => Err(format!("{calls}")),
    })
    .expect("calls");
    assert!(running.metric("headrace_commits_total").abs() < f64::EPSILON, "a transaction over nothing");
    running.stop().expect("stopped");
}

#[test]
fn r28_a_failing_tick_is_a_dead_letter_and_the_next_one_comes() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (new_bench(kafka, "failing"), tempfile::tempdir().expect("directory"));
    let failing = topology(&bench, Does::Fail, every(Clock::WallClock), Duration::ZERO, true);
    let running = bench.run_topology(failing, bench.options("one", directory.path()));
    wait::until("dead letters", PATIENCE, || match running.metric("headrace_dead_letters_total") {
        some if some >= 12.0 => Ok(()),
        few => Err(format!("{few}")),
    })
    .expect("dead letters");
    running.stop().expect("it goes on");
    let mut ticks = BTreeMap::<(String, String), u32>::new();
    let dead = bench.read(&bench.dead());
    assert!(dead.len() >= 12, "all of them are committed at the end: {}", dead.len());
    for record in dead {
        let header = |name| {
            let (_, value) = record.headers.iter().find(|(known, _)| known == name).expect(name);
            String::from_utf8_lossy(value).into_owned()
        };
        assert_eq!((record.key.as_str(), header(names::PUNCTUATOR).as_str()), ("clock/tick", "clock/tick"));
        assert_eq!((header(names::CLASS).as_str(), header(names::ATTEMPTS).as_str()), ("tick-rejected", "2"));
        *ticks.entry((header(names::TASK), header(names::TICK))).or_default() += 1;
    }
    assert!(ticks.values().all(|times| *times == 1), "each tick once: {ticks:?}");
    assert_eq!(bench.read(&bench.output()).len(), 0, "nothing else of it is there");
    assert_eq!(bench.folded(), BTreeMap::new());
}

#[test]
fn a_failing_tick_without_dead_letters_ends_the_application() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (new_bench(kafka, "fatal"), tempfile::tempdir().expect("directory"));
    let failing = topology(&bench, Does::Fail, every(Clock::WallClock), Duration::ZERO, false);
    let running = bench.run_topology(failing, bench.options("one", directory.path()));
    match running.ended() {
        Err(FatalError::Environment(reason)) => {
            assert!(reason.contains("clock/tick") && reason.contains("as it was told"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.read(&bench.output()).len(), 0);
}
