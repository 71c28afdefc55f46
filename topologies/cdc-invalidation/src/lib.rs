//! CDC invalidation: a cache that follows its database, and is never stale.
//!
//! ```text
//! row-changes ─▶ latest-version (store: row-versions) ─┬▶ invalidations
//!                     │                                └▶ redis
//!                     └── poison records ─▶ cdc-invalidation.dead-letters
//! ```

pub mod config;
pub mod key_template;
pub mod latest_version;
pub mod redis_fence;
pub mod rows;
pub mod version;

use headrace::codec::{Limits, avro, debezium};
use headrace::dead_letter::Policy;
use headrace::error::FatalError;
use headrace::store::Stores;
use headrace::topology::Topology;

use config::{Config, Tables};
use latest_version::LatestVersion;
use redis_fence::RedisFence;
use rows::{Invalidation, RowKey, RowVersion};

/// Every key of the configuration with its default.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// The dataflow.
///
/// # Errors
/// The configuration does not make a topology; touches no network.
pub fn topology(config: &Config) -> Result<Topology, FatalError> {
    let mut builder = Topology::builder("cdc-invalidation");

    // A limit of the codec and not of the policy: of a value that is too large the key is still read, and invalidated.
    let max_bytes = usize::try_from(config.cdc.max_change.bytes()).unwrap_or(usize::MAX);
    let envelope = debezium::envelope().limits(Limits { max_bytes, ..Limits::DEFAULT });
    let row_changes = builder.source("row-changes", &config.topics.row_changes, envelope);
    let row_versions = builder.store("row-versions", Stores::rocks(avro::<RowKey>(), avro::<RowVersion>()));
    let latest_version = LatestVersion { row_versions, tables: Tables::new(&config.cdc) };
    let invalidations = builder.process("latest-version", row_changes, latest_version);
    builder.sink(
        "invalidations",
        invalidations,
        &config.topics.invalidations,
        avro::<RowKey>(),
        avro::<Invalidation>(),
    );
    builder.external("redis", invalidations, RedisFence::new(&config.redis)?);
    let policy = Policy::after_attempts(config.cdc.attempts).max_ratio(config.cdc.max_dead_letter_ratio);
    builder.dead_letters(&config.topics.dead_letters, policy);

    builder.build().map_err(|error| FatalError::Topology(error.to_string()))
}
