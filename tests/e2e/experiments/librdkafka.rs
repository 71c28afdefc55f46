//! What librdkafka's producer does with transactions on a slow network (transactions v1).

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;

use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use testbed::{Kafka, Testbed};

use crate::runtime::support::{Bench, PATIENCE};
use crate::support::proxy::{Action, END_TXN, PRODUCE, Proxy};
use crate::support::script::Script;
use crate::support::{Topics, eventually};

/// How long a call may take: shorter than what is waited for.
const CALL: Duration = Duration::from_secs(6);
/// How long librdkafka waits for an answer before it asks again; its least is 1 s above the transaction's.
const SOCKET: Duration = Duration::from_secs(2);

struct Place {
    bench: Bench,
    proxy: Proxy<Script>,
    _bed: Testbed,
}

/// A broker behind a proxy.
fn place(name: &str) -> Place {
    let proxy = Proxy::bind(Script::default());
    let advertised = format!("PLAINTEXT://{}", proxy.address());
    let kafka = Kafka::builder().unwrap().property("advertised.listeners", &advertised);
    let bed = Testbed::builder().kafka_with(kafka).start().unwrap();
    proxy.lead_to(bed.kafka().unwrap().port());
    Place { bench: Bench::new(bed.kafka().unwrap(), name), proxy, _bed: bed }
}

fn config(bench: &Bench) -> ClientConfig {
    let mut config = bench.client();
    config.set("transactional.id", &bench.application).set("linger.ms", "0");
    config.set("socket.timeout.ms", SOCKET.as_millis().to_string());
    config.set("transaction.timeout.ms", "20000").set("message.timeout.ms", "20000");
    config
}

fn send(bench: &Bench, send: impl Fn(BaseRecord<'_, str, str>) -> bool, text: &str) {
    let output = bench.output();
    assert!(send(BaseRecord::to(&output).partition(0).key("key").payload(text)));
}

/// `abort_transaction` while a Produce is under way, without a thread that serves delivery reports, and with one.
#[test]
fn r10_an_abort_with_records_in_flight_comes_back_only_where_delivery_reports_are_served() {
    let place = place("abort-in-flight");
    let plain: BaseProducer = config(&place.bench).create().unwrap();
    let took = aborted(&place, &plain, |record| plain.send(record).is_ok());
    println!("BaseProducer: {took:?}");
    assert!(took.0.is_err() && took.1 >= CALL, "{took:?}");
    let served: ThreadedProducer<_> = config(&place.bench).create().unwrap();
    let took_served = aborted(&place, &served, |record| served.send(record).is_ok());
    println!("ThreadedProducer: {took_served:?}");
    assert!(took_served.0.is_ok(), "{took_served:?}");
}

type Ended = (KafkaResult<()>, Duration);

fn aborted<P>(place: &Place, producer: &P, put: impl Fn(BaseRecord<'_, str, str>) -> bool) -> Ended
where
    P: Producer<DefaultProducerContext>,
{
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    let done = place.proxy.plan.done();
    place.proxy.plan.next(PRODUCE, Action::Delay(Duration::from_secs(1)));
    send(&place.bench, &put, "in flight");
    eventually("the Produce is held up", || {
        if place.proxy.plan.done() > done { Ok(()) } else { Err("not yet".to_owned()) }
    });
    let started = Instant::now();
    (producer.abort_transaction(CALL), started.elapsed())
}

/// EndTxn reaches the broker after one and a half `socket.timeout.ms`: librdkafka has asked again by then, with the same
/// epoch, and says that all is well. What was late ends the transaction after it, which nobody has committed.
#[test]
fn r11_an_end_that_is_late_is_reported_as_a_success_and_ends_the_next_transaction() {
    let place = place("late-end");
    let producer: ThreadedProducer<_> = config(&place.bench).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    send(&place.bench, |record| producer.send(record).is_ok(), "committed");
    place.proxy.plan.next(END_TXN, Action::Delay(SOCKET * 3 / 2));
    let started = Instant::now();
    let committed = producer.commit_transaction(PATIENCE);
    println!("commit_transaction: {committed:?} after {:?}", started.elapsed());
    committed.unwrap();
    producer.begin_transaction().unwrap();
    send(&place.bench, |record| producer.send(record).is_ok(), "open");
    producer.flush(PATIENCE).unwrap();
    let topics = Topics::new(&place.bench.servers);
    let seen = || -> Vec<Vec<u8>> {
        topics.read(&place.bench.output()).into_iter().filter_map(|record| record.value).collect()
    };
    eventually("what nobody has committed is seen", || match seen() {
        values if values == [b"committed".to_vec(), b"open".to_vec()] => Ok(()),
        values => Err(format!("{values:?}")),
    });
    println!("and its own end: {:?}", producer.abort_transaction(CALL));
}
