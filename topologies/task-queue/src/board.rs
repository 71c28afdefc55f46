//! What is known of each task, and what may happen to it next.
//!
//! ```text
//!             ┌────────── another attempt, after its back-off ───────┐
//!             ▼                                                      │
//!  submit ─▶ DELAYED ─ its time comes ─▶ READY ─ outcome ─▶ FAILED? ─┴─▶ DONE, FAILED
//!    └────▶ WAITING ─ it is first of its order key ─▶ …                 CANCELLED, EXPIRED from anywhere; DUPLICATE at once
//! ```
//!
//! All of it is state of one task of the topology, changed in the transaction that reads the cause and writes the effects. So
//! an attempt is handed out once, and a task ends once: an outcome of any other attempt than the one under way is void, be it
//! late, or told twice by handlers of whom one had lost the record to the other.

use std::sync::Arc;

use headrace::processor::{Context, Fault};
use headrace::record::{Headers, Record, Timestamp};
use headrace::store::{Lines, Store, StoreIndex};

use crate::rules::Rules;
use crate::tasks::{Action, Command, Entry, Outcome, OutcomeKind, Over, ReadyTask, State, Stop, Task, TaskResult};
use crate::timers::{Due, Timer, Timers};

/// What leaves.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An attempt may begin.
    Ready(ReadyTask),
    /// An attempt that went by a gate is not with the handlers any more, whatever they make of it.
    Over(Over),
    /// Attempts up to this one are not wanted any more; without one nothing need be known of the task.
    Stop(Option<Stop>),
    /// A task has ended.
    Ended(TaskResult),
}

/// A processor's context here.
pub type Out<'a> = Context<'a, String, Event>;

/// The state of all tasks of a partition.
#[derive(Clone)]
pub struct Board {
    /// By id.
    pub tasks: Store<String, Entry>,
    /// By order key: who comes after whom.
    pub places: Lines,
    /// What is to happen when.
    pub timers: Timers,
    /// Unique key to the id that has it.
    pub unique: Store<String, String>,
    /// What holds for all.
    pub rules: Arc<Rules>,
}

impl Board {
    /// The stores.
    pub fn stores(&self) -> Vec<StoreIndex> {
        vec![self.tasks.index(), self.places.index(), self.timers.0.index(), self.unique.index()]
    }

    /// A task was submitted.
    ///
    /// # Errors
    /// It can't be one, or a store failed.
    pub fn submit(&self, task: &Task, out: &mut Out<'_>) -> Result<(), Fault> {
        self.rules.check(task, out.now())?;
        if out.store(&self.tasks).read(&task.id)?.is_some() {
            out.count("repeated", &task.queue);
            return Ok(());
        }
        out.count("submitted", &task.queue);
        let entry = Entry {
            task: task.clone(),
            state: State::Waiting,
            attempt: 0,
            attempts_before: 0,
            due: None,
            place: None,
            since: out.now().0,
            error: None,
            result: None,
            progress: None,
            gated: false,
        };
        if let Some(unique) = &task.unique_key {
            if let Some(first) = out.store(&self.unique).read(unique)? {
                return self.end(entry, State::Duplicate, Some(first), out);
            }
            out.store(&self.unique).write(unique, Some(&task.id))?;
        }
        if let Some(deadline) = task.deadline {
            if deadline <= out.now().0 {
                return self.end(entry, State::Expired, None, out);
            }
            self.timers.set(deadline, Due::Expire, &task.id, out)?;
        }
        self.line_up(entry, out)
    }

    /// A handler has spoken of an attempt.
    ///
    /// # Errors
    /// A store failed.
    pub fn hear(&self, outcome: &Outcome, out: &mut Out<'_>) -> Result<(), Fault> {
        let Some(mut entry) = out.store(&self.tasks).read(&outcome.id)? else { return Ok(()) };
        if entry.state != State::Ready || entry.attempt != outcome.attempt {
            return Ok(());
        }
        entry.progress = outcome.progress.or(entry.progress);
        entry.error.clone_from(&outcome.error);
        match outcome.kind {
            OutcomeKind::Progress => self.write(&entry, out),
            OutcomeKind::Done => {
                entry.result.clone_from(&outcome.result);
                self.end(entry, State::Done, None, out)
            }
            OutcomeKind::Failed if entry.tried() < self.rules.attempts(&entry.task) => {
                out.count("retried", &entry.task.queue);
                let due = out.now().0.saturating_add(self.rules.backoff(&entry.task.id, entry.tried()));
                self.delay(entry, due, out)
            }
            OutcomeKind::Failed | OutcomeKind::Refused => self.end(entry, State::Failed, None, out),
        }
    }

