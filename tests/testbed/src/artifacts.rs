//! What is fetched from Maven Central: one set of jars for each Kafka version, for Connect, for Kafka Streams, and the registry.
//!
//! Pure data, so that a change of version is one line here and one run of `testbed fetch`.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The Apicurio registry; the oldest 3.x that runs here on JDK 17 and speaks the Confluent API v7.
pub(crate) const REGISTRY_VERSION: &str = "3.0.9";
/// Debezium's PostgreSQL connector.
pub(crate) const DEBEZIUM_VERSION: &str = "3.4.0.Final";
/// Kafka Connect. Independent of the broker's version: the protocol negotiates.
const CONNECT_VERSION: &str = "4.3.1";
/// Kafka Streams, the peer of the benchmarks and the judge of semantics.
pub const STREAMS_VERSION: &str = "4.3.1";
/// Prints logs to stderr without a configuration file; the API version that Kafka's jars bring.
const SLF4J: Dependency = Dependency::new("org.slf4j", "slf4j-simple", "1.7.36");

const APICURIO: &str = "io.apicurio";

/// The Connect converter for Avro and those of its modules that it uses for Avro.
const AVRO_CONVERTER: [&str; 7] = [
    "apicurio-registry-utils-converter",
    "apicurio-registry-avro-serde-kafka",
    "apicurio-registry-serde-kafka-common",
    "apicurio-registry-serde-common-avro",
    "apicurio-registry-serde-common",
    "apicurio-registry-schema-resolver",
    "apicurio-registry-common",
];

/// A Kafka version that is known to start here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum KafkaVersion {
    /// The oldest with share-group RENEW (KIP-1222).
    V4_2_1,
    /// The default.
    #[default]
    V4_3_1,
    /// The first with broker-side dead-letter queues for share groups (KIP-1191).
    V4_4_0,
}

impl KafkaVersion {
    /// What the environment variable `KAFKA_VERSION` says, the default without it.
    ///
    /// # Errors
    /// [`Error::Setting`] for a version that nobody has tried.
    pub fn from_env() -> Result<Self, Error> {
        std::env::var("KAFKA_VERSION").map_or_else(|_| Ok(Self::default()), |text| text.parse())
    }

    /// As in `4.3.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4_2_1 => "4.2.1",
            Self::V4_3_1 => "4.3.1",
            Self::V4_4_0 => "4.4.0",
        }
    }

    /// The set that has the command-line tools for it: `kafka-tools` of 4.4.0 does not resolve, 4.3.1's serve.
    pub(crate) const fn tools(self) -> Self {
        match self {
            Self::V4_4_0 => Self::V4_3_1,
            same => same,
        }
    }
}

impl fmt::Display for KafkaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KafkaVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::V4_2_1, Self::V4_3_1, Self::V4_4_0]
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| Error::Setting(format!("KAFKA_VERSION={text}: try 4.2.1, 4.3.1 or 4.4.0")))
    }
}

/// One thing in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artifacts {
    /// Broker and command-line tools.
    Kafka(KafkaVersion),
    /// Kafka Connect, Debezium and the Avro converter.
    Connect,
    /// Kafka Streams; no part of the testbed, fetched by those who run it.
    Streams,
    /// The schema registry, unpacked.
    Registry,
}

impl Artifacts {
    /// The name of its directory in the cache.
    pub fn name(self) -> String {
        match self {
            Self::Kafka(version) => format!("kafka-{version}"),
            Self::Connect => format!("connect-{CONNECT_VERSION}-debezium-{DEBEZIUM_VERSION}"),
            Self::Streams => format!("kafka-streams-{STREAMS_VERSION}"),
            Self::Registry => format!("apicurio-registry-{REGISTRY_VERSION}"),
        }
    }

