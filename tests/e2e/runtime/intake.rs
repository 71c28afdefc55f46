//! Where reading begins, and input that is not there or can't be read.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use headrace::error::FatalError;
use headrace::kafka::offered;
use headrace::runtime::Implementation;
use testbed::{Kafka, wait};

use super::operator::{Operator, small};
use super::support::{Bench, PARTITIONS, PATIENCE, broker, tokio};

#[test]
fn r3_what_retention_has_taken_is_counted_as_lost_and_the_rest_is_read() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "cut"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    operator.send((0..500).map(small));
    let running = bench.run(bench.options("one", directory.path()));
    bench.wait_drained();
    assert_eq!(running.metric("headrace_out_of_range_total"), 0.0);
    running.stop().expect("stopped");

    operator.send((500..1_500).map(small));
    let mut cut = 0;
    for partition in 0..PARTITIONS {
        let end = operator.end(&bench.input(), partition);
        if end > 0 {
            // All but the last five.
            operator.cut(&bench.input(), partition, end - 5);
            cut += 1;
        }
    }
    let mut options = bench.options("one", directory.path());
    // librdkafka moves on without a word.
    options.clients.fetcher = Implementation::Native;
    let running = bench.run(options);
    bench.wait_drained();
    assert_eq!(running.metric("headrace_out_of_range_total"), f64::from(cut));
    running.stop().expect("stopped");
    let counted = operator.counted();
    assert_eq!(counted.len(), 500 + 5 * usize::try_from(cut).expect("few"));
}

#[test]
fn r3_a_group_that_starts_at_the_end_reads_what_comes_from_then_on() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "latest"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    operator.send((0..300).map(small));
    let mut options = bench.options("one", directory.path());
    options.kafka.from_beginning = false;
    let running = bench.run(options);
    running.wait_ready();
    // Where the end was is not known from outside: a key's first number that is counted settles it.
    let mut next = 300;
    wait::until("it reads from the end", PATIENCE, || {
        operator.send((next..next + 7).map(small));
        next += 7;
        if running.metric("headrace_records_out_total") > 50.0 { Ok(()) } else { Err("nothing yet".to_owned()) }
    })
    .expect("it reads");
    wait::until("all is counted", PATIENCE, || match operator.counted().last() {
        Some(last) if *last == next - 1 => Ok(()),
        last => Err(format!("{last:?} of {next}")),
    })
    .expect("counted");
    running.stop().expect("stopped");
    let counted = operator.counted();
    assert!(counted[0] >= 300, "{} was there before", counted[0]);
    assert!(counted.windows(2).all(|pair| pair[0] < pair[1]), "each once");
}

/// The segment that holds a partition's last records.
pub(super) fn segment(kafka: &Kafka, topic: &str, partition: i32) -> PathBuf {
    let files = std::fs::read_dir(kafka.log_of(topic, partition)).expect("the partition's directory");
    let logs = files.map(|file| file.expect("file").path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
    logs.max().expect("a segment")
}

/// A bit of a segment that is not as it was written, in the page cache and on the disk: the broker does not look at it.
pub(super) struct Damage {
    file: std::fs::File,
    place: SeekFrom,
}

impl Damage {
    /// In the first record of the batch that begins there, behind its header.
    pub(super) fn of_batch(segment: &Path, begins: u64) -> Self {
        let file = std::fs::File::options().read(true).write(true).open(segment).expect("segment");
        let mut damage = Damage { file, place: SeekFrom::Start(begins + 70) };
        damage.flip();
        damage
    }

    /// What is not there any more can be mended here: the bit as it was.
    pub(super) fn mend(mut self) {
        self.flip();
    }

    fn flip(&mut self) {
        let mut byte = [0];
        self.file.seek(self.place).and_then(|_| self.file.read_exact(&mut byte)).expect("read");
        byte[0] ^= 1;
        self.file.seek(self.place).and_then(|_| self.file.write_all(&byte)).expect("written");
    }
}

#[test]
fn bad_input_a_damaged_batch_ends_the_application_by_its_name_and_nothing_behind_it_is_lost() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "damaged"), tempfile::tempdir().expect("directory"));
    let operator = Operator::new(&bench);
    operator.send((0..500).map(small));
    let first = bench.run(bench.options("one", directory.path()));
    bench.wait_drained();
    first.stop().expect("stopped");

    // The first batch that comes next.
    let (topic, partition) =
        (bench.input(), (0..PARTITIONS).find(|p| operator.end(&bench.input(), *p) > 0).expect("one"));
    let path = segment(kafka, &topic, partition);
    let (bytes, wanted) = (path.metadata().expect("segment").len(), operator.end(&topic, partition));
    operator.send((500..600).map(small));
    let damage = Damage::of_batch(&path, bytes);

    let mut options = bench.options("one", directory.path());
    options.clients.fetcher = Implementation::Native;
    let error = bench.run(options.clone()).ended().expect_err("it was to end");
    assert!(matches!(error, FatalError::Environment(_)), "{error:?}");
    let text = error.to_string();
    let named = format!("{topic}-{partition}");
    assert!(text.contains(&named) && text.contains(&wanted.to_string()) && text.contains("checksum"), "{text}");
    assert!(text.contains("--reset-offsets"), "the way out: {text}");

    damage.mend();
    let second = bench.run(options);
    bench.wait_drained();
    second.stop().expect("stopped");
    assert_eq!(operator.counted(), (0..600).collect::<Vec<_>>());
}

#[test]
fn a_rack_is_left_to_librdkafka_which_reads_from_followers() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "rack"), tempfile::tempdir().expect("directory"));
    let mut options = bench.options("one", directory.path());
    let native = tokio().block_on(offered(&options.kafka)).expect("the cluster");
    assert!(native.transactions && native.fetching.is_ok(), "{native:?}");
    options.kafka.properties.push(("client.rack".to_owned(), "here".to_owned()));
    let racked = tokio().block_on(offered(&options.kafka)).expect("the cluster");
    assert!(racked.fetching.unwrap_err().to_string().contains("client.rack"));
    bench.produce(0..300, 7);
    options.clients.fetcher = Implementation::Native;
    let error = bench.run(options.clone()).ended().expect_err("it was to end");
    assert!(matches!(error, FatalError::Config(_)) && error.to_string().contains("client.rack"), "{error:?}");
    options.clients.fetcher = Implementation::Auto;
    let running = bench.run(options);
    bench.wait_drained();
    running.stop().expect("stopped");
    assert_eq!(bench.violations(300, 7), [""; 0]);
}
