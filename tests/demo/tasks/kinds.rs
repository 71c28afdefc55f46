//! The kinds of tasks, what each has to come to, and who submits them.

use std::time::Duration;

use chaos::queue::ground::{Ground, Records, now};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use task_queue::tasks::{State, Task, TaskResult};

use crate::Result;

/// Time for the broker to have all that was submitted.
const FLUSH: Duration = Duration::from_secs(30);
/// How long scheduled tasks are put off, in milliseconds.
const DELAY_MS: std::ops::Range<i64> = 1_000..10_000;
/// Submissions between two slow tasks, in seconds of the rate.
const SLOW_SECONDS: u64 = 2;

/// A kind of tasks; the scripts in `topologies/task-queue/examples` have the handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Done at once.
    Fast,
    /// Longer than a lease lasts.
    Slow,
    /// Fails two times.
    Flaky,
    /// Is refused.
    Broken,
    /// Not before its time.
    Scheduled,
}

/// A task that was submitted.
#[derive(Debug, Clone)]
pub(crate) struct Submitted {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// When, in milliseconds since the epoch; so are all times here.
    pub(crate) at: i64,
    pub(crate) not_before: Option<i64>,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [Kind::Fast, Kind::Slow, Kind::Flaky, Kind::Broken, Kind::Scheduled];

    /// As handlers know it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Fast => "fast",
            Kind::Slow => "slow",
            Kind::Flaky => "flaky",
            Kind::Broken => "broken",
            Kind::Scheduled => "scheduled",
        }
    }

    fn nth(number: u64, rate: u64) -> Kind {
        match number % 20 {
            _ if number.is_multiple_of(rate * SLOW_SECONDS) => Kind::Slow,
            17 | 18 => Kind::Scheduled,
            14..17 => Kind::Flaky,
            19 => Kind::Broken,
            _ => Kind::Fast,
        }
    }

    fn queue(self) -> &'static str {
        if self == Kind::Slow { "reports" } else { "mail" }
    }

    /// Whether a result is the one that a task of this kind has to have.
    pub(crate) fn fits(self, result: &TaskResult) -> bool {
        let (state, gives) = match self {
            Kind::Broken => (State::Failed, None),
            Kind::Slow => (State::Done, Some("report of ")),
            Kind::Fast | Kind::Flaky | Kind::Scheduled => (State::Done, Some("sent ")),
        };
        let attempts = if self == Kind::Flaky { 3 } else { 1 };
        let gives = gives.map(|what| format!("{what}{}", result.id).into_bytes());
        // More of them: a kill counts as an attempt if it has met one of a handler that asks.
        result.state == state && result.result == gives && result.attempts >= attempts
    }
}

/// Submits tasks of all kinds in turn.
pub(crate) struct Submitter {
    producer: BaseProducer,
    records: Records,
    topic: String,
    rate: u64,
    pub(crate) submitted: Vec<Submitted>,
}

impl Submitter {
    /// `rate`: tasks per second, by which it is seen to that there are not too many slow ones.
    pub(crate) fn new(ground: &Ground, rate: u32) -> Result<Self> {
        let producer = ground.client().set("linger.ms", "5").set("enable.idempotence", "true").create()?;
        let (records, topic) = (Records::new(ground)?, ground.topic("tasks"));
        Ok(Submitter { producer, records, topic, rate: rate.into(), submitted: Vec::new() })
    }

    /// Submits until there are so many.
    pub(crate) fn submit_to(&mut self, count: u64) -> Result<()> {
        for number in self.submitted.len() as u64..count {
            let (kind, at, id) = (Kind::nth(number, self.rate), now(), format!("task-{number}"));
            let not_before = (kind == Kind::Scheduled).then(|| at + fastrand::i64(DELAY_MS));
            let task = Task {
                payload: id.clone().into_bytes(),
                id: id.clone(),
                queue: kind.queue().to_owned(),
                kind: kind.name().to_owned(),
                not_before,
                max_attempts: Some(10),
                ..Task::default()
            };
            let value = self.records.task(&task)?;
            self.producer.send(BaseRecord::to(&self.topic).key(&id).payload(&value)).map_err(|(error, _)| error)?;
            self.submitted.push(Submitted { id, kind, at, not_before });
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// Waits until the broker has all of them.
    pub(crate) fn flush(&self) -> Result<()> {
        Ok(self.producer.flush(FLUSH)?)
    }
}
