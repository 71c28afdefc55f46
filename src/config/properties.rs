//! `[kafka.properties]`: librdkafka's options, passed through, without those that the runtime owns.
//!
//! An overridden `enable.auto.commit` or `isolation.level` breaks exactly-once without an error (rule R-3); so each
//! option that carries a guarantee is refused, with the reason, and each that has a key of its own is sent there.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::value::MASK;

/// Options of librdkafka by their names there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub BTreeMap<String, String>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = |(name, value): (&'_ String, &'_ String)| {
            (name.clone(), if is_secret(name) { MASK.to_owned() } else { value.clone() })
        };
        f.debug_map().entries(self.0.iter().map(masked)).finish()
    }
}

/// Whether an option's value must not be shown, nor come from a file.
pub(super) fn is_secret(name: &str) -> bool {
    ["password", "secret", "pem", "passphrase", "sasl.oauthbearer.config"].iter().any(|part| name.contains(part))
}

/// Options that are refused, with the reason.
const OWNED: &[(&str, &str)] = &[
    ("enable.auto.commit", "a position is committed only with the effects of its records, in one transaction"),
    ("auto.commit.interval.ms", "positions are committed with the effects; see `processing.commit-interval`"),
    ("enable.auto.offset.store", "the runtime says which record was processed, not the client"),
    ("isolation.level", "exactly-once reads committed records only"),
    ("enable.idempotence", "without it a retry writes a record twice or out of order"),
    ("acks", "a commit counts only when all in-sync replicas have it"),
    ("request.required.acks", "a commit counts only when all in-sync replicas have it"),
    ("partitioner", "keys must go where Java clients send them (murmur2), or co-partitioned topics don't fit"),
    ("auto.offset.reset", "where a source without a position starts is the topology's decision, source by source"),
    ("allow.auto.create.topics", "a misspelt topic must be an error, not a new topic"),
    ("transactional.id", "it is made of application-id, instance-id and thread, so that a restart fences its zombie"),
    ("transaction.timeout.ms", "set `processing.transaction-timeout` instead"),
    ("group.id", "set `application-id` instead"),
    ("group.instance.id", "it is made of instance-id and thread"),
    ("group.protocol", "set `kafka.group-protocol` instead"),
    ("partition.assignment.strategy", "tasks move only with cooperative-sticky rebalances"),
    ("bootstrap.servers", "set `kafka.bootstrap-servers` instead"),
    ("metadata.broker.list", "set `kafka.bootstrap-servers` instead"),
    ("statistics.interval.ms", "statistics leak memory on clients that aren't polled for ever"),
    ("enable.partition.eof", "restore and positions need the end-of-partition events"),
    ("max.in.flight.requests.per.connection", "idempotence bounds it, and order depends on it"),
    ("max.in.flight", "idempotence bounds it, and order depends on it"),
    ("queued.max.messages.kbytes", "it is part of the memory budget: set `memory.consumer-queue` instead"),
    ("queued.min.messages", "it is part of the memory budget: set `memory.consumer-queue` instead"),
    ("fetch.max.bytes", "it is part of the memory budget: set `memory.fetch-max` instead"),
    ("fetch.message.max.bytes", "it is part of the memory budget: set `memory.partition-fetch` instead"),
    ("max.partition.fetch.bytes", "it is part of the memory budget: set `memory.partition-fetch` instead"),
    ("fetch.queue.backoff.ms", "it is 10: librdkafka's default leaves a fast consumer idle"),
    ("session.timeout.ms", "set `kafka.session-timeout` instead"),
    ("max.poll.interval.ms", "set `kafka.max-poll-interval` instead"),
    ("socket.timeout.ms", "set `kafka.request-timeout` instead"),
    ("compression.type", "set `processing.compression` instead"),
    ("compression.codec", "set `processing.compression` instead"),
    ("security.protocol", "set `kafka.security-protocol` instead"),
    ("sasl.mechanism", "set `kafka.sasl-mechanism` instead"),
    ("sasl.mechanisms", "set `kafka.sasl-mechanism` instead"),
    ("sasl.username", "set `kafka.sasl-username` instead"),
    ("sasl.password", "set `kafka.sasl-password` instead"),
    ("ssl.ca.location", "set `kafka.ssl-ca-location` instead"),
    ("ssl.certificate.location", "set `kafka.ssl-certificate-location` instead"),
    ("ssl.key.location", "set `kafka.ssl-key-location` instead"),
    ("ssl.key.password", "set `kafka.ssl-key-password` instead"),
    ("ssl.endpoint.identification.algorithm", "set `kafka.ssl-endpoint-identification` instead"),
    ("enable.ssl.certificate.verification", "an unverified broker can read every record and every password"),
];

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Options;
        impl<'de> Visitor<'de> for Options {
            type Value = Properties;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section with librdkafka's options")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut options = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let value = map.next_value_seed(Setting(&name))?;
                    options.insert(name, value);
                }
                Ok(Properties(options))
            }
        }
        deserializer.deserialize_map(Options)
    }
}

/// One option's value; numbers and booleans become text, which is all that librdkafka takes.
struct Setting<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Setting<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        if let Some((_, reason)) = OWNED.iter().find(|(name, _)| *name == self.0) {
            return Err(de::Error::custom(format!("belongs to the runtime: {reason}")));
        }
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Setting<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number or a boolean")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<String, E> {
        Ok(flag.to_string())
    }
}
