//! Brokers that go away, topics that are not there, records that are too large, connections that are cut.

use std::time::{Duration, Instant};

use headrace::position::Offset;
use headrace::wire::producer::{Outgoing, ProduceError, ProducerSettings, Slot};
use testbed::{Kafka, Testbed};

use super::support::{commit, end, initialise, logged, outcome, producer, record, sees, settings, start, values};
use super::turns::Turns;
use crate::runtime::support::{Bench, PATIENCE, broker, broker_alone};
use crate::support::proxy::{Action, END_TXN, Proxy};
use crate::support::script::Script;
use crate::support::{Topics, eventually, expect};

#[test]
fn n8_sequences_survive_a_restart_of_the_broker_in_mid_transaction() {
    let (kafka, _guard) = broker_alone();
    let bench = Bench::new(kafka, "n8-restart");
    let output = bench.output();
    let patient = ProducerSettings {
        transaction_timeout: Duration::from_secs(60),
        delivery_timeout: PATIENCE,
        batch_bytes: 2_000,
        ..settings(&bench.application)
    };
    let mut producer = producer(&bench.servers, patient);
    let texts: Vec<String> = (0..20_000).map(|number| format!("value {number:05}")).collect();
    let (first, rest) = texts.split_at(1_000);
    for text in first {
        producer.append(&logged(&output, 0, text, 1)).unwrap();
    }
    eventually("the transaction has begun", || {
        producer.serve(Duration::from_millis(6)).map_err(|error| error.to_string())?;
        expect(&(end(&bench, &output, 0) > 0), &true)
    });
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| {
            kafka.kill();
            kafka.start().unwrap();
        });
        for text in rest {
            producer.append(&logged(&output, 0, text, 1)).unwrap();
            producer.serve(Duration::ZERO).unwrap();
        }
        restart.join().unwrap();
    });
    let committed = commit(&mut producer).unwrap();
    sees(&bench, &output, &texts);
    assert_eq!(committed.next_offsets, [(Slot(1), Offset(20_000))]);
}

#[test]
fn n8_initialising_goes_on_where_it_was_until_a_broker_is_there() {
    let (kafka, _guard) = broker_alone();
    let bench = Bench::new(kafka, "n8-away");
    kafka.stop();
    let mut producer = start(&bench.servers, settings(&bench.application));
    for _ in 0..3 {
        let error = producer.initialise(Instant::now() + Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, ProduceError::Again(_)), "{error}");
    }
    kafka.start().unwrap();
    initialise(&mut producer);
    producer.append(&record(&bench.output(), 0, "here")).unwrap();
    commit(&mut producer).unwrap();
}

#[test]
fn n8_a_topic_that_is_not_there_is_named() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n8-topic");
    let impatient = ProducerSettings { delivery_timeout: Duration::from_secs(3), ..settings(&bench.application) };
    let mut producer = producer(&bench.servers, impatient);
    let error = producer.append(&record("n8-nowhere", 0, "value")).unwrap_err();
    assert!(matches!(error, ProduceError::Missing(_)) && error.to_string().contains("n8-nowhere"), "{error}");
    initialise(&mut producer);
    let error = producer.append(&record(&bench.output(), 99, "value")).unwrap_err();
    assert!(error.to_string().contains("there is no 99"), "{error}");
    initialise(&mut producer);
    producer.append(&record(&bench.output(), 0, "value")).unwrap();
    commit(&mut producer).unwrap();
    sees(&bench, &bench.output(), &["value"]);
}

#[test]
fn n8_a_partition_that_is_added_is_found() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n8-grows");
    let output = bench.output();
    let mut producer = producer(&bench.servers, settings(&bench.application));
    producer.append(&record(&output, 0, "before")).unwrap();
    commit(&mut producer).unwrap();
    let args = ["--bootstrap-server", &bench.servers, "--alter", "--topic", &output, "--partitions", "6"];
    kafka.java_tool("org.apache.kafka.tools.TopicCommand", &args).unwrap();
    producer.append(&record(&output, 5, "after")).unwrap();
    commit(&mut producer).unwrap();
    sees(&bench, &output, &["before", "after"]);
}

