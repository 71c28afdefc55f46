//! The cache of schemas by registry id that codecs look into and the I/O plane fills.

use std::fmt;

/// A schema's id in the registry, as the Confluent framing carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Schemas by id, shared by all codecs of an application.
#[derive(Debug, Default)]
pub struct Schemas {}
