//! Calls on their lanes, against a target that fails what it is told to.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Answered, Dispatcher, LaneOptions};
use crate::backoff::{Backoff, Jitter};
use crate::position::{Offset, Origin, Partition, Position};
use crate::processor::{Answer, BoxFuture, CallOrder, Connect, Effects, Failure, Reply, SinkIndex, Target};
use crate::telemetry::{Health, Metrics, Telemetry};
use crate::topology::ExternalSpec;

const PATIENCE: Duration = Duration::from_secs(10);

/// What all connections share.
#[derive(Debug, Default)]
struct Script {
    /// Batches that arrived, in order.
    arrived: Mutex<Vec<Vec<u8>>>,
    /// Bodies that are not done, as long as they are in here.
    fails: Mutex<HashSet<u8>>,
    refused: Mutex<HashSet<u8>>,
    /// So many batches find nobody there.
    away: Mutex<usize>,
}

#[derive(Debug)]
struct Scripted(Arc<Script>);

impl Connect for Scripted {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Target>, Failure>> {
        let line = Scripted(Arc::clone(&self.0));
        Box::pin(async move { Ok(Box::new(line) as Box<dyn Target>) })
    }
}

impl Target for Scripted {
    fn send<'a>(&'a mut self, bodies: &'a [&'a [u8]]) -> BoxFuture<'a, Result<Vec<Reply>, Failure>> {
        Box::pin(async move {
            if bodies.is_empty() {
                return Ok(Vec::new());
            }
            let mut away = self.0.away.lock().unwrap();
            if *away > 0 {
                *away -= 1;
                return Err(Failure::Away("away".into()));
            }
            self.0.arrived.lock().unwrap().push(bodies.iter().map(|body| body[0]).collect());
            let (fails, refused) = (self.0.fails.lock().unwrap(), self.0.refused.lock().unwrap());
            let reply = |body: &&[u8]| match body[0] {
                body if fails.contains(&body) => Reply::Failed { reason: "not now".into(), after: None },
                body if refused.contains(&body) => Reply::Refused("never".into()),
                _ => Reply::Done("applied"),
            };
            Ok(bodies.iter().map(reply).collect())
        })
    }
}

struct Bench {
    script: Arc<Script>,
    dispatcher: Dispatcher,
    _tokio: tokio::runtime::Runtime,
}

fn bench(is_call: bool) -> Bench {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let script = Arc::new(Script::default());
    let spec = ExternalSpec { name: "scripted".into(), target: Arc::new(Scripted(Arc::clone(&script))), is_call };
    let step = Duration::from_millis(1);
    let backoff = Backoff { initial: step, max: step, multiplier: 1.0, jitter: Jitter::None };
    let options = LaneOptions { lanes: 1, batch_requests: 100, backoff, timeout: PATIENCE };
    let telemetry = Telemetry::new(Metrics::new(false).unwrap(), Health::new(PATIENCE));
    let dispatcher = Dispatcher::start(&[spec], options, tokio.handle(), &telemetry);
    Bench { script, dispatcher, _tokio: tokio }
}

impl Bench {
    fn ask(&mut self, key: u64, body: u8, anew: bool) {
        let mut effects = Effects::default();
        effects.call(SinkIndex(0), CallOrder { key, anew }, &[body]);
        let position = Position { topic: "t".into(), partition: Partition(0), offset: Offset(i64::from(body)) };
        self.dispatcher.push(&effects, || Origin::Record(position.clone()));
    }

    /// Until all is answered: the answers, by their letters.
    fn answers(&mut self) -> Vec<(u8, char)> {
        let (mut all, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while !self.dispatcher.is_settled() {
            assert!(Instant::now() < deadline, "not settled within {PATIENCE:?}: {all:?}");
            self.dispatcher.wait(Duration::from_millis(1));
            all.extend(self.dispatcher.take_answers().iter().map(shown));
        }
        all
    }

    fn arrived(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.script.arrived.lock().unwrap())
    }
}

fn shown(answered: &Answered) -> (u8, char) {
    let Origin::Record(position) = &answered.origin else { panic!("a record's: {answered:?}") };
    let letter = match &answered.answer {
        Answer::Done(_) => 'd',
        Answer::Refused(_) => 'r',
        Answer::Failed { .. } => 'f',
        Answer::Held => 'h',
    };
    (u8::try_from(position.offset.0).unwrap(), letter)
}

