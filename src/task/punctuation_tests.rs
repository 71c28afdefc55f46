//! Ticks of a task by itself: when they come, what stands of them, and what a replay makes of them (rule R-27).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::codec::text;
use crate::dead_letter::names;
use crate::processor::{Clock, Context, Processor, Punctuator, Tick};
use crate::record::{Headers, Record};
use crate::store::{Bounds, Commit, Store, StoreIndex, StoreSpec, Stores};

const OUT: TopicIndex = TopicIndex(0);
const LIMIT: usize = 4096;
const NOW: Timestamp = Timestamp(1_000_000);

/// What the coming ticks are to do; after these, each reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Nothing,
    Reject,
    Panic,
    Half,
    Large,
    Cancel,
}

/// Forwards what it is given; at a tick, the keys that it has seen since the last one, and forgets them.
#[derive(Clone)]
struct Ticking {
    seen: Store<String, String>,
    punctuators: Vec<Punctuator>,
    deeds: Arc<Mutex<VecDeque<Deed>>>,
}

impl Processor for Ticking {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.seen.index()]
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        self.punctuators.clone()
    }

    fn punctuate(&mut self, tick: &Tick<'_>, context: &mut Context<'_, String, String>) -> Result<(), Fault> {
        let deed = self.deeds.lock().unwrap().pop_front();
        if deed == Some(Deed::Nothing) {
            return Ok(());
        }
        let keys: Result<Vec<String>, Fault> =
            context.store(&self.seen).range(Bounds::ALL)?.map(|entry| Ok(entry?.0)).collect();
        for key in keys? {
            context.store(&self.seen).write(&key, None)?;
            context.forward(&Record::new(
                tick.name.to_owned(),
                format!("{key} in {}+{}", tick.at.0, tick.missed),
                tick.at,
            ));
        }
        context.forward(&Record::new(tick.name.to_owned(), format!("{}+{}", tick.at.0, tick.missed), tick.at));
        match deed {
            Some(Deed::Reject) => Err(RecordError::new(Stage::Process, "rejected", "as it asked").into()),
            Some(Deed::Panic) => panic!("as it asked"),
            Some(Deed::Half) => {
                context.set_aside(RecordError::new(Stage::Process, "half", "half done"));
                Ok(())
            }
            Some(Deed::Large) => {
                context.forward(&Record::new("large".to_owned(), "x".repeat(LIMIT), tick.at));
                Ok(())
            }
            Some(Deed::Cancel) => context.cancel(tick.name),
            _ => Ok(()),
        }
    }

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        match record.key.as_str() {
            "cancel" => context.cancel(&record.value)?,
            "resume" => context.resume(&record.value)?,
            "cancel and fail" => {
                context.cancel(&record.value)?;
                return Err(RecordError::new(Stage::Process, "rejected", "as it asked").into());
            }
            key => context.store(&self.seen).write(&key.to_owned(), Some(&record.value))?,
        }
        context.forward(record);
        Ok(())
    }
}

struct Bench {
    task: Task,
    topology: Topology,
    deeds: Arc<Mutex<VecDeque<Deed>>>,
    next: i64,
    calls: Vec<Punctuated>,
}

fn topology(punctuators: Vec<Punctuator>, policy: Option<Policy>, deeds: &Arc<Mutex<VecDeque<Deed>>>) -> Topology {
    let mut builder = Topology::builder("ticking");
    let source = builder.source("in", "in", (text(), text()));
    let seen = builder.store("seen", Stores::memory(text(), text()).with_changelog());
    let ticking = builder.process("clock", source, Ticking { seen, punctuators, deeds: Arc::clone(deeds) });
    builder.sink("out", ticking, "out", text(), text());
    policy.into_iter().for_each(|policy| builder.dead_letters("dead", policy));
    builder.build().unwrap()
}

fn task(topology: &Topology, state: Option<TaskState>) -> Task {
    let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
    let id = TaskId { sub_topology: 0, partition: Partition(3) };
    let state = state.unwrap_or_else(|| TaskState::in_memory(&specs));
    Task::new(topology, "app", id, state, Limits { max_output_bytes: LIMIT })
}

fn bench(punctuators: Vec<Punctuator>) -> Bench {
    bench_with(punctuators, Some(Policy::after_attempts(3)))
}

