//! What a producer is told when it starts.

use std::time::Duration;

use super::sides::{self, Side};
use crate::wire::compression::Codec;

/// How long a topic that a record has named may be away; then nobody waits for it any more (see [`Outgoing::named`](super::Outgoing)).
pub(super) const NAMED_PATIENCE: Duration = Duration::from_secs(10);

/// Settings of one producer; how to reach the cluster is told apart.
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    /// The transactional id (rule R-2), to which a second one belongs: the same with `.2` behind it (rule N-5). `None` is a plain idempotent producer, for at-least-once (rule R-29).
    pub transactional_id: Option<String>,
    /// After which the broker aborts a transaction whose owner has gone silent, and after which the owner gives up.
    pub transaction_timeout: Duration,
    /// Codec of batches.
    pub codec: Codec,
    /// A batch is sent when it has this many bytes, before compression.
    pub batch_bytes: usize,
    /// A batch is sent when records have waited for this long, even if it is small.
    pub linger: Duration,
    /// Largest request, and so largest record, in bytes.
    pub max_request_bytes: usize,
    /// How long brokers may take to answer.
    pub request_timeout: Duration,
    /// How long a batch may be tried for, and how long a new topic is waited for.
    pub delivery_timeout: Duration,
    /// Bytes that may be handed over and not acknowledged; then [`append`](super::Producer::append) waits.
    pub max_unacknowledged_bytes: usize,
}

impl ProducerSettings {
    /// How long a topic is waited for that is not there, or has no leader.
    pub(super) fn patience(&self, named: bool) -> Duration {
        if named { self.delivery_timeout.min(NAMED_PATIENCE) } else { self.delivery_timeout }
    }

    /// The transactional id of one of the two sides.
    pub(super) fn transactional_id(&self, side: Side) -> Option<String> {
        let id = self.transactional_id.as_deref()?;
        Some(match side {
            Side::First => id.to_owned(),
            Side::Second => sides::second(id),
        })
    }

    /// The defaults: 256 KiB a batch, 5 ms, 1 MiB a request, 8 MiB unacknowledged.
    #[must_use]
    pub fn new(transactional_id: Option<String>) -> Self {
        ProducerSettings {
            transactional_id,
            transaction_timeout: Duration::from_secs(10),
            codec: Codec::None,
            batch_bytes: 256 * 1024,
            linger: Duration::from_millis(5),
            max_request_bytes: 1024 * 1024,
            request_timeout: Duration::from_secs(10),
            delivery_timeout: Duration::from_secs(20),
            max_unacknowledged_bytes: 8 * 1024 * 1024,
        }
    }
}
