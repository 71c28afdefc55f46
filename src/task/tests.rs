//! A task by itself: what stands of a record, and what is taken back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::codec::{nullable, raw, text};
use crate::dead_letter::{RATIO_FLOOR, names};
use crate::position::Partition;
use crate::processor::{Context, Processor};
use crate::record::{Headers, Record};
use crate::store::{Commit, Store, StoreIndex, StoreSpec, Stores};

const OUT: &str = "out";
const DEAD: &str = "dead";
const LIMIT: usize = 4096;

/// Counts its keys, and misbehaves as the value says, after it has written and forwarded.
#[derive(Clone)]
struct Counts {
    store: Store<String, String>,
    calls: Arc<AtomicU32>,
}

impl Processor for Counts {
    type KeyIn = Option<String>;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.store.index()]
    }

    fn process(
        &mut self,
        record: &Record<Option<String>, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let key = record.key.clone().unwrap_or_default();
        let count = context.store(&self.store).read(&key)?.map_or(0, |count| count.parse().unwrap_or(0)) + 1;
        let stored = if record.value == "large-state" { "x".repeat(LIMIT) } else { count.to_string() };
        context.store(&self.store).write(&key, Some(&stored))?;
        context.forward(&record.map(key.clone(), count.to_string()));
        match record.value.as_str() {
            "reject" => Err(RecordError::new(Stage::Process, "rejected", "as it asked").into()),
            "once" if call == 1 => Err(RecordError::new(Stage::Process, "rejected", "at first").into()),
            "panic" => panic!("as it asked"),
            "half" => {
                context.set_aside(RecordError::new(Stage::Deserialize, "half", "half readable"));
                Ok(())
            }
            "large-output" => {
                context.forward(&record.map(key, "x".repeat(LIMIT)));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

struct Bench {
    task: Task,
    store: Store<String, String>,
    topics: Vec<String>,
    calls: Arc<AtomicU32>,
    next: i64,
}

fn bench(policy: Option<Policy>) -> Bench {
    let calls = Arc::new(AtomicU32::new(0));
    let mut builder = Topology::builder("bench");
    let source = builder.source("in", "in", (nullable(text()), text()));
    let store = builder.store("counts", Stores::memory(text(), text()));
    let counts = Counts { store: store.clone(), calls: Arc::clone(&calls) };
    let counted = builder.process("count", source, counts);
    builder.sink("out", counted, OUT, text(), text());
    if let Some(policy) = policy {
        builder.dead_letters(DEAD, policy);
    }
    let topology = builder.build().unwrap();
    let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
    let id = TaskId { sub_topology: 0, partition: Partition(3) };
    let limits = Limits { max_output_bytes: LIMIT };
    let task = Task::new(&topology, "app", id, TaskState::in_memory(&specs), limits);
    Bench { task, store, topics: topology.sink_topics().to_vec(), calls, next: 0 }
}

/// Topic, key and value.
type Produced = (String, Option<Vec<u8>>, Option<Vec<u8>>);

impl Bench {
    fn send_with(&mut self, key: Option<&[u8]>, value: &[u8], headers: &Headers) -> Result<Outcome, TaskFault> {
        let (partition, offset, timestamp) = (Partition(3), Offset(self.next), Timestamp(100 + self.next));
        let raw = RawRecord { topic: "in", partition, offset, timestamp, key, value: Some(value), headers };
        let outcome = self.task.process(&raw, Timestamp(0))?;
        self.next += 1;
        Ok(outcome)
    }

    fn send(&mut self, key: &str, value: &str) -> Result<Outcome, TaskFault> {
        self.send_with(Some(key.as_bytes()), value.as_bytes(), &Headers::new())
    }

    fn count(&mut self, key: &str) -> Option<String> {
        self.store.read(self.task.state(), &key.to_owned()).unwrap()
    }

    fn changelog(&mut self) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let mut writes = BTreeMap::new();
        let published = self.task.state().publish_changelog(|write| {
            writes.insert(write.key.to_vec(), write.value.map(<[u8]>::to_vec));
            Ok::<_, ()>(())
        });
        published.unwrap();
        writes
    }

    fn take(&mut self) -> (Vec<Produced>, Vec<Headers>) {
        let effects = self.task.effects();
        let produced = effects.outputs().iter().map(|output| {
            let (key, value) = (effects.key(output), effects.value(output));
            (output.topic.name(&self.topics).to_owned(), key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec))
        });
        let produced = produced.collect();
        let headers = effects.outputs().iter().map(|output| output.headers.clone()).collect();
        effects.clear();
        (produced, headers)
    }
}

fn set_aside(outcome: Result<Outcome, TaskFault>) -> RecordError {
    match outcome.unwrap() {
        Outcome::SetAside { error, .. } => error,
        Outcome::Processed => panic!("was processed"),
    }
}

fn header<'a>(headers: &'a Headers, name: &str) -> &'a str {
    std::str::from_utf8(headers.last(name).unwrap()).unwrap()
}

