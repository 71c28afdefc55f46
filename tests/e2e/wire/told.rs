//! What connections tell: openings, failures, ends and quotas, with the broker that it is about.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use headrace::kafka::{NativeProducer, Outgoing, TransactionalProducer as _};
use headrace::position::Partition;
use headrace::record::{Headers, Timestamp};
use headrace::wire::{Client, Connection, Event, Observer, Settings};
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse, ApiKey};
use kafka_protocol::protocol::StrBytes;
use testbed::Testbed;

use super::{metadata_of, retried, run, settings};
use crate::runtime::support::{Bench, PATIENCE, broker, tokio};
use crate::support::{raw, secured};

static NO_HEADERS: Headers = Headers::new();

/// Each event as a line: broker, and what it was.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn observer(&self) -> Observer {
        let lines = Arc::clone(&self.0);
        Observer::new(move |peer, event| {
            let broker = peer.broker.map_or("?".to_owned(), |broker| broker.to_string());
            let what = match event {
                Event::Opened { again: false } => "opened",
                Event::Opened { again: true } => "reopened",
                Event::Failed(error) | Event::Ended(error) => error.kind(),
                Event::Throttled(_) => "throttled",
            };
            lines.lock().unwrap().push(format!("{broker} {what}"));
        })
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|told| *told == line).count()
    }
}

#[test]
fn a_broker_that_goes_and_comes_back_is_told_by_its_id() {
    let bed = Testbed::builder().kafka().start().unwrap();
    run(async move {
        let told = Told::default();
        let own = Settings { observer: told.observer(), ..settings(bed.kafka().unwrap().bootstrap_servers(), &[]) };
        let client = Client::new(own);
        client.transaction_version().await.unwrap();
        let (broker, _) = client.brokers()[0].clone();
        let before = client.connection(broker).await.unwrap();
        let line = |what: &str| format!("{broker} {what}");
        assert_eq!((told.count("? opened"), told.count(&line("opened"))), (1, 1), "{:?}", told.lines());
        let bed = tokio::task::spawn_blocking(move || {
            bed.kafka().unwrap().stop();
            bed
        });
        let bed = bed.await.unwrap();
        assert!(before.call(&metadata_of(&[]), ..).await.is_err());
        client.connection(broker).await.unwrap_err();
        assert_eq!((told.count(&line("closed")), told.count(&line("reopened"))), (1, 0), "{:?}", told.lines());
        assert!(told.count(&line("unreachable")) >= 1, "{:?}", told.lines());
        let bed = tokio::task::spawn_blocking(move || {
            bed.kafka().unwrap().start().unwrap();
            bed
        });
        let _bed = bed.await.unwrap();
        retried("the broker", || client.connection(broker)).await;
        assert_eq!(told.count(&line("reopened")), 1, "{:?}", told.lines());
    });
}

#[test]
fn a_refused_login_is_told_and_a_connection_that_nobody_needs_is_not() {
    let bed = secured();
    run(async move {
        let told = Told::default();
        let server = bed.kafka().unwrap().secured().unwrap().sasl_plaintext.clone();
        let properties = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "nobody"),
            ("sasl.password", "wrong"),
        ];
        let refused = Settings { observer: told.observer(), ..settings(&server, &properties) };
        Connection::open(&refused.bootstrap_servers[0], &refused).await.unwrap_err();
        assert_eq!(told.lines(), ["? authentication"]);

        let told = Told::default();
        let own = Settings { observer: told.observer(), ..settings(bed.kafka().unwrap().bootstrap_servers(), &[]) };
        let connection = Connection::open(&own.bootstrap_servers[0], &own).await.unwrap();
        let reply = connection.call(&metadata_of(&[]), ..).await;
        drop(connection);
        reply.unwrap();
        // Another round on the same runtime, so that the end of the first connection has been seen to.
        Connection::open(&own.bootstrap_servers[0], &own).await.unwrap().call(&metadata_of(&[]), ..).await.unwrap();
        assert_eq!(told.lines(), ["? opened", "? opened"]);
    });
}

/// Bytes per second that the quota allows, and what a test produces at once: the broker looks at the last ten seconds.
const QUOTA: f64 = 10_000.0;
const FLOOD: usize = 120_000;

/// A quota (`producer_byte_rate`, `consumer_byte_rate`) for clients of this `client.id`, in bytes a second.
pub(crate) async fn limit(servers: &str, client_id: &str, quota: &str, rate: f64) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let settings = settings(servers, &[]);
    let connection = Connection::open(&settings.bootstrap_servers[0], &settings).await.unwrap();
    let entity = EntityData::default().with_entity_type(text("client-id")).with_entity_name(Some(text(client_id)));
    let limit = OpData::default().with_key(text(quota)).with_value(rate);
    let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![limit]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let response: AlterClientQuotasResponse =
        raw::ask(&connection, ApiKey::AlterClientQuotas, 1, &request).await.unwrap();
    assert_eq!(response.entries[0].error_code, 0);
}

/// Produces more than the quota allows: whether it was committed in time, and whether the broker has slowed us down.
fn flood(bench: &Bench, instance: &str, client_id: Option<&str>) -> (bool, bool) {
    let told = Told::default();
    let mut settings = bench.settings(instance);
    settings.observer = told.observer();
    settings.properties.extend(client_id.map(|id| ("client.id".to_owned(), id.to_owned())));
    let mut producer = NativeProducer::transactional(&settings, 0).unwrap();
    producer.initialise(Instant::now() + PATIENCE).unwrap();
    let (topic, value) = (bench.output(), vec![b'x'; FLOOD]);
    let record = Outgoing {
        topic: &topic,
        partition: Some(Partition(0)),
        key: None,
        value: Some(&value),
        timestamp: Timestamp::NONE,
        headers: &NO_HEADERS,
        named: false,
        slot: None,
    };
    producer.append(record).unwrap();
    producer.seal(&[], None).unwrap();
    let committed = producer.outcome(PATIENCE).is_ok_and(|committed| committed.is_some());
    (committed, told.lines().iter().any(|line| line.ends_with("throttled")))
}

#[test]
fn a_quota_of_the_users_client_id_is_felt_and_told() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "quota");
    let paid_for = format!("{}-paid-for", bench.application);
    tokio().block_on(limit(&bench.servers, &paid_for, "producer_byte_rate", QUOTA));
    let deadline = Instant::now() + PATIENCE;
    // The broker takes a moment to know the quota; and then it may ask for more patience than a transaction has.
    while !flood(&bench, "with", Some(&paid_for)).1 {
        assert!(Instant::now() < deadline, "the quota is not felt");
    }
    assert_eq!(flood(&bench, "without", None), (true, false), "the quota is another client's");
}
