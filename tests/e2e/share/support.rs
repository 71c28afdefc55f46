//! A topic, a share group on it, and members under test.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use headrace::share::{Delivery, ShareConsumer, ShareSettings};
use headrace::wire::share::{ShareLag, ShareLagRequest};
use headrace::wire::{Client, CoordinatorKind, Settings, WireError};
use rdkafka::admin::TopicResult;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testbed::{Cache, Dirs, Kafka, KafkaBuilder, Testbed};

use crate::support::{DEADLINE, eventually, sharing};

/// The number of a task that is only there to be one more: released by nobody (see `account`), and of no portion.
pub(crate) const MORE: u32 = 3_000_001;
/// So long what was done may take to be counted: longer than the locks of tests.
const PATIENCE: Duration = Duration::from_secs(10);

/// Brokers of a test's own.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Kafka>,
    servers: String,
    /// Last: removed once no broker writes there any more.
    _dirs: Dirs,
}

impl Cluster {
    pub(crate) fn start(builder: &KafkaBuilder, nodes: u32) -> Arc<Self> {
        let (cache, dirs) = (Cache::open().unwrap(), Dirs::new().unwrap());
        let nodes = match nodes {
            1 => vec![builder.start(&cache, &dirs).unwrap()],
            nodes => builder.start_cluster(&cache, &dirs, nodes).unwrap(),
        };
        let servers: Vec<&str> = nodes.iter().map(Kafka::bootstrap_servers).collect();
        Arc::new(Cluster { servers: servers.join(","), nodes, _dirs: dirs })
    }

    /// The same, reached by way of another address.
    pub(crate) fn start_behind(builder: &KafkaBuilder, address: String) -> Arc<Self> {
        let (cache, dirs) = (Cache::open().unwrap(), Dirs::new().unwrap());
        let nodes = vec![builder.start(&cache, &dirs).unwrap()];
        Arc::new(Cluster { nodes, servers: address, _dirs: dirs })
    }
}

/// Where a queue is.
#[derive(Clone)]
pub(crate) enum Place {
    Shared(Arc<Testbed>),
    Own(Arc<Cluster>),
}

/// A group and its topic.
pub(crate) struct Queue {
    place: Place,
    pub(crate) topic: String,
    pub(crate) group: String,
}

impl Queue {
    /// A new topic with so many partitions on the shared broker; its group reads from the beginning, and has these settings
    /// besides.
    pub(crate) fn new(name: &str, partitions: i32, configs: &str) -> Self {
        Queue::on(Place::Shared(sharing()), name, partitions, configs)
    }

    pub(crate) fn on(place: Place, name: &str, partitions: i32, configs: &str) -> Self {
        let queue = Queue::without_topic(place, name, configs);
        queue.create(partitions);
        queue
    }

    pub(crate) fn without_topic(place: Place, name: &str, configs: &str) -> Self {
        let name = Queue::unique(name);
        let queue = Queue { place, topic: format!("{name}-tasks"), group: name };
        queue.configure(&format!("share.auto.offset.reset=earliest{configs}"));
        queue
    }

    /// A topic whose group, that of the workers `double` of application `name`, has the brokers' settings.
    pub(crate) fn unconfigured(name: &str, partitions: i32) -> Self {
        Queue::unconfigured_on(Place::Shared(sharing()), name, partitions)
    }

    pub(crate) fn unconfigured_on(place: Place, name: &str, partitions: i32) -> Self {
        let name = Queue::unique(name);
        let queue = Queue { place, topic: format!("{name}-tasks"), group: format!("{name}-double") };
        queue.create(partitions);
        queue
    }

    fn unique(name: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes the topic, whose name may be that of one that is being deleted.
    pub(crate) fn create(&self, partitions: i32) {
        let replicas = match &self.place {
            Place::Shared(_) => 1,
            Place::Own(cluster) => i32::try_from(cluster.nodes.len()).unwrap(),
        };
        eventually("the topic", || {
            let topic = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(replicas));
            let (admin, runtime) = self.admin();
            let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
            outcome(made)
        });
    }

    pub(crate) fn delete(&self) {
        let (admin, runtime) = self.admin();
        outcome(runtime.block_on(admin.delete_topics(&[self.topic.as_str()], &AdminOptions::new()))).unwrap();
    }

    /// Gives the topic more partitions.
    pub(crate) fn grow(&self, partitions: usize) {
        let (admin, runtime) = self.admin();
        let wanted = NewPartitions::new(&self.topic, partitions);
        outcome(runtime.block_on(admin.create_partitions([&wanted], &AdminOptions::new()))).unwrap();
    }

    fn admin(&self) -> (AdminClient<DefaultClientContext>, tokio::runtime::Runtime) {
        let admin = ClientConfig::new().set("bootstrap.servers", self.servers()).create().unwrap();
        (admin, tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap())
    }

