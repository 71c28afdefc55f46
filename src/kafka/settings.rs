//! Client properties: what the user passes through, and above it what the runtime owns (rule R-3).

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::avoided::Avoided;
use super::calls::Calls;
use super::fetching::Fetching;
use crate::error::FatalError;
use crate::wire::{Observer, WireError};

/// The longest `socket.timeout.ms` that librdkafka takes, in milliseconds.
const LONGEST_REQUEST: u128 = 300_000;
/// Records of whoever asks that wait in the client; further ones are refused.
const MAX_ASKED: usize = 20_000;
/// The same in KiB.
const MAX_ASKED_KBYTES: usize = 64 * 1024;
/// The largest batch of them; a single record may be larger.
const ASKED_BATCH_BYTES: usize = 256 * 1024;

/// How to reach the cluster, and the limits that the process has set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port` pairs.
    pub bootstrap_servers: String,
    /// Properties passed through, security included. Those that the runtime owns were refused before.
    pub properties: Vec<(String, String)>,
    /// Properties of the group's members only.
    pub member_properties: Vec<(String, String)>,
    /// Codec of produced batches.
    pub compression: String,
    /// Consumer group and prefix of transactional ids.
    pub application_id: String,
    /// Stable name of this instance: the same after a restart, so that a zombie is fenced at once (rule R-2).
    pub instance_id: String,
    /// After which the broker aborts a transaction whose owner has gone silent.
    pub transaction_timeout: Duration,
    /// Bytes of fetched records that wait in the client.
    pub fetch_queue_bytes: usize,
    /// Bytes of one fetch, over all partitions.
    pub fetch_max_bytes: usize,
    /// Bytes of one fetch, per partition.
    pub partition_fetch_bytes: usize,
    /// Largest record to produce, in bytes.
    pub max_record_bytes: usize,
    /// Largest batch that librdkafka produces, in bytes, where a topic takes less than its default; 1 is one record each.
    /// The native producer finds it out by itself, topic by topic.
    pub max_batch_bytes: Option<usize>,
    /// Whether a task reads several topics: then equal partitions have to come to one member, which of librdkafka's
    /// assignors only `range` promises.
    pub co_partitioned: bool,
    /// Whether the first read of a group starts at the beginning of a partition; the end would lose what is there.
    pub from_beginning: bool,
    /// Topics of which that is so whatever `from_beginning` says: the application's own between its tasks, and those of its
    /// tables. Filled in by the runtime.
    pub read_whole: Vec<String>,
    /// Who is told what happens to the native client's connections.
    pub observer: Observer,
    /// Calls into librdkafka that may never return, for the watchdog.
    pub calls: Calls,
    /// Topics that records have named, and that are left alone for a while.
    pub avoided: Avoided,
}

impl Settings {
    fn base(&self, role: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", self.client_id(role));
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// Whether all clients of a process can be set so.
    ///
    /// # Errors
    /// A login by token. librdkafka is built without libcurl, which its OIDC needs. Otherwise it asks for tokens by an event, which
    /// rust-rdkafka serves only where a client is polled; administration and look-ups never are. It would wait without a word.
    pub fn check(&self) -> Result<(), FatalError> {
        let mechanism = self.property("sasl.mechanism").or_else(|| self.property("sasl.mechanisms"));
        if mechanism.is_some_and(|mechanism| mechanism.eq_ignore_ascii_case("OAUTHBEARER")) {
            let reason = "OAUTHBEARER is for the native clients alone; librdkafka, the group's member, can't be given tokens here";
            return Err(FatalError::Config(format!(
                "sasl.mechanism: {reason}: use SCRAM-SHA-512, or a client certificate"
            )));
        }
        Ok(())
    }

    /// What brokers call a client in their logs, and what their quotas go by, unless the user says otherwise.
    fn client_id(&self, role: &str) -> String {
        format!("{}-{}-{role}", self.application_id, self.instance_id)
    }

    /// The same for connections of our own.
    ///
    /// # Errors
    /// A property can't be honoured.
    pub fn wire(&self, role: &str) -> Result<crate::wire::Settings, WireError> {
        let own = self.client_id(role);
        let users = self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // Ours first: as in librdkafka's configuration, the user's wins.
        let properties = [("client.id", own.as_str())].into_iter().chain(users);
        let settings = crate::wire::Settings::new(&self.bootstrap_servers, properties)?;
        Ok(crate::wire::Settings { observer: self.observer.clone(), ..settings })
    }

    /// A property as the user has set it.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The consumer of one stream thread.
    pub(super) fn consumer(&self, thread: usize, fetching: Fetching) -> ClientConfig {
        let mut config = self.fetching(&format!("consumer-{thread}"));
        for (key, value) in &self.member_properties {
            config.set(key, value);
        }
        config.set("group.id", &self.application_id);
        // Static membership (KIP-345): a restarted instance, killed or not, has its partitions back at once, without a
        // rebalance. The price: after a stop for good they move when the session times out.
        config.set("group.instance.id", self.transactional_id(thread));
        config.set("partition.assignment.strategy", if self.co_partitioned { "range" } else { "cooperative-sticky" });
        config.set("auto.offset.reset", if self.from_beginning { "earliest" } else { "latest" });
        match fetching {
            // It tells of topics that were made anew in this part of its log only.
            Fetching::Librdkafka => log_also(&mut config, super::anew::DEBUG),
            // Its partitions are paused: what it may fetch in the moment before is not worth any memory.
            Fetching::Native => {
                config.set("queued.min.messages", "1");
                config.set("queued.max.messages.kbytes", "64");
                config.set("fetch.message.max.bytes", "1024");
            }
        }
        // Where a partition ends, positions have to pass the markers of transactions (rule R-7).
        config.set("enable.partition.eof", "true");
        // A pattern has to find a new table's topic soon, not within the default five minutes.
        config.set("topic.metadata.refresh.interval.ms", "5000");
        config
    }

    /// A consumer that is assigned by hand and says where a partition ends.
    pub(super) fn reader(&self, role: &str) -> ClientConfig {
        let mut config = self.fetching(role);
        config.set("group.id", format!("{}-{role}", self.application_id));
        config.set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "true");
        config
    }

