//! Fetchers under test, and what they read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use headrace::position::{Offset, Partition, TopicPartition};
use headrace::record::RawRecord;
use headrace::wire::Settings;
use headrace::wire::fetch::{Event, Fetcher, FetcherSettings};

use crate::support::DEADLINE;
use crate::support::records::Stored;

/// Wait of one poll.
pub(crate) const WAIT: Duration = Duration::from_millis(100);

/// A topic's name that no other test has.
pub(crate) fn fresh(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("fetch-{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition: Partition(partition) }
}

/// Small buffers, so that every bound is met.
pub(crate) fn small() -> FetcherSettings {
    FetcherSettings {
        partition_bytes: 32 << 10,
        max_bytes: 128 << 10,
        buffer_bytes: 256 << 10,
        request_timeout: Duration::from_secs(5),
        missing_patience: Duration::from_secs(1),
        ..FetcherSettings::default()
    }
}

pub(crate) fn start(servers: &str, properties: &[(&str, &str)], settings: FetcherSettings) -> Fetcher {
    let cluster = Settings::new(servers, properties.iter().copied()).unwrap();
    Fetcher::start(&cluster, settings).unwrap()
}

/// A fetcher of all partitions of a topic, from their beginning on.
pub(crate) fn fetcher(servers: &str, topic: &str, partitions: i32) -> Fetcher {
    let fetcher = start(servers, &[], small());
    (0..partitions).for_each(|partition| fetcher.assign(&at(topic, partition), Offset(0)));
    fetcher
}

pub(crate) fn stored(record: &RawRecord<'_>) -> Stored {
    let owned = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
    Stored {
        partition: record.partition.0,
        offset: record.offset.0,
        key: owned(record.key),
        value: owned(record.value),
        headers: record.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
    }
}

/// What was read, and where the ends were told.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) records: Vec<Stored>,
    pub(crate) ends: BTreeMap<TopicPartition, Offset>,
    /// Everything else that was told.
    pub(crate) others: Vec<Event>,
}

impl Read {
    /// By partition and offset; each partition's have come in order.
    pub(crate) fn sorted(mut self) -> Vec<Stored> {
        for pair in self.records.windows(2).filter(|pair| pair[0].partition == pair[1].partition) {
            assert!(pair[0].offset < pair[1].offset, "{} after {}", pair[1].offset, pair[0].offset);
        }
        self.records.sort_by_key(|record| (record.partition, record.offset));
        self.records
    }

    /// One event.
    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::Records(mut portion) => {
                while let Some(record) = portion.next_record() {
                    self.records.push(stored(&record.unwrap()));
                }
            }
            Event::End { at, position, .. } => _ = self.ends.insert(at, position),
            Event::Idle => {}
            other => self.others.push(other),
        }
    }

    /// Reads on until it is enough.
    #[track_caller]
    pub(crate) fn until(&mut self, fetcher: &Fetcher, what: &str, enough: impl Fn(&Read) -> bool) {
        let begun = Instant::now();
        while !enough(self) {
            let count = self.records.len();
            assert!(begun.elapsed() < DEADLINE, "{what}: {count} records, {:?}, {:?}", self.ends, self.others);
            self.take(fetcher.poll(WAIT));
        }
    }
}

/// Reads until each of so many partitions has told its end.
#[track_caller]
pub(crate) fn to_the_ends(fetcher: &Fetcher, partitions: usize) -> Read {
    let mut read = Read::default();
    read.until(fetcher, "the ends", |read| read.ends.len() == partitions);
    assert!(read.others.is_empty(), "{:?}", read.others);
    read
}
