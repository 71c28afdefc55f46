//! A topology's workers on real brokers: what they give is at the sinks before a record is accepted, and what can't be worked
//! on becomes a dead letter before it is rejected.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chaos::application;
use headrace::codec::text;
use headrace::dead_letter::{Policy, names};
use headrace::error::{FatalError, RecordError, Stage};
use headrace::processor::{Failed, Given, Job, Worker};
use headrace::record::Record;
use headrace::runtime::{App, Environment, Options};
use headrace::topology::Topology;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testbed::{Kafka, KafkaVersion};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::support::{Cluster, Place, Queue, run, wait};
use crate::support::records::Stored;
use crate::support::{DEADLINE, Topics, share_groups};

const ATTEMPTS: u32 = 3;
/// What a topic takes by default, in bytes.
const TOO_LARGE: usize = 2 << 20;

/// What a worker does with a number.
#[derive(Default)]
struct Arithmetic {
    begun: AtomicU32,
    /// Numbers from 900 on wait for it.
    gate: Notify,
}

impl Worker for Arithmetic {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    async fn run(&self, record: &Record<String, String>, job: &Job<String, String>) -> Given<String, String> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let number: u32 =
            record.value.parse().map_err(|_| RecordError::new(Stage::Process, "no-number", "no number"))?;
        match number {
            100 if job.attempt.number < 2 => return Err(Failed::Again("not at once".to_owned())),
            101 => return Err(Failed::Again("never".to_owned())),
            102 => return Err(RecordError::new(Stage::Process, "too-odd", "for good").into()),
            103 => panic!("as a worker may do"),
            104 => return Ok(vec![record.map(record.key.clone(), "x".repeat(TOO_LARGE))]),
            900.. => self.gate.notified().await,
            _ => {}
        }
        let twice = |text: String| record.map(record.key.clone(), text);
        Ok(vec![twice(format!("{number}")), twice(format!("{number} again"))])
    }
}

/// An application of workers alone, with topics of its own.
struct Shop {
    queue: Queue,
    topics: Topics,
    worker: Arc<Arithmetic>,
    _directory: tempfile::TempDir,
    options: Options,
}

impl Shop {
    /// The queue's group is the one that the workers join.
    fn new(name: &str) -> Self {
        Shop::with(name, 4)
    }

    /// The brokers know no lag of a partition in which there was never anything.
    fn with(name: &str, partitions: i32) -> Self {
        Shop::on(Queue::unconfigured(name, partitions))
    }

    fn on(queue: Queue) -> Self {
        let topics = Topics::new(queue.servers());
        let directory = tempfile::tempdir().unwrap();
        let options = Shop::options(&queue, directory.path());
        let shop = Shop { queue, topics, worker: Arc::default(), _directory: directory, options };
        shop.topics.create(&shop.results(), 2);
        shop.topics.create(&shop.dead(), 2);
        shop
    }

    fn options(queue: &Queue, directory: &Path) -> Options {
        let application = queue.group.strip_suffix("-double").unwrap();
        application::options(application::settings(queue.servers(), application, "one"), 2, directory)
    }

    fn results(&self) -> String {
        format!("{}-results", self.queue.group)
    }

    fn dead(&self) -> String {
        format!("dlq.{}", self.queue.group)
    }

    fn topology(&self) -> Topology {
        let mut builder = Topology::builder("doubling");
        let codec = (text(), text());
        let doubled = builder.workers("double", &self.queue.topic, codec, 8, Arc::clone(&self.worker));
        builder.sink("doubled", doubled, &self.results(), text(), text());
        builder.dead_letters(&self.dead(), Policy::after_attempts(ATTEMPTS));
        builder.build().unwrap()
    }

    async fn apply(&self) -> Vec<headrace::runtime::Plan> {
        Environment::new(self.topology(), self.options.clone()).apply(false).await.unwrap()
    }

    /// Runs it until it is stopped.
    fn start(&self) -> (tokio::task::JoinHandle<Result<(), FatalError>>, CancellationToken) {
        let stop = CancellationToken::new();
        let options = Options { telemetry: application::telemetry(), ..self.options.clone() };
        (tokio::spawn(App::new(self.topology(), options).run(stop.clone())), stop)
    }

    /// Writes numbers in a transaction, so that brokers have them, and aborts it.
    fn abort(&self, numbers: std::ops::Range<u32>) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.queue.servers()).set("transactional.id", &self.queue.group);
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(DEADLINE).unwrap();
        producer.begin_transaction().unwrap();
        for number in numbers.map(|number| number.to_string()) {
            let record = BaseRecord::to(&self.queue.topic).key(&number).payload(&number);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(DEADLINE).unwrap();
        producer.abort_transaction(DEADLINE).unwrap();
    }

    fn read(&self, topic: &str) -> Vec<Stored> {
        tokio::task::block_in_place(|| self.topics.read(topic))
    }

    /// How often each result is there.
    fn counted(&self) -> BTreeMap<String, usize> {
        let mut counted = BTreeMap::new();
        for result in self.read(&self.results()) {
            *counted.entry(String::from_utf8(result.value.unwrap()).unwrap()).or_default() += 1;
        }
        counted
    }

    /// What every number of a range gives.
    fn expected(numbers: std::ops::Range<u32>) -> BTreeMap<String, usize> {
        numbers.flat_map(|number| [format!("{number}"), format!("{number} again")]).map(|text| (text, 1)).collect()
    }
}