#[test]
fn n8_a_record_larger_than_a_request_is_refused_alone() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n8-large");
    let output = bench.output();
    let mut producer = producer(&bench.servers, settings(&bench.application));
    let large = vec![b'x'; 2_000_000];
    producer.append(&record(&output, 0, "before")).unwrap();
    let error = producer.append(&Outgoing { value: Some(&large), ..record(&output, 0, "") }).unwrap_err();
    assert!(matches!(&error, ProduceError::RecordTooLarge(refused) if refused.topic == output), "{error}");
    producer.append(&record(&output, 0, "after")).unwrap();
    commit(&mut producer).unwrap();
    sees(&bench, &output, &["before", "after"]);
}

#[test]
fn n8_a_record_larger_than_its_topic_allows_is_told_apart() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n8-topic-limit");
    let topic = format!("{}-small", bench.application);
    Topics::new(&bench.servers).create_with(&topic, 1, &[("max.message.bytes", "2000")]);
    let mut producer = producer(&bench.servers, settings(&bench.application));
    let large = "x".repeat(5_000);
    producer.append(&record(&topic, 0, &large)).unwrap();
    let error = commit(&mut producer).unwrap_err();
    assert!(
        matches!(&error, ProduceError::RecordTooLarge(refused) if refused.topic == topic && refused.bytes == 5_003),
        "{error}"
    );
    initialise(&mut producer);
    let texts: Vec<String> = (0..200).map(|number| format!("fits {number:03} {}", "y".repeat(300))).collect();
    for text in &texts {
        producer.append(&logged(&topic, 0, text, 0)).unwrap();
    }
    commit(&mut producer).expect("a batch is cut until it fits");
    sees(&bench, &topic, &texts);
}

#[test]
fn n7_a_connection_cut_before_or_after_the_end_of_a_transaction_leaves_no_doubt() {
    let proxy = Proxy::bind(Script::default());
    let advertised = format!("PLAINTEXT://{}", proxy.address());
    let kafka = Kafka::builder().unwrap().property("advertised.listeners", &advertised);
    let bed = Testbed::builder().kafka_with(kafka).start().unwrap();
    let kafka = bed.kafka().unwrap();
    proxy.lead_to(kafka.port());
    let bench = Bench::new(kafka, "n7-cut");
    let output = bench.output();
    let mut producer = producer(&bench.servers, settings(&bench.application));
    let mut expected = Vec::new();
    for turn in 0..6 {
        let cut = if turn % 2 == 0 { Action::CutBefore } else { Action::LoseAnswer };
        let text = format!("turn {turn}, {cut:?}");
        producer.append(&record(&output, turn % 4, &text)).unwrap();
        proxy.plan.next(END_TXN, cut);
        producer.seal(&[], None).unwrap();
        let error = outcome(&mut producer).unwrap_err();
        assert!(matches!(&error, ProduceError::Abort(text) if text.contains("outcome is unknown")), "{error}");
        initialise(&mut producer);
        // If the broker saw EndTxn the records are there, else they never will be: initialising has settled it.
        if cut == Action::LoseAnswer {
            expected.push(text);
        }
        let mut seen = values(&bench, &output);
        seen.sort();
        assert_eq!(seen, expected);
    }
    assert_eq!(proxy.plan.done(), 6);
}

/// Transactions under which brokers die and come back.
const TURNS: usize = 24;

#[test]
fn n8_leaders_and_coordinators_that_die_tear_nothing_lose_nothing_and_double_nothing() {
    let turns = Turns::start("moving", 4);
    let patient = ProducerSettings {
        transaction_timeout: Duration::from_secs(60),
        delivery_timeout: PATIENCE,
        ..settings("moving-id")
    };
    let mut producer = producer(&turns.servers, patient);
    for turn in 0..TURNS {
        let node = &turns.nodes[turn / 6 % 3];
        match turn % 6 {
            2 => node.kill(),
            4 => node.start().unwrap(),
            _ => {}
        }
        turns.commit(&mut producer, turn);
    }
    turns.check(TURNS);
}
