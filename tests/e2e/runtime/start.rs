//! What is checked before the first record, and errors that end the application.

use std::time::Instant;

use headrace::error::FatalError;

use super::support::{Bench, PARTITIONS, PATIENCE, broker};
use std::time::Duration;

fn refused(bench: &Bench) -> String {
    let directory = tempfile::tempdir().expect("directory");
    let error = bench.run(bench.options("one", directory.path())).ended().expect_err("it was to refuse");
    assert!(matches!(error, FatalError::Environment(_)), "{error:?}");
    assert_eq!(error.exit_code(), 1);
    error.to_string()
}

#[test]
fn r21_r28_missing_topics_are_named_with_the_command_that_makes_them() {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, "missing");
    bench.create(&bench.input(), PARTITIONS);
    bench.create(&bench.output(), PARTITIONS);
    let text = refused(&bench);
    let dead = format!("topic {} is missing; run: counting apply", bench.dead());
    let changelog = format!("changelog topic {} is missing; run: counting apply", bench.changelog());
    assert_eq!(text.lines().collect::<Vec<_>>(), [dead, changelog]);
}

#[test]
fn r21_a_changelog_narrower_than_its_source_is_refused() {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, "narrow");
    for topic in [bench.input(), bench.output(), bench.dead()] {
        bench.create(&topic, PARTITIONS);
    }
    bench.create(&bench.changelog(), PARTITIONS - 1);
    let text = refused(&bench);
    assert!(text.contains(&bench.changelog()) && text.contains("has 3 partitions, its sources have 4"), "{text}");
}

#[test]
fn r21_a_changelog_that_would_lose_state_or_take_no_write_is_refused() {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, "unfit");
    for topic in [bench.input(), bench.output(), bench.dead()] {
        bench.create(&topic, PARTITIONS);
    }
    let changelog = bench.changelog();
    bench.create_with(&changelog, PARTITIONS, &[("retention.ms", "604800000"), ("min.insync.replicas", "2")]);
    let expected = [
        format!("changelog topic {changelog} has cleanup.policy=delete and retention.ms=604800000, by which"),
        format!("topic {changelog} has min.insync.replicas=2 and 1 replicas, so no write to it"),
    ];
    let text = refused(&bench);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{text}");
    assert!(lines.iter().zip(&expected).all(|(line, start)| line.starts_with(start)), "{text}");
}

#[test]
fn a_fatal_error_ends_the_application_and_frees_its_partitions() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "fatal"), tempfile::tempdir().expect("directory"));
    bench.produce(0..1_000, 10);
    // Number 777 is poison, and this topology has nowhere to set it aside.
    let running = bench.run_topology(bench.topology(Duration::ZERO, false), bench.options("one", directory.path()));
    let started = Instant::now();
    let error = running.ended().expect_err("it was to end");
    assert!(error.to_string().contains("no dead-letter topic to set it aside"), "{error}");
    assert!(started.elapsed() < PATIENCE / 2, "closing a client with an assignment took {:?}", started.elapsed());
    // Everything before it may be committed, nothing after it; a second instance gets the partitions without a wait.
    let (committed, end) = bench.progress();
    assert!(committed < end);
    let second = bench.run(bench.options("two", directory.path()));
    bench.wait_drained();
    second.stop().expect("stopped");
    assert_eq!(bench.violations(1_000, 10), Vec::<String>::new());
}