fn bench_with(punctuators: Vec<Punctuator>, policy: Option<Policy>) -> Bench {
    let deeds = Arc::default();
    let topology = topology(punctuators, policy, &deeds);
    Bench { task: task(&topology, None), topology, deeds, next: 0, calls: Vec::new() }
}

impl Bench {
    /// A record, and the ticks before it; what was produced.
    fn send(&mut self, timestamp: i64, key: &str, value: &str) -> Vec<String> {
        self.try_send(timestamp, key, value).unwrap();
        self.take()
    }

    fn try_send(&mut self, timestamp: i64, key: &str, value: &str) -> Result<(), TaskFault> {
        let timestamp = Timestamp(timestamp);
        if self.task.is_due(timestamp) {
            self.tick(Clock::StreamTime, timestamp, NOW)?;
        }
        let (key, value, headers) = (Some(key.as_bytes()), Some(value.as_bytes()), &Headers::new());
        let (partition, offset) = (Partition(3), Offset(self.next));
        let raw = RawRecord { topic: "in", partition, offset, timestamp, key, value, headers };
        self.task.process(&raw, NOW)?;
        self.next += 1;
        Ok(())
    }

    fn tick(&mut self, clock: Clock, time: Timestamp, now: Timestamp) -> Result<(), TaskFault> {
        while let Some(call) = self.task.punctuate(clock, time, now)? {
            self.calls.push(call);
        }
        Ok(())
    }

    /// The wall clock shows this time; what was produced.
    fn look(&mut self, time: i64) -> Vec<String> {
        self.tick(Clock::WallClock, Timestamp(time), Timestamp(time)).unwrap();
        self.take()
    }

    fn take(&mut self) -> Vec<String> {
        let effects = self.task.effects();
        let text =
            |bytes: Option<&[u8]>| bytes.map_or("null".to_owned(), |bytes| String::from_utf8(bytes.to_vec()).unwrap());
        let produced = effects.outputs().iter().map(|output| {
            let topic = if output.topic == OUT.into() { "" } else { "dead " };
            format!("{topic}{}: {}", text(effects.key(output)), text(effects.value(output)))
        });
        let produced = produced.collect();
        effects.clear();
        produced
    }

    fn commit(&mut self) {
        self.task.state().publish_changelog(|_| Ok::<_, ()>(())).unwrap();
        let (positions, stream_time) = (self.task.positions(), Some(self.task.stream_time()));
        self.task.state().commit(&Commit { positions: &positions, stream_time, ..Commit::default() }).unwrap();
        self.task.committed(&positions);
    }

    /// A new task over what was committed, as after a restart.
    fn restart(self) -> Bench {
        let mut state = self.task.into_state();
        state.drop_staged();
        Bench { task: task(&self.topology, Some(state)), ..self }
    }
}

fn stream(name: &str, millis: u64) -> Punctuator {
    Punctuator::stream_time(name, Duration::from_millis(millis))
}

fn wall(name: &str, millis: u64) -> Punctuator {
    Punctuator::wall_clock(name, Duration::from_millis(millis))
}

#[test]
fn r27_a_tick_of_stream_time_comes_before_the_record_that_reaches_it() {
    let mut bench = bench(vec![stream("s", 10)]);
    assert_eq!(bench.send(3, "a", "1"), ["a: 1"], "the counting begins");
    assert_eq!(bench.send(12, "b", "2"), ["b: 2"]);
    assert_eq!(bench.send(13, "c", "3"), ["s: a in 13+0", "s: b in 13+0", "s: 13+0", "c: 3"]);
    assert_eq!(bench.send(5, "late", "4"), ["late: 4"]);
    assert_eq!(bench.send(-1, "without a timestamp", "5").len(), 1);
    assert_eq!(bench.send(22, "d", "6").len(), 1);
    assert_eq!(bench.look(1_000_000), [""; 0], "the wall clock is not its clock");
}

#[test]
fn r27_a_jump_over_several_ticks_gives_one_call_and_the_ticks_stay_where_they_are() {
    let mut bench = bench(vec![stream("s", 10)]);
    bench.send(0, "a", "1");
    assert_eq!(bench.send(57, "b", "2"), ["s: a in 50+4", "s: 50+4", "b: 2"]);
    assert_eq!(bench.send(59, "c", "3"), ["c: 3"]);
    assert_eq!(bench.send(60, "d", "4")[..1], ["s: b in 60+0"]);
}

