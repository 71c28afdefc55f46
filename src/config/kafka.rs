//! The `[kafka]` section: how to reach the cluster, and as whom.
//!
//! Both clients, librdkafka and the native one, log in with the same keys; only librdkafka has further options, and these
//! are passed through as they are called there.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::properties::Properties;
use super::value::{Secret, Span};

/// `[kafka]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port`, several parted by commas.
    pub bootstrap_servers: String,
    /// Encryption and authentication.
    pub security_protocol: SecurityProtocol,
    /// How to log in, with the `sasl-…` protocols.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// As whom.
    pub sasl_username: Option<String>,
    /// With what.
    pub sasl_password: Option<Secret>,
    /// PEM file of the authorities that are trusted; the system's if not set.
    pub ssl_ca_location: Option<String>,
    /// PEM file of the client's certificate (mTLS).
    pub ssl_certificate_location: Option<String>,
    /// PEM file of the client's key (mTLS).
    pub ssl_key_location: Option<String>,
    /// Password of that key.
    pub ssl_key_password: Option<Secret>,
    /// Whether the broker's certificate must be for the broker's name.
    pub ssl_endpoint_identification: bool,
    /// The protocol of the consumer group.
    pub group_protocol: GroupProtocol,
    /// Without a heartbeat for so long a member is thrown out.
    pub session_timeout: Span,
    /// Without a poll for so long a member is thrown out.
    pub max_poll_interval: Span,
    /// Bound of one request to a broker.
    pub request_timeout: Span,
    /// Further options of librdkafka.
    pub properties: Properties,
}

/// Encryption and authentication of connections to brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityProtocol {
    /// Neither.
    Plaintext,
    /// TLS; with a client certificate also authentication.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "plaintext",
            SecurityProtocol::Ssl => "ssl",
            SecurityProtocol::SaslPlaintext => "sasl_plaintext",
            SecurityProtocol::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether a user has to log in by SASL.
    pub fn has_sasl(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }

    /// Whether the connection is encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }
}

/// How a user logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaslMechanism {
    /// The password as it is.
    Plain,
    /// SCRAM (RFC 5802) with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// A token (RFC 7628). Known so that it can be refused with the reason: see [`crate::kafka::Settings::check`].
    Oauthbearer,
}

impl SaslMechanism {
    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            SaslMechanism::Oauthbearer => "OAUTHBEARER",
        }
    }
}

/// The protocol of the consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupProtocol {
    /// Cooperative-sticky rebalances, led by a member.
    Classic,
    /// KIP-848: led by the broker. Opt-in; librdkafka 2.12 has known stalls with it.
    Consumer,
}

impl KafkaConfig {
    /// The connection as librdkafka's options, secrets in the clear: only for a client's own configuration. The
    /// passthrough options are among them.
    pub fn connection_properties(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = self.properties.0.clone();
        let mut set = |name: &str, value: &str| {
            all.insert(name.to_owned(), value.to_owned());
        };
        set("bootstrap.servers", &self.bootstrap_servers);
        set("security.protocol", self.security_protocol.name());
        set("socket.timeout.ms", &self.request_timeout.millis().to_string());
        let identification = if self.ssl_endpoint_identification { "https" } else { "none" };
        set("ssl.endpoint.identification.algorithm", identification);
        let optional = [
            ("sasl.mechanism", self.sasl_mechanism.map(SaslMechanism::name)),
            ("sasl.username", self.sasl_username.as_deref()),
            ("sasl.password", self.sasl_password.as_ref().map(Secret::reveal)),
            ("ssl.ca.location", self.ssl_ca_location.as_deref()),
            ("ssl.certificate.location", self.ssl_certificate_location.as_deref()),
            ("ssl.key.location", self.ssl_key_location.as_deref()),
            ("ssl.key.password", self.ssl_key_password.as_ref().map(Secret::reveal)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                set(name, value);
            }
        }
        all
    }
}
