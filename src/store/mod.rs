//! State stores: what a topology remembers, kept so that a crash, an abort or a lost disk can't make it wrong.
//!
//! ```text
//!  Store<K, V>      typed handle of a processor           StateDirectory   <root>/<application id>, one lock per task
//!      │ bytes                                                  │ opens
//!      ▼                                                        ▼
//!  TaskState   ──▶ table: staged and cached values ─▶ RocksDB (one per task: a column family per store + __meta)
//!      │ └─▶ journals n+1, n                    └──▶ a BTreeMap per store in memory
//!      └─ publish_changelog ─▶ (Kafka commits) ─▶ commit ─▶ writer thread: data + positions in one WriteBatch
//! ```
//!
//! The changelog topic is the truth and the directory a copy of it up to the offset in `__meta`; the copy is wiped only
//! when it is proven unusable (rules R-17 to R-24).

mod changes;
mod directory;
mod error;
mod global;
mod handle;
mod journal;
mod lines;
mod lock;
mod memtables;
mod meta;
mod options;
mod range;
mod restore;
mod rocks;
mod shares;
mod sizes;
mod slot;
mod spec;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod timers;
mod view;
mod writer;

pub use changes::Changes;
pub use directory::StateDirectory;
pub use error::{Format, ReadError, StoreError};
pub use global::{GlobalEnd, GlobalState, GlobalTable, Written};
pub use handle::{Entries, Store, StoreBuilder, Stores, Table};
pub use journal::StagedWrite;
pub use lines::{Lines, Place};
pub use meta::Commit;
pub use options::{Durability, StoreOptions, StoreResources};
pub use range::{Bounds, KeyValue, RangeScan, after_prefix};
pub use sizes::StoreSizes;
pub use spec::{StoreIndex, StoreKind, StoreSpec};
pub use state::TaskState;
pub use timers::{Timer, Timers};
pub use view::{Found, Page, Positions, View, ViewError, Wanted};
