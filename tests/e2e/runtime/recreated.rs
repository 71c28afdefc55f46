//! Topics that are deleted, and made anew, while the application runs.

use std::time::Duration;

use headrace::codec::text;
use headrace::error::FatalError;
use headrace::partitioner::partition_of;
use headrace::runtime::Implementation;
use headrace::topology::Topology;
use testbed::wait;

use super::operator::{Operator, small};
use super::support::{Bench, PARTITIONS, PATIENCE, broker};
use crate::support::Topics;

/// So that records flow while topics change.
const PACE: Duration = Duration::from_micros(500);

#[test]
fn n8_an_output_that_is_deleted_ends_the_application_and_what_was_not_committed_comes_again() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "deleted-out"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    let running = bench.run_topology(bench.topology(PACE, true), bench.options("one", directory.path()));
    operator.send((0..500).map(small));
    bench.wait_drained();
    operator.send((500..4_000).map(small));
    wait::until("it is at work", PATIENCE, || match bench.progress().0 {
        committed if committed > 700 => Ok(()),
        committed => Err(committed.to_string()),
    })
    .expect("at work");
    operator.delete(&bench.output());
    let error = running.ended().expect_err("it was to end");
    assert!(matches!(error, FatalError::Environment(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&bench.output()) && text.contains("apply"), "{text}");
    let (committed, end) = bench.progress();
    assert!(committed < end, "{committed} of {end}: it was to meet the application at work");
    bench.create(&bench.output(), PARTITIONS);
    let second = bench.run(bench.options("one", directory.path()));
    bench.wait_drained();
    second.stop().expect("stopped");
    let numbers = operator.counted();
    assert_eq!(i64::try_from(numbers.len()).expect("few"), end - committed, "all after the last commit, each once");
}

#[test]
fn n8_an_output_made_anew_with_fewer_partitions_is_gone_on_with_and_keys_go_by_the_new_count() {
    const FEWER: i32 = 3;
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "shrunk-out"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    let mut options = bench.options("one", directory.path());
    // librdkafka names topics by their names: it would go on in the new one without a word.
    options.clients.producer = Implementation::Native;
    let running = bench.run_topology(bench.topology(PACE, true), options);
    operator.send((0..4_000).map(small));
    wait::until("it is at work", PATIENCE, || match bench.progress().0 {
        committed if committed > 200 => Ok(()),
        committed => Err(committed.to_string()),
    })
    .expect("at work");
    let aborts = running.metric("headrace_aborts_total");
    operator.recreate(&bench.output(), FEWER);
    let (committed, end) = bench.progress();
    assert!(committed < end, "{committed} of {end}: it was to meet the application at work");
    operator.send((4_000..6_000).map(small));
    bench.wait_drained();
    assert!(running.metric("headrace_aborts_total") > aborts, "the control: the transaction could not go on");
    running.stop().expect("stopped");
    let numbers = operator.counted();
    let late: Vec<u64> = numbers.iter().copied().filter(|&number| number >= 4_000).collect();
    assert_eq!(late, (4_000..6_000).collect::<Vec<_>>(), "all that came after");
    assert!(i64::try_from(numbers.len()).expect("few") >= end + 2_000 - committed, "and all that was not committed");
    for record in Topics::new(&bench.servers).read(&bench.output()) {
        let key = record.key.expect("a key");
        assert_eq!(record.partition, partition_of(&key, FEWER).0, "{}", String::from_utf8_lossy(&key));
    }
}

/// Waits until the output ends with these numbers.
fn wait_counted(operator: &Operator<'_>, what: &str, from: u64, to: u64) {
    wait::until(what, PATIENCE, || {
        let numbers = operator.counted();
        let new: Vec<u64> = numbers.into_iter().filter(|&number| number >= from).collect();
        match new == (from..to).collect::<Vec<_>>() {
            true => Ok(()),
            false => Err(format!("{} of {}, from {:?}", new.len(), to - from, new.first())),
        }
    })
    .unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn r10_an_input_that_is_made_anew_is_read_from_its_beginning() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "anew-in"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    let running = bench.run(bench.options("one", directory.path()));
    operator.send((0..1_000).map(small));
    bench.wait_drained();
    operator.recreate(&bench.input(), PARTITIONS);
    // More than the old topic had: its positions are within the new one, and no broker would object to them.
    operator.send((1_000..5_000).map(small));
    wait_counted(&operator, "the new one", 1_000, 5_000);
    running.stop().expect("stopped");
}

