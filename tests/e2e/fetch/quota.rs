//! A consumer's quota: the broker's wish to be left alone is honoured, and nothing is lost by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use headrace::position::Offset;
use headrace::wire::fetch::Fetcher;
use headrace::wire::{Event, Observer, Settings};

use super::support::{at, fresh, small, to_the_ends};
use crate::produce::support::{commit, producer, record, settings};
use crate::runtime::support::{Bench, PATIENCE, broker, tokio};
use crate::support::Topics;
use crate::wire::told::limit;

/// Bytes per second; the broker looks at the last ten seconds.
const QUOTA: f64 = 50_000.0;
const RECORDS: usize = 1_000;

#[test]
fn n8_a_quota_slows_down_and_loses_nothing() {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, "fetch-quota");
    let topic = fresh("quota");
    Topics::new(&bench.servers).create(&topic, 1);
    let mut producer = producer(&bench.servers, settings(&topic));
    let value = "v".repeat(400);
    (0..RECORDS).for_each(|_| producer.append(&record(&topic, 0, &value)).unwrap());
    commit(&mut producer).unwrap();
    tokio().block_on(limit(&bench.servers, &topic, "consumer_byte_rate", QUOTA));
    let throttled = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&throttled);
    let observer = Observer::new(move |_, event| {
        if matches!(event, Event::Throttled(_)) {
            told.fetch_add(1, Ordering::Relaxed);
        }
    });
    let cluster = Settings::new(&bench.servers, [("client.id", topic.as_str())]).unwrap();
    let cluster = Settings { observer, ..cluster };
    let deadline = Instant::now() + PATIENCE;
    // The broker takes a moment to know the quota.
    while throttled.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline, "the quota is not felt");
        let fetcher = Fetcher::start(&cluster, small()).unwrap();
        fetcher.assign(&at(&topic, 0), Offset(0));
        assert_eq!(to_the_ends(&fetcher, 1).records.len(), RECORDS);
    }
}