async fn stopped(app: tokio::task::JoinHandle<Result<(), FatalError>>, stop: CancellationToken) {
    stop.cancel();
    tokio::time::timeout(DEADLINE, app).await.expect("it stops in time").unwrap().unwrap();
}

fn header<'a>(letter: &'a Stored, name: &str) -> &'a str {
    std::str::from_utf8(letter.header(name).unwrap_or_else(|| panic!("{name} is missing"))).unwrap()
}

#[test]
fn what_workers_give_is_at_the_sinks_once_and_what_they_cannot_do_is_set_aside_once() {
    run(async move {
        let shop = tokio::task::block_in_place(|| Shop::new("shop"));
        shop.apply().await;
        let (app, stop) = shop.start();
        tokio::task::block_in_place(|| shop.queue.produce(0..105));
        let broken = Stored {
            partition: 0,
            offset: 0,
            key: Some(b"k".to_vec()),
            value: Some(b"\xff".to_vec()),
            headers: Vec::new(),
        };
        tokio::task::block_in_place(|| shop.topics.produce(&shop.queue.topic, &broken));
        shop.queue.wait_done().await;
        stopped(app, stop).await;
        assert_eq!(shop.counted(), Shop::expected(0..101), "what was tried again, too");
        let mut classes: Vec<(String, String)> = Vec::new();
        for letter in shop.read(&shop.dead()) {
            assert_eq!(header(&letter, names::TOPIC), shop.queue.topic);
            assert!(header(&letter, names::TASK).ends_with("/double"));
            let value = String::from_utf8(letter.value.clone().unwrap()).unwrap_or_else(|_| "no text".to_owned());
            classes.push((value, format!("{} {}", header(&letter, names::CLASS), header(&letter, names::ATTEMPTS))));
        }
        classes.sort();
        let expected = [
            ("101", "attempts 3"),
            ("102", "too-odd 1"),
            ("103", "attempts 3"),
            ("104", "output-too-large 1"),
            ("no text", "malformed 1"),
        ];
        let expected: Vec<(String, String)> =
            expected.into_iter().map(|(value, class)| (value.to_owned(), class.to_owned())).collect();
        assert_eq!(classes, expected);
    });
}

#[test]
fn a_group_that_would_begin_at_the_end_is_refused_with_the_way_out_and_apply_is_that() {
    run(async move {
        let shop = tokio::task::block_in_place(|| Shop::new("late"));
        let (app, _stop) = shop.start();
        let refused = tokio::time::timeout(DEADLINE, app).await.unwrap().unwrap().unwrap_err().to_string();
        assert!(refused.contains(&shop.queue.group) && refused.contains("doubling apply"), "{refused}");
        tokio::task::block_in_place(|| shop.queue.produce(0..10));
        let plans = shop.apply().await;
        assert_eq!(plans.len(), 2, "where it begins, and what it reads: {plans:?}");
        assert!(shop.apply().await.is_empty(), "there is nothing more to do");
        let (app, stop) = shop.start();
        shop.queue.wait_done().await;
        stopped(app, stop).await;
        assert_eq!(shop.counted(), Shop::expected(0..10), "what was there before the first member");
    });
}

#[test]
fn what_a_transaction_wrote_that_was_aborted_is_handed_to_nobody() {
    run(async move {
        let shop = tokio::task::block_in_place(|| Shop::with("aborted", 1));
        shop.apply().await;
        let (app, stop) = shop.start();
        tokio::task::block_in_place(|| {
            shop.queue.produce(0..5);
            shop.abort(200..300);
            shop.queue.produce(5..10);
        });
        shop.queue.wait_done().await;
        stopped(app, stop).await;
        assert_eq!(shop.counted(), Shop::expected(0..10));
    });
}

/// Each delivery counts one attempt, and none of them comes to an end.
#[test]
fn d7_what_ends_its_workers_is_set_aside_without_another_try() {
    run(async move {
        let shop = tokio::task::block_in_place(|| Shop::with("fatal", 1));
        shop.apply().await;
        tokio::task::block_in_place(|| shop.queue.produce(900..901));
        for attempt in 1..=ATTEMPTS {
            let (app, _) = shop.start();
            wait("the work to begin", || async {
                let begun = shop.worker.begun.load(Ordering::SeqCst);
                if begun == attempt { Ok(()) } else { Err(format!("{begun} times")) }
            })
            .await;
            // As a process that is killed: nothing is given back, and nobody says good-bye.
            app.abort();
            _ = app.await;
        }
        let (app, stop) = shop.start();
        shop.queue.wait_done().await;
        stopped(app, stop).await;
        assert_eq!(shop.worker.begun.load(Ordering::SeqCst), ATTEMPTS);
        let letters = shop.read(&shop.dead());
        assert_eq!((letters.len(), header(&letters[0], names::CLASS)), (1, "never-ends"));
    });
}

