//! Which partition a record goes to.
//!
//! Co-partitioning is a promise between programs: a key must land where Java's producer, Connect and the changelog's
//! reader expect it. So the hash is Java's, [`murmur2`], and not whatever is fast.

pub mod murmur2;

pub use murmur2::partition_of;