fn policy(attempts: u32) -> Option<Policy> {
    Some(Policy::after_attempts(attempts))
}

#[test]
fn r28_a_rejected_record_leaves_only_its_dead_letter() {
    let mut bench = bench(policy(3));
    bench.send("a", "fine").unwrap();
    let error = set_aside(bench.send("a", "reject"));
    assert_eq!((error.class, bench.calls.load(Ordering::Relaxed)), ("rejected", 1 + 3), "tried three times");
    assert_eq!(bench.count("a").as_deref(), Some("1"), "the store is as it was before");
    let (produced, headers) = bench.take();
    let key = Some(b"a".to_vec());
    let dead = (DEAD.to_owned(), key.clone(), Some(b"reject".to_vec()));
    assert_eq!(produced, [(OUT.to_owned(), key, Some(b"1".to_vec())), dead]);
    assert_eq!(header(&headers[1], names::ATTEMPTS), "3");
    assert_eq!(bench.task.next("in"), Some(Offset(2)), "the position passes it, with the dead letter");
    assert_eq!(bench.changelog().len(), 1);
}

#[test]
fn a_second_attempt_counts_once() {
    let mut bench = bench(policy(3));
    assert!(matches!(bench.send("a", "once").unwrap(), Outcome::Processed));
    assert_eq!(bench.calls.load(Ordering::Relaxed), 2);
    assert_eq!(bench.count("a").as_deref(), Some("1"), "the failed attempt left nothing");
    assert_eq!(bench.take().0.len(), 1);
}

#[test]
fn d7_a_panic_takes_back_what_was_staged_and_the_next_record_goes_on() {
    let mut bench = bench(policy(2));
    let error = set_aside(bench.send("a", "panic"));
    assert_eq!((error.class, bench.calls.load(Ordering::Relaxed)), ("panic", 2));
    assert_eq!(bench.count("a"), None);
    bench.send("a", "fine").unwrap();
    assert_eq!(bench.count("a").as_deref(), Some("1"));
    let topics: Vec<_> = bench.take().0.into_iter().map(|(topic, ..)| topic).collect();
    assert_eq!(topics, [DEAD, OUT]);
}

#[test]
fn what_is_half_readable_is_set_aside_with_its_effects() {
    let mut bench = bench(policy(3));
    assert_eq!(set_aside(bench.send("a", "half")).class, "half");
    assert_eq!(bench.calls.load(Ordering::Relaxed), 1);
    assert_eq!(bench.count("a").as_deref(), Some("1"), "its effects stand");
    let topics: Vec<_> = bench.take().0.into_iter().map(|(topic, ..)| topic).collect();
    assert_eq!(topics, [OUT, DEAD]);
}

#[test]
fn undecodable_bytes_are_kept_as_they_were() {
    let mut bench = bench(policy(3));
    let mut headers = Headers::new();
    headers.push("trace", b"\xfe".to_vec());
    let error = set_aside(bench.send_with(None, b"\xff\xfe", &headers));
    assert_eq!((error.stage, error.class), (Stage::Deserialize, "malformed"));
    let (produced, dead) = bench.take();
    assert_eq!(produced, [(DEAD.to_owned(), None, Some(b"\xff\xfe".to_vec()))]);
    assert_eq!(dead[0].0[0], headers.0[0], "its own headers come first");
    assert_eq!(header(&dead[0], names::ATTEMPTS), "1", "the bytes won't change");
}

#[test]
fn an_output_above_the_limit_is_the_records_fault() {
    let mut bench = bench(policy(3));
    assert_eq!(set_aside(bench.send("a", "large-output")).class, "output-too-large");
    assert_eq!(bench.count("a"), None);
    assert_eq!(bench.take().0.len(), 1, "the small output before it is taken back too");
}