    /// Somebody wants something of a task.
    ///
    /// # Errors
    /// A store failed.
    pub fn obey(&self, command: &Command, out: &mut Out<'_>) -> Result<(), Fault> {
        let Some(mut entry) = out.store(&self.tasks).read(&command.id)? else { return Ok(()) };
        match command.action {
            Action::Cancel if !entry.state.is_end() => self.end(entry, State::Cancelled, None, out),
            Action::Retry if entry.state == State::Failed => {
                self.timers.cancel(self.forgotten_at(&entry), Due::Forget, &command.id, out)?;
                (entry.attempts_before, entry.error, entry.task.deadline) = (entry.attempt, None, None);
                self.line_up(entry, out)
            }
            Action::Cancel | Action::Retry => Ok(()),
        }
    }

    /// Does what is due by now; what is left is for the next tick.
    ///
    /// # Errors
    /// A store failed.
    pub fn tick(&self, out: &mut Out<'_>) -> Result<(), Fault> {
        self.timers.take(out)?.into_iter().try_for_each(|timer| self.fire(timer, out))
    }

    fn fire(&self, Timer { at, due, id }: Timer, out: &mut Out<'_>) -> Result<(), Fault> {
        let Some(entry) = out.store(&self.tasks).read(&id)? else { return Ok(()) };
        match due {
            Due::Begin if entry.state == State::Delayed && entry.due == Some(at) => self.ready(entry, out),
            Due::Expire if !entry.state.is_end() => self.end(entry, State::Expired, None, out),
            Due::Forget if entry.state.is_end() => self.forget(&entry, out),
            Due::Begin | Due::Expire | Due::Forget => Ok(()),
        }
    }

    /// Puts a task of an order key at the end of its line; it begins if that is the beginning, too.
    fn line_up(&self, mut entry: Entry, out: &mut Out<'_>) -> Result<(), Fault> {
        if let Some(order_key) = &entry.task.order_key {
            let place = out.lines(&self.places).join(order_key.as_bytes(), entry.task.id.as_bytes())?;
            entry.place = Some(place.number);
            if !place.is_first {
                (entry.state, entry.since) = (State::Waiting, out.now().0);
                out.count(entry.state.event(), &entry.task.queue);
                return self.write(&entry, out);
            }
        }
        self.begin(entry, out)
    }

    fn begin(&self, entry: Entry, out: &mut Out<'_>) -> Result<(), Fault> {
        match entry.task.not_before.filter(|at| *at > out.now().0) {
            Some(at) => self.delay(entry, at, out),
            None => self.ready(entry, out),
        }
    }

    fn delay(&self, mut entry: Entry, due: i64, out: &mut Out<'_>) -> Result<(), Fault> {
        self.take_back(&entry, out);
        self.timers.set(due, Due::Begin, &entry.task.id, out)?;
        (entry.state, entry.due, entry.since) = (State::Delayed, Some(due), out.now().0);
        out.count(entry.state.event(), &entry.task.queue);
        self.write(&entry, out)
    }

    fn ready(&self, mut entry: Entry, out: &mut Out<'_>) -> Result<(), Fault> {
        if let Err(error) = self.rules.check_queue(&entry.task) {
            // It was configured when the task came.
            entry.error = Some(error.reason);
            return self.end(entry, State::Failed, None, out);
        }
        (entry.state, entry.due, entry.since) = (State::Ready, None, out.now().0);
        (entry.attempt, entry.progress) = (entry.attempt + 1, None);
        entry.gated = self.rules.limited.contains(&entry.task.queue);
        self.write(&entry, out)?;
        out.count(entry.state.event(), &entry.task.queue);
        let lane = entry.task.lane().to_owned();
        self.give(&entry, Event::Ready(ReadyTask { task: entry.task.clone(), attempt: entry.attempt, lane }), out);
        Ok(())
    }

