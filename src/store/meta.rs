//! What a task remembers beside its data: format, changelog positions, input positions and stream time.
//!
//! It lies in a column family of the same database and is written in the same batch as the data, so that the two never
//! disagree (rules ).
//!
//! | key | value |
//! |---|---|
//! | `f` | format version u32, topology u64 |
//! | `c` store name | next changelog offset, i64 |
//! | `p` partition i32, topic | next input offset, i64 |
//! | `t` | stream time, i64 |

use ahash::AHashMap;

use super::error::Format;
use super::spec::StoreIndex;
use crate::position::{Offset, Partition, TopicPartition};
use crate::record::Timestamp;

/// The layout written by this code.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Name of the column family; store names are kebab-case and can't collide.
pub(super) const META: &str = "__meta";

pub(super) const FORMAT_KEY: &[u8] = b"f";
pub(super) const STREAM_TIME_KEY: &[u8] = b"t";

/// What goes with the data of one commit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Commit<'a> {
    /// Next changelog offset of each store that was written.
    pub changelog_next: &'a [(StoreIndex, Offset)],
    /// Next input offsets.
    pub positions: &'a [(TopicPartition, Offset)],
    /// Stream time; `None` leaves it as it is.
    pub stream_time: Option<Timestamp>,
}

impl Commit<'_> {
    /// As keys and values. The position of a store in memory is worth nothing after a restart and is left out.
    pub(super) fn entries(&self, families: &[Option<String>]) -> Vec<(Vec<u8>, [u8; 8])> {
        let family = |store: StoreIndex| families.get(store.0).and_then(Option::as_deref);
        let on_disk = self.changelog_next.iter().filter_map(|(store, next)| Some((family(*store)?, *next)));
        let changelogs = on_disk.map(|(store, next)| (changelog_key(store), encode(next.0)));
        let positions = self.positions.iter().map(|(partition, next)| (position_key(partition), encode(next.0)));
        let stream_time = self.stream_time.map(|time| (STREAM_TIME_KEY.to_vec(), encode(time.0)));
        changelogs.chain(positions).chain(stream_time).collect()
    }
}

/// The meta data of a task, as committed.
#[derive(Debug, Default)]
pub(super) struct Meta {
    /// By store number.
    pub(super) changelog_next: Vec<Option<Offset>>,
    pub(super) positions: AHashMap<TopicPartition, Offset>,
    pub(super) stream_time: Option<Timestamp>,
}

impl Meta {
    pub(super) fn apply(&mut self, commit: &Commit<'_>) {
        for &(store, next) in commit.changelog_next {
            self.changelog_next[store.0] = Some(next);
        }
        for (partition, next) in commit.positions {
            match self.positions.get_mut(partition) {
                Some(position) => *position = *next,
                None => _ = self.positions.insert(partition.clone(), *next),
            }
        }
        self.stream_time = commit.stream_time.or(self.stream_time);
    }

    /// Takes over one stored pair; false if it is not understood. `store` gives a store's number by name.
    pub(super) fn load(&mut self, key: &[u8], value: &[u8], store: impl Fn(&str) -> Option<StoreIndex>) -> bool {
        let (Some((kind, rest)), Some(number)) = (key.split_first(), decode(value)) else { return false };
        let Ok(rest) = std::str::from_utf8(if *kind == b'p' { rest.get(4..).unwrap_or(b"\xff") } else { rest }) else {
            return false;
        };
        match kind {
            b'c' => {
                if let Some(index) = store(rest) {
                    self.changelog_next[index.0] = Some(Offset(number));
                }
            }
            b'p' => {
                let Ok(partition) = key[1..5].try_into() else { return false };
                let partition = Partition(i32::from_be_bytes(partition));
                self.positions.insert(TopicPartition { topic: rest.into(), partition }, Offset(number));
            }
            b't' => self.stream_time = Some(Timestamp(number)),
            _ => return false,
        }
        true
    }
}

pub(super) fn changelog_key(store: &str) -> Vec<u8> {
    [b"c", store.as_bytes()].concat()
}

pub(super) fn position_key(partition: &TopicPartition) -> Vec<u8> {
    [b"p", &partition.partition.0.to_be_bytes()[..], partition.topic.as_bytes()].concat()
}

pub(super) fn encode(number: i64) -> [u8; 8] {
    number.to_be_bytes()
}

fn decode(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(i64::from_be_bytes)
}

pub(super) fn encode_format(format: Format) -> Vec<u8> {
    [&format.version.to_be_bytes()[..], &format.topology.to_be_bytes()[..]].concat()
}

pub(super) fn decode_format(value: &[u8]) -> Option<Format> {
    let (version, topology) = value.split_first_chunk::<4>()?;
    Some(Format { version: u32::from_be_bytes(*version), topology: u64::from_be_bytes(topology.try_into().ok()?) })
}
