//! A topic, a share group on it, and members under test.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headrace::share::{Delivery, ShareConsumer, ShareSettings};
use headrace::wire::share::{ShareLag, ShareLagRequest};
use headrace::wire::{Client, CoordinatorKind, Settings};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testbed::Testbed;

use crate::support::{DEADLINE, Topics, sharing};

/// A group and its topic on the shared broker.
pub(crate) struct Queue {
    bed: Arc<Testbed>,
    pub(crate) topic: String,
    pub(crate) group: String,
}

impl Queue {
    /// A new topic with so many partitions; its group reads from the beginning, and has these settings besides.
    pub(crate) fn new(name: &str, partitions: i32, configs: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let queue = Queue { bed: sharing(), topic: format!("{name}-tasks"), group: name };
        Topics::new(queue.servers()).create(&queue.topic, partitions);
        queue.configure(&format!("share.auto.offset.reset=earliest{configs}"));
        queue
    }

    pub(crate) fn configure(&self, configs: &str) {
        let kafka = self.bed.kafka().unwrap();
        let server = ["--bootstrap-server", kafka.bootstrap_servers(), "--alter"];
        let which = ["--entity-type", "groups", "--entity-name", &self.group, "--add-config", configs];
        kafka.java_tool("kafka.admin.ConfigCommand", &[&server[..], &which].concat()).unwrap();
    }

    pub(crate) fn servers(&self) -> &str {
        self.bed.kafka().unwrap().bootstrap_servers()
    }

    /// Tasks, each with its number as value.
    pub(crate) fn produce(&self, numbers: std::ops::Range<u32>) {
        self.produce_with("none", numbers);
    }

    pub(crate) fn produce_with(&self, codec: &str, numbers: std::ops::Range<u32>) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers()).set("enable.idempotence", "true");
        let producer: BaseProducer = config.set("compression.codec", codec).set("linger.ms", "5").create().unwrap();
        for number in numbers {
            let (key, value) = (format!("key-{}", number % 50), number.to_string());
            let mut record = BaseRecord::to(&self.topic).key(&key).payload(&value);
            while let Err((_, back)) = producer.send(record) {
                producer.poll(Duration::from_millis(5));
                record = back;
            }
        }
        producer.flush(DEADLINE).unwrap();
    }

    pub(crate) fn settings(&self) -> ShareSettings {
        ShareSettings::new(&self.group, [&self.topic])
    }

    pub(crate) fn join(&self, settings: ShareSettings) -> ShareConsumer {
        self.join_over(self.servers(), settings)
    }

    pub(crate) fn join_over(&self, servers: &str, settings: ShareSettings) -> ShareConsumer {
        ShareConsumer::join(Settings::new(servers, [("client.id", "share-test")]).unwrap(), settings).unwrap()
    }

    /// Kafka's own member, until it has had so many; partition and offset of all that it has accepted.
    pub(crate) fn java_member(&self, count: usize) -> BTreeSet<(i32, i64)> {
        let count = count.to_string();
        let which = ["--bootstrap-server", self.servers(), "--group-id", &self.group, "--topic", &self.topic];
        let args = [&which[..], &["--max-messages", &count]].concat();
        let printed =
            self.bed.kafka().unwrap().java_tool("org.apache.kafka.tools.VerifiableShareConsumer", &args).unwrap();
        let lines = printed.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let taken = lines.filter(|line| line["name"] == "offsets_acknowledged" && line["success"] == true);
        let partitions = taken.flat_map(|line| line["partitions"].as_array().unwrap().clone());
        let offsets = |part: serde_json::Value| {
            let partition = i32::try_from(part["partition"].as_i64().unwrap()).unwrap();
            let offsets = part["offsets"].as_array().unwrap().clone();
            offsets.into_iter().map(move |offset| (partition, offset.as_i64().unwrap()))
        };
        partitions.flat_map(offsets).collect()
    }

    /// What the broker says of the group's progress.
    pub(crate) async fn lag(&self) -> ShareLag {
        let client = Client::new(Settings::new(self.servers(), []).unwrap());
        let coordinator = client.coordinator(CoordinatorKind::Group, &self.group).await.unwrap();
        let connection = client.connection(coordinator).await.unwrap();
        let request = ShareLagRequest { group: self.group.as_str().into(), topics: None };
        let body = connection.send(request.outgoing(DEADLINE)).await.unwrap().await.unwrap();
        request.decode(connection.address(), body).unwrap()
    }

    /// Waits until nothing of the topic is left to be done.
    pub(crate) async fn wait_done(&self) {
        let started = std::time::Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            let lag = self.lag().await;
            let left: Option<i64> = lag.parts.iter().map(|part| part.lag).sum();
            if left == Some(0) && !lag.parts.is_empty() {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "not done: {:?}", lag.parts);
        }
    }
}

/// The number of a task.
pub(crate) fn number(delivery: &Delivery) -> u32 {
    std::str::from_utf8(delivery.value.as_deref().unwrap()).unwrap().parse().unwrap()
}

/// The next task, which has to come.
pub(crate) async fn next(consumer: &mut ShareConsumer) -> Delivery {
    let next = tokio::time::timeout(DEADLINE, consumer.next()).await;
    next.expect("nothing has come in time").expect("the consumer goes on").expect("there is more")
}

/// Whether nothing comes for so long.
pub(crate) async fn is_quiet(consumer: &mut ShareConsumer, span: Duration) -> bool {
    tokio::time::timeout(span, consumer.next()).await.is_err()
}

/// Runs a test on a runtime with several threads: what it awaits has to be `Send`.
pub(crate) fn run<F: Future<Output = ()> + Send + 'static>(test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let test = runtime.spawn(test);
    if let Err(error) = runtime.block_on(test) {
        std::panic::resume_unwind(error.into_panic());
    }
}
