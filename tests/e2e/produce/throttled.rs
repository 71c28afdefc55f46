//! A quota on what the producer may send: the broker answers and asks to be left alone (KIP-219).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use headrace::wire::Settings;
use headrace::wire::producer::{Producer, ProducerSettings};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Statistics};
use testbed::Kafka;

use super::support::{commit, initialise, record, sees, settings};
use crate::runtime::support::{Bench, PATIENCE, broker};

/// Bytes per second.
const QUOTA: &str = "20000";
/// So that the broker asks for its longest pause, eleven seconds: longer than a request is waited for.
const BYTES: usize = 400_000;

fn limit(kafka: &Kafka, client_id: &str, change: [&str; 2]) {
    let whose =
        ["--bootstrap-server", kafka.bootstrap_servers(), "--entity-type", "clients", "--entity-name", client_id];
    let args = [&whose[..], &["--alter"], &change].concat();
    kafka.java_tool("kafka.admin.ConfigCommand", &args).unwrap();
}

/// Remembers the longest pause that a broker has asked for, in milliseconds.
#[derive(Default)]
struct Pauses(AtomicI64);

impl ClientContext for Pauses {
    fn stats(&self, statistics: Statistics) {
        let pauses = statistics.brokers.values().filter_map(|broker| broker.throttle.as_ref());
        _ = self.0.fetch_max(pauses.map(|pause| pause.max).max().unwrap_or(0), Ordering::Relaxed);
    }
}

impl ProducerContext for Pauses {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

/// The pause that the broker asks another client of this name for, in milliseconds.
fn pause_asked(bench: &Bench) -> i64 {
    let mut config = bench.client();
    config.set("client.id", &bench.application).set("statistics.interval.ms", "100").set("linger.ms", "0");
    let producer: BaseProducer<Pauses> = config.create_with_context(Pauses::default()).unwrap();
    producer.send(BaseRecord::<(), str>::to(&bench.dead()).payload("a record")).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    let begun = Instant::now();
    while producer.context().0.load(Ordering::Relaxed) == 0 && begun.elapsed() < Duration::from_secs(2) {
        producer.poll(Duration::from_millis(50));
    }
    producer.context().0.load(Ordering::Relaxed)
}

#[test]
fn n8_a_quota_slows_the_producer_down_and_costs_nothing_else() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n8-quota");
    let (output, client_id) = (bench.output(), bench.application.as_str());
    assert_eq!(pause_asked(&bench), 0, "the control, before there is a quota");
    limit(kafka, client_id, ["--add-config", &format!("producer_byte_rate={QUOTA}")]);
    let own = ProducerSettings {
        transaction_timeout: PATIENCE,
        request_timeout: Duration::from_secs(5),
        delivery_timeout: PATIENCE,
        ..settings(&bench.application)
    };
    let cluster = Settings::new(&bench.servers, [("client.id", client_id)]).unwrap();
    let mut producer = Producer::start(&cluster, own).unwrap();
    initialise(&mut producer);
    let texts: Vec<String> = (0..BYTES / 1_000).map(|number| format!("{number:01000}")).collect();
    for half in texts.chunks(texts.len() / 2) {
        for text in half {
            producer.append(&record(&output, 0, text)).unwrap();
        }
        commit(&mut producer).expect("no time-out and no abort");
    }
    assert!(pause_asked(&bench) > 0, "the control: the broker asked for no pause");
    limit(kafka, client_id, ["--delete-config", "producer_byte_rate"]);
    sees(&bench, &output, &texts);
}
