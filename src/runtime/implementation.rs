//! Whose code speaks to the brokers: librdkafka's, or our own where the cluster and the properties allow it.

use crate::error::{Dependency, FatalError, Retriable};
use crate::kafka::{Fetching, Offered, Settings, offered};
use crate::wire::WireError;

use super::environment::Problem;

/// Whose code speaks to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// Native where the cluster and the properties allow it, librdkafka elsewhere; looked up at the start.
    Auto,
    /// Over connections of our own.
    Native,
    /// librdkafka.
    Librdkafka,
}

impl Implementation {
    /// Who fetches; once it is looked up, not [`Auto`](Self::Auto).
    pub(super) fn fetching(self) -> Fetching {
        if self == Implementation::Librdkafka { Fetching::Librdkafka } else { Fetching::Native }
    }
}

/// Who commits and who fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Implementations {
    /// Who commits: natively in transactions v2 (KIP-890), through librdkafka in v1.
    pub producer: Implementation,
    /// Who fetches.
    pub fetcher: Implementation,
}

impl Implementations {
    /// Looks up what is left open.
    ///
    /// # Errors
    /// The cluster is away, or can't do what is asked for.
    pub(super) async fn look_up(self, settings: &Settings) -> Result<Implementations, Problem> {
        use Implementation::{Librdkafka, Native};
        if (self.producer, self.fetcher) == (Librdkafka, Librdkafka) {
            return Ok(self);
        }
        match offered(settings).await {
            Ok(offered) => self.choose(offered),
            // Kerberos, say: librdkafka knows more ways to log in.
            Err(error @ WireError::Property { .. }) if self.producer != Native && self.fetcher != Native => {
                tracing::info!(target: "headrace::runtime", %error, "everything through librdkafka, transactions in v1");
                Ok(Implementations { producer: Librdkafka, fetcher: Librdkafka })
            }
            Err(error) => Err(not_native(error)),
        }
    }

    fn choose(self, offered: Offered) -> Result<Implementations, Problem> {
        use Implementation::{Auto, Librdkafka, Native};
        let fetcher = match (self.fetcher, offered.fetching) {
            (Librdkafka, _) => Librdkafka,
            (_, Ok(())) => Native,
            (Auto, Err(error)) => {
                tracing::info!(target: "headrace::runtime", %error, "fetching through librdkafka");
                Librdkafka
            }
            (Native, Err(error)) => return Err(not_native(error)),
        };
        let producer = match (self.producer, offered.transactions) {
            (Librdkafka, _) | (Auto, false) => Librdkafka,
            (_, true) => Native,
            (Native, false) => {
                let text = "processing.producer: native needs transaction.version 2 (KIP-890), which the cluster has not \
                            finalized; run kafka-features.sh upgrade --feature transaction.version=2, or set \"auto\"";
                return Err(Problem::Fatal(FatalError::Environment(text.to_owned())));
            }
        };
        Ok(Implementations { producer, fetcher })
    }
}

fn not_native(error: WireError) -> Problem {
    match error {
        WireError::Property { .. } => Problem::Fatal(FatalError::Config(format!("kafka.properties: {error}"))),
        WireError::Authentication { .. } | WireError::NotAuthorised { .. } => {
            Problem::Fatal(FatalError::Authorisation(error.to_string()))
        }
        WireError::Unsupported { .. } => Problem::Fatal(FatalError::Environment(format!(
            "processing.fetcher: native: {error}; upgrade the brokers, or set \"auto\""
        ))),
        error => Problem::Away(Retriable { dependency: Dependency::Kafka, reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::Implementation::{Auto, Librdkafka, Native};
    use super::*;

    fn lacking() -> WireError {
        WireError::Property { property: "client.rack".to_owned(), reason: "leaders only".to_owned() }
    }

    fn choose(wanted: (Implementation, Implementation), transactions: bool, fetching: bool) -> Option<(char, char)> {
        let offered = Offered { transactions, fetching: if fetching { Ok(()) } else { Err(lacking()) } };
        let chosen = Implementations { producer: wanted.0, fetcher: wanted.1 }.choose(offered).ok()?;
        let letter = |implementation| if implementation == Native { 'n' } else { 'l' };
        Some((letter(chosen.producer), letter(chosen.fetcher)))
    }

    #[test]
    fn each_is_native_where_it_can_be_and_refused_where_it_must_be_and_can_not() {
        assert_eq!(choose((Auto, Auto), true, true), Some(('n', 'n')));
        assert_eq!(choose((Auto, Auto), true, false), Some(('n', 'l')));
        assert_eq!(choose((Auto, Auto), false, true), Some(('l', 'n')));
        assert_eq!(choose((Librdkafka, Auto), true, true), Some(('l', 'n')));
        assert_eq!(choose((Auto, Librdkafka), true, true), Some(('n', 'l')));
        assert_eq!(choose((Native, Auto), false, true), None);
        assert_eq!(choose((Auto, Native), true, false), None);
    }
}