#[test]
fn several_punctuators_are_called_in_the_order_of_their_ticks() {
    let mut bench =
        bench(vec![stream("slow", 100), stream("quick", 30), stream("equal", 50).anchored_at(Timestamp(0))]);
    bench.send(0, "a", "1");
    let ticks = bench.send(100, "b", "2");
    assert_eq!(ticks, ["quick: a in 90+2", "quick: 90+2", "slow: 100+0", "equal: 100+1", "b: 2"]);
}

#[test]
fn kip_1146_an_anchored_one_ticks_on_its_anchor_wherever_it_began() {
    let mut bench = bench(vec![stream("s", 10).anchored_at(Timestamp(5)), wall("w", 1000).anchored_at(Timestamp(250))]);
    assert_eq!(bench.send(17, "a", "1"), ["a: 1"], "nothing was there before");
    assert_eq!(bench.send(25, "b", "2"), ["s: a in 25+0", "s: 25+0", "b: 2"]);
    assert_eq!(bench.look(99_999), [""; 0]);
    assert_eq!(bench.task.next_wall_clock_tick(), Timestamp(100_250));
    assert_eq!(bench.look(102_400), ["w: b in 102250+2", "w: 102250+2"]);
}

#[test]
fn r27_wall_clock_ticks_need_no_record_and_are_not_made_up_one_by_one() {
    let mut bench = bench(vec![wall("w", 10)]);
    assert_eq!(bench.look(1000), [""; 0], "the counting begins");
    assert_eq!(bench.look(1009), [""; 0]);
    assert_eq!(bench.task.next_wall_clock_tick(), Timestamp(1010));
    assert_eq!(bench.look(1012), ["w: 1010+0"]);
    assert_eq!(bench.look(1055), ["w: 1050+3"]);
    assert_eq!(bench.look(900), [""; 0], "a clock that is set back repeats nothing");
    assert!(bench.task.positions().is_empty(), "no record has passed");
}

#[test]
fn r8_a_wall_clock_tick_that_does_nothing_leaves_nothing() {
    let mut bench = bench(vec![wall("w", 10)]);
    bench.look(0);
    bench.deeds.lock().unwrap().push_back(Deed::Nothing);
    assert_eq!(bench.look(10), [""; 0]);
    assert!(matches!(bench.calls[..], [Punctuated { outcome: TickOutcome::Nothing, .. }]), "{:?}", bench.calls);
    assert!(bench.task.state().is_clean(), "there would be a transaction over nothing");
    assert_eq!(bench.look(20), ["w: 20+0"], "it was there all the same: none was missed");
    assert!(!bench.task.state().is_clean(), "with its effects the tick is remembered");
}

#[test]
fn r27_a_committed_tick_is_not_fired_again_and_an_aborted_one_is() {
    let mut bench = bench(vec![stream("s", 10), wall("w", 100)]);
    bench.look(1000);
    bench.send(0, "a", "1");
    bench.commit();
    let ticks = [bench.send(10, "b", "2"), bench.look(1100)].concat();
    assert_eq!(ticks, ["s: a in 10+0", "s: 10+0", "b: 2", "w: b in 1100+0", "w: 1100+0"]);
    bench.task.rewind();
    assert_eq!([bench.send(10, "b", "2"), bench.look(1100)].concat(), ticks, "aborted: again, and the same");
    bench.commit();
    bench.task.rewind();
    assert_eq!(bench.send(11, "c", "3"), ["c: 3"], "committed: not again");
    assert_eq!(bench.look(1150), [""; 0]);
    bench.commit();
    let mut bench = bench.restart();
    assert_eq!(bench.look(1199), [""; 0], "nor after a restart");
    assert_eq!(bench.send(19, "d", "4"), ["d: 4"]);
    assert_eq!(bench.look(1420), ["w: c in 1400+2", "w: d in 1400+2", "w: 1400+2"], "one call for who was not there");
}

