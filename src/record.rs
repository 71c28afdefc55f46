//! Records: what flows through a topology, and the bytes it comes from and ends as.
//!
//! A [`Record`] is typed and owned by the topology; a [`RawRecord`] is a view of the bytes that a consumer fetched, with
//! the [`Position`](crate::position::Position) they were fetched at; [`Headers`] keep order, duplicates and nulls,
//! because a dead letter must give them back as they were.

use crate::position::{Offset, Partition};

/// Milliseconds since the Unix epoch, as Kafka stamps records. `NONE` (−1) stands for a record without a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Kafka's "no timestamp".
    pub const NONE: Timestamp = Timestamp(-1);
}

/// One header: a name, which may repeat, and bytes, which may be null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The header's name.
    pub name: String,
    /// Its bytes; `None` is Kafka's null, which is not the same as empty.
    pub value: Option<Vec<u8>>,
}

/// A record's headers in their order, duplicates and nulls included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<Header>);

impl Headers {
    /// No headers; allocates nothing.
    pub const fn new() -> Self {
        Headers(Vec::new())
    }

    /// Appends a header; an existing one of the same name stays.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.push(Header { name: name.into(), value: Some(value.into()) });
    }

    /// The bytes of the *last* header of that name, as Kafka's `lastHeader` has it.
    pub fn last(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().rev().find(|header| header.name == name).and_then(|header| header.value.as_deref())
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all names and values.
    pub fn bytes(&self) -> usize {
        self.iter().map(|header| header.name.len() + header.value.as_ref().map_or(0, Vec::len)).sum()
    }
}

/// A typed record on an edge of the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<K, V> {
    /// The key; decides the partition it is produced to.
    pub key: K,
    /// The value.
    pub value: V,
    /// Event time.
    pub timestamp: Timestamp,
    /// Headers, carried along the edges.
    pub headers: Headers,
}

impl<K, V> Record<K, V> {
    /// A record without headers.
    pub fn new(key: K, value: V, timestamp: Timestamp) -> Self {
        Record { key, value, timestamp, headers: Headers::new() }
    }

    /// The same record with another key and value: time and headers are carried over.
    pub fn map<K2, V2>(&self, key: K2, value: V2) -> Record<K2, V2> {
        Record { key, value, timestamp: self.timestamp, headers: self.headers.clone() }
    }
}

/// A fetched record as bytes. `None` for key or value is Kafka's null.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// Topic it was fetched from.
    pub topic: &'a str,
    /// Partition it was fetched from.
    pub partition: Partition,
    /// Its offset there.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Key bytes.
    pub key: Option<&'a [u8]>,
    /// Value bytes.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: &'a Headers,
}

impl RawRecord<'_> {
    /// Bytes of key and value together.
    pub fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}
