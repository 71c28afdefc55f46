//! Takes mutations in, and asks their targets when their time has come: in the order of their lane, and never before.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use headrace::error::{RecordError, Stage};
use headrace::processor::{Fault, Processor, Punctuator, Tick};
use headrace::record::{Headers, Record, Timestamp};
use headrace::store::StoreIndex;

use crate::due::Due;
use crate::entry::{Action, Command, Entry, State, id};
use crate::input::Input;
use crate::ledger::{Ask, Clock, Ledger, Out, Pace, Step, breaker_of, trip};
use crate::mutation::Mutation;
use crate::namespace::{Namespace, TargetKind};
use crate::number;

/// Timers that are taken in one go: meanwhile no record is looked at. The rest has the next record, or the next tick.
const AT_ONCE: usize = 100;
/// The same where somebody has come for nothing else.
const AT_A_WAKE: usize = 1_000;
/// How long a wake may take to come back, in milliseconds; then there is another one.
const WAKE_MS: i64 = 1_000;
/// How many of a line are asked together.
const OF_A_LINE: usize = 64;
/// How long a line of a paused namespace rests before it is looked at again, in milliseconds.
const PAUSE_MS: i64 = 1_000;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Log {
    /// The state of all mutations.
    pub ledger: Ledger,
    /// How exact times are kept.
    pub tick: Duration,
    /// This region's name; empty where there is no other one.
    pub region: String,
    /// All that is due by then was taken.
    looked: i64,
    /// When the log was last told to wake, until it does.
    woken: Option<i64>,
}

impl Log {
    /// With nothing known of what is due.
    pub fn new(ledger: Ledger, tick: Duration, region: &str) -> Self {
        Log { ledger, tick, region: region.to_owned(), looked: i64::MIN, woken: None }
    }
}

impl Processor for Log {
    type KeyIn = String;
    type ValueIn = Input;
    type KeyOut = String;
    type ValueOut = Step;

    fn stores(&self) -> Vec<StoreIndex> {
        self.ledger.stores()
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        vec![Punctuator::wall_clock("due", self.tick)]
    }

    fn punctuate(&mut self, _: &Tick<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        let Timestamp(now) = out.now();
        let due = self.ledger.timers.take(now, AT_ONCE, out)?;
        due.into_iter().try_for_each(|(at, due)| match due {
            Due::Line(lane) => self.ask_line(at, &lane, out),
            Due::Forget(id) => self.forget(&id, out),
            Due::Version(place) => self.ledger.versions.forget(&place, &self.ledger.timers, out),
            Due::Begin(..) => Ok(()),
        })?;
        self.wake(now, out)
    }

    fn process(&mut self, record: &Record<String, Input>, out: &mut Out<'_>) -> Result<(), Fault> {
        let Input { mutation, command, at } = &record.value;
        let is_wake = command.as_ref().is_some_and(|command| command.action == Action::Wake);
        // What is due by its time is before it (rule W4).
        if *at > self.looked {
            self.begin_due(*at, if is_wake { AT_A_WAKE } else { AT_ONCE }, out)?;
        }
        self.woken = self.woken.filter(|woken| !is_wake && *woken > *at);
        match (mutation, command) {
            (Some(mutation), _) => self.accept(mutation, *at, record.timestamp, out),
            (_, Some(command)) => self.obey(command, out),
            _ => Err(RecordError::new(Stage::Process, "empty", "a record that says nothing").into()),
        }
    }
}

