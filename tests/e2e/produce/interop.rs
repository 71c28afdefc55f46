//! What is written reads back identically by clients that know nothing of this one, for every codec.

use headrace::position::Partition;
use headrace::record::{Header, Headers, Timestamp};
use headrace::wire::Codec;
use headrace::wire::producer::{Outgoing, ProducerSettings};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::support::{commit, producer, settings};
use crate::runtime::support::{Bench, broker};
use crate::support::records::Stored;
use crate::support::{Topics, eventually, expect};

/// Confluent's client for Python, built on librdkafka: another release than the one here.
const PYTHON_CLIENT: &str = "confluent-kafka==2.16.1";

const CODECS: [(&str, Codec); 5] = [
    ("none", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd),
];

/// Nulls, empties, Unicode, a large value; texts, so that Java's consumer can print them.
fn records() -> Vec<Stored> {
    let header = |name: &str, value: Option<&str>| (name.to_owned(), value.map(|value| value.as_bytes().to_vec()));
    let mut all = vec![
        (None, Some(String::new()), vec![]),
        (Some(String::new()), None, vec![]),
        (
            Some("schlüssel".to_owned()),
            Some("wert ✓ 值".to_owned()),
            vec![header("näme", Some("wért")), header("h", None)],
        ),
        (Some("large".to_owned()), Some("0123456789".repeat(20_000)), vec![header("empty", Some(""))]),
    ];
    for number in 0..2_000 {
        let headers = if number % 7 == 0 { vec![header("n", Some(&number.to_string()))] } else { vec![] };
        all.push((Some(format!("key-{number}")), Some(format!("value-{}", number * number)), headers));
    }
    let stored = |(offset, (key, value, headers)): (usize, (Option<String>, Option<String>, _))| Stored {
        partition: 0,
        offset: i64::try_from(offset).unwrap(),
        key: key.map(String::into_bytes),
        value: value.map(String::into_bytes),
        headers,
    };
    all.into_iter().enumerate().map(stored).collect()
}

fn write(bench: &Bench, topic: &str, codec: Codec, records: &[Stored], since: i64) {
    let settings = ProducerSettings { codec, batch_bytes: 300_000, ..settings(topic) };
    let mut producer = producer(&bench.servers, settings);
    for (number, record) in records.iter().enumerate() {
        let headers = record.headers.iter().map(|(name, value)| Header { name: name.clone(), value: value.clone() });
        let record = Outgoing {
            topic,
            partition: Some(Partition(0)),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            timestamp: Timestamp(since + i64::try_from(number).unwrap()),
            headers: &Headers(headers.collect()),
            named: false,
            slot: None,
        };
        producer.append(&record).unwrap();
    }
    commit(&mut producer).unwrap();
    eventually("the end is committed", || expect(&Topics::new(&bench.servers).read(topic).len(), &records.len()));
}

/// One topic for each codec, written to.
fn written(name: &str, since: i64) -> (Bench, Vec<String>, Vec<Stored>) {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, name);
    let topics = Topics::new(&bench.servers);
    let records = records();
    let names = CODECS.map(|(name, codec)| {
        let topic = format!("{}-{name}", bench.application);
        topics.create(&topic, 1);
        write(&bench, &topic, codec, &records, since);
        topic
    });
    (bench, names.to_vec(), records)
}

#[test]
fn n1_librdkafka_reads_every_codec_identically() {
    let since = hour_ago();
    let (bench, names, records) = written("n1-librdkafka", since);
    let topics = Topics::new(&bench.servers);
    for topic in names {
        assert!(topics.read(&topic) == records, "{topic} differs");
    }
}

#[test]
fn n1_javas_console_consumer_reads_every_codec_identically() {
    let since = hour_ago();
    let (bench, names, records) = written("n1-java", since);
    let (kafka, _guard) = broker();
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or("null", |bytes| std::str::from_utf8(bytes).unwrap()).to_owned();
    let expected = records.iter().enumerate().fold(String::new(), |mut all, (number, record)| {
        let headers = record.headers.iter().map(|(name, value)| format!("{name}:{}", text(value)));
        let headers = headers.collect::<Vec<_>>().join(",");
        let headers = if headers.is_empty() { "NO_HEADERS".to_owned() } else { headers };
        let time = since + i64::try_from(number).unwrap();
        let _ = writeln!(all, "CreateTime:{time}\t{headers}\t{}\t{}", text(&record.key), text(&record.value));
        all
    });
    let count = records.len().to_string();
    for topic in names {
        let printed = kafka
            .java_tool(
                "org.apache.kafka.tools.consumer.ConsoleConsumer",
                &[
                    "--bootstrap-server",
                    &bench.servers,
                    "--topic",
                    &topic,
                    "--from-beginning",
                    "--max-messages",
                    &count,
                    "--isolation-level",
                    "read_committed",
                    "--formatter-property",
                    "print.key=true",
                    "--formatter-property",
                    "print.headers=true",
                    "--formatter-property",
                    "print.timestamp=true",
                ],
            )
            .unwrap();
        let lines: Vec<&str> = printed.lines().filter(|line| line.starts_with("CreateTime:")).collect();
        let wanted: Vec<&str> = expected.lines().collect();
        assert_eq!(lines.len(), wanted.len(), "{topic}");
        for (line, wanted) in lines.iter().zip(wanted) {
            assert!(*line == wanted, "{topic}: {} instead of {}", cut(line), cut(wanted));
        }
    }
}

#[test]
fn n1_pythons_client_reads_every_codec_identically() {
    let since = hour_ago();
    let (bench, names, records) = written("n1-python", since);
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or_else(|| "None".to_owned(), |bytes| hex(bytes));
    let mut expected = String::new();
    for record in &records {
        let headers = record.headers.iter().map(|(name, value)| format!("{}={}", hex(name.as_bytes()), text(value)));
        let headers = headers.collect::<Vec<_>>().join(";");
        let _ = writeln!(expected, "{} {} {} [{headers}]", record.offset, text(&record.key), text(&record.value));
    }
    let python = python();
    for topic in names {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/produce/read.py");
        let output = Command::new(&python).args([script, &bench.servers, &topic]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8(output.stdout).unwrap() == expected, "{topic} differs");
    }
}

/// A Python that has Confluent's client; installed once into cargo's folder for tests.
fn python() -> PathBuf {
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{PYTHON_CLIENT}"));
    let python = home.join("bin/python");
    let has_it = || Command::new(&python).args(["-c", "import confluent_kafka"]).output();
    if !has_it().is_ok_and(|output| output.status.success()) {
        let run = |program: &Path, args: &[&str]| {
            let output = Command::new(program).args(args).output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(Path::new("python3"), &["-m", "venv", "--clear", home.to_str().unwrap()]);
        run(&python, &["-m", "pip", "install", "--quiet", PYTHON_CLIENT]);
    }
    python
}

/// The time of the first record in milliseconds: a topic deletes at once what is older than its retention.
fn hour_ago() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap() - 3_600_000
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("x"), |mut all, byte| {
        let _ = write!(all, "{byte:02x}");
        all
    })
}

/// The start of a line; a value may be long.
fn cut(line: &str) -> String {
    line.chars().take(120).collect()
}