#[test]
fn r21_a_changelog_record_above_the_limit_is_the_records_fault() {
    let mut bench = bench(policy(3));
    assert_eq!(set_aside(bench.send("a", "large-state")).class, "state-too-large");
    assert_eq!(bench.count("a"), None);
    assert!(bench.changelog().is_empty(), "the broker would refuse it for ever");
}

#[test]
fn a_dead_letter_that_is_too_large_is_a_claim_check() {
    let mut bench = bench(Some(Policy::after_attempts(1).max_input_bytes(100)));
    let mut headers = Headers::new();
    headers.push("trace", b"1".to_vec());
    let error = set_aside(bench.send_with(Some(b"k"), &vec![b'x'; LIMIT], &headers));
    assert_eq!(error.class, "record-too-large");
    let (produced, dead) = bench.take();
    assert_eq!(produced, [(DEAD.to_owned(), Some(b"k".to_vec()), None)]);
    assert_eq!(header(&dead[0], names::CLAIM), (LIMIT + 1).to_string());
    assert_eq!(header(&dead[0], names::OFFSET), "0", "where the original stands");
    assert_eq!(dead[0].0[0], headers.0[0]);
}

#[test]
fn a_dead_letter_never_outgrows_the_limit_by_the_originals_headers() {
    let mut bench = bench(policy(1));
    let mut headers = Headers::new();
    headers.push("huge", vec![b'h'; 2 * LIMIT]);
    set_aside(bench.send_with(Some(b"k"), b"\xff", &headers));
    let (_, dead) = bench.take();
    let bytes: usize = dead[0].iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Vec::len)).sum();
    assert!(bytes <= LIMIT, "{bytes} bytes of headers");
    assert_eq!(header(&dead[0], names::OFFSET), "0");
    assert_eq!(header(&dead[0], names::CLAIM), "2");
}

#[test]
fn without_a_dead_letter_topic_the_record_stays_where_it_is() {
    let mut bench = bench(None);
    bench.send("a", "fine").unwrap();
    let fault = bench.send("a", "reject").unwrap_err();
    assert!(fault.to_string().contains("in-3@1") && fault.to_string().contains("no dead-letter topic"), "{fault}");
    assert_eq!(bench.task.next("in"), Some(Offset(1)), "the position stands before it");
}

#[test]
fn d8_an_epidemic_trips_the_breaker() {
    let mut bench = bench(Some(Policy::after_attempts(1).max_ratio(0.5)));
    let mut tripped = Vec::new();
    for number in 0..RATIO_FLOOR {
        if let Outcome::SetAside { tripped: true, .. } = bench.send("a", "reject").unwrap() {
            tripped.push(number);
        }
    }
    assert_eq!(tripped, [RATIO_FLOOR - 1]);
}

#[test]
fn a_refused_record_is_set_aside_when_it_comes_again() {
    let mut bench = bench(policy(3));
    bench.send("a", "fine").unwrap();
    bench.send("b", "fine").unwrap();
    let position = Position { topic: "in".into(), partition: Partition(3), offset: Offset(1) };
    bench.task.refuse(position, RecordError::new(Stage::External, "refused", "redis: no"));
    bench.task.rewind();
    bench.next = 0;
    assert!(matches!(bench.send("a", "fine").unwrap(), Outcome::Processed));
    assert_eq!(set_aside(bench.send("b", "fine")).class, "refused");
    assert_eq!((bench.count("a").as_deref(), bench.count("b")), (Some("1"), None));
    let topics: Vec<_> = bench.take().0.into_iter().map(|(topic, ..)| topic).collect();
    assert_eq!(topics, [OUT, DEAD], "what was produced before the rewind is gone");
    bench.changelog();
    let positions = bench.task.positions();
    bench.task.state().commit(&Commit { positions: &positions, ..Commit::default() }).unwrap();
    let positions = bench.task.positions();
    bench.task.committed(&positions);
    bench.next = 1;
    assert!(matches!(bench.send("b", "fine").unwrap(), Outcome::Processed), "forgotten once committed");
}

#[test]
fn a_rewind_drops_staged_writes_positions_and_time() {
    let mut bench = bench(policy(1));
    bench.send("a", "fine").unwrap();
    assert_eq!(bench.task.stream_time(), Timestamp(100));
    bench.task.rewind();
    assert_eq!((bench.count("a"), bench.task.positions()), (None, Vec::new()));
    assert_eq!(bench.task.stream_time(), Timestamp::NONE);
}

