//! The transactional producer: transactions v2 (KIP-890), pipelined, from one stream thread (rules N-1 to N-8).
//!
//! ```text
//!  stream thread                               │ its own I/O thread
//!                                              │
//!  append ─▶ an open batch per partition ──────┼─▶ a lane per partition: sequences, retries in order
//!              full, lingered, or sealed       │       │  Produce, at most five requests out per broker
//!  seal ───────────────────────────────────────┼─▶ all acknowledged ─▶ TxnOffsetCommit ─▶ EndTxn
//!  append (the next transaction) ──────────────┼─▶ goes out meanwhile, with the other id;  next id and epoch
//!                                              │   its own end waits for this one ◀──────┘
//!  outcome ◀───────────────────────────────────┼── committed, with the next offset of each changelog partition
//! ```
//!
//! Nothing is announced to the coordinator beforehand: the first Produce to a partition and the TxnOffsetCommit enlist by
//! themselves (rule N-3). Each EndTxn is answered with the producer id and epoch of the next transaction of its transactional
//! id, so whatever is late of this one is refused (rule N-2), and the one between has a producer id of its own: that is why a
//! transaction can't be torn.
//!
//! After any error but [`Again`](ProduceError::Again) the transaction is dead: nothing of it is sent any more, and every
//! call says so until [`Producer::initialise`] has settled with the broker what became of it (rule N-7).
//!
//! Dropping a producer aborts what it has open, if a broker answers in time; a killed process can't, and readers wait for the
//! transaction's time-out.

mod closing;
mod codes;
mod completing;
mod driver;
mod engine;
mod error;
mod handle;
mod initialising;
mod lanes;
mod leaders;
mod open;
mod reach;
mod request;
mod rights;
mod settings;
mod shared;
mod sides;
mod too_large;
mod transaction;

pub use error::ProduceError;
pub use handle::{Outgoing, Producer};
pub use settings::ProducerSettings;
pub use shared::{Committed, Member, Slot};
pub(super) use sides::twin;
pub use too_large::TooLarge;
