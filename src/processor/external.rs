//! Sinks outside Kafka: the pure half that makes requests, and the asynchronous half that sends them.
//!
//! A request may be sent again after a crash or an abort, with the same bytes, and requests of one order key arrive in
//! order; so a sink must be idempotent. The transaction of the records commits only after their requests have settled.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::RecordError;
use crate::record::Record;

use super::effects::Effects;

/// A boxed future, since the traits below are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An external sink, by its number in the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkIndex(pub usize);

/// The pure half: what a record asks of the target.
pub trait ExternalSink<K, V>: Debug + Send + Sync + 'static {
    /// What kind of target this is, for `describe`: `redis`, `http`.
    fn kind(&self) -> &'static str;

    /// Appends the requests that this record asks for.
    ///
    /// # Errors
    /// A [`RecordError`] sets the input record aside.
    fn requests(&self, record: &Record<K, V>, requests: &mut Requests<'_>) -> Result<(), RecordError>;

    /// How to reach the target.
    fn target(&self) -> Arc<dyn Connect>;
}

/// Where an [`ExternalSink`] appends its requests.
pub struct Requests<'a> {
    pub(super) sink: SinkIndex,
    pub(super) effects: &'a mut Effects,
}

impl Requests<'_> {
    /// Appends a request. Those of equal `order` (a hash of the key, say) are sent one after the other.
    pub fn push(&mut self, order: u64, body: &[u8]) {
        self.effects.request(self.sink, order, body);
    }
}

/// Topics of the cluster that the application itself is on, as a target asks after them: for who has records produced to topics that
/// they name (`Builder::sink_by`), since what can't be produced holds up all that is in its transaction.
pub trait OwnTopics: Debug + Send + Sync {
    /// The largest record that a topic takes from this application, in bytes of key, value and headers. What is told may be a second
    /// old. A look has no end of its own: whoever has lost patience drops it.
    ///
    /// # Errors
    /// [`Unfit`]: nothing should be produced to it.
    fn room<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<usize, Unfit>>;
}

/// Why nothing should be produced to a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not there, has no leader, may not be written to: what may be otherwise later.
    #[error("{0}")]
    Now(String),
    /// It is one of the application's own, or Kafka's.
    #[error("{0}")]
    Ever(String),
}

/// Opens connections to a target.
pub trait Connect: Debug + Send + Sync + 'static {
    /// Called once before the first connection, where an application runs on brokers.
    fn bind(&self, topics: &Arc<dyn OwnTopics>) {
        _ = topics;
    }

    /// Opens one connection and prepares the target (loads functions, checks what must be there).
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Target>, Failure>>;
}

/// One connection to a target; owned by one lane, so that order is kept.
pub trait Target: Send {
    /// Sends the bodies in order and waits for all replies.
    ///
    /// # Errors
    /// Any [`Failure`] makes the lane reconnect and send the *whole* batch again.
    fn send<'a>(&'a mut self, bodies: &'a [&'a [u8]]) -> BoxFuture<'a, Result<Vec<Reply>, Failure>>;
}

/// What the target made of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done; the label goes into the metric (`applied`, `equal`, `stale`).
    Done(&'static str),
    /// Refused for good; the input record becomes a dead letter with this reason.
    Refused(String),
    /// Not this one, not now. A [call](super::ExternalCall) is told; a sink's batch is sent again.
    Failed {
        /// Why.
        reason: String,
        /// How long the target wants to be left alone.
        after: Option<Duration>,
    },
}

/// Why a batch has no replies.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The target can't be reached or is overloaded: tried again with back-off, for as long as it takes.
    #[error("{0}")]
    Away(String),
    /// The target is there but unfit (credentials, version): tried again as well, and reported as a misconfiguration.
    #[error("{0}")]
    Unfit(String),
}