#[test]
fn of_one_key_there_is_one_request_at_a_time_and_other_keys_do_not_wait_for_it() {
    let mut bench = bench(true);
    for (key, body) in [(1, 1), (1, 2), (2, 3), (1, 4), (3, 5)] {
        bench.ask(key, body, false);
    }
    assert_eq!(bench.answers(), [(1, 'd'), (2, 'd'), (3, 'd'), (4, 'd'), (5, 'd')]);
    assert_eq!(bench.arrived(), [vec![1, 3, 5], vec![2], vec![4]]);
}

#[test]
fn m8_behind_one_that_was_not_done_its_key_is_held_and_others_go_on() {
    for letter in ['f', 'r'] {
        let mut bench = bench(true);
        let which = if letter == 'f' { &bench.script.fails } else { &bench.script.refused };
        which.lock().unwrap().insert(1);
        for (key, body) in [(1, 1), (1, 2), (2, 3), (1, 4)] {
            bench.ask(key, body, false);
        }
        assert_eq!(bench.answers(), [(1, letter), (2, 'h'), (3, 'd'), (4, 'h')]);
        assert_eq!(bench.arrived(), [vec![1, 3]], "what is held is not sent");
    }
}

#[test]
fn m8_what_is_held_in_one_batch_is_held_in_the_next_until_it_begins_anew() {
    let mut bench = bench(true);
    bench.script.fails.lock().unwrap().insert(1);
    bench.ask(1, 1, false);
    bench.dispatcher.flush();
    bench.ask(1, 2, false);
    // Under the same key's failure, and before anybody was told of it.
    assert_eq!(bench.answers(), [(1, 'f'), (2, 'h')]);
    bench.ask(9, 9, false);
    bench.ask(1, 1, true);
    bench.ask(1, 2, false);
    bench.script.fails.lock().unwrap().clear();
    assert_eq!(bench.answers(), [(9, 'd'), (1, 'd'), (2, 'd')]);
}

#[test]
fn m8_once_all_is_told_nothing_is_held_any_more() {
    let mut bench = bench(true);
    bench.script.fails.lock().unwrap().insert(1);
    bench.ask(1, 1, false);
    assert_eq!(bench.answers(), [(1, 'f')]);
    // Whoever asks now knows of the failure.
    bench.ask(1, 2, false);
    assert_eq!(bench.answers(), [(2, 'd')]);
}

#[test]
fn an_abort_forgets_answers_and_what_was_held() {
    let mut bench = bench(true);
    bench.script.fails.lock().unwrap().insert(1);
    bench.ask(1, 1, false);
    let deadline = Instant::now() + PATIENCE;
    while bench.dispatcher.under_way() > 0 || bench.script.arrived.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline);
        bench.dispatcher.flush();
        bench.dispatcher.wait(Duration::from_millis(1));
    }
    bench.dispatcher.abandon();
    assert!(bench.dispatcher.take_answers().is_empty());
    bench.ask(1, 2, false);
    assert_eq!(bench.answers(), [(2, 'd')], "of an aborted transaction nothing is held");
}

#[test]
fn a_target_that_is_away_is_waited_for_and_a_sink_waits_for_what_fails() {
    let mut bench = self::bench(true);
    *bench.script.away.lock().unwrap() = 2;
    bench.ask(1, 1, false);
    assert_eq!(bench.answers(), [(1, 'd')]);

    let mut sink = self::bench(false);
    sink.script.fails.lock().unwrap().insert(1);
    let mut effects = Effects::default();
    effects.request(SinkIndex(0), 1, &[1]);
    let position = Position { topic: "t".into(), partition: Partition(0), offset: Offset(1) };
    sink.dispatcher.push(&effects, || Origin::Record(position.clone()));
    let deadline = Instant::now() + PATIENCE;
    while sink.script.arrived.lock().unwrap().len() < 3 {
        assert!(Instant::now() < deadline);
        assert!(!sink.dispatcher.is_settled(), "a sink has done what its target has not");
        sink.dispatcher.wait(Duration::from_millis(1));
    }
    sink.script.fails.lock().unwrap().clear();
    assert_eq!(sink.answers(), [], "a sink's answers are nobody's");
}
