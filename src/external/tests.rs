//! The dispatcher against a target that follows a script.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::{Dispatcher, LaneOptions};
use crate::backoff::{Backoff, Jitter};
use crate::position::{Offset, Origin, Partition, Position};
use crate::processor::{BoxFuture, Connect, Effects, Failure, Reply, SinkIndex, Target};
use crate::telemetry::{Health, Metrics, Telemetry};
use crate::topology::ExternalSpec;

const PATIENCE: Duration = Duration::from_secs(10);

/// What all connections of the scripted target share.
#[derive(Debug)]
struct Script {
    /// Batches that arrived, in order, those that failed included.
    arrived: Mutex<Vec<Vec<u64>>>,
    /// What becomes of the coming batches; done, once it is empty.
    fate: Mutex<VecDeque<Result<Reply, Failure>>>,
    /// A batch takes one permit before it is answered.
    gate: Semaphore,
    /// Nobody can connect.
    closed: AtomicBool,
}

#[derive(Debug)]
struct Scripted(Arc<Script>);

struct Line(Arc<Script>);

impl Connect for Scripted {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Target>, Failure>> {
        let line = Line(Arc::clone(&self.0));
        Box::pin(async move {
            match line.0.closed.load(Ordering::Acquire) {
                true => Err(Failure::Away("closed".into())),
                false => Ok(Box::new(line) as Box<dyn Target>),
            }
        })
    }
}

impl Target for Line {
    fn send<'a>(&'a mut self, bodies: &'a [&'a [u8]]) -> BoxFuture<'a, Result<Vec<Reply>, Failure>> {
        if bodies.is_empty() {
            // A look at an idle target.
            return Box::pin(async { Ok(Vec::new()) });
        }
        let numbers = bodies.iter().map(|body| u64::from_be_bytes((*body).try_into().unwrap())).collect();
        self.0.arrived.lock().unwrap().push(numbers);
        Box::pin(async move {
            self.0.gate.acquire().await.unwrap().forget();
            let fate = self.0.fate.lock().unwrap().pop_front().unwrap_or(Ok(Reply::Done("applied")))?;
            Ok(vec![fate; bodies.len()])
        })
    }
}

struct Bench {
    script: Arc<Script>,
    dispatcher: Dispatcher,
    _tokio: tokio::runtime::Runtime,
}

fn bench(lanes: usize, batch_requests: usize, open: bool) -> Bench {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let permits = if open { 1_000_000 } else { 0 };
    let script = Arc::new(Script {
        arrived: Mutex::default(),
        fate: Mutex::default(),
        gate: Semaphore::new(permits),
        closed: AtomicBool::new(false),
    });
    let spec =
        ExternalSpec { name: "scripted".into(), target: Arc::new(Scripted(Arc::clone(&script))), is_call: false };
    let step = Duration::from_millis(1);
    let backoff = Backoff { initial: step, max: step, multiplier: 1.0, jitter: Jitter::None };
    let options = LaneOptions { lanes, batch_requests, backoff, timeout: PATIENCE };
    let telemetry = Telemetry::new(Metrics::new(false).unwrap(), Health::new(PATIENCE));
    let dispatcher = Dispatcher::start(&[spec], options, tokio.handle(), &telemetry);
    Bench { script, dispatcher, _tokio: tokio }
}

impl Bench {
    fn push(&mut self, order: u64, number: u64) {
        let mut effects = Effects::default();
        effects.request(SinkIndex(0), order, &number.to_be_bytes());
        let offset = Offset(i64::try_from(number).unwrap());
        let position = Position { topic: "t".into(), partition: Partition(0), offset };
        self.dispatcher.push(&effects, || Origin::Record(position.clone()));
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            self.dispatcher.wait(Duration::from_millis(1));
        }
    }

    fn settle(&mut self) {
        self.until("settled", |bench| bench.dispatcher.is_settled());
    }

    fn arrived(&self) -> Vec<u64> {
        self.script.arrived.lock().unwrap().concat()
    }
}

