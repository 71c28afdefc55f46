//! What targets have answered, and what follows from it: done, or parked with everything behind it, or given up.

use std::time::Duration;

use headrace::processor::{Answer, Called, Fault, Processor};
use headrace::record::{Record, Timestamp};
use headrace::store::StoreIndex;

use crate::entry::{Entry, State};
use crate::ledger::{Ask, Clock, Ledger, Out, Step, breaker_of, trip};
use crate::namespace::{Namespace, TargetKind};
use crate::targets::topic::{self, TopicRecord};

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The state of all mutations.
    pub ledger: Ledger,
}

impl Processor for Settle {
    type KeyIn = String;
    type ValueIn = Called<Ask>;
    type KeyOut = String;
    type ValueOut = Step;

    fn stores(&self) -> Vec<StoreIndex> {
        self.ledger.stores()
    }

    fn process(&mut self, record: &Record<String, Called<Ask>>, out: &mut Out<'_>) -> Result<(), Fault> {
        let (lane, Called { value: ask, answer }) = (&record.key, &record.value);
        // Whatever became of the namespace since it was asked.
        let namespace = out.global(&self.ledger.namespaces).read(&ask.entry.mutation.namespace)?.unwrap_or_default();
        match answer {
            Answer::Done(how) => self.done(lane, ask, &namespace, how, out)?,
            Answer::Failed { reason, after } => self.failed(lane, ask, &namespace, (reason, *after), out)?,
            Answer::Refused(reason) => {
                self.ledger.breakers.done(&breaker_of(&ask.entry));
                let entry = tried(ask, Some(reason));
                self.ledger.give_up(entry, &namespace, ask.in_line, out)?;
            }
            Answer::Held => self.held(lane, ask, out)?,
        }
        if !ask.is_last || !ask.in_line || out.lines(&self.ledger.lines).first(lane.as_bytes())?.is_none() {
            return Ok(());
        }
        // All that were asked together are answered, and somebody is left: it is their turn, unless they have to wait.
        let now = out.now().0;
        let clock = if matches!(answer, Answer::Done(_)) { Clock::many(now) } else { Clock::one(now) };
        self.ledger.wake(lane, clock, out)
    }
}

impl Settle {
    fn done(&self, lane: &str, ask: &Ask, namespace: &Namespace, how: &str, out: &mut Out<'_>) -> Result<(), Fault> {
        self.ledger.breakers.done(&breaker_of(&ask.entry));
        let mut entry = tried(ask, None);
        entry.how = Some(how.to_owned());
        if ask.target.kind == TargetKind::Topic {
            let topic = ask.target.address.reveal().to_owned();
            let record = TopicRecord { topic, value: entry.mutation.value.clone() };
            // In the transaction in which it ends (rule W7).
            self.ledger.give(&entry.mutation.key, Step::Written(record), topic::headers(&entry), out);
        }
        if ask.in_line {
            self.ledger.leave(lane, &entry, out)?;
        }
        self.ledger.end(entry, State::Applied, namespace.dedup_window_ms, out)
    }

    /// Parks it: it is tried again after a while, and those of its lane come after it (M8).
    fn failed(
        &self,
        lane: &str,
        ask: &Ask,
        namespace: &Namespace,
        (reason, after): (&str, Option<Duration>),
        out: &mut Out<'_>,
    ) -> Result<(), Fault> {
        let (mut entry, Timestamp(now)) = (tried(ask, Some(reason)), out.now());
        if self.ledger.breakers.failed(&breaker_of(&entry), trip(namespace), now) {
            out.count("breaker-opened", &entry.mutation.namespace);
        }
        // A region that is away is no fault of the mutation: given up here, the regions would differ for good.
        if entry.attempts >= namespace.retry.max_attempts && ask.target.kind != TargetKind::Region {
            return self.ledger.give_up(entry, namespace, ask.in_line, out);
        }
        let hint = after.map_or(0, |after| i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
        let retry = entry.attempts.saturating_sub(1).unsigned_abs();
        let pause = namespace.retry.backoff().delay(retry, fastrand::f64());
        let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX).max(hint);
        (entry.state, entry.since) = (State::Parked, now);
        out.count(entry.state.name(), &entry.mutation.namespace);
        self.ledger.stand(lane, &entry, ask.in_line, out)?;
        self.ledger.set_clock(lane, Clock::one(now.saturating_add(pause)), out)?;
        self.ledger.write(&entry, out)
    }

    /// One before it was not done: it waits behind it.
    fn held(&self, lane: &str, ask: &Ask, out: &mut Out<'_>) -> Result<(), Fault> {
        let (mut entry, Timestamp(now)) = (ask.entry.clone(), out.now());
        (entry.state, entry.since) = (State::Waiting, now);
        out.count(entry.state.name(), &entry.mutation.namespace);
        if self.ledger.stand(lane, &entry, ask.in_line, out)? {
            // Who was not done is of another lane, or was given up.
            self.ledger.wake(lane, Clock::one(now), out)?;
        }
        self.ledger.write(&entry, out)
    }
}

fn tried(ask: &Ask, reason: Option<&str>) -> Entry {
    let mut entry = ask.entry.clone();
    entry.attempts = entry.attempts.saturating_add(1);
    entry.reason = reason.map(str::to_owned);
    entry
}
