//! How to reach a cluster: addresses, time limits, bounds. Read from librdkafka's properties, so that both clients of one
//! process are set by the same keys.

use std::fmt;
use std::time::Duration;

use super::error::WireError;
use super::observer::Observer;
use super::security::Security;

/// Time for resolving, connecting, TLS and login together, unless `socket.connection.setup.timeout.ms` says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for one request, unless `socket.timeout.ms` says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Age at which metadata is asked for again, unless `topic.metadata.refresh.interval.ms` says otherwise.
const METADATA_MAX_AGE: Duration = Duration::from_secs(300);
/// Largest response, unless `receive.message.max.bytes` says otherwise; librdkafka's own default.
const MAX_RESPONSE_BYTES: usize = 100_000_000;

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to ask first; tried in turn.
    pub bootstrap_servers: Vec<Address>,
    /// What brokers call this client in their logs and quotas (`client.id`).
    pub client_id: String,
    /// Encryption and login.
    pub security: Security,
    /// Bound of resolving, connecting, TLS and login together.
    pub connect_timeout: Duration,
    /// Bound of one request, from its writing, or from the answer to the one before it, to its answer.
    pub request_timeout: Duration,
    /// Metadata that is older is asked for again before it is used.
    pub metadata_max_age: Duration,
    /// A larger response ends the connection.
    pub max_response_bytes: usize,
    /// Who is told what happens to connections.
    pub observer: Observer,
}

impl Settings {
    /// Settings from `bootstrap.servers` and librdkafka's properties. Those that are not about connections are passed over.
    ///
    /// # Errors
    /// [`WireError::Property`] for one that can't be honoured.
    pub fn new<'a>(
        bootstrap_servers: &str,
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, WireError> {
        let properties: Vec<(&str, &str)> = properties.into_iter().collect();
        let mut settings = Settings {
            bootstrap_servers: addresses(bootstrap_servers)?,
            client_id: "headrace".to_owned(),
            security: Security::from_properties(properties.iter().copied())?,
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            metadata_max_age: METADATA_MAX_AGE,
            max_response_bytes: MAX_RESPONSE_BYTES,
            observer: Observer::default(),
        };
        for (name, value) in properties {
            match name {
                "client.id" => settings.client_id = value.to_owned(),
                "socket.connection.setup.timeout.ms" => settings.connect_timeout = millis(name, value)?,
                "socket.timeout.ms" => settings.request_timeout = millis(name, value)?,
                "topic.metadata.refresh.interval.ms" => settings.metadata_max_age = millis(name, value)?,
                "receive.message.max.bytes" => settings.max_response_bytes = number(name, value)?,
                _ => {}
            }
        }
        Ok(settings)
    }
}

/// A broker's address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Name or IP address, an IPv6 one without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn addresses(text: &str) -> Result<Vec<Address>, WireError> {
    let all: Result<Vec<Address>, WireError> =
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(address).collect();
    match all {
        Ok(found) if found.is_empty() => Err(refuse("bootstrap.servers", "names no broker; write host:port")),
        all => all,
    }
}

fn address(text: &str) -> Result<Address, WireError> {
    let wrong = || refuse("bootstrap.servers", format!("\"{text}\" is not host:port"));
    // librdkafka allows a protocol before each address.
    let text = text.rsplit_once("://").map_or(text, |(_, rest)| rest);
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(wrong());
    }
    Ok(Address { host: host.to_owned(), port: port.parse().map_err(|_| wrong())? })
}

fn millis(name: &str, value: &str) -> Result<Duration, WireError> {
    number(name, value).map(|millis| Duration::from_millis(millis as u64))
}

fn number(name: &str, value: &str) -> Result<usize, WireError> {
    let found = value.trim().parse().ok().filter(|number| *number > 0 && *number <= i32::MAX as usize);
    found.ok_or_else(|| refuse(name, format!("\"{value}\" is not a number between 1 and {}", i32::MAX)))
}

pub(super) fn refuse(property: &str, reason: impl Into<String>) -> WireError {
    WireError::Property { property: property.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_several_addresses_and_ipv6() {
        let settings = Settings::new("a.example:9092, [::1]:9093,PLAINTEXT://b:1", []).unwrap();
        let texts: Vec<String> = settings.bootstrap_servers.iter().map(Address::to_string).collect();
        assert_eq!(texts, ["a.example:9092", "[::1]:9093", "b:1"]);
        assert_eq!(settings.bootstrap_servers[1].host, "::1");
    }

    #[test]
    fn names_the_property_that_is_wrong() {
        for (servers, property) in
            [("", "bootstrap.servers"), ("host", "bootstrap.servers"), ("h:x", "bootstrap.servers")]
        {
            let error = Settings::new(servers, []).unwrap_err();
            assert!(error.to_string().starts_with(property), "{error}");
        }
        let error = Settings::new("a:1", [("socket.timeout.ms", "soon")]).unwrap_err();
        assert_eq!(error.to_string(), "socket.timeout.ms: \"soon\" is not a number between 1 and 2147483647");
    }

    #[test]
    fn takes_limits_from_librdkafkas_names() {
        let properties = [("socket.timeout.ms", "1500"), ("client.id", "c"), ("fetch.wait.max.ms", "nonsense")];
        let settings = Settings::new("a:1", properties).unwrap();
        assert_eq!((settings.request_timeout, settings.client_id.as_str()), (Duration::from_millis(1500), "c"));
    }
}
