//! Who is not the owner any more commits nothing.

use std::time::{Duration, Instant};

use headrace::wire::producer::{Member, ProduceError, ProducerSettings};

use super::support::{Joined, at, commit, end, initialise, outcome, producer, record, sees, settings, values};
use crate::runtime::support::{Bench, PATIENCE, broker};
use crate::support::{eventually, expect};

#[test]
fn n7_a_second_producer_of_the_same_id_fences_the_first() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n7-fence");
    let output = bench.output();
    let mut first = producer(&bench.servers, settings(&bench.application));
    first.append(&record(&output, 0, "of the first")).unwrap();
    commit(&mut first).unwrap();
    let mut second = producer(&bench.servers, settings(&bench.application));
    first.append(&record(&output, 0, "of the zombie")).unwrap();
    let error = commit(&mut first).unwrap_err();
    assert!(matches!(error, ProduceError::Fenced(_)), "{error}");
    assert!(error.to_string().contains(&output), "{error}");
    assert_eq!(first.append(&record(&output, 0, "again")).unwrap_err(), error, "it stays fenced");
    second.append(&record(&output, 0, "of the second")).unwrap();
    commit(&mut second).unwrap();
    sees(&bench, &output, &["of the first", "of the second"]);
}

#[test]
fn n6_a_fenced_producer_is_known_without_a_record_or_a_commit() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n6-fence");
    let output = bench.output();
    let mut first = producer(&bench.servers, settings(&bench.application));
    let _second = producer(&bench.servers, settings(&bench.application));
    first.append(&record(&output, 0, "of the zombie")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < deadline);
        if let Err(error) = first.serve(Duration::from_millis(6)) {
            break error;
        }
    };
    assert!(matches!(error, ProduceError::Fenced(_)), "{error}");
}

#[test]
fn n4_no_generation_or_no_member_id_is_refused_before_anything_is_sent() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n4-nobody");
    let (input, output) = (bench.input(), bench.output());
    let nobody = |generation, member_id: &str| Member {
        group: "group".to_owned(),
        generation,
        member_id: member_id.to_owned(),
        instance_id: None,
    };
    let mut producer = producer(&bench.servers, settings(&bench.application));
    for member in [Some(nobody(-1, "member")), Some(nobody(3, "")), Some(nobody(-1, "")), None] {
        producer.append(&record(&output, 0, "of nobody")).unwrap();
        let error = producer.seal(&[at(&input, 0, 1)], member.as_ref()).unwrap_err();
        assert!(matches!(error, ProduceError::Fenced(_)), "{error}");
        initialise(&mut producer);
    }
    assert_eq!(values(&bench, &output), Vec::<String>::new());
}

#[test]
fn n4_a_stale_generation_and_an_unknown_member_are_fenced_by_the_broker() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n4-stale");
    let (input, output) = (bench.input(), bench.output());
    let joined = Joined::new(&bench, &input);
    let member = joined.member();
    let stale = Member { generation: member.generation + 1, ..member.clone() };
    let unknown = Member { member_id: "somebody else".to_owned(), ..member.clone() };
    let mut producer = producer(&bench.servers, settings(&bench.application));
    for wrong in [stale, unknown] {
        producer.append(&record(&output, 0, "of a zombie")).unwrap();
        producer.seal(&[at(&input, 0, 5)], Some(&wrong)).unwrap();
        let error = outcome(&mut producer).unwrap_err();
        assert!(matches!(error, ProduceError::Fenced(_)), "{error}");
        assert!(error.to_string().contains(&input), "{error}");
        initialise(&mut producer);
    }
    producer.append(&record(&output, 0, "of the member")).unwrap();
    producer.seal(&[at(&input, 0, 5)], Some(&member)).unwrap();
    outcome(&mut producer).unwrap();
    sees(&bench, &output, &["of the member"]);
    eventually("the position is committed", || expect(&joined.committed(&input, 0), &Some(5)));
}

#[test]
fn n7_a_transaction_that_timed_out_while_its_owner_slept_ends_cleanly() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "n7-slept");
    let output = bench.output();
    let short = ProducerSettings { transaction_timeout: Duration::from_secs(1), ..settings(&bench.application) };
    let mut producer = producer(&bench.servers, short);
    producer.append(&record(&output, 0, "before the sleep")).unwrap();
    eventually("the record is there, uncommitted", || {
        producer.serve(Duration::from_millis(6)).map_err(|error| error.to_string())?;
        expect(&(end(&bench, &output, 0) > 0), &true)
    });
    // From here on the owner sleeps. The broker ends the transaction: its marker takes the next offset.
    eventually("the broker gives up on it", || expect(&end(&bench, &output, 0), &2));
    producer.append(&record(&output, 0, "after the sleep")).ok();
    let error = commit(&mut producer).unwrap_err();
    assert!(matches!(error, ProduceError::Fenced(_) | ProduceError::Abort(_)), "{error}");
    initialise(&mut producer);
    producer.append(&record(&output, 0, "anew")).unwrap();
    commit(&mut producer).unwrap();
    sees(&bench, &output, &["anew"]);
}
