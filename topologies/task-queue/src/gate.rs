//! Holds back attempts of queues that have limits, until one more may be with the handlers.
//!
//! ```text
//!  schedule ─ ready ─▶ by queue ─▶ gates ─▶ gate (gates, queued, admitted) ─▶ ready-high, ready-normal, ready-low
//!           ─ over ──▶                        one task has all of a queue, so its limits hold for all instances together
//! ```
//!
//! An attempt takes a place when it is handed out, and leaves it when the schedule says that it is over: by its outcome, and
//! also if its task is cancelled or expires. Both are records of one partition, in the order in which they were caused, and what the gate
//! knows is in the transaction that reads them; so the number of places that are taken is never a guess.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headrace::codec::AvroSchema;
use headrace::processor::{Context, Fault, Processor, Punctuator, Tick};
use headrace::record::{Headers, Record};
use headrace::share::Turns;
use headrace::store::{Bounds, GlobalTable, Store, StoreIndex};
use serde::{Deserialize, Serialize};

use crate::board::Event;
use crate::limits::Limits;
use crate::tasks::{Over, Priority, QueueState, ReadyTask};

/// Attempts that are handed out, or forgotten, in one go: meanwhile records of other queues wait. The rest has the next record or tick.
const AT_ONCE: usize = 100;

/// What a gate is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// An attempt may begin.
    pub ready: Option<ReadyTask>,
    /// One is over.
    pub over: Option<Over>,
}

impl AvroSchema for Told {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue-gates-repartition-value.avsc");
}

/// A queue's gate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateState {
    /// Attempts that are with the handlers.
    pub running: i64,
    /// When the next one is due, in microseconds since the epoch.
    pub due: i64,
    /// The number of the next one that comes.
    pub next: i64,
    /// By priority: how many wait.
    pub waiting: Vec<i64>,
    /// By priority: no one with a smaller number waits.
    pub first: Vec<i64>,
    /// By priority: what it has left of its turns.
    pub credit: Vec<i64>,
}

impl AvroSchema for GateState {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue-gates-changelog-value.avsc");
}

/// Gives what gates have to know their queue as key.
#[derive(Debug, Clone)]
pub struct ByQueue {
    /// Limits by queue, of those that have some.
    pub limits: Arc<BTreeMap<String, Limits>>,
}

impl Processor for ByQueue {
    type KeyIn = String;
    type ValueIn = Event;
    type KeyOut = String;
    type ValueOut = Told;

    fn process(
        &mut self,
        record: &Record<String, Event>,
        context: &mut Context<'_, String, Told>,
    ) -> Result<(), Fault> {
        let (queue, told) = match &record.value {
            Event::Ready(ready) if self.limits.contains_key(&ready.task.queue) => {
                (&ready.task.queue, Told { ready: Some(ready.clone()), over: None })
            }
            // What went by the gate is over there, too, though the queue may have no limits any more.
            Event::Over(over) => (&over.queue, Told { ready: None, over: Some(over.clone()) }),
            Event::Ready(_) | Event::Stop(_) | Event::Ended(_) => return Ok(()),
        };
        context.forward(&record.map(queue.clone(), told));
        Ok(())
    }
}

/// See the module's documentation.
#[derive(Clone)]
pub struct Gate {
    /// By queue.
    pub gates: Store<String, GateState>,
    /// Those that wait: `place`.
    pub queued: Store<Vec<u8>, ReadyTask>,
    /// Queue and task (`known`) to attempt and, while it waits, its place.
    pub admitted: Store<Vec<u8>, Vec<u8>>,
    /// What is wanted of queues.
    pub queues: GlobalTable<String, QueueState>,
    /// Limits by queue, of those that have some.
    pub limits: Arc<BTreeMap<String, Limits>>,
    /// All queues that there are.
    pub known: Arc<Vec<String>>,
    /// How exact rates are kept.
    pub tick: Duration,
}