    /// Resolved with everything they need.
    pub(crate) fn dependencies(self) -> Vec<Dependency> {
        const KAFKA: &str = "org.apache.kafka";
        match self {
            // kafka-tools-api 4.4.0 is named by the broker's pom and cannot be had.
            Self::Kafka(KafkaVersion::V4_4_0) => {
                vec![Dependency::new(KAFKA, "kafka_2.13", "4.4.0").without(KAFKA, "kafka-tools-api"), SLF4J]
            }
            Self::Kafka(version) => vec![
                Dependency::new(KAFKA, "kafka_2.13", version.as_str()),
                Dependency::new(KAFKA, "kafka-tools", version.as_str()),
                SLF4J,
            ],
            Self::Connect => vec![
                Dependency::new(KAFKA, "connect-runtime", CONNECT_VERSION),
                Dependency::new(KAFKA, "connect-json", CONNECT_VERSION),
                Dependency::new("io.debezium", "debezium-connector-postgres", DEBEZIUM_VERSION),
                // The converter's client. 3.0.9 of it is not to be had; 3.0.7 talks to the same API.
                Dependency::new(APICURIO, "apicurio-registry-java-sdk", "3.0.7"),
                Dependency::new("org.apache.avro", "avro", "1.12.0"),
                // Connect's own versions, named here because Maven would take those of the client, which is nearer.
                Dependency::new("com.fasterxml.jackson.core", "jackson-core", "2.21.2"),
                Dependency::new("jakarta.annotation", "jakarta.annotation-api", "2.1.1"),
                SLF4J,
            ],
            Self::Streams => vec![Dependency::new(KAFKA, "kafka-streams", STREAMS_VERSION), SLF4J],
            Self::Registry => vec![],
        }
    }

    /// Taken alone: the parent pom of Apicurio 3.0.9 is not to be had, so Maven cannot resolve what they need.
    pub(crate) fn alone(self) -> Vec<Dependency> {
        match self {
            Self::Kafka(_) | Self::Streams => vec![],
            Self::Connect => AVRO_CONVERTER.map(|name| Dependency::new(APICURIO, name, REGISTRY_VERSION)).to_vec(),
            Self::Registry => {
                vec![Dependency::new(APICURIO, "apicurio-registry-app", REGISTRY_VERSION).kind("tar.gz", "all")]
            }
        }
    }
}

/// Maven coordinates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dependency {
    group: &'static str,
    name: &'static str,
    version: &'static str,
    kind: Option<(&'static str, &'static str)>,
    without: Option<(&'static str, &'static str)>,
}

impl Dependency {
    const fn new(group: &'static str, name: &'static str, version: &'static str) -> Self {
        Self { group, name, version, kind: None, without: None }
    }

    /// A file other than the jar: its type and classifier.
    const fn kind(mut self, kind: &'static str, classifier: &'static str) -> Self {
        self.kind = Some((kind, classifier));
        self
    }

    const fn without(mut self, group: &'static str, name: &'static str) -> Self {
        self.without = Some((group, name));
        self
    }

    /// The element's content, as a pom wants it.
    pub(crate) fn xml(&self) -> String {
        let Self { group, name, version, .. } = self;
        let mut xml = format!("<groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>");
        if let Some((kind, classifier)) = self.kind {
            xml += &format!("<type>{kind}</type><classifier>{classifier}</classifier>");
        }
        if let Some((group, name)) = self.without {
            let what = format!("<groupId>{group}</groupId><artifactId>{name}</artifactId>");
            xml += &format!("<exclusions><exclusion>{what}</exclusion></exclusions>");
        }
        xml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_an_untried_kafka_version_by_naming_the_tried_ones() {
        let error = "3.9.0".parse::<KafkaVersion>().expect_err("3.9.0 has no share groups");
        assert_eq!(error.to_string(), "KAFKA_VERSION=3.9.0: try 4.2.1, 4.3.1 or 4.4.0");
        assert_eq!("4.4.0".parse::<KafkaVersion>().expect("tried"), KafkaVersion::V4_4_0);
    }
}