#[test]
fn r10_an_input_made_anew_with_fewer_partitions_is_read_from_its_beginning_where_no_state_hangs_on_them() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "shrunk-in"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    let mut builder = Topology::builder("copying");
    let numbers = builder.source("numbers", &bench.input(), (text(), text()));
    builder.sink("copied", numbers, &bench.output(), text(), text());
    let running = bench.run_topology(builder.build().expect("topology"), bench.options("one", directory.path()));
    operator.send((0..1_000).map(small));
    bench.wait_drained();
    operator.recreate(&bench.input(), PARTITIONS - 2);
    operator.send((1_000..5_000).map(small));
    wait::until("all is copied", PATIENCE, || {
        let records = bench.read(&bench.output());
        let mut numbers: Vec<u64> =
            records.iter().map(|record| record.value.as_ref().unwrap().parse().unwrap()).collect();
        numbers.sort_unstable();
        if numbers == (0..5_000).collect::<Vec<_>>() { Ok(()) } else { Err(format!("{} of 5000", numbers.len())) }
    })
    .expect("each once");
    running.stop().expect("stopped");
}

#[test]
fn r21_an_input_made_anew_with_fewer_partitions_ends_an_application_whose_state_hangs_on_them() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "shrunk-state"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    let running = bench.run(bench.options("one", directory.path()));
    operator.send((0..1_000).map(small));
    bench.wait_drained();
    operator.recreate(&bench.input(), PARTITIONS - 2);
    operator.send((1_000..2_000).map(small));
    // Now, and at each start until somebody has decided what becomes of the state.
    let second = || bench.run(bench.options("one", directory.path()));
    for error in [running.ended(), second().ended()] {
        let error = error.expect_err("it was to end");
        assert!(matches!(error, FatalError::Environment(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&bench.changelog()) && text.contains("its sources have 2 partitions"), "{text}");
    }
    assert_eq!(operator.counted(), (0..1_000).collect::<Vec<_>>(), "nothing was counted from the wrong state");
}

#[test]
fn r10_an_input_that_is_made_anew_under_load_loses_and_doubles_nothing_of_the_new_one() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "anew-load"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    let options = || bench.options("one", directory.path());
    let running = bench.run_topology(bench.topology(PACE, true), options());
    operator.send((0..4_000).map(small));
    wait::until("it is at work", PATIENCE, || match bench.progress().0 {
        committed if committed > 200 => Ok(()),
        committed => Err(committed.to_string()),
    })
    .expect("at work");
    operator.recreate(&bench.input(), PARTITIONS);
    operator.send((4_000..9_000).map(small));
    wait_counted(&operator, "the new one", 4_000, 9_000);
    running.stop().expect("stopped");
    assert!(operator.counted().len() < 9_000, "the control: it was to lose the rest of the old one");
    // What a restart finds committed is of the new topic.
    let second = bench.run(options());
    operator.send((9_000..9_100).map(small));
    wait_counted(&operator, "after a restart", 4_000, 9_100);
    second.stop().expect("stopped");
}

#[test]
fn r10_an_input_that_stays_away_is_waited_for_and_then_read_from_its_beginning() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "away-in"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    let running = bench.run(bench.options("one", directory.path()));
    operator.send((0..1_000).map(small));
    bench.wait_drained();
    operator.delete(&bench.input());
    wait::until("its partitions are given up", PATIENCE, || match running.telemetry.health.tasks().len() {
        0 => Ok(()),
        tasks => Err(format!("{tasks} tasks")),
    })
    .expect("given up");
    bench.create(&bench.input(), PARTITIONS);
    operator.send((1_000..5_000).map(small));
    wait_counted(&operator, "the new one", 1_000, 5_000);
    running.stop().expect("stopped");
}