type Out<'a> = Context<'a, String, Event>;

/// What the keys of a queue begin with, and no other's: its length stands before it.
fn head(queue: &str) -> Vec<u8> {
    let length = u32::try_from(queue.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], queue.as_bytes()].concat()
}

/// Where one waits: by queue, priority and number.
fn place(queue: &str, priority: usize, number: i64) -> Vec<u8> {
    let mut key = head(queue);
    key.push(u8::try_from(priority).unwrap_or(u8::MAX));
    key.extend(number.max(0).to_be_bytes());
    key
}

/// Where is kept what is known of a task.
fn known(queue: &str, id: &str) -> Vec<u8> {
    [&head(queue), id.as_bytes()].concat()
}

impl Gate {
    fn open(&self, queue: &String, out: &mut Out<'_>) -> Result<GateState, Fault> {
        let mut gate = out.store(&self.gates).read(queue)?.unwrap_or_default();
        for by_priority in [&mut gate.waiting, &mut gate.first, &mut gate.credit] {
            by_priority.resize(Priority::ALL.len(), 0);
        }
        Ok(gate)
    }

    fn line_up(&self, queue: &str, ready: &ReadyTask, gate: &mut GateState, out: &mut Out<'_>) -> Result<(), Fault> {
        out.count("arrived", queue);
        let priority = Priority::ALL.iter().position(|one| *one == ready.task.priority).unwrap_or(0);
        let place = place(queue, priority, gate.next);
        gate.next += 1;
        gate.waiting[priority] += 1;
        out.store(&self.queued).write(&place, Some(ready))?;
        let attempt = [&ready.attempt.to_be_bytes()[..], &place].concat();
        out.store(&self.admitted).write(&known(queue, &ready.task.id), Some(&attempt))
    }

    fn let_go(&self, queue: &str, over: &Over, gate: &mut GateState, out: &mut Out<'_>) -> Result<(), Fault> {
        let key = known(queue, &over.id);
        let Some(attempt) = out.store(&self.admitted).read(&key)? else { return Ok(()) };
        let Some((number, place)) = attempt.split_first_chunk() else { return Ok(()) };
        if i32::from_be_bytes(*number) != over.attempt {
            return Ok(());
        }
        out.store(&self.admitted).write(&key, None)?;
        match place.get(head(queue).len()) {
            None => gate.running -= 1,
            Some(priority) => {
                gate.waiting[usize::from(*priority).min(Priority::ALL.len() - 1)] -= 1;
                out.store(&self.queued).write(&place.to_vec(), None)?;
            }
        }
        Ok(())
    }

    /// Hands out what may be handed out now.
    fn pump(&self, queue: &String, gate: &mut GateState, out: &mut Out<'_>) -> Result<(), Fault> {
        // Who waits for a queue that is configured no more waits until it is again, or is cancelled.
        if gate.waiting.iter().all(|waiting| *waiting == 0) || !self.known.contains(queue) {
            return Ok(());
        }
        if out.global(&self.queues).read(queue)?.is_some_and(|state| state.paused) {
            return Ok(());
        }
        let limits = self.limits.get(queue).copied().unwrap_or_default();
        let now = out.now().0;
        let mut turns = Turns::new(Priority::ALL.map(Priority::weight)).with_credit(&gate.credit);
        for _ in 0..AT_ONCE {
            if !limits.let_pass(gate.running, gate.due, now) {
                break;
            }
            let Some(priority) = turns.next(|priority| gate.waiting[priority] > 0) else { break };
            let Some((place, ready)) = self.first(queue, priority, gate, out)? else {
                gate.waiting[priority] = 0;
                continue;
            };
            gate.waiting[priority] -= 1;
            gate.running += 1;
            gate.due = limits.passed(gate.due, now);
            out.store(&self.queued).write(&place, None)?;
            let attempt = ready.attempt.to_be_bytes().to_vec();
            out.store(&self.admitted).write(&known(queue, &ready.task.id), Some(&attempt))?;
            out.count("admitted", queue);
            let (key, value) = (ready.task.id.clone(), Event::Ready(ready));
            out.forward(&Record { key, value, timestamp: out.now(), headers: Headers::new() });
        }
        gate.credit = turns.credit();
        Ok(())
    }

