//! State stores: what a topology remembers, kept so that a crash, an abort or a lost disk can't make it wrong.
//!
//! ```text
//!  Store<K, V>      typed handle of a processor           StateDirectory   <root>/<application id>, one lock per task
//!      │ bytes                                                  │ opens
//!      ▼                                                        ▼
//!  TaskState   ──▶ overlay n+1 ─▶ overlay n ─▶ read cache ─▶ RocksDB (one per task: a column family per store + __meta)
//!      │                                                └──▶ a BTreeMap per store in memory
//!      └─ publish_changelog ─▶ (Kafka commits) ─▶ commit ─▶ writer thread: data + positions in one WriteBatch
//! ```
//!
//! The changelog topic is the truth and the directory a copy of it up to the offset in `__meta`; the copy is wiped only
//! when it is proven unusable (rules R-17 to R-24).

mod cache;
mod directory;
mod error;
mod handle;
mod lock;
mod meta;
mod options;
mod overlay;
mod range;
mod restore;
mod rocks;
mod sizes;
mod spec;
mod state;
#[cfg(test)]
mod tests;
mod writer;

pub use directory::StateDirectory;
pub use error::{Format, ReadError, StoreError};
pub use handle::{Entries, Store, StoreBuilder, Stores};
pub use meta::Commit;
pub use options::{Durability, StoreOptions, StoreResources};
pub use overlay::StagedWrite;
pub use range::{Bounds, KeyValue, RangeScan};
pub use sizes::StoreSizes;
pub use spec::{StoreIndex, StoreKind, StoreSpec};
pub use state::TaskState;