    pub(crate) fn configure(&self, configs: &str) {
        let server = ["--bootstrap-server", self.servers(), "--alter"];
        let which = ["--entity-type", "groups", "--entity-name", &self.group, "--add-config", configs];
        self.kafka().java_tool("kafka.admin.ConfigCommand", &[&server[..], &which].concat()).unwrap();
    }

    /// Any of the brokers.
    pub(crate) fn kafka(&self) -> &Kafka {
        match &self.place {
            Place::Shared(bed) => bed.kafka().unwrap(),
            Place::Own(cluster) => &cluster.nodes[0],
        }
    }

    pub(crate) fn servers(&self) -> &str {
        match &self.place {
            Place::Shared(bed) => bed.kafka().unwrap().bootstrap_servers(),
            Place::Own(cluster) => &cluster.servers,
        }
    }

    /// Tasks, each with its number as value.
    pub(crate) fn produce(&self, numbers: std::ops::Range<u32>) {
        self.produce_with("none", numbers);
    }

    /// One task more in each of these partitions, all with the number [`MORE`].
    pub(crate) fn produce_more(&self, partitions: &[i32]) {
        let (producer, value) = (self.producer("none"), MORE.to_string());
        for partition in partitions {
            let record = BaseRecord::to(&self.topic).key("more").payload(&value).partition(*partition);
            producer.send(record).unwrap();
        }
        producer.flush(DEADLINE).unwrap();
    }

    fn producer(&self, codec: &str) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers()).set("enable.idempotence", "true");
        // A broker may be silent: another one leads soon.
        config.set("socket.timeout.ms", "5000").set("request.timeout.ms", "5000");
        config.set("compression.codec", codec).set("linger.ms", "5").create().unwrap()
    }

    pub(crate) fn produce_with(&self, codec: &str, numbers: std::ops::Range<u32>) {
        let producer = self.producer(codec);
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
        let printed = self.kafka().java_tool("org.apache.kafka.tools.VerifiableShareConsumer", &args).unwrap();
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
    pub(crate) async fn lag(&self) -> Result<ShareLag, WireError> {
        let client = Client::new(Settings::new(self.servers(), []).unwrap());
        let coordinator = client.coordinator(CoordinatorKind::Group, &self.group).await?;
        let connection = client.connection(coordinator).await?;
        let request = ShareLagRequest { group: self.group.as_str().into(), topics: None };
        let body = connection.send(request.outgoing(DEADLINE)).await?.await?;
        request.decode(connection.address(), body)
    }

    /// Waits until nothing of the topic is left to be done.
    pub(crate) async fn wait_done(&self) {
        wait("all to be done", || async move {
            let parts = self.lag().await.map_err(|error| error.to_string())?.parts;
            let left: Option<i64> = parts.iter().map(|part| part.lag).sum();
            if left == Some(0) && !parts.is_empty() { Ok(()) } else { Err(format!("{parts:?}")) }
        })
        .await;
    }

    /// As [`wait_done`](Self::wait_done), by brokers whose count may go back: where something seems to be left, one task more
    /// is done from time to time, which writes the count anew. What is really left stays counted.
    pub(crate) async fn wait_done_with_more(&self) {
        let (begun, given) = (Instant::now(), AtomicU64::new(0));
        let (begun, given) = (&begun, &given);
        wait("all to be done", || async move {
            let parts = self.lag().await.map_err(|error| error.to_string())?.parts;
            let left: Vec<i32> = parts.iter().filter(|part| part.lag != Some(0)).map(|part| part.partition).collect();
            if left.is_empty() && !parts.is_empty() {
                return Ok(());
            }
            let due = begun.elapsed().as_secs() / PATIENCE.as_secs();
            if given.swap(due, Ordering::Relaxed) < due {
                println!("one more, for something seems to be left: {parts:?}");
                tokio::task::block_in_place(|| self.produce_more(&left));
            }
            Err(format!("{parts:?}, after {due} more"))
        })
        .await;
    }
}

fn outcome(of: KafkaResult<Vec<TopicResult>>) -> Result<(), String> {
    let first = of.map_err(|error| error.to_string())?.remove(0);
    first.map(drop).map_err(|(_, code)| code.to_string())
}

/// Waits until `look` gives no reason against.
pub(crate) async fn wait<T, F: Future<Output = Result<T, String>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        match look().await {
            Ok(found) => return found,
            Err(reason) => assert!(started.elapsed() < DEADLINE, "waited for {what}: {reason}"),
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
pub(crate) fn run<T: Send + 'static>(test: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let test = runtime.spawn(test);
    match runtime.block_on(test) {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