impl Log {
    /// `at`: when it was given its lane; `came`: when it was written.
    fn accept(&mut self, mutation: &Mutation, at: i64, came: Timestamp, out: &mut Out<'_>) -> Result<(), Fault> {
        let namespace = self.namespace(&mutation.namespace, out)?;
        let mut entry = Entry::new(mutation.clone(), out.now().0);
        if out.store(&self.ledger.entries).read(&entry.id())?.is_some() {
            out.count("repeated", &mutation.namespace);
            return Ok(());
        }
        out.count("accepted", &mutation.namespace);
        // Another region has taken it, however long it was on its way.
        let is_own = mutation.version.as_ref().is_none_or(|version| version.region == self.region);
        if let Err(error) = namespace.admit(mutation, if is_own { came.0 } else { mutation.created_at }) {
            entry.reason = Some(error.reason);
            return self.ledger.end(entry, State::Rejected, namespace.dedup_window_ms, out);
        }
        // An operation of a group has its turn now.
        let most = if mutation.group.is_some() { 0 } else { namespace.jitter_ms };
        let due = mutation.due(namespace.delay_ms).saturating_add(jitter(&entry.id(), most));
        let number = number::of_record(out.offset());
        if due > at {
            (entry.state, entry.due, entry.number) = (State::Delayed, Some(due), Some(number));
            out.count(entry.state.name(), &mutation.namespace);
            self.ledger.delays.set(due, &Due::Begin(number, entry.id()), out)?;
            self.looked = self.looked.min(due.saturating_sub(1));
            return self.ledger.write(&entry, out);
        }
        self.arrive(entry, number, &namespace, out)
    }

    fn namespace(&self, name: &str, out: &mut Out<'_>) -> Result<Namespace, Fault> {
        let known = out.global(&self.ledger.namespaces).read(&name.to_owned())?;
        Ok(known.ok_or_else(|| Namespace::unknown(name))?)
    }

    /// Its time has come: it is asked, or stands in line.
    fn arrive(&self, mut entry: Entry, number: i64, namespace: &Namespace, out: &mut Out<'_>) -> Result<(), Fault> {
        let (ledger, lane, Timestamp(now)) = (&self.ledger, entry.lane(), out.now());
        (entry.number, entry.since, entry.due) = (Some(number), now, None);
        // Another region keeps versions of its own.
        if namespace.target(entry.target()).is_some_and(|target| target.kind != TargetKind::Region)
            && let Some(conflict) = ledger.versions.judge(&entry, namespace, &ledger.timers, out)?
        {
            return ledger.supersede(entry, conflict, namespace.dedup_window_ms, out);
        }
        let is_first = out.lines(&ledger.lines).first(lane.as_bytes())?.is_none();
        let rests = if is_first { self.rests_until(&entry, namespace, now) } else { None };
        if !is_first || rests.is_some() {
            entry.state = State::Waiting;
            out.count(entry.state.name(), &entry.mutation.namespace);
            ledger.stand(&lane, &entry, false, out)?;
            if let Some(until) = rests {
                ledger.wake(&lane, Clock::one(until), out)?;
            }
            return ledger.write(&entry, out);
        }
        self.ask(&lane, entry, namespace, (false, false, true), out)
    }

    /// Until when the target is left alone, if it is.
    fn rests_until(&self, entry: &Entry, namespace: &Namespace, now: i64) -> Option<i64> {
        if namespace.paused {
            return Some(now.saturating_add(PAUSE_MS));
        }
        let trip = trip(namespace);
        let until = self.ledger.breakers.open_until(&breaker_of(entry), trip, now)?;
        // Not all lines at once.
        Some(until.saturating_add(fastrand::i64(0..=trip.open_ms.max(0))))
    }

    fn ask(
        &self,
        lane: &str,
        mut entry: Entry,
        namespace: &Namespace,
        (in_line, anew, is_last): (bool, bool, bool),
        out: &mut Out<'_>,
    ) -> Result<(), Fault> {
        let Some(target) = namespace.target(entry.target()).cloned() else {
            entry.reason = Some(format!("the namespace has no target {} any more", entry.target()));
            self.ledger.give_up(entry, namespace, in_line, out)?;
            return if is_last { self.go_on(lane, out) } else { Ok(()) };
        };
        entry.state = State::Asked;
        self.ledger.write(&entry, out)?;
        let ask = Ask { entry, target, in_line, anew, is_last };
        self.ledger.give(lane, Step::Ask(Box::new(ask)), Headers::new(), out);
        Ok(())
    }

