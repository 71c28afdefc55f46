//! What can go wrong between this process and a broker, and whether trying again may help.
//!
//! An error is cloned to every call that waits on the same connection, so its causes are text. No text holds a payload or
//! a password.

use std::fmt;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;

use super::BrokerId;
use crate::position::Partition;

/// An error code of the Kafka protocol, never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(i16);

impl Code {
    /// The code, or nothing for 0, which is success.
    pub fn new(code: i16) -> Option<Self> {
        (code != 0).then_some(Code(code))
    }

    /// The number, as Kafka's documentation lists it.
    pub fn number(self) -> i16 {
        self.0
    }

    /// Whether Kafka says that the same request may succeed later.
    pub fn is_retriable(self) -> bool {
        ResponseError::try_from_code(self.0).is_some_and(|error| error.is_retriable())
    }

    /// Whether the code says that somebody may not do something: authorisation of topic, group, cluster, transactional id
    /// or delegation token, or a failed login.
    pub fn is_authorisation(self) -> bool {
        matches!(self.0, 29 | 30 | 31 | 53 | 58 | 65)
    }
}

impl From<Code> for i16 {
    fn from(code: Code) -> i16 {
        code.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ResponseError::try_from_code(self.0) {
            Some(ResponseError::Unknown(_)) | None => write!(f, "error code {}", self.0),
            Some(known) => write!(f, "{known} ({})", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a call of the native client failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A property has a value that the native client can't honour. Nothing was connected.
    #[error("{property}: {reason}")]
    Property {
        /// Its name, as librdkafka has it.
        property: String,
        /// What is wrong with it, and the way out.
        reason: String,
    },
    /// No connection could be made: the name has no address, nobody listens, or it took too long.
    #[error("{address}: not reachable: {reason}")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The TLS handshake failed: an unknown authority, another host's certificate, no TLS at all.
    #[error("{address}: TLS: {reason}")]
    Tls {
        /// `host:port`.
        address: String,
        /// What is wrong, and which property mends it.
        reason: String,
    },
    /// The broker refused the login, or could not prove that it knows the password (SCRAM).
    #[error("{address}: {mechanism} login as \"{user}\": {reason}")]
    Authentication {
        /// `host:port`.
        address: String,
        /// The SASL mechanism.
        mechanism: &'static str,
        /// The user's name.
        user: String,
        /// What the broker said.
        reason: String,
    },
    /// There is no token to log in with at the moment (OAUTHBEARER): the identity provider is away, or a file is stale.
    #[error("{place}: no token: {reason}")]
    Token {
        /// The endpoint or the file, and the property that names it.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection has ended. Whether the broker has carried out what was sent is not known.
    #[error("{address}: the connection has ended: {reason}")]
    Closed {
        /// `host:port`.
        address: String,
        /// Why.
        reason: String,
    },
    /// No answer in time; the connection is given up with everything that waited on it.
    #[error("{address}: no answer to {api} within {after:?}")]
    TimedOut {
        /// `host:port`.
        address: String,
        /// The request that waited for too long.
        api: ApiName,
        /// For how long.
        after: Duration,
    },
    /// What came is not the Kafka protocol, or breaks it.
    #[error("{address}: {reason}")]
    Protocol {
        /// `host:port`.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// Client and broker have no version of this request in common.
    #[error("{address}: {api}: the broker has {offered}, this needs {wanted}")]
    Unsupported {
        /// `host:port`.
        address: String,
        /// The request.
        api: ApiName,
        /// Versions that the broker has.
        offered: String,
        /// Versions that the caller allows.
        wanted: String,
    },
    /// A request is larger than any broker takes by default; nothing was sent.
    #[error("{api}: a request of {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// The request.
        api: ApiName,
        /// Its size.
        bytes: usize,
        /// The bound, [`super::MAX_REQUEST_BYTES`].
        max: usize,
    },
    /// None of the cluster's brokers could be asked.
    #[error("no broker could be asked: {tried}")]
    Unreachable {
        /// Each address, with what was wrong there.
        tried: String,
    },
    /// No broker of that id is in the cluster now.
    #[error("broker {0} is not in the cluster's metadata")]
    UnknownBroker(BrokerId),
    /// The topic does not exist, or nobody of this name may see it.
    #[error("topic {topic} does not exist")]
    UnknownTopic {
        /// Its name.
        topic: String,
    },
    /// The topic exists, the partition does not.
    #[error("topic {topic} has {count} partitions, there is no {partition}")]
    UnknownPartition {
        /// The topic's name.
        topic: String,
        /// The partition that was asked for.
        partition: Partition,
        /// How many there are.
        count: usize,
    },
    /// The partition has no leader at the moment.
    #[error("{topic}-{partition} has no leader")]
    NoLeader {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: Partition,
    },
    /// The user lacks a right.
    #[error("{what}: {code}; allow it to the application's user")]
    NotAuthorised {
        /// What was to be done.
        what: String,
        /// The broker's answer.
        code: Code,
    },
    /// Any other error code in a response.
    #[error("{what}: {code}")]
    Broker {
        /// What was to be done.
        what: String,
        /// The broker's answer.
        code: Code,
    },
}

/// Whether a response says that it has done what was asked of it.
pub(super) fn accepted(what: &str, code: i16) -> Result<(), WireError> {
    Code::new(code).map_or(Ok(()), |code| Err(WireError::from_code(what, code)))
}

impl WireError {
    /// The error for a code in a response: authorisation is told apart from the rest.
    pub fn from_code(what: impl Into<String>, code: Code) -> Self {
        let what = what.into();
        if code.is_authorisation() { WireError::NotAuthorised { what, code } } else { WireError::Broker { what, code } }
    }

    /// Whether the same may succeed later without anybody changing anything: brokers come back, leaders are elected, and a
    /// topic that was made a moment ago becomes known. How long to try is the caller's decision.
    pub fn is_retriable(&self) -> bool {
        match self {
            WireError::Connect { .. }
            | WireError::Token { .. }
            | WireError::Closed { .. }
            | WireError::TimedOut { .. }
            | WireError::Unreachable { .. }
            | WireError::UnknownBroker(_)
            | WireError::UnknownTopic { .. }
            | WireError::UnknownPartition { .. }
            | WireError::NoLeader { .. } => true,
            WireError::Broker { code, .. } => code.is_retriable(),
            WireError::Property { .. }
            | WireError::Tls { .. }
            | WireError::Authentication { .. }
            | WireError::Protocol { .. }
            | WireError::Unsupported { .. }
            | WireError::TooLarge { .. }
            | WireError::NotAuthorised { .. } => false,
        }
    }

    /// What kind it is, in a word; a label of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            WireError::Property { .. } => "property",
            WireError::Connect { .. } | WireError::Unreachable { .. } => "unreachable",
            WireError::Tls { .. } => "tls",
            WireError::Authentication { .. } | WireError::Token { .. } => "authentication",
            WireError::Closed { .. } => "closed",
            WireError::TimedOut { .. } => "timed-out",
            WireError::Protocol { .. } => "protocol",
            WireError::Unsupported { .. } => "unsupported",
            WireError::TooLarge { .. } => "too-large",
            WireError::NotAuthorised { .. } => "not-authorised",
            WireError::UnknownBroker(_)
            | WireError::UnknownTopic { .. }
            | WireError::UnknownPartition { .. }
            | WireError::NoLeader { .. }
            | WireError::Broker { .. } => "broker",
        }
    }

    /// Kafka's error code, where the broker gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            WireError::NotAuthorised { code, .. } | WireError::Broker { code, .. } => Some(*code),
            WireError::UnknownTopic { .. } | WireError::UnknownPartition { .. } => Code::new(3),
            WireError::NoLeader { .. } => Code::new(5),
            _ => None,
        }
    }

    /// Whether the connection itself is what failed, so that the outcome of a request that was sent is unknown (rule N-7).
    pub fn is_connection(&self) -> bool {
        matches!(self, WireError::Closed { .. } | WireError::TimedOut { .. } | WireError::Protocol { .. })
    }
}

/// The name of a request, for error texts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ApiName(pub(super) ApiKey);

impl fmt::Display for ApiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for ApiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keep_their_number_and_tell_whether_to_try_again() {
        let not_leader = Code::new(6).unwrap();
        assert!(not_leader.is_retriable());
        assert_eq!(not_leader.to_string(), "NotLeaderOrFollower (6)");
        assert!(!Code::new(90).unwrap().is_retriable(), "a fenced producer stays fenced");
        assert_eq!(Code::new(0), None);
        assert_eq!(Code::new(9999).unwrap().to_string(), "error code 9999");
    }

    #[test]
    fn a_missing_right_is_told_apart_and_keeps_its_code() {
        for code in [29, 30, 31, 53] {
            let error = WireError::from_code("produce", Code::new(code).unwrap());
            assert!(matches!(error, WireError::NotAuthorised { .. }) && !error.is_retriable());
            assert_eq!(error.code().map(Code::number), Some(code));
        }
    }
}
