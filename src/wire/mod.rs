//! The Kafka protocol itself, without librdkafka: what transactions v2 and share groups need, and librdkafka does not have.
//!
//! ```text
//!        producer · fetch                   transactions v2, and record batches, of one stream thread; batch, compression,
//!                ▼                           decompression: what they send and read
//!              Client  (cluster)            leader(topic, partition) · coordinator(kind, key) · connection(broker)
//!                │   ├─ metadata            what is known, pure          ├─ brokers      one connection each, back-off
//!                ▼
//!            Connection                     call(request) · send(bytes): in order, pipelined, bounded
//!                │   ├─ api                 requests, and the versions that both sides have
//!                │   ├─ share               those of share groups, written by hand, and the records in their answers
//!                ▼   └─ handshake           ApiVersions, SASL ── scram (pure), oauth (tokens, and who gives them)
//!             driver                        the one task that owns the socket ── session (when to log in again)
//!                ▼
//!        channel ─▶ transport ─▶ TCP · tls  frames ─▶ bytes ── identity (certificates, keys)
//!
//!        Security, Settings                 librdkafka's properties
//! ```
//!
//! What happens to connections is told to an [`Observer`], which the layer above gives ([`Settings::observer`]).
//!
//! To send a record batch: ask the [`Client`] for the leader and for the connection to it, choose a version
//! ([`Connection::version`]), [`send`](Connection::send) the encoded body in pieces, await the [`Reply`]. After a refusal tell
//! the client what it had wrong, after an error of the connection ask for another one; in both cases
//! [`WireError::is_retriable`] says whether another try may help. Nothing here repeats a request by itself.
//!
//! This is the only place that names kafka-protocol and the crates of TLS, SCRAM and encrypted keys. All futures are `Send`; a connection
//! is run by the tokio runtime on which it was opened.

mod api;
mod batch;
mod brokers;
mod channel;
mod cluster;
mod compression;
mod connection;
mod decompression;
mod driver;
mod error;
pub mod fetch;
mod group;
mod handshake;
mod identity;
mod io_thread;
mod lengths;
mod metadata;
mod oauth;
mod observer;
pub mod producer;
mod scram;
mod security;
mod session;
mod settings;
pub mod share;
mod takeover;
mod tls;
mod topic;
mod transport;

pub use api::Request;
pub use channel::MAX_REQUEST_BYTES;
pub use cluster::Client;
pub use compression::Codec;
pub use connection::{Connection, MAX_QUEUED, Outgoing, Reply, TrySendError};
pub use driver::MAX_IN_FLIGHT;
pub use error::{ApiName, Code, WireError};
pub use group::{assigned_in, remove_member};
pub use metadata::{CoordinatorKind, Leader, TopicId};
pub use oauth::{Token, Tokens};
pub use observer::{Event, Observer, Peer};
pub use security::Security;
pub use settings::{Address, Settings};
pub use takeover::end_open_transactions;
pub use topic::TopicSeen;

/// A broker's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

impl std::fmt::Display for BrokerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