#[test]
fn requests_of_one_order_key_arrive_in_order() {
    let mut bench = bench(4, 8, true);
    for number in 0..5_000 {
        bench.until("room", |bench| {
            bench.dispatcher.flush();
            bench.dispatcher.has_room()
        });
        bench.push(number % 7, number);
    }
    bench.settle();
    let arrived = bench.arrived();
    assert_eq!(arrived.len(), 5_000);
    for key in 0..7 {
        let of_key: Vec<_> = arrived.iter().filter(|number| *number % 7 == key).collect();
        assert!(of_key.is_sorted(), "key {key} came out of order");
    }
}

#[test]
fn a_failed_batch_is_sent_again_as_a_whole_before_the_next() {
    let mut bench = bench(1, 2, true);
    bench.script.fate.lock().unwrap().extend([Err(Failure::Away("gone".into())), Err(Failure::Away("still".into()))]);
    for number in 0..6 {
        bench.push(0, number);
    }
    bench.settle();
    assert_eq!(bench.arrived(), [0, 1, 0, 1, 0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_target_that_hangs_bounds_what_is_taken() {
    let mut bench = bench(1, 1, false);
    let mut taken = 0;
    while bench.dispatcher.has_room() {
        bench.push(0, taken);
        taken += 1;
        assert!(taken < 100, "nothing bounds the requests");
    }
    assert!(!bench.dispatcher.is_settled());
    bench.script.gate.add_permits(1_000);
    bench.settle();
    assert_eq!(bench.arrived(), (0..taken).collect::<Vec<_>>());
}

#[test]
fn what_was_abandoned_is_not_awaited_nor_counted() {
    let mut bench = bench(1, 1, false);
    (0..3).for_each(|number| bench.push(0, number));
    bench.until("the first is on its way", |bench| !bench.arrived().is_empty());
    bench.dispatcher.abandon();
    assert!(bench.dispatcher.is_settled(), "nothing of the new transaction is under way");
    bench.push(0, 100);
    bench.script.gate.add_permits(1);
    bench.until("the new one is on its way", |bench| bench.arrived().contains(&100));
    assert!(!bench.dispatcher.is_settled(), "an outcome of the old transaction settled the new one");
    assert_eq!(bench.arrived(), [0, 100], "abandoned batches that had not been sent are not sent");
    bench.script.gate.add_permits(1);
    bench.settle();
}

#[test]
fn outcomes_that_nobody_looks_at_block_no_lane() {
    let mut bench = bench(1, 1, true);
    // More than the outcomes' channel holds; between two rounds the lane is done, and nobody has asked for it.
    for round in 0..50 {
        bench.push(0, round);
        bench.until_quietly("the batch arrived", |bench| bench.arrived().len() as u64 > round);
    }
    bench.settle();
}

impl Bench {
    /// Waits without looking at outcomes.
    fn until_quietly(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            self.dispatcher.flush();
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_target_lost_with_an_abandoned_batch_is_found_again_without_another() {
    let mut bench = bench(1, 1, true);
    bench.push(0, 0);
    bench.settle();
    bench.script.closed.store(true, Ordering::Release);
    bench.script.fate.lock().unwrap().push_back(Err(Failure::Away("gone".into())));
    bench.push(0, 1);
    bench.until("away", |bench| bench.dispatcher.is_away());
    bench.dispatcher.abandon();
    bench.until("the batch is given up", |bench| bench.dispatcher.under_way() == 0);
    assert!(bench.dispatcher.is_away());
    bench.script.closed.store(false, Ordering::Release);
    bench.until("back", |bench| !bench.dispatcher.is_away());
    assert_eq!(bench.arrived(), [0, 1], "what was abandoned is not sent again");
}

#[test]
fn a_refusal_names_its_record_and_does_not_survive_an_abort() {
    let mut bench = bench(1, 1, true);
    bench.script.fate.lock().unwrap().push_back(Ok(Reply::Refused("no".into())));
    bench.push(0, 7);
    bench.settle();
    let refusals = bench.dispatcher.take_refusals();
    let [refusal] = refusals.as_slice() else { panic!("one refusal: {refusals:?}") };
    let Origin::Record(position) = &refusal.origin else { panic!("a record's: {refusal:?}") };
    assert_eq!((position.offset, refusal.reason.as_str()), (Offset(7), "no"));
    bench.script.fate.lock().unwrap().push_back(Ok(Reply::Refused("no".into())));
    bench.push(0, 8);
    bench.settle();
    bench.dispatcher.abandon();
    assert!(bench.dispatcher.take_refusals().is_empty());
}