    /// The task's only end. `other`: the one whose duplicate it is.
    fn end(&self, mut entry: Entry, state: State, other: Option<String>, out: &mut Out<'_>) -> Result<(), Fault> {
        let (id, now) = (entry.task.id.clone(), out.now());
        self.take_back(&entry, out);
        if entry.state == State::Ready && matches!(state, State::Cancelled | State::Expired) {
            self.give(&entry, Event::Stop(Some(Stop { attempt: entry.attempt })), out);
        }
        if let Some(due) = entry.due.take() {
            self.timers.cancel(due, Due::Begin, &id, out)?;
        }
        if let Some(deadline) = entry.task.deadline {
            self.timers.cancel(deadline, Due::Expire, &id, out)?;
        }
        (entry.state, entry.since) = (state, now.0);
        out.count(state.event(), &entry.task.queue);
        if state != State::Failed {
            // A failed one may be wanted again.
            entry.task.payload = Vec::new();
        }
        self.timers.set(self.forgotten_at(&entry), Due::Forget, &id, out)?;
        let place = entry.place.take();
        self.write(&entry, out)?;
        let Entry { ref task, ref result, ref error, attempt, .. } = entry;
        let ended = TaskResult {
            id,
            queue: task.queue.clone(),
            state,
            result: result.clone(),
            error: error.clone().filter(|_| state == State::Failed),
            attempts: attempt,
            ended: now.0,
            duplicate_of: other,
            trace: task.trace.clone(),
        };
        self.give(&entry, Event::Ended(ended), out);
        match (&entry.task.order_key, place) {
            (Some(order_key), Some(place)) => self.make_way(order_key, place, out),
            _ => Ok(()),
        }
    }

    /// Tells the gate, if it went there, that the attempt under way is no more.
    fn take_back(&self, entry: &Entry, out: &mut Out<'_>) {
        if entry.state == State::Ready && entry.gated {
            let (id, attempt) = (entry.task.id.clone(), entry.attempt);
            self.give(entry, Event::Over(Over { id, attempt, queue: entry.task.queue.clone() }), out);
        }
    }

    /// The next one of an order key begins, if the place was the first one's.
    fn make_way(&self, order_key: &str, number: i64, out: &mut Out<'_>) -> Result<(), Fault> {
        let next = out.lines(&self.places).leave(order_key.as_bytes(), number)?;
        let Some(id) = next.and_then(|(_, id)| String::from_utf8(id).ok()) else { return Ok(()) };
        match out.store(&self.tasks).read(&id)? {
            Some(entry) if entry.state == State::Waiting => self.begin(entry, out),
            _ => Ok(()),
        }
    }

    fn forget(&self, entry: &Entry, out: &mut Out<'_>) -> Result<(), Fault> {
        out.store(&self.tasks).write(&entry.task.id, None)?;
        if matches!(entry.state, State::Cancelled | State::Expired) && entry.attempt > 0 {
            self.give(entry, Event::Stop(None), out);
        }
        let Some(unique) = &entry.task.unique_key else { return Ok(()) };
        if out.store(&self.unique).read(unique)?.as_ref() == Some(&entry.task.id) {
            out.store(&self.unique).write(unique, None)?;
        }
        Ok(())
    }

    fn forgotten_at(&self, entry: &Entry) -> i64 {
        entry.since.saturating_add(self.rules.remember)
    }

    fn write(&self, entry: &Entry, out: &mut Out<'_>) -> Result<(), Fault> {
        out.store(&self.tasks).write(&entry.task.id, Some(entry))
    }

    fn give(&self, entry: &Entry, event: Event, out: &mut Out<'_>) {
        let Timestamp(now) = out.now();
        let (key, timestamp, headers) = (entry.task.id.clone(), Timestamp(now), Headers::new());
        out.forward(&Record { key, value: event, timestamp, headers });
    }
}
