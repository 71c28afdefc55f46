//! A topic's `max.message.bytes` is lowered while the application runs: the broker refuses what was allowed at the start.

use std::time::Duration;

use headrace::error::FatalError;
use headrace::runtime::Implementation;

use super::operator::{Operator, large, small};
use super::support::{Bench, Read, broker};

/// The limit at the start, as brokers have it.
const BEFORE: usize = 1_048_588;
const LOWERED: usize = 2_000;
/// More than that, and within what the application allows itself.
const LARGE: usize = 5_000;

fn class(record: &Read) -> String {
    let header = record.headers.iter().find(|(name, _)| name == "headrace.dlq.class");
    String::from_utf8(header.expect("a class").1.clone()).expect("text")
}

/// Numbers among the dead letters, each with its class.
fn dead(bench: &Bench) -> Vec<(u64, String)> {
    let number = |record: &Read| record.value.as_deref().expect("its bytes").parse().expect("a number");
    let mut dead: Vec<_> = bench.read(&bench.dead()).iter().map(|record| (number(record), class(record))).collect();
    dead.sort_unstable();
    dead
}

#[test]
fn n8_r28_a_limit_lowered_in_mid_run_sets_aside_what_is_too_large_and_nothing_else() {
    for producer in [Implementation::Native, Implementation::Librdkafka] {
        let (kafka, _guard) = broker();
        let (bench, directory) = (Bench::new(kafka, "lowered"), tempfile::tempdir().expect("directory"));
        let operator = Operator::new(&bench);
        let mut options = bench.options("one", directory.path());
        options.clients.producer = producer;
        let running = bench.run(options);
        operator.send((0..100).map(small).chain([large(100, LARGE)]));
        bench.wait_drained();
        assert_eq!(
            operator.counted(),
            (0..=100).collect::<Vec<_>>(),
            "{producer:?}: the control, before it is lowered"
        );
        let aborts = running.metric("headrace_aborts_total");
        operator.limit(&bench.output(), LOWERED);
        operator.send((101..150).map(small).chain([large(150, LARGE)]).chain((151..400).map(small)));
        bench.wait_drained();
        let refused = running.metric("headrace_aborts_total");
        assert!(refused > aborts, "{producer:?}: no broker has refused anything");
        operator.send([large(400, LARGE)].into_iter().chain((401..450).map(small)));
        bench.wait_drained();
        assert_eq!(running.metric("headrace_aborts_total"), refused, "{producer:?}: it knows the limit now");
        running.stop().expect("stopped");
        let large = |number| (number, "output-too-large".to_owned());
        assert_eq!(dead(&bench), [150, 400].map(large), "{producer:?}");
        let expected: Vec<u64> = (0..450).filter(|number| ![150, 400].contains(number)).collect();
        assert_eq!(operator.counted(), expected, "{producer:?}: its count was taken back, and nothing else is missing");
        assert_eq!(bench.stored(directory.path(), 7), bench.folded(), "{producer:?}");
    }
}

#[test]
fn n8_a_limit_lowered_in_mid_run_ends_an_application_without_dead_letters_and_names_the_way_out() {
    for producer in [Implementation::Native, Implementation::Librdkafka] {
        let (kafka, _guard) = broker();
        let (bench, directory) = (Bench::new(kafka, "lowered-fatal"), tempfile::tempdir().expect("directory"));
        let operator = Operator::new(&bench);
        let options = || {
            let mut options = bench.options("one", directory.path());
            options.clients.producer = producer;
            options
        };
        let topology = || bench.topology(Duration::ZERO, false);
        let running = bench.run_topology(topology(), options());
        operator.send((0..100).map(small));
        bench.wait_drained();
        operator.limit(&bench.output(), LOWERED);
        operator.send([large(100, LARGE)].into_iter().chain((101..200).map(small)));
        let error = running.ended().expect_err("it was to end");
        assert!(matches!(error, FatalError::Environment(_)), "{producer:?}: {error:?}");
        let text = error.to_string();
        let size = format!("an output of {} bytes to {}", "key-2".len() + "15 ".len() + LARGE, bench.output());
        for part in [&*size, "limit 1000", "raise max.message.bytes", &bench.input()] {
            assert!(text.contains(part), "{producer:?}: {part} is not in {text}");
        }
        let (committed, end) = bench.progress();
        assert!(committed < end, "{producer:?}: it went past the record");
        operator.limit(&bench.output(), BEFORE);
        let second = bench.run_topology(topology(), options());
        bench.wait_drained();
        second.stop().expect("stopped");
        assert_eq!(operator.counted(), (0..200).collect::<Vec<_>>(), "{producer:?}");
    }
}

#[test]
fn n8_r21_a_changelog_that_is_narrowed_in_mid_run_sets_the_record_aside_with_its_write() {
    for producer in [Implementation::Native, Implementation::Librdkafka] {
        let (kafka, _guard) = broker();
        let (bench, directory) = (Bench::new(kafka, "lowered-log"), tempfile::tempdir().expect("directory"));
        let operator = Operator::new(&bench);
        let mut options = bench.options("one", directory.path());
        options.clients.producer = producer;
        let running = bench.run(options);
        operator.send((0..100).map(small));
        bench.wait_drained();
        let aborts = running.metric("headrace_aborts_total");
        operator.limit(&bench.changelog(), LOWERED);
        let key = "k".repeat(LARGE);
        operator.send([(key, "100".to_owned())].into_iter().chain((101..200).map(small)));
        bench.wait_drained();
        assert!(running.metric("headrace_aborts_total") > aborts, "{producer:?}: no broker has refused anything");
        running.stop().expect("stopped");
        assert_eq!(dead(&bench), [(100, "state-too-large".to_owned())], "{producer:?}");
        assert_eq!(operator.counted(), (0..200).filter(|&number| number != 100).collect::<Vec<_>>(), "{producer:?}");
        assert_eq!(bench.stored(directory.path(), 7), bench.folded(), "{producer:?}");
    }
}

#[test]
fn n8_r28_a_dead_letter_topic_that_is_narrowed_gets_a_claim_instead_of_the_payload() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "lowered-dead"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    let running = bench.run(bench.options("one", directory.path()));
    let poison = |number: u64| (format!("key-{}", number % 7), format!("poison {number:0LARGE$}"));
    operator.send([poison(0), small(1)]);
    bench.wait_drained();
    assert!(bench.read(&bench.dead())[0].value.is_some(), "the control, before it is lowered");
    let aborts = running.metric("headrace_aborts_total");
    operator.limit(&bench.dead(), 2 * LOWERED);
    operator.send([small(2), poison(3), small(4)]);
    bench.wait_drained();
    assert!(running.metric("headrace_aborts_total") > aborts, "no broker has refused anything");
    running.stop().expect("stopped");
    let dead = bench.read(&bench.dead());
    let claimed =
        dead.iter().filter(|letter| letter.headers.iter().any(|(name, _)| name == "headrace.dlq.claim-bytes"));
    let claimed: Vec<_> = claimed.map(|letter| (&*letter.key, &letter.value)).collect();
    assert_eq!((dead.len(), claimed), (2, vec![("key-3", &None)]));
    assert_eq!(operator.counted(), [1, 2, 4]);
}