#[test]
fn ticks_that_did_nothing_do_not_hide_an_aborted_one() {
    let mut bench = bench(vec![wall("w", 10)]);
    bench.look(0);
    bench.commit();
    assert_eq!(bench.look(10), ["w: 10+0"]);
    bench.deeds.lock().unwrap().push_back(Deed::Nothing);
    bench.look(20);
    bench.task.rewind();
    assert_eq!(bench.look(21), ["w: 20+1"], "what it did at 10 was aborted, and at 20 it relied on it");
}

#[test]
fn a_commit_that_reached_the_changelog_only_is_known_by_its_ticks() {
    let mut bench = bench(vec![stream("s", 10)]);
    bench.send(0, "a", "1");
    bench.commit();
    bench.send(35, "b", "2");
    // As a restore brings the stores up to the changelog, while `__meta` is of the commit before.
    let mut records = Vec::new();
    let copy = |write: crate::store::StagedWrite<'_>| {
        records.push((write.store, write.key.to_vec(), write.value.map(<[u8]>::to_vec)));
        Ok::<_, ()>(())
    };
    bench.task.state().publish_changelog(copy).unwrap();
    let mut bench = bench.restart();
    for (store, key, value) in &records {
        bench.task.state().restore(*store, [(key.as_slice(), value.as_deref())], Offset(1)).unwrap();
    }
    assert_eq!(bench.send(33, "c", "3"), ["c: 3"], "the tick at 30 has been");
    assert_eq!(bench.task.stream_time(), Timestamp(33));
    assert_eq!(bench.send(40, "d", "4")[..1], ["s: b in 40+0"]);
}

#[test]
fn a_failing_tick_is_tried_as_a_record_is_and_leaves_only_its_dead_letter() {
    for (deed, class, attempts) in
        [(Deed::Reject, "rejected", 3), (Deed::Panic, "panic", 3), (Deed::Large, "output-too-large", 1)]
    {
        let mut bench = bench(vec![wall("w", 10)]);
        bench.look(0);
        bench.send(0, "a", "1");
        bench.deeds.lock().unwrap().extend(vec![deed; 3]);
        bench.tick(Clock::WallClock, Timestamp(10), Timestamp(10)).unwrap();
        let headers = bench.task.effects().outputs()[0].headers.clone();
        let header = |name| String::from_utf8(headers.last(name).unwrap().to_vec()).unwrap();
        assert_eq!(bench.take(), ["dead clock/w: null"], "{deed:?}");
        assert_eq!((header(names::CLASS), header(names::ATTEMPTS)), (class.to_owned(), attempts.to_string()));
        assert_eq!((header(names::PUNCTUATOR), header(names::TICK)), ("clock/w".to_owned(), "10".to_owned()));
        assert_eq!(header(names::TASK), "app/0_3");
        bench.commit();
        let mut bench = bench.restart();
        bench.deeds.lock().unwrap().clear();
        assert_eq!(bench.look(15), [""; 0], "{deed:?}: the dead letter says what became of it, once");
        assert_eq!(bench.look(20), ["w: a in 20+0", "w: 20+0"], "{deed:?}: the next tick is the next chance");
    }
}

#[test]
fn a_second_attempt_of_a_tick_counts_once() {
    let mut bench = bench(vec![stream("s", 10)]);
    bench.send(0, "a", "1");
    bench.deeds.lock().unwrap().push_back(Deed::Reject);
    assert_eq!(bench.send(10, "b", "2"), ["s: a in 10+0", "s: 10+0", "b: 2"]);
}

#[test]
fn a_tick_that_is_half_done_is_set_aside_with_its_effects() {
    let mut bench = bench(vec![wall("w", 10)]);
    bench.look(0);
    bench.deeds.lock().unwrap().push_back(Deed::Half);
    assert_eq!(bench.look(10), ["w: 10+0", "dead clock/w: null"]);
}

#[test]
fn without_dead_letters_a_failing_tick_is_a_fault_and_stays_due() {
    let mut bench = bench_with(vec![wall("w", 10)], None);
    bench.look(0);
    bench.deeds.lock().unwrap().push_back(Deed::Panic);
    let fault = bench.task.punctuate(Clock::WallClock, Timestamp(10), NOW).unwrap_err();
    assert!(matches!(&fault, TaskFault::UnhandledTick { name, at: Timestamp(10), .. } if name == "clock/w"), "{fault}");
    assert!(bench.take().is_empty() && bench.task.state().is_clean());
    assert_eq!(bench.look(10), ["w: 10+0"]);
}