    fn fetching(&self, role: &str) -> ClientConfig {
        let mut config = self.base(role);
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        config.set("allow.auto.create.topics", "false");
        // The default, a second, leaves a fast consumer idle for two thirds of its time (rule N-9).
        config.set("fetch.queue.backoff.ms", "10");
        config.set("fetch.wait.max.ms", "100");
        config.set("queued.max.messages.kbytes", (self.fetch_queue_bytes / 1024).max(64).to_string());
        config.set("queued.min.messages", "20000");
        config.set("fetch.message.max.bytes", self.partition_fetch_bytes.to_string());
        config.set("fetch.max.bytes", self.fetch_max_bytes.to_string());
        config
    }

    fn producer(&self, role: &str) -> ClientConfig {
        let mut config = self.base(role);
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set("allow.auto.create.topics", "false");
        // As Java places keys; librdkafka's own default does not (co-partitioning would be silently wrong).
        config.set("partitioner", "murmur2_random");
        config.set("linger.ms", "5");
        config.set("compression.codec", &self.compression);
        config.set("batch.num.messages", "100000");
        config.set("queue.buffering.max.messages", "1000000");
        config.set("message.max.bytes", (self.max_record_bytes + 4096).to_string());
        if let Some(bytes) = self.max_batch_bytes {
            // A single record is sent even if it is larger.
            config.set("batch.size", bytes.max(1).to_string());
        }
        config
    }

    /// The producer of one stream thread under exactly-once.
    pub(super) fn transactional(&self, thread: usize) -> ClientConfig {
        let mut config = self.producer(&format!("producer-{thread}"));
        config.set("transactional.id", self.transactional_id(thread));
        let timeout = self.transaction_timeout.as_millis().to_string();
        config.set("transaction.timeout.ms", &timeout);
        // librdkafka refuses a request that may outlive its transaction, and a time-out that is too long for it.
        config.set("socket.timeout.ms", self.transaction_timeout.as_millis().min(LONGEST_REQUEST).to_string());
        // The producer counts the connections that fail (rule R-11), which only this log tells in full.
        log_also(&mut config, "broker");
        log_also(&mut config, super::anew::DEBUG);
        config
    }

    /// The producer of one stream thread under at-least-once.
    pub(super) fn idempotent(&self, thread: usize) -> ClientConfig {
        let mut config = self.producer(&format!("producer-{thread}"));
        config.set("message.timeout.ms", (2 * self.transaction_timeout.as_millis()).to_string());
        config
    }

    /// A client for the records of a command. A record has so long to come to its end.
    pub(super) fn submitter(&self, patience: Duration) -> ClientConfig {
        let mut config = self.producer("submitter");
        config.set("message.timeout.ms", patience.as_millis().max(1000).to_string());
        config
    }