    fn first(
        &self,
        queue: &str,
        priority: usize,
        gate: &mut GateState,
        out: &mut Out<'_>,
    ) -> Result<Option<(Vec<u8>, ReadyTask)>, Fault> {
        let (from, to) = (place(queue, priority, gate.first[priority]), place(queue, priority + 1, 0));
        let first = out.store(&self.queued).range(Bounds::between(&from, &to))?.next().transpose()?;
        if let Some(number) = first.as_ref().and_then(|(place, _)| place.last_chunk()) {
            // What is before it is gone: a scan need not pass the tombstones.
            gate.first[priority] = i64::from_be_bytes(*number);
        }
        Ok(first)
    }

    /// Forgets a gate that nobody needs: of a queue without limits, in which nobody waits.
    fn close(&self, queue: &str, out: &mut Out<'_>) -> Result<bool, Fault> {
        let mut left = Vec::new();
        for attempt in out.store(&self.admitted).prefix(&head(queue))?.take(AT_ONCE) {
            left.push(attempt?.0);
        }
        left.iter().try_for_each(|key| out.store(&self.admitted).write(key, None))?;
        Ok(left.len() < AT_ONCE)
    }

    fn turn(&self, queue: &String, out: &mut Out<'_>) -> Result<(), Fault> {
        let before = self.open(queue, out)?;
        let mut gate = before.clone();
        self.pump(queue, &mut gate, out)?;
        let nobody_waits = gate.waiting.iter().all(|waiting| *waiting == 0);
        if !self.limits.contains_key(queue) && nobody_waits && self.close(queue, out)? {
            return out.store(&self.gates).write(queue, None);
        }
        if gate != before { out.store(&self.gates).write(queue, Some(&gate)) } else { Ok(()) }
    }
}

impl Processor for Gate {
    type KeyIn = String;
    type ValueIn = Told;
    type KeyOut = String;
    type ValueOut = Event;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.gates.index(), self.queued.index(), self.admitted.index()]
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        vec![Punctuator::wall_clock("turn", self.tick)]
    }

    fn punctuate(&mut self, _: &Tick<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        let mut queues = Vec::new();
        for gate in out.store(&self.gates).range(Bounds::ALL)? {
            queues.push(gate?.0);
        }
        queues.iter().try_for_each(|queue| self.turn(queue, out))
    }

    fn process(&mut self, record: &Record<String, Told>, out: &mut Out<'_>) -> Result<(), Fault> {
        let queue = &record.key;
        let mut gate = self.open(queue, out)?;
        if let Some(ready) = &record.value.ready {
            self.line_up(queue, ready, &mut gate, out)?;
        }
        if let Some(over) = &record.value.over {
            self.let_go(queue, over, &mut gate, out)?;
        }
        self.pump(queue, &mut gate, out)?;
        out.store(&self.gates).write(queue, Some(&gate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_queue_lie_together_by_priority_and_number() {
        let mut places = Vec::new();
        for queue in ["a", "b", "ab", "a\0"] {
            for (priority, number) in [(0, 0), (0, 255), (0, 256), (1, 1), (2, 0)] {
                places.push((head(queue), place(queue, priority, number)));
            }
        }
        assert!(places.chunks(5).all(|own| own.is_sorted_by_key(|(_, place)| place)));
        for (head, _) in &places {
            let own = places.iter().filter(|(_, place)| place.starts_with(head));
            assert!(own.clone().count() == 5 && own.into_iter().all(|(other, _)| other == head));
        }
    }
}
