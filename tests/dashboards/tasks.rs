//! The side of `task-queue`: handlers, and tasks of all fates, a few of them unreadable, until it is told to stop.
//!
//! ```text
//! produce ──▶ tasks ──▶ schedule ─┬─▶ gate ──▶ called ── POST ──▶ handlers
//!                                 └──────────▶ asked ◀── lease ── handlers
//! ```
//!
//! One queue has a limit and the other has none, so that there are attempts at the gate and beside it. Tasks are done,
//! fail and are tried again, are put off, expire: what becomes of each, its [`Job`] says.

use std::time::Duration;

use chaos::Result;
use chaos::pause::Stop;
use chaos::queue::fate::{Job, QUEUES, plan};
use chaos::queue::ground::{Ground, Records};
use chaos::queue::handlers::Handlers;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use testbed::Testbed;

/// The topology, its job, and the beginning of its topics' names.
pub(crate) const JOB: &str = "task-queue";
/// Handlers that ask.
const CLIENTS: usize = 8;
/// Attempts of the limited queue that may be with its handlers.
const RUNNING: usize = 32;
/// Tasks of one plan, which has some of each fate; another plan follows.
const PLAN: u32 = 1_000;
/// Tasks that are submitted at once.
const BATCH: usize = 3;
/// Between two batches: some sixty tasks per second, which is little beside the row changes.
const PAUSE: Duration = Duration::from_millis(50);
/// After each of so many comes a record that can't be read.
const POISON: u32 = 50;

/// Its names: those that it has by default.
pub(crate) fn ground(bed: &Testbed) -> Result<Ground> {
    let (servers, registry) = (bed.kafka()?.bootstrap_servers().to_owned(), bed.registry()?.url().to_owned());
    Ok(Ground { servers, registry, id: JOB.to_owned(), replication: 1 })
}

/// Handlers of both queues; those that ask do so at this address.
pub(crate) fn handlers(address: &str) -> Result<Handlers> {
    let (handlers, [_, asked]) = (Handlers::start()?, QUEUES);
    handlers.ask(address, asked, CLIENTS);
    Ok(handlers)
}

/// What it has in its configuration beside what all have, as TOML.
pub(crate) fn settings(handlers: &Handlers) -> String {
    let ([called, asked], url) = (QUEUES, handlers.url(JOB));
    format!(
        "[queues.{called}]\npush = \"{url}\"\nrunning = {RUNNING}\n\
         [queues.{asked}]\npull = true\ntimeout = \"5s\"\n\
         [tasks]\nbackoff = \"200ms\"\nlongest-backoff = \"1s\"\n"
    )
}

/// Submits them.
pub(crate) fn produce(ground: &Ground, stop: &Stop) -> Result<()> {
    let producer: BaseProducer = ground.client().create()?;
    let (records, topic) = (Records::new(ground)?, ground.topic("tasks"));
    let mut jobs = (0..).flat_map(jobs);
    while stop.pause(PAUSE) {
        for job in jobs.by_ref().take(BATCH) {
            let task = job.task(PLAN);
            let value = records.task(&task)?;
            producer.send(BaseRecord::to(&topic).key(task.lane()).payload(&value)).map_err(|(error, _)| error)?;
            if job.number.is_multiple_of(POISON) {
                producer.send(BaseRecord::to(&topic).key(task.lane()).payload("{")).map_err(|(error, _)| error)?;
            }
        }
        producer.flush(Duration::from_secs(30))?;
    }
    Ok(())
}

/// Those of a plan, numbered on from the plans before it: an id that was there before is no other task.
fn jobs(round: u32) -> impl Iterator<Item = Job> {
    plan(round.into(), PLAN).into_iter().map(move |job| Job { number: round * PLAN + job.number, ..job })
}