    /// A client for the records of whoever asks: many at a time, each with so long to come to its end.
    pub(super) fn asked(&self, patience: Duration) -> ClientConfig {
        let mut config = self.producer("writer");
        let millis = patience.as_millis().clamp(1000, LONGEST_REQUEST).to_string();
        config.set("message.timeout.ms", &millis);
        // A broker that has stopped is given up with the record, not a minute later.
        config.set("socket.timeout.ms", &millis);
        config.set("linger.ms", "2");
        config.set("queue.buffering.max.messages", MAX_ASKED.to_string());
        config.set("queue.buffering.max.kbytes", MAX_ASKED_KBYTES.to_string());
        // A batch is refused as a whole: it must not be larger than what any topic takes that takes its records.
        config.set("batch.size", ASKED_BATCH_BYTES.to_string());
        // Topics are made before. By default one that is not there is waited for longer than a record has.
        config.set("topic.metadata.propagation.max.ms", "1000");
        config
    }

    /// A client for administration and look-ups.
    pub(super) fn admin(&self) -> ClientConfig {
        self.base("admin")
    }

    /// A client that reads a small topic from its beginning, and goes on.
    pub(super) fn follower(&self, role: &str) -> ClientConfig {
        let mut config = self.reader(role);
        // What was deleted, or made anew under us, is read again.
        config.set("auto.offset.reset", "earliest");
        config.set("queued.min.messages", "100");
        config.set("queued.max.messages.kbytes", "1024");
        config.set("fetch.wait.max.ms", "500");
        config
    }

    /// A client that writes a record now and then.
    pub(super) fn writer(&self, role: &str) -> ClientConfig {
        let mut config = self.base(role);
        config.set("acks", "all");
        config.set("allow.auto.create.topics", "false");
        config.set("linger.ms", "0");
        config.set("queue.buffering.max.messages", "100");
        config.set("message.timeout.ms", "5000");
        config
    }

    /// Whether a topic without a committed position is read from its beginning, not from its end.
    pub fn starts_at_beginning(&self, topic: &str) -> bool {
        self.from_beginning || self.read_whole.iter().any(|own| own == topic)
    }

    /// `<application>-<instance>-<thread>` (rule R-2).
    pub fn transactional_id(&self, thread: usize) -> String {
        format!("{}{thread}", self.own_transactional_ids())
    }

    /// What the transactional ids of this instance begin with.
    pub(super) fn own_transactional_ids(&self) -> String {
        format!("{}{}-", self.transactional_ids(), self.instance_id)
    }

    /// What those of the application begin with.
    pub(super) fn transactional_ids(&self) -> String {
        format!("{}-", self.application_id)
    }
}

/// Has librdkafka write a part of its log that is off by default; the client's context decides what becomes of it.
fn log_also(config: &mut ClientConfig, part: &str) {
    let debug = config.get("debug").map_or_else(|| part.to_owned(), |others| format!("{part},{others}"));
    config.set("debug", debug);
    config.set_log_level(RDKafkaLogLevel::Debug);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn settings(properties: &[(&str, &str)]) -> Settings {
        Settings {
            bootstrap_servers: "b:1".to_owned(),
            properties: properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            member_properties: Vec::new(),
            compression: "none".to_owned(),
            application_id: "app".to_owned(),
            instance_id: "one".to_owned(),
            transaction_timeout: Duration::from_secs(10),
            fetch_queue_bytes: 1 << 20,
            fetch_max_bytes: 1 << 20,
            partition_fetch_bytes: 1 << 20,
            max_record_bytes: 1 << 20,
            max_batch_bytes: None,
            co_partitioned: false,
            from_beginning: true,
            read_whole: Vec::new(),
            observer: Observer::default(),
            calls: Calls::default(),
            avoided: Avoided::default(),
        }
    }

    #[test]
    fn both_clients_have_the_same_client_id_and_the_users_wins() {
        for (properties, expected) in [(&[][..], "app-one-producer-0"), (&[("client.id", "paid-for")], "paid-for")] {
            let settings = settings(properties);
            assert!(settings.check().is_ok());
            assert_eq!(settings.wire("producer-0").unwrap().client_id, expected);
            assert_eq!(settings.transactional(0).get("client.id"), Some(expected));
        }
    }

    #[test]
    fn kip_255_a_login_by_token_is_refused_since_librdkafka_would_wait_for_ever() {
        for name in ["sasl.mechanism", "sasl.mechanisms"] {
            let error = settings(&[(name, "oauthbearer")]).check().unwrap_err().to_string();
            assert!(error.contains("sasl.mechanism") && error.contains("SCRAM-SHA-512"), "{error}");
        }
        assert!(settings(&[("sasl.mechanism", "SCRAM-SHA-512")]).check().is_ok());
    }
}
