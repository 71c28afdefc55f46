//! After a broker has refused a record as too large, although it was within the limits that were read at the start:
//! `max.message.bytes` of its topic was lowered meanwhile.
//!
//! ```text
//!  refused ─▶ what does the topic take now? ─▶ tasks keep to it ─▶ abort, rewind ─▶ the record comes again: set aside
//! ```
//!
//! So it is found where every record that is too large is found, before it is produced: its effects are taken back, and the
//! policy decides. A limit that is raised again is read at the next start.

use std::time::Duration;

use crate::clock::Instant;
use crate::kafka::{Admin, KafkaFailure, Settings, TooLarge};
use crate::telemetry::AbortReason;

use super::aside::ask;
use super::halt::Halt;
use super::stream_thread::StreamThread;

/// What a batch of one record costs beyond the record.
const BATCH_OVERHEAD: usize = 1024;
/// How long the topic's limit is waited for. Without it, records are sized by the one that was refused.
const LOOKUP: Duration = Duration::from_secs(5);

/// The largest record, in bytes of key + value + headers, that fits into a batch of this size.
pub(super) fn record_bytes(batch_bytes: usize) -> usize {
    batch_bytes - BATCH_OVERHEAD.min(batch_bytes / 2)
}

impl StreamThread {
    /// Learns what the topic takes, then recovers as from anything else.
    pub(super) fn refused(&mut self, refused: &TooLarge) -> Result<(), Halt> {
        self.rest()?;
        let batch_bytes = self.ask_for_limit(&refused.topic)?;
        let mut taken = batch_bytes.map(record_bytes);
        // It was this record, so that its size is too large whatever the topic says, or may not be asked.
        if refused.alone {
            let below = refused.bytes.saturating_sub(1);
            taken = Some(taken.map_or(below, |bytes| bytes.min(below)));
        }
        if let Some(bytes) = taken {
            let known = self.lowered.entry(refused.topic.clone()).or_insert(bytes);
            *known = bytes.min(*known);
            self.tasks.iter_mut().for_each(|owned| owned.task.lower_limit(&refused.topic, bytes));
        }
        let found = refused.alone || taken.is_some_and(|bytes| refused.bytes > bytes);
        let batches = &mut self.options.kafka.max_batch_bytes;
        match batch_bytes {
            Some(bytes) if batches.is_none_or(|known| bytes < known) => *batches = Some(bytes),
            // None of them alone seems to be too large: they travel one by one until it is found.
            _ if !found => *batches = Some(1),
            _ => {}
        }
        self.recover(AbortReason::Broker, &refused.to_string())
    }

    /// A topic's `max.message.bytes`, if it can be had in time. The group is kept meanwhile.
    fn ask_for_limit(&mut self, topic: &str) -> Result<Option<usize>, Halt> {
        let (settings, topic) = (self.options.kafka.clone(), topic.to_owned());
        let answered = match ask(&self.options, "limits", move || limit_of(&settings, &topic)) {
            Ok(answered) => answered,
            Err(error) => {
                tracing::warn!(target: "headrace::runtime", %error, "no thread to ask for a topic's limit on");
                return Ok(None);
            }
        };
        Ok(match self.await_answer(&answered, Some(Instant::now() + LOOKUP))? {
            Some(Ok(limit)) => limit,
            Some(Err(error)) => {
                tracing::warn!(target: "headrace::runtime", %error, "a topic's max.message.bytes can't be read");
                None
            }
            None => None,
        })
    }
}

fn limit_of(settings: &Settings, topic: &str) -> Result<Option<usize>, KafkaFailure> {
    Admin::new(settings)?.max_record_bytes(topic)
}
