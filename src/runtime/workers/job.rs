//! One delivery from its handing over to its acknowledgement.
//!
//! ```text
//!  delivery ─▶ decode ─▶ Worker::run ─▶ outbox ─▶ accept
//!                │           ├─ Again ───────────▶ release: somebody has it again at once
//!                │           └─ for good, or too many attempts ─▶ Worker::give_up ─▶ outbox ─▶ accept
//!                │                                                  └─ nothing
//!                └─ no record ─▶ dead letter ─▶ outbox ─▶ reject          or only that, where brokers write them (KIP-1191)
//! ```
//!
//! What comes of a record is at the brokers before it is acknowledged, its dead letter too; a lock that is lost in between ends
//! the work, since somebody else has the record by then.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use crate::codec::DecodeError;
use crate::dead_letter::{DeadLetter, Origin, Policy, Provenance};
use crate::error::{RecordError, Stage};
use crate::processor::{Around, Attempt, Effects, Failed, TopicIndex, WorkerEntry};
use crate::record::RawRecord;
use crate::share::Delivery;
use crate::telemetry::{JobEnd, Telemetry};

use super::super::schema_loader::SchemaLoader;
use super::outbox::{Outbox, Undelivered};

/// What all jobs of a node have in common.
pub(super) struct Shop {
    pub(super) entry: Arc<dyn WorkerEntry>,
    /// The node's name.
    pub(super) name: String,
    pub(super) application: String,
    pub(super) outbox: Outbox,
    pub(super) around: Around,
    pub(super) dead_letters: Option<(TopicIndex, Policy)>,
    /// Whether the brokers write them, of what is rejected.
    pub(super) by_brokers: bool,
    /// Largest record that the dead-letter topic takes, in bytes.
    pub(super) max_record_bytes: usize,
    pub(super) schemas: Arc<SchemaLoader>,
    pub(super) telemetry: Telemetry,
}

impl Shop {
    /// Works on a record and acknowledges it.
    pub(super) async fn serve(self: Arc<Self>, delivery: Delivery) {
        let (begun, lease) = (Instant::now(), delivery.lease());
        let waited = begun.duration_since(delivery.fetched());
        let _running = self.telemetry.job_begun(&self.name, delivery.delivery_count, waited);
        let end = tokio::select! {
            end = self.work(&delivery) => end,
            lost = lease.lost() => {
                self.telemetry.job_lost(&self.name, &lease.position(), &lost.to_string());
                return;
            }
        };
        self.telemetry.job_ended(&self.name, end, begun.elapsed());
        match end {
            JobEnd::Done | JobEnd::GivenUp => drop(delivery.accept()),
            JobEnd::Released => drop(delivery.release()),
            JobEnd::SetAside => drop(delivery.reject()),
        }
    }

    async fn work(&self, delivery: &Delivery) -> JobEnd {
        let raw = raw(delivery);
        let attempt = Attempt { number: delivery.delivery_count, at: delivery.lease().position() };
        let failed = match self.allows(attempt.number) {
            true => match self.run(&raw, &attempt).await {
                Ok(effects) => match self.outbox.deliver(effects).await {
                    Ok(()) => return JobEnd::Done,
                    Err(Undelivered::Stopped) => return JobEnd::Released,
                    Err(Undelivered::Unwritable(reason)) if self.allows(attempt.number.saturating_add(1)) => {
                        self.telemetry.job_failed(&self.name, &attempt.at, attempt.number, &reason);
                        return JobEnd::Released;
                    }
                    Err(Undelivered::Unwritable(reason)) => RecordError::new(Stage::Produce, "unwritable", reason),
                    Err(Undelivered::TooLarge(refused)) => {
                        RecordError::new(Stage::Produce, "output-too-large", refused.to_string())
                    }
                },
                Err(Failed::ForGood(error)) => error,
                Err(Failed::Again(reason)) if self.allows(attempt.number.saturating_add(1)) => {
                    self.telemetry.job_failed(&self.name, &attempt.at, attempt.number, &reason);
                    return JobEnd::Released;
                }
                Err(Failed::Again(reason)) => RecordError::new(Stage::Process, "attempts", reason),
            },
            // Each time somebody has begun with it nobody has ended: it may be what ends its workers (rule D7).
            false => RecordError::new(Stage::Process, "never-ends", "no worker has come to an end with it"),
        };
        self.set_aside(&raw, &attempt, failed).await
    }

    /// Whether there may be such an attempt. Without a dead-letter topic that is the broker's to say.
    fn allows(&self, attempt: u16) -> bool {
        self.dead_letters.as_ref().is_none_or(|(_, policy)| u32::from(attempt) <= policy.attempts())
    }

    async fn run(&self, raw: &RawRecord<'_>, attempt: &Attempt) -> Result<Effects, Failed> {
        let work = loop {
            match Arc::clone(&self.entry).begin(raw, attempt.clone(), &self.around) {
                Ok(work) => break work,
                Err(DecodeError::SchemaNotLoaded(id)) => self.schemas.settled(id).await,
                Err(error) => {
                    let refused = RecordError::new(Stage::Deserialize, error.class(), error.to_string());
                    return Err(Failed::ForGood(refused));
                }
            }
        };
        caught(work).await.unwrap_or_else(|| Err(Failed::Again("the worker panicked".to_owned())))
    }

    /// What the worker gives instead, or its dead letter, first; then nobody has it again.
    async fn set_aside(&self, raw: &RawRecord<'_>, attempt: &Attempt, error: RecordError) -> JobEnd {
        if let Some(effects) = self.entry.give_up(raw, attempt, &error) {
            self.telemetry.job_given_up(&self.name, &attempt.at, &error);
            match self.outbox.deliver(effects).await {
                Ok(()) => return JobEnd::GivenUp,
                Err(Undelivered::Stopped) => return JobEnd::Released,
                Err(Undelivered::TooLarge(_) | Undelivered::Unwritable(_)) => {}
            }
        }
        self.telemetry.job_set_aside(&self.name, &attempt.at, &error);
        let Some((topic, _)) = self.dead_letters.as_ref().filter(|_| !self.by_brokers) else { return JobEnd::SetAside };
        let attempts = u32::from(attempt.number);
        let origin = Origin::Workers(&self.name);
        let provenance = Provenance { application: &self.application, origin, attempts };
        let mut limit = self.max_record_bytes;
        while let Some(DeadLetter { key, value, headers }) = DeadLetter::new(raw, &error, &provenance, limit) {
            let mut effects = Effects::default();
            effects.output(*topic, None, key, value, raw.timestamp, headers);
            match self.outbox.deliver(effects).await {
                Ok(()) => return JobEnd::SetAside,
                Err(Undelivered::Stopped | Undelivered::Unwritable(_)) => return JobEnd::Released,
                // The topic takes less than was known.
                Err(Undelivered::TooLarge(refused)) => limit = refused.bytes.saturating_sub(1).min(limit / 2),
            }
        }
        // Nothing is dropped: it comes again until somebody makes room, or the broker archives it.
        self.telemetry.job_failed(
            &self.name,
            &attempt.at,
            attempt.number,
            "its dead letter does not fit into the topic",
        );
        JobEnd::Released
    }
}

fn raw(delivery: &Delivery) -> RawRecord<'_> {
    RawRecord {
        topic: delivery.topic(),
        partition: delivery.partition(),
        offset: delivery.offset(),
        timestamp: delivery.timestamp,
        key: delivery.key.as_deref(),
        value: delivery.value.as_deref(),
        headers: &delivery.headers,
    }
}

/// The future's outcome; nothing if it panicked.
async fn caught<F: Future>(work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}
