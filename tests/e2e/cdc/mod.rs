//! `cdc-invalidation` from a row's change in PostgreSQL to what a reader of the cache sees: each rule of the topology's
//! specification (C1 to C11) and each fact about genuine events (F1 to F14) once.
//!
//! Changes come through the real Debezium wherever it can be made to send them; where a test produces records itself, its
//! documentation says why.

mod check;
mod faults;
mod fills;
mod formats;
mod kills;
mod snapshots;
mod values;
mod versions;
mod world;
