//! Share groups (KIP-932): records of a topic are handed to any member of a group one by one, each under a lock, until one of
//! them accepts it.
//!
//! ```text
//!  ShareConsumer ◀── deliveries ── Driver (one tokio task) ── Fetch, Acknowledge ──▶ brokers, a session each
//!   │ next()  ▲ Pool, Pace           │  Engine: pure                                 group's coordinator
//!   ▼                                ├─ Membership   beats, assignment (R1)
//!  Delivery ── accept, release ──▶   ├─ Node, Session  one request at a time per broker (R3 to R6)
//!   └─ Lease: lost()?   Desk         └─ Ledger       who has what until when; renewals, acknowledgements (R9, R11 to R14)
//! ```
//!
//! Kafka's own client, and all others that are known, hand nothing out until the last of what they have handed out before is
//! settled, so that one slow record holds up a whole member. The protocol has no such rule. This one has a *window*: it
//! fetches whenever a place in it is free.
//!
//! - A lock that is at half of its time is renewed (KIP-1222), and whoever works on a record whose lock is lost is told
//!   ([`Lease::lost`]).
//! - A broker takes the acknowledgements of a partition in one request together or not at all. What was refused is halved
//!   until the one is found that was wrong.
//! - A delivery counts when a record is handed over, and nothing gives it back. So little is fetched ahead, and a member that
//!   is to end drains first ([`ShareConsumer::drain`]).
//!
//! Needs brokers of 4.2 and later. Processing is at least once: an effect outside needs a key of its own.

mod answer;
mod consumer;
mod delivery;
mod driver;
mod engine;
mod error;
mod gate;
mod grant;
mod ledger;
mod membership;
#[cfg(test)]
mod model;
mod node;
mod owned;
mod pace;
mod part;
mod pool;
mod predecessors;
mod session;
mod settings;
mod turns;

pub use consumer::ShareConsumer;
pub use delivery::{Delivery, Lease, Settling};
pub use error::{Lost, NotSettled, ShareError};
pub use pool::Pool;
pub use settings::ShareSettings;
pub use turns::Turns;

pub use crate::wire::share::AcquireMode;
