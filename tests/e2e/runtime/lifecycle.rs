//! Idle, stop, a broker that goes away, state that does not fit.

use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testbed::{Kafka, Testbed, wait};

use super::running::Running;
use super::support::{Bench, PARTITIONS, PATIENCE, TRANSACTION_TIMEOUT, broker, broker_alone, quarantined, task};

const KEYS: u64 = 50;

fn wait_metric(running: &Running, name: &str, wanted: impl Fn(f64) -> bool) {
    wait::until(name, PATIENCE, || match running.metric(name) {
        value if wanted(value) => Ok(()),
        value => Err(value.to_string()),
    })
    .expect("metric");
}

#[test]
fn r7_r8_the_lag_of_a_transactional_input_reaches_zero_and_then_nothing_is_committed() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "markers"), tempfile::tempdir().expect("directory"));
    let mut config = bench.client();
    let producer: BaseProducer = config.set("transactional.id", &bench.application).create().expect("producer");
    producer.init_transactions(PATIENCE).expect("init");
    let input = bench.input();
    for transaction in 0..3u64 {
        producer.begin_transaction().expect("begin");
        for number in 0..50u64 {
            let (key, value) = (format!("key-{}", number % 10), (transaction * 50 + number).to_string());
            producer.send(BaseRecord::to(&input).key(&key).payload(&value)).expect("send");
        }
        producer.flush(PATIENCE).expect("flush");
        // The last one is aborted: no record of it is ever seen, and its offsets are passed all the same.
        if transaction < 2 { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) }
            .expect("end");
    }
    let running = bench.run(bench.options("one", directory.path()));
    bench.wait_drained();
    assert_eq!(bench.read(&bench.output()).len(), 100);
    let commits = running.metric("headrace_commits_total");
    let end = bench.output_end();
    let (from, quiet) = (Instant::now(), Duration::from_secs(2));
    wait::until("a while of nothing", PATIENCE, || {
        assert_eq!(running.metric("headrace_commits_total"), commits, "R-8: an idle task commits nothing");
        if from.elapsed() >= quiet { Ok(()) } else { Err("waiting".to_owned()) }
    })
    .expect("quiet");
    assert_eq!(bench.output_end(), end);
    running.stop().expect("stopped");
}

#[test]
fn r8_a_transaction_that_has_grown_is_committed_before_its_time() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "grown"), tempfile::tempdir().expect("directory"));
    let mut options = bench.options("one", directory.path());
    // Neither the interval nor the bound itself is ever reached: 10,000 small writes are a third of a mebibyte.
    (options.commit_interval, options.max_staged_bytes) = (Duration::from_secs(300), 1 << 20);
    let running = bench.run(options);
    running.wait_ready();
    bench.produce(0..10_000, KEYS);
    wait_metric(&running, "headrace_records_in_total", |records| records >= 10_000.0);
    wait::until("a commit", PATIENCE, || match bench.progress() {
        (committed, _) if committed > 5_000 => Ok(()),
        progress => Err(format!("{progress:?}")),
    })
    .expect("committed early");
    running.stop().expect("stopped");
    assert_eq!(bench.violations(10_000, KEYS), Vec::<String>::new());
}

#[test]
fn r16_a_stop_commits_what_is_open_and_leaves_the_group() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "stop"), tempfile::tempdir().expect("directory"));
    let mut options = bench.options("one", directory.path());
    // So long that only the stop can have committed.
    options.commit_interval = Duration::from_secs(300);
    let running = bench.run(options);
    running.wait_ready();
    bench.produce(0..500, KEYS);
    wait_metric(&running, "headrace_records_in_total", |records| records >= 500.0);
    assert_eq!(bench.progress().0, 0);
    let asked = Instant::now();
    running.stop().expect("stopped");
    assert!(asked.elapsed() < Duration::from_secs(5), "stopping took {:?}", asked.elapsed());
    assert_eq!(bench.progress(), (500, 500));
    assert_eq!(bench.violations(500, KEYS), Vec::<String>::new());
    // It has left: a successor need not wait for its session to end.
    let (mut options, started) = (bench.options("two", directory.path()), Instant::now());
    options.kafka.member_properties = vec![("session.timeout.ms".into(), "60000".into())];
    let second = bench.run(options);
    second.wait_ready();
    assert!(started.elapsed() < Duration::from_secs(10), "joining took {:?}", started.elapsed());
    second.stop().expect("stopped");
}