#[test]
fn r7_positions_pass_markers_and_are_never_set_back() {
    let mut bench = bench(policy(1));
    bench.task.skip_to("in", Offset(5)).unwrap();
    assert_eq!(bench.task.next("in"), Some(Offset(5)), "known before the first record");
    bench.task.skip_to("in", Offset(3)).unwrap();
    assert_eq!(bench.task.next("in"), Some(Offset(5)));
    assert!(bench.task.skip_to("other", Offset(1)).is_err());
}

#[test]
fn r14_a_partition_that_was_given_up_is_not_committed() {
    let mut bench = bench(policy(1));
    bench.send("a", "fine").unwrap();
    bench.task.forget("in");
    assert_eq!(bench.task.positions(), Vec::new());
}

#[derive(Clone)]
struct Doubles;

impl Processor for Doubles {
    type KeyIn = Vec<u8>;
    type ValueIn = Vec<u8>;
    type KeyOut = Vec<u8>;
    type ValueOut = Vec<u8>;

    fn process(
        &mut self,
        record: &Record<Vec<u8>, Vec<u8>>,
        context: &mut Context<'_, Vec<u8>, Vec<u8>>,
    ) -> Result<(), Fault> {
        context.forward(record);
        context.forward(record);
        Ok(())
    }
}

/// An external sink that refuses what starts with an `x`, after it has asked for a request.
#[derive(Debug)]
struct Picky(Arc<Mutex<u32>>);

impl crate::processor::ExternalSink<Vec<u8>, Vec<u8>> for Picky {
    fn kind(&self) -> &'static str {
        "picky"
    }

    fn requests(
        &self,
        record: &Record<Vec<u8>, Vec<u8>>,
        requests: &mut crate::processor::Requests<'_>,
    ) -> Result<(), RecordError> {
        *self.0.lock().unwrap() += 1;
        requests.push(1, &record.value);
        match record.value.first() {
            Some(b'x') => Err(RecordError::new(Stage::External, "picky", "no x")),
            _ => Ok(()),
        }
    }

    fn target(&self) -> Arc<dyn crate::processor::Connect> {
        Arc::new(Nowhere)
    }
}

#[derive(Debug)]
struct Nowhere;

impl crate::processor::Connect for Nowhere {
    fn connect(
        &self,
    ) -> crate::processor::BoxFuture<'_, Result<Box<dyn crate::processor::Target>, crate::processor::Failure>> {
        Box::pin(async { Err(crate::processor::Failure::Away("nowhere".into())) })
    }
}

#[test]
fn requests_are_taken_back_with_the_record_and_nothing_below_a_fault_runs() {
    let asked = Arc::new(Mutex::new(0));
    let mut builder = Topology::builder("bench");
    let source = builder.source("in", "in", (raw(), raw()));
    let doubled = builder.process("double", source, Doubles);
    builder.external("picky", doubled, Picky(Arc::clone(&asked)));
    builder.sink("out", doubled, OUT, raw(), raw());
    builder.dead_letters(DEAD, Policy::after_attempts(3));
    let topology = builder.build().unwrap();
    let id = TaskId { sub_topology: 0, partition: Partition(0) };
    let mut task = Task::new(&topology, "app", id, TaskState::in_memory(&[]), Limits { max_output_bytes: LIMIT });
    let headers = Headers::new();
    let mut raw = RawRecord {
        topic: "in",
        partition: Partition(0),
        offset: Offset(0),
        timestamp: Timestamp(1),
        key: Some(b"k"),
        value: Some(b"fine"),
        headers: &headers,
    };
    task.process(&raw, Timestamp(0)).unwrap();
    assert_eq!((task.effects().requests().len(), task.effects().outputs().len()), (2, 2));
    (raw.offset, raw.value) = (Offset(1), Some(b"x".as_slice()));
    assert_eq!(set_aside(task.process(&raw, Timestamp(0))).class, "picky");
    let effects = task.effects();
    assert_eq!((effects.requests().len(), effects.outputs().len()), (2, 3), "only its dead letter came on top");
    assert_eq!(effects.body(&effects.requests()[1]), b"fine");
    assert_eq!(*asked.lock().unwrap(), 3, "not tried again, and the second forward did not run");
}
