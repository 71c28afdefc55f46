//! The topology's own part of the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use headrace::config::{ByteSize, Secret, Span};
use serde::Deserialize;

use crate::key_template::KeyTemplate;

/// This topology's sections; those that every binary shares are apart.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Topics.
    pub topics: Topics,
    /// What is cached, and how.
    pub cdc: Cdc,
    /// The cache.
    pub redis: Redis,
}

/// Topics of this topology.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Topics {
    /// Debezium's topics, one per table: names, or patterns that start with `^`.
    pub row_changes: Vec<String>,
    /// One record per applied change.
    pub invalidations: String,
    /// Records that could not be processed.
    pub dead_letters: String,
}

/// What a change does to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Content is dropped; readers fill.
    Invalidate,
    /// The row's new content is written.
    WriteThrough,
}

/// What to do with rows of a table without a primary key (rule C1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NullKeys {
    /// Dead letters.
    Reject,
    /// Each change makes the whole table void.
    Table,
}

/// What is cached, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cdc {
    /// `invalidate` or `write-through`.
    pub mode: Mode,
    /// Tables as `schema.table`; empty means all that arrive.
    pub tables: Vec<String>,
    /// Cache key of tables without a template of their own.
    pub key_template: KeyTemplate,
    /// Cache keys by table.
    pub key_templates: BTreeMap<String, KeyTemplate>,
    /// To be raised when the database's log positions start anew.
    pub epoch: u32,
    /// What to do with rows without a key.
    pub null_keys: NullKeys,
    /// Largest change in bytes.
    pub max_change: ByteSize,
    /// Largest row that is cached; it is kept in the changelog too, which takes less than a megabyte.
    pub max_image: ByteSize,
    /// How often a record is tried before it becomes a dead letter.
    pub attempts: u32,
    /// Part of dead letters among the last records at which the input rests.
    pub max_dead_letter_ratio: f64,
}

/// The cache.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Redis {
    /// `redis://host:port/db` or `rediss://…`.
    pub url: String,
    /// User, where the server has ACLs.
    pub username: Option<String>,
    /// Password; from a file or the environment.
    pub password: Option<Secret>,
    /// Prefix of the keys in which the cache's own state is kept.
    pub namespace: String,
    /// Life of cached content; `0s` is for ever.
    pub ttl: Span,
    /// Life of fences and of the knowledge that a row is gone: longer than any fill takes (rule C4).
    pub tombstone_ttl: Span,
    /// Patience with one reply.
    pub timeout: Span,
}

/// The part that the processor needs, parsed.
#[derive(Debug, Clone)]
pub struct Tables {
    cdc: Cdc,
}

impl Tables {
    /// From the configuration.
    pub fn new(cdc: &Cdc) -> Arc<Self> {
        Arc::new(Tables { cdc: cdc.clone() })
    }

    /// Whether changes of this table concern us.
    pub fn selects(&self, table: &str) -> bool {
        self.cdc.tables.is_empty() || self.cdc.tables.iter().any(|selected| selected == table)
    }

    /// The table's template.
    pub fn template(&self, table: &str) -> &KeyTemplate {
        self.cdc.key_templates.get(table).unwrap_or(&self.cdc.key_template)
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.cdc.mode
    }

    /// Largest row that is cached, in bytes.
    pub fn max_image(&self) -> usize {
        usize::try_from(self.cdc.max_image.bytes()).unwrap_or(usize::MAX)
    }

    /// The epoch.
    pub fn epoch(&self) -> u32 {
        self.cdc.epoch
    }

    /// What to do with rows without a key.
    pub fn null_keys(&self) -> NullKeys {
        self.cdc.null_keys
    }
}
