//! The fetcher: whole record batches of assigned partitions for one stream thread, as a committed reader sees them.
//!
//! ```text
//!  stream thread                                │ its own I/O thread
//!                                               │
//!  assign, seek, pause ─────────────────────────┼─▶ parts: position, leader, what waits
//!                                               │     │ Fetch, one at a time with each broker
//!                                               │     ▼
//!  poll ◀─ Records(Portion), End, OutOfRange … ─┼── sorted: whole, undamaged, committed batches (KIP-98)
//!     │                                         │
//!     └─ next_record: a view into the answer ───┼─▶ dropped: there is room again
//! ```
//!
//! Why not librdkafka's: it makes an operation, a message and an event of each record, with memory and a lock each. Here a
//! record is a few numbers that are read from the bytes that came from the socket; compressed batches are unpacked one at a
//! time into a buffer that is used again.
//!
//! **Order.** A partition's records come in order, one [`Portion`] at a time; partitions have their turns. A portion that is
//! dropped half read comes again from where it was left. [`Fetcher::seek`] voids all that was fetched, at once: each
//! assignment and each seek has a ticket, and what is of an older one is dropped wherever it is met (rule R-10).
//!
//! **Memory** (rule R-4). An answer is counted for as long as any of it is held, and no fetch asks for more than there is room
//! for. A partition that has its share waiting is left out. What paused partitions hold is dropped, and fetched again
//! later, if it takes the room that others need.
//!
//! **Beginnings.** A partition begins at an offset, or at what the group has committed, which is asked of its coordinator
//! together with all others, again and again while a transaction that is open may change it. While a partition is paused its
//! leader and position are looked up all the same: the topic is known by its id before anything of it is read.
//!
//! **Failures.** Leaders that move, brokers that restart and hang: looked up and tried again with back-off, and told once as
//! [`Event::Away`] (rule N-8). What can't be settled by trying again is told as an event, and never passed over in silence.
//!
//! This reads nothing but record batches of magic 2 (Kafka 0.11), from brokers of 2.7 on (Fetch 12), and from leaders only.

mod answer;
pub(super) mod batch;
mod codes;
mod driver;
mod engine;
mod event;
mod feed;
#[cfg(test)]
pub(super) mod golden;
mod handle;
mod part;
mod placing;
mod portion;
mod requests;
mod settings;
mod shared;
mod sorting;
pub(super) mod span;

pub use event::{Event, Unreadable};
pub use feed::{Feed, Fetched, Logs, Served};
pub use handle::Fetcher;
pub use portion::Portion;
pub use requests::{bounds, is_offered};
pub use settings::FetcherSettings;