#[test]
fn what_a_target_refused_is_set_aside_when_the_tick_comes_again() {
    let mut bench = bench(vec![wall("w", 10), wall("other", 10)]);
    bench.look(0);
    assert_eq!(bench.look(10), ["w: 10+0", "other: 10+0"]);
    bench.task.refuse_tick("clock/w", RecordError::new(Stage::External, "refused", "no"));
    bench.task.rewind();
    assert_eq!(bench.look(21), ["dead clock/w: null", "other: 20+1"], "by now it is a later tick");
    bench.task.rewind();
    assert_eq!(bench.look(21), ["dead clock/w: null", "other: 20+1"], "as long as it is not committed");
    bench.commit();
    assert_eq!(bench.look(30), ["w: 30+0", "other: 30+0"]);
}

#[test]
fn a_cancelled_punctuator_is_silent_until_it_is_resumed_over_restarts_too() {
    let mut bench = bench(vec![stream("s", 10), wall("w", 10)]);
    bench.look(1000);
    bench.send(0, "cancel and fail", "s");
    assert_eq!(bench.send(10, "a", "1").len(), 2, "the failed record has cancelled nothing");
    bench.send(11, "cancel", "s");
    bench.send(11, "cancel", "w");
    bench.take();
    assert_eq!([bench.send(45, "b", "2"), bench.look(1500)].concat(), ["b: 2"]);
    bench.commit();
    let mut bench = bench.restart();
    assert_eq!([bench.send(46, "c", "3"), bench.look(1600)].concat(), ["c: 3"]);
    bench.send(47, "resume", "s");
    bench.take();
    // Its clock was at 46 when the record came that resumed it.
    assert_eq!(bench.send(55, "d", "4"), ["d: 4"]);
    assert_eq!(bench.send(56, "e", "5").last().unwrap(), "e: 5");
    assert_eq!(bench.calls.last().unwrap().at, Timestamp(56));
    bench.deeds.lock().unwrap().push_back(Deed::Cancel);
    assert_eq!(bench.send(66, "f", "6").len(), 3, "it cancels itself, and what it did stands");
    assert_eq!(bench.send(90, "g", "7"), ["g: 7"]);
}

#[test]
fn a_punctuator_that_is_not_there_can_not_be_cancelled() {
    let mut bench = bench(vec![stream("s", 10)]);
    assert_eq!(bench.send(0, "cancel", "t"), ["dead cancel: t"]);
}

#[test]
fn a_task_without_punctuators_is_never_due() {
    let mut bench = bench(Vec::new());
    assert!(!bench.task.is_due(Timestamp(i64::MAX - 1)));
    assert_eq!(bench.task.next_wall_clock_tick(), Timestamp(i64::MAX));
    bench.task.rewind();
    assert!(!bench.task.is_due(Timestamp(0)));
    assert_eq!(bench.topology.stores().len(), 1, "and has no store for their ticks");
}

proptest! {
    /// Whatever is aborted between, what is committed is what a run without aborts gives.
    #[test]
    fn r27_stream_time_is_the_same_under_replay(
        times in prop::collection::vec(-1_i64..400, 1..60),
        aborts in prop::collection::vec(any::<bool>(), 60),
        batch in 1_usize..8,
    ) {
        let punctuators = || vec![stream("s", 7), stream("anchored", 50).anchored_at(Timestamp(13))];
        let send = |bench: &mut Bench, number: usize| bench.send(times[number], &format!("{number:02}"), "x");
        let mut plain = bench(punctuators());
        let expected: Vec<String> = (0..times.len()).flat_map(|number| send(&mut plain, number)).collect();
        let mut bench = bench(punctuators());
        let (mut produced, mut committed) = (Vec::new(), 0);
        let mut aborts = aborts.into_iter();
        while committed < times.len() {
            let end = times.len().min(committed + batch);
            let open: Vec<String> = (committed..end).flat_map(|number| send(&mut bench, number)).collect();
            if aborts.next() == Some(true) {
                bench.task.rewind();
                continue;
            }
            bench.commit();
            produced.extend(open);
            committed = end;
        }
        prop_assert_eq!(produced, expected);
    }
}