    /// A line goes on, if anybody is left in it.
    fn go_on(&self, lane: &str, out: &mut Out<'_>) -> Result<(), Fault> {
        let now = out.now().0;
        match out.lines(&self.ledger.lines).first(lane.as_bytes())? {
            Some(_) => self.ledger.wake(lane, Clock::one(now), out),
            None => Ok(()),
        }
    }

    /// Begins those that are due at a time, `most` of them: their numbers are before that of the record in hand.
    fn begin_due(&mut self, at: i64, most: usize, out: &mut Out<'_>) -> Result<(), Fault> {
        let due = self.ledger.delays.take(at, most, out)?;
        // What is left is due, too.
        self.looked = if due.len() < most { at } else { i64::MIN };
        due.into_iter().enumerate().try_for_each(|(place, (at, due))| match due {
            Due::Begin(_, id) => self.begin(at, &id, number::of_due(out.offset(), place), out),
            Due::Line(_) | Due::Forget(_) | Due::Version(_) => Ok(()),
        })
    }

    /// Has something come in whose time is late enough for the first that is due by now: without that its turn does not come. What is
    /// written goes the way of all that comes in, since its place there is what counts.
    fn wake(&mut self, now: i64, out: &mut Out<'_>) -> Result<(), Fault> {
        if self.woken.is_some_and(|woken| now < woken.saturating_add(WAKE_MS)) {
            return Ok(());
        }
        let Some(timer) = out.timers(&self.ledger.delays.0).first()? else { return Ok(()) };
        let entry = match Due::decode(&timer.of) {
            Some(Due::Begin(_, id)) => out.store(&self.ledger.entries).read(&id)?,
            _ => None,
        };
        // Nobody's, and it must not stand before all others.
        let Some(entry) = entry else { return out.timers(&self.ledger.delays.0).cancel(timer.at, &timer.of) };
        self.woken = Some(now);
        let (namespace, token, target) =
            (entry.mutation.namespace.clone(), entry.mutation.token.clone(), entry.target().to_owned());
        let command = Command { namespace, token, target, action: Action::Wake };
        self.ledger.give(&entry.lane(), Step::Wake(command), Headers::new(), out);
        Ok(())
    }

    fn begin(&self, at: i64, id: &str, number: i64, out: &mut Out<'_>) -> Result<(), Fault> {
        let entry = out.store(&self.ledger.entries).read(&id.to_owned())?;
        let Some(entry) = entry.filter(|entry| entry.state == State::Delayed && entry.due == Some(at)) else {
            return Ok(());
        };
        match self.namespace(&entry.mutation.namespace, out) {
            Ok(namespace) => self.arrive(entry, number, &namespace, out),
            Err(Fault::Record(error)) => self.without_namespace(entry, &error, out),
            Err(fault) => Err(fault),
        }
    }

    /// The namespace was taken away meanwhile: it is given up, and kept where all is kept that is given up.
    fn without_namespace(&self, mut entry: Entry, error: &RecordError, out: &mut Out<'_>) -> Result<(), Fault> {
        entry.reason = Some(error.reason.clone());
        self.ledger.end(entry, State::Exhausted, Namespace::default().dedup_window_ms, out)
    }

