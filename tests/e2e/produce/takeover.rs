//! A dead owner's open transaction is ended by whoever has its task now, without waiting for its time-out (rule R-31).

use std::time::Duration;

use headrace::kafka::end_transactions_of_others;
use headrace::wire::producer::{ProduceError, Producer, ProducerSettings};

use super::support::{at, commit, end, producer, record, settings, stable};
use crate::runtime::support::{Bench, broker};
use crate::support::{eventually, expect};

/// Longer than any test: nothing here ends by itself.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A producer with a transaction open in a partition of the changelog, which hides what comes after it.
fn open(bench: &Bench, id: &str, partition: i32) -> Producer {
    let settings = ProducerSettings { transaction_timeout: TIMEOUT, ..settings(id) };
    let (mut producer, changelog) = (producer(&bench.servers, settings), bench.changelog());
    producer.append(&record(&changelog, partition, "open")).unwrap();
    eventually("the record is there, uncommitted", || {
        producer.serve(Duration::from_millis(6)).map_err(|error| error.to_string())?;
        expect(&end(bench, &changelog, partition), &1)
    });
    assert_eq!(stable(bench, &changelog, partition), 0);
    producer
}

#[test]
fn r31_what_a_dead_owner_has_open_is_ended_at_once_and_it_is_fenced() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "r31-ended");
    let (changelog, id) = (bench.changelog(), format!("{}-dead-0", bench.application));
    let mut dead = open(&bench, &id, 0);
    let (changelog_0, _) = at(&changelog, 0, 0);
    let ended = end_transactions_of_others(&bench.settings("heir"), &changelog_0).unwrap();
    assert_eq!(ended, [id]);
    // The record and the marker of its abort.
    eventually("nothing is hidden any more", || expect(&stable(&bench, &changelog, 0), &2));
    dead.append(&record(&changelog, 0, "of the zombie")).ok();
    let error = commit(&mut dead).unwrap_err();
    assert!(matches!(error, ProduceError::Fenced(_) | ProduceError::Abort(_)), "{error}");
    let again = end_transactions_of_others(&bench.settings("heir"), &changelog_0).unwrap();
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn r31_who_lives_and_has_nothing_open_there_is_left_alone_and_so_are_strangers() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "r31-alone");
    let (changelog, application) = (bench.changelog(), &bench.application);
    // Of another application, of this very instance, and of one that has moved on to another partition.
    let mut others =
        [format!("stranger-{application}-0"), format!("{application}-heir-0"), format!("{application}-moved-0")]
            .into_iter()
            .zip(0..)
            .map(|(id, partition)| open(&bench, &id, partition))
            .collect::<Vec<_>>();
    for partition in [0, 1, 3] {
        let ended = end_transactions_of_others(&bench.settings("heir"), &at(&changelog, partition, 0).0).unwrap();
        assert!(ended.is_empty(), "{partition}: {ended:?}");
    }
    for (partition, other) in (0..).zip(&mut others) {
        commit(other).unwrap();
        eventually("it commits", || expect(&stable(&bench, &changelog, partition), &2));
    }
}