#[test]
fn r16_a_stop_keeps_its_deadline_with_the_broker_away() {
    let (kafka, _guard) = broker_alone();
    let (bench, directory) = (Bench::new(kafka, "stop-away"), tempfile::tempdir().expect("directory"));
    let mut options = bench.options("one", directory.path());
    options.commit_interval = Duration::from_secs(300);
    let deadline = options.shutdown_deadline;
    let running = bench.run(options);
    running.wait_ready();
    bench.produce(0..500, KEYS);
    wait_metric(&running, "headrace_records_in_total", |records| records >= 500.0);
    kafka.kill();
    let asked = Instant::now();
    running.stop().expect("stopped");
    let took = asked.elapsed();
    kafka.start().expect("broker");
    assert!(took <= deadline + Duration::from_secs(2), "stopping took {took:?}, the deadline is {deadline:?}");
    let second = bench.run(bench.options("one", directory.path()));
    bench.wait_drained();
    second.stop().expect("stopped");
    assert_eq!(bench.violations(500, KEYS), Vec::<String>::new());
}

/// The kill comes in the middle of a transaction. Between a commit's decision and its markers it must not come: the only
/// broker of a cluster then forgets the markers when it starts again (seen with 4.3.1: "likely deleted already and hence can
/// be skipped"), and the transaction hangs whoever the client is.
#[test]
fn r9_r10_a_broker_killed_in_mid_run_costs_nothing_and_an_idle_application_notices_its_return() {
    let (kafka, _guard) = broker_alone();
    let (bench, directory) = (Bench::new(kafka, "broker"), tempfile::tempdir().expect("directory"));
    let mut options = bench.options("one", directory.path());
    options.commit_interval = Duration::from_secs(2);
    let running = bench.run(options);
    running.wait_ready();
    bench.produce(0..10_000, KEYS);
    bench.wait_drained();
    bench.produce(10_000..30_000, KEYS);
    wait_metric(&running, "headrace_records_in_total", |records| records >= 11_000.0);
    kafka.kill();
    wait::until("unready", PATIENCE, || match running.telemetry.health.not_ready() {
        reasons if reasons.iter().any(|reason| reason.what.contains("kafka")) => Ok(()),
        reasons => Err(format!("{reasons:?}")),
    })
    .expect("it says that kafka is away");
    kafka.start().expect("broker");
    running.wait_ready();
    bench.wait_drained();
    assert_eq!(bench.violations(30_000, KEYS), Vec::<String>::new());
    // The same with nothing to do: no commit tells it that the broker is back.
    kafka.kill();
    wait::until("unready", PATIENCE, || match running.telemetry.health.not_ready().is_empty() {
        true => Err("ready".to_owned()),
        false => Ok(()),
    })
    .expect("it says so when idle, too");
    kafka.start().expect("broker");
    running.wait_ready();
    running.stop().expect("stopped");
}