    /// Asks for the first one of a line, or for as many as there are: behind one that is not done the others are held.
    fn ask_line(&self, at: i64, lane: &str, out: &mut Out<'_>) -> Result<(), Fault> {
        let ledger = &self.ledger;
        let Some(Clock { pace, .. }) = ledger.clock(lane, out)?.filter(|clock| clock.at == at) else { return Ok(()) };
        out.store(&ledger.clocks).write(&lane.to_owned(), None)?;
        let most = if pace == Pace::Many { OF_A_LINE } else { 1 };
        let front = out.lines(&ledger.lines).front(lane.as_bytes(), most)?;
        let mut entries = Vec::with_capacity(front.len());
        for (number, id) in front {
            let id = String::from_utf8(id).unwrap_or_default();
            match out.store(&ledger.entries).read(&id)? {
                Some(entry) if entry.state.is_in_line() => entries.push(entry),
                // Nobody is there.
                _ => _ = out.lines(&ledger.lines).leave(lane.as_bytes(), number)?,
            }
        }
        let Some(first) = entries.first() else { return self.go_on(lane, out) };
        let namespace = match self.namespace(&first.mutation.namespace, out) {
            Ok(namespace) => namespace,
            Err(Fault::Record(error)) => {
                for entry in entries {
                    ledger.leave(lane, &entry, out)?;
                    self.without_namespace(entry, &error, out)?;
                }
                return self.go_on(lane, out);
            }
            Err(fault) => return Err(fault),
        };
        if let Some(until) = self.rests_until(first, &namespace, out.now().0) {
            return ledger.wake(lane, Clock { at: until, pace }, out);
        }
        let last = entries.len() - 1;
        let places = entries.into_iter().enumerate();
        places
            .into_iter()
            .try_for_each(|(at, entry)| self.ask(lane, entry, &namespace, (true, at == 0, at == last), out))
    }

    fn forget(&self, id: &str, out: &mut Out<'_>) -> Result<(), Fault> {
        let id = id.to_owned();
        match out.store(&self.ledger.entries).read(&id)? {
            Some(entry) if entry.state.is_end() => out.store(&self.ledger.entries).write(&id, None),
            _ => Ok(()),
        }
    }

    /// Somebody wants something of a mutation. One that the target is being asked for is too late to be taken back (rule W6).
    fn obey(&self, command: &Command, out: &mut Out<'_>) -> Result<(), Fault> {
        let (ledger, now) = (&self.ledger, out.now().0);
        let id = id(&command.namespace, &command.token, &command.target);
        let Some(mut entry) = out.store(&ledger.entries).read(&id)? else { return Ok(()) };
        let (lane, in_line) = (entry.lane(), entry.state.is_in_line());
        match command.action {
            Action::Cancel if in_line || entry.state == State::Delayed => {
                if let Some(due) = entry.due {
                    ledger.delays.cancel(due, &Due::Begin(entry.number.unwrap_or_default(), id), out)?;
                }
                let was_first = self.is_first(&lane, &entry, out)?;
                if in_line {
                    ledger.leave(&lane, &entry, out)?;
                }
                if was_first && ledger.clock(&lane, out)?.is_some() {
                    ledger.set_clock(&lane, Clock::one(now), out)?;
                }
                let remember = self.namespace(&command.namespace, out).unwrap_or_default().dedup_window_ms;
                ledger.end(entry, State::Cancelled, remember, out)
            }
            Action::Retry if matches!(entry.state, State::Parked | State::Halted) => {
                (entry.state, entry.attempts, entry.since) = (State::Waiting, 0, now);
                ledger.write(&entry, out)?;
                ledger.set_clock(&lane, Clock::one(now), out)
            }
            Action::Cancel | Action::Retry | Action::Wake => Ok(()),
        }
    }

    fn is_first(&self, lane: &str, entry: &Entry, out: &mut Out<'_>) -> Result<bool, Fault> {
        let first = out.lines(&self.ledger.lines).first(lane.as_bytes())?;
        Ok(first.is_some_and(|(number, _)| Some(number) == entry.number))
    }
}

/// The same for the same mutation, whenever it is worked out.
fn jitter(id: &str, most_ms: i64) -> i64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    i64::try_from(hasher.finish() % (most_ms.max(0).unsigned_abs() + 1)).unwrap_or(0)
}
