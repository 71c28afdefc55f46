//! What is committed is there whole; what is not is invisible.

use std::collections::BTreeMap;
use std::time::Duration;

use headrace::position::{Offset, Partition};
use headrace::wire::producer::{Committed, Outgoing, Producer, ProducerSettings, Slot};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::support::{
    Joined, at, commit, end, initialise, logged, outcome, producer, record, sees, settings, start, values,
};
use crate::runtime::support::{Bench, PARTITIONS, PATIENCE, broker};
use crate::support::{Topics, eventually, expect};

#[test]
fn n3_a_commit_shows_all_partitions_and_the_positions_at_once() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n3-commit");
    let (input, output) = (bench.input(), bench.output());
    let joined = Joined::new(&bench, &input);
    let mut producer = producer(&bench.servers, settings(&bench.application));
    let texts: Vec<String> = (0..1_000).map(|number| format!("value {number:04}")).collect();
    for (number, text) in texts.iter().enumerate() {
        let partition = i32::try_from(number).unwrap() % PARTITIONS;
        producer.append(&logged(&output, partition, text, usize::try_from(partition).unwrap())).unwrap();
    }
    assert_eq!(values(&bench, &output), Vec::<String>::new(), "nothing before the commit");
    producer.seal(&[at(&input, 0, 17), at(&input, 3, 4)], Some(&joined.member())).unwrap();
    let mut committed = outcome(&mut producer).unwrap();
    committed.next_offsets.sort();
    let expected: Vec<(Slot, Offset)> = (0..4).map(|slot| (Slot(slot), Offset(250))).collect();
    assert_eq!(committed.next_offsets, expected);
    eventually("a committed reader sees all", || {
        let mut seen = values(&bench, &output);
        seen.sort();
        expect(&(seen == texts), &true)
    });
    let positions = || (joined.committed(&input, 0), joined.committed(&input, 3));
    eventually("the positions are committed", || expect(&positions(), &(Some(17), Some(4))));
    assert_eq!(joined.committed(&input, 1), None);
}

#[test]
fn n7_what_is_not_committed_is_never_seen_and_initialising_ends_it() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n7-abort");
    let output = bench.output();
    let mut producer = producer(&bench.servers, settings(&bench.application));
    producer.append(&record(&output, 0, "aborted")).unwrap();
    let lingered = Duration::from_millis(6);
    eventually("the record is there, uncommitted", || {
        producer.serve(lingered).unwrap();
        expect(&end(&bench, &output, 0), &1)
    });
    initialise(&mut producer);
    producer.append(&record(&output, 0, "committed")).unwrap();
    commit(&mut producer).unwrap();
    sees(&bench, &output, &["committed"]);
}

#[test]
fn n2_the_next_epoch_is_adopted_over_many_transactions() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n2-epochs");
    let output = bench.output();
    let mut producer = producer(&bench.servers, settings(&bench.application));
    let texts: Vec<String> = (0..300).map(|number| format!("value {number:04}")).collect();
    for text in &texts {
        producer.append(&logged(&output, 1, text, 9)).unwrap();
        let committed = commit(&mut producer).unwrap();
        assert_eq!(committed.next_offsets.len(), 1);
    }
    sees(&bench, &output, &texts);
}

#[test]
fn n5_what_is_appended_after_a_seal_belongs_to_the_next_transaction() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n5-pipelined");
    let output = bench.output();
    let mut producer = producer(&bench.servers, settings(&bench.application));
    let mut expected = Vec::new();
    for turn in 0..100 {
        for number in 0..20 {
            let text = format!("turn {turn:03} number {number:02}");
            producer.append(&record(&output, 2, &text)).unwrap();
            expected.push(text);
        }
        if producer.is_sealed() {
            outcome(&mut producer).unwrap();
        }
        producer.seal(&[], None).unwrap();
    }
    outcome(&mut producer).unwrap();
    producer.append(&record(&output, 2, "never sealed")).unwrap();
    sees(&bench, &output, &expected);
}

#[test]
fn r8_nothing_in_a_transaction_sends_nothing() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "r8-nothing");
    let mut producer = producer(&bench.servers, settings(&bench.application));
    for _ in 0..1_000 {
        assert_eq!(commit(&mut producer).unwrap(), Committed::default());
    }
    let joined = Joined::new(&bench, &bench.input());
    producer.seal(&[at(&bench.input(), 1, 3)], Some(&joined.member())).unwrap();
    assert_eq!(outcome(&mut producer).unwrap().next_offsets, [], "positions alone are a transaction");
    eventually("they are committed", || expect(&joined.committed(&bench.input(), 1), &Some(3)));
}

#[test]
fn n1_keys_land_where_java_and_librdkafka_put_them() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n1-murmur2");
    let (ours, theirs) = (bench.output(), bench.input());
    let keys: Vec<Vec<u8>> =
        (0..500_u32).map(|number| number.to_le_bytes()[..(number as usize % 5)].to_vec()).collect();
    let rdkafka: BaseProducer = bench.client().set("partitioner", "murmur2_random").create().unwrap();
    let mut producer = producer(&bench.servers, settings(&bench.application));
    for key in &keys {
        rdkafka.send(BaseRecord::to(&theirs).key(key).payload("v")).map_err(|(error, _)| error).unwrap();
        producer.append(&Outgoing { partition: None, key: Some(key), ..record(&ours, 0, "v") }).unwrap();
    }
    rdkafka.flush(PATIENCE).unwrap();
    commit(&mut producer).unwrap();
    let place = |topic: &str| {
        let records = Topics::new(&bench.servers).read(topic).into_iter();
        records.map(|record| (record.key, record.partition)).collect::<BTreeMap<_, _>>()
    };
    eventually("ours lie where theirs do", || expect(&(place(&ours) == place(&theirs)), &true));
}

#[test]
fn r29_without_a_transactional_id_an_outcome_says_that_all_is_written() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "r29-plain");
    let output = bench.output();
    let mut producer: Producer = start(&bench.servers, ProducerSettings::new(None));
    initialise(&mut producer);
    for turn in 0..50 {
        for number in 0..10 {
            producer.append(&logged(&output, 0, &format!("{turn}/{number}"), 0)).unwrap();
        }
        let committed = commit(&mut producer).unwrap();
        assert_eq!(committed.next_offsets, [(Slot(0), Offset((turn + 1) * 10))]);
    }
    let record = record(&output, 0, "without a key");
    for _ in 0..10 {
        producer.append(&Outgoing { partition: None, key: None, ..record }).unwrap();
    }
    commit(&mut producer).unwrap();
    assert_eq!(values(&bench, &output).len(), 510);
    assert_eq!(record.partition, Some(Partition(0)));
}