#[test]
fn a_stop_ends_what_has_begun_and_gives_back_what_takes_too_long() {
    run(async move {
        let mut shop = tokio::task::block_in_place(|| Shop::with("stop", 1));
        shop.options.shutdown_deadline = Duration::from_secs(3);
        shop.apply().await;
        tokio::task::block_in_place(|| shop.queue.produce(900..902));
        let (app, stop) = shop.start();
        wait("both to begin", || async {
            let begun = shop.worker.begun.load(Ordering::SeqCst);
            if begun == 2 { Ok(()) } else { Err(format!("{begun}")) }
        })
        .await;
        stop.cancel();
        shop.worker.gate.notify_one();
        tokio::time::timeout(DEADLINE, app).await.expect("it stops in time").unwrap().unwrap();
        assert_eq!(shop.counted().len(), 2, "one has come to its end");
        let (app, stop) = shop.start();
        wait("the other to come again", || async {
            let begun = shop.worker.begun.load(Ordering::SeqCst);
            if begun == 3 { Ok(()) } else { Err(format!("{begun}")) }
        })
        .await;
        shop.worker.gate.notify_one();
        shop.queue.wait_done().await;
        stopped(app, stop).await;
        assert_eq!(shop.counted(), Shop::expected(900..902));
    });
}

#[test]
fn while_brokers_are_away_results_wait_and_nothing_is_accepted_without_them() {
    run(async move {
        let cluster = tokio::task::block_in_place(|| Cluster::start(&share_groups(Kafka::builder().unwrap()), 1));
        let place = Place::Own(Arc::clone(&cluster));
        let shop = tokio::task::block_in_place(|| Shop::on(Queue::unconfigured_on(place, "outage", 4)));
        shop.apply().await;
        let (app, stop) = shop.start();
        tokio::task::block_in_place(|| {
            shop.queue.produce(0..90);
            cluster.nodes[0].kill();
            cluster.nodes[0].start().unwrap();
            shop.queue.produce(200..290);
        });
        shop.queue.wait_done().await;
        stopped(app, stop).await;
        let counted = shop.counted();
        let mut expected = Shop::expected(0..90);
        expected.extend(Shop::expected(200..290));
        assert_eq!(counted.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "each at least once");
    });
}

/// KIP-1191.
#[test]
fn dead_letters_may_be_the_brokers_to_write() {
    run(async move {
        let newest = || {
            let builder = share_groups(Kafka::builder().unwrap()).version(KafkaVersion::V4_4_0);
            builder.property("errors.deadletterqueue.topic.name.prefix", "dlq.letters")
        };
        let cluster = tokio::task::block_in_place(|| Cluster::start(&newest(), 1));
        let mut shop =
            tokio::task::block_in_place(|| Shop::on(Queue::unconfigured_on(Place::Own(cluster), "letters", 1)));
        shop.options.dead_letters_by_brokers = true;
        shop.apply().await;
        let (app, _stop) = shop.start();
        let refused = tokio::time::timeout(DEADLINE, app).await.unwrap().unwrap().unwrap_err().to_string();
        assert!(refused.contains(&shop.dead()) && refused.contains("errors.deadletterqueue.group.enable"), "{refused}");
        let (server, dead) =
            (["--bootstrap-server", shop.queue.servers(), "--alter", "--entity-type", "topics"], shop.dead());
        let which = ["--entity-name", &dead, "--add-config", "errors.deadletterqueue.group.enable=true"];
        let args = [&server[..], &which].concat();
        tokio::task::block_in_place(|| shop.queue.kafka().java_tool("kafka.admin.ConfigCommand", &args)).unwrap();
        let (app, stop) = shop.start();
        tokio::task::block_in_place(|| shop.queue.produce(0..105));
        shop.queue.wait_done().await;
        let letters = || shop.read(&dead).into_iter().map(|letter| String::from_utf8(letter.value.unwrap()).unwrap());
        wait("the brokers' dead letters", || async {
            let mut letters: Vec<String> = letters().collect();
            letters.sort();
            if letters == ["101", "102", "103", "104"] { Ok(()) } else { Err(format!("{letters:?}")) }
        })
        .await;
        stopped(app, stop).await;
        assert_eq!(shop.counted(), Shop::expected(0..101));
    });
}

#[test]
fn brokers_that_write_no_dead_letters_are_told_with_the_way_out() {
    run(async move {
        let older = || share_groups(Kafka::builder().unwrap()).version(KafkaVersion::V4_3_1);
        let cluster = tokio::task::block_in_place(|| Cluster::start(&older(), 1));
        let queue = || Queue::unconfigured_on(Place::Own(cluster), "unwritten", 1);
        let mut shop = tokio::task::block_in_place(|| Shop::on(queue()));
        shop.apply().await;
        shop.options.dead_letters_by_brokers = true;
        let (app, _stop) = shop.start();
        let refused = tokio::time::timeout(DEADLINE, app).await.unwrap().unwrap().unwrap_err().to_string();
        assert!(refused.contains("dead-letters.by-brokers") && refused.contains("share.version=2"), "{refused}");
    });
}