/// A broker that hangs for longer than the session makes librdkafka fence its own static member; the thread takes a new
/// consumer and goes on.
///
/// Its own session with its controller must not run out meanwhile: a broker that wakes up fenced finds no leader for any partition,
/// takes them for deleted, and leaves out the markers of the transaction that it ends (Kafka 4.3.1). Nobody can end that one then.
#[test]
fn r10_a_transaction_that_the_broker_outslept_is_aborted_and_done_again() {
    let kafka = Kafka::builder().expect("builder").property("group.min.session.timeout.ms", "1000");
    let kafka = kafka.property("log.retention.ms", "-1");
    let bed = Testbed::builder().kafka_with(kafka.property("broker.session.timeout.ms", "60000")).start().expect("bed");
    let kafka = bed.kafka().expect("kafka");
    let (bench, directory) = (Bench::new(kafka, "asleep"), tempfile::tempdir().expect("directory"));
    let mut options = bench.options("one", directory.path());
    options.commit_interval = Duration::from_secs(1);
    let running = bench.run(options);
    running.wait_ready();
    bench.produce(0..20_000, KEYS);
    wait_metric(&running, "headrace_records_in_total", |records| records >= 1_000.0);
    kafka.pause().expect("SIGSTOP");
    let stopped = Instant::now();
    wait::until("its transaction's end", PATIENCE, || match stopped.elapsed() > TRANSACTION_TIMEOUT * 3 / 2 {
        true => Ok(()),
        false => Err("asleep".to_owned()),
    })
    .expect("over");
    kafka.resume().expect("SIGCONT");
    bench.wait_drained();
    running.stop().expect("stopped");
    assert_eq!(bench.violations(20_000, KEYS), Vec::<String>::new());
    assert_eq!(bench.stored(directory.path(), KEYS), bench.folded());
    assert_eq!(quarantined(directory.path(), &bench.application), 0);
}

#[test]
fn r19_state_ahead_of_its_changelog_is_quarantined_and_rebuilt() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "ahead"), tempfile::tempdir().expect("directory"));
    bench.produce(0..5_000, KEYS);
    let first = bench.run(bench.options("one", directory.path()));
    bench.wait_drained();
    first.stop().expect("stopped");
    // The same application on topics made anew: its state is of a changelog that is no more.
    let fresh = Bench::new(kafka, "ahead-anew");
    let from = directory.path().join(&bench.application);
    std::fs::rename(from, directory.path().join(&fresh.application)).expect("rename");
    fresh.produce(0..1_000, KEYS);
    let second = fresh.run(fresh.options("one", directory.path()));
    fresh.wait_drained();
    second.stop().expect("stopped");
    assert_eq!(quarantined(directory.path(), &fresh.application), usize::try_from(PARTITIONS).expect("few"));
    assert_eq!(fresh.violations(1_000, KEYS), Vec::<String>::new());
    assert_eq!(fresh.stored(directory.path(), KEYS), fresh.folded());
}

#[test]
fn r17_r22_lost_state_is_restored_before_the_first_record_and_readiness_waits_for_it() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "restore"), tempfile::tempdir().expect("directory"));
    bench.produce(0..20_000, 20_000);
    let first = bench.run(bench.options("one", directory.path()));
    bench.wait_drained();
    first.stop().expect("stopped");
    std::fs::remove_dir_all(directory.path().join(&bench.application)).expect("the disk is lost");
    bench.produce(20_000..40_000, 20_000);
    let second = bench.run(bench.options("one", directory.path()));
    let mut restoring = false;
    wait::until("ready", PATIENCE, || {
        let tasks = second.telemetry.health.tasks();
        let ready = second.telemetry.health.not_ready().is_empty();
        restoring |= !tasks.is_empty() && !ready;
        if ready { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .expect("ready");
    assert!(restoring, "it was never seen restoring");
    assert!(second.telemetry.health.tasks().iter().any(|view| view.task == task(0)));
    bench.wait_drained();
    for name in ["headrace_restore_records_total", "headrace_commits_total", "headrace_records_in_total"] {
        assert!(second.metric(name) > 0.0, "R-30: {name}");
    }
    assert_eq!(second.metric("headrace_producer_recycles_total"), 0.0, "R-11: a quiet network gives no suspicion");
    second.stop().expect("stopped");
    // Each key came twice; a store that had not been restored would count each from one again.
    assert_eq!(bench.violations(40_000, 20_000), Vec::<String>::new());
}
