//! What an error code means at each step of a transaction (rules N-3, N-7; the codes are Kafka's).
//!
//! | meaning | what follows |
//! |---|---|
//! | `Later` | the same request again after a short while |
//! | `Elsewhere` | leader or coordinator has moved: look it up, then the same request again |
//! | `Dead` | this transaction can't commit, with the class that the owner is told |

use super::error::ProduceError;

pub(super) const MESSAGE_TOO_LARGE: i16 = 10;
pub(super) const RECORD_LIST_TOO_LARGE: i16 = 18;
pub(super) const ILLEGAL_GENERATION: i16 = 22;
pub(super) const OUT_OF_ORDER_SEQUENCE: i16 = 45;
pub(super) const DUPLICATE_SEQUENCE: i16 = 46;
pub(super) const CONCURRENT_TRANSACTIONS: i16 = 51;
pub(super) const TRANSACTIONAL_ID_DENIED: i16 = 53;

/// Codes that say: somebody newer is there. Invalid epoch, fenced producer, fenced static member, illegal generation,
/// unknown member, stale member epoch (KIP-848).
const FENCED: &[i16] = &[ILLEGAL_GENERATION, 25, 47, 82, 90, 113];
/// Authorisation of topic, group, cluster, transactional id, delegation token; login.
const DENIED: &[i16] = &[29, 30, 31, 53, 58, 65];
/// Other codes that only a human can mend: unsupported version or format; transaction time-out above the broker's limit;
/// policy; record without key or with a time that the topic refuses.
const FATAL: &[i16] = &[32, 33, 34, 35, 43, 44, 50, 76, 87];
/// Loading, time-out, network, too few replicas, concurrent transactions, storage: the same place, a little later.
const LATER: &[i16] = &[2, 7, 13, 14, 19, 20, 51];
/// Unknown topic or partition, no leader, another leader or replica, no coordinator, another coordinator, storage error,
/// unknown or old leader epoch, unknown topic id.
const ELSEWHERE: &[i16] = &[3, 5, 6, 9, 15, 16, 56, 74, 75, 100];

/// Codes by which one topic refuses what is produced to it: invalid name, or internal; not ours to write; time; format; policy; record.
const OF_TOPIC: &[i16] = &[17, 29, 32, 43, 44, 87];

/// Whether the code speaks of the topic, so that records to others are not to blame.
pub(super) fn is_of_topic(code: i16) -> bool {
    OF_TOPIC.contains(&code)
}

/// What follows from a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Later,
    Elsewhere,
    Dead(Class),
}

/// The class of error that the owner is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Abort,
    Fenced,
    Fatal,
    Denied,
    Missing,
}

impl Class {
    /// The error of this class.
    pub(super) fn error(self, text: String) -> ProduceError {
        match self {
            Class::Abort => ProduceError::Abort(text),
            Class::Fenced => ProduceError::Fenced(text),
            Class::Fatal => ProduceError::Fatal(text),
            Class::Denied => ProduceError::Denied(text),
            Class::Missing => ProduceError::Missing(text),
        }
    }
}

/// What a code that is not 0 means. INVALID_TXN_STATE (48) is an abort: brokers up to 4.3 answer it to the EndTxn of a
/// transaction that has timed out meanwhile (KAFKA-20785). TRANSACTION_ABORTABLE is 120 (KIP-1050).
pub(super) fn meaning(code: i16) -> Meaning {
    match code {
        code if FENCED.contains(&code) => Meaning::Dead(Class::Fenced),
        code if DENIED.contains(&code) => Meaning::Dead(Class::Denied),
        code if FATAL.contains(&code) => Meaning::Dead(Class::Fatal),
        code if LATER.contains(&code) => Meaning::Later,
        code if ELSEWHERE.contains(&code) => Meaning::Elsewhere,
        _ => Meaning::Dead(Class::Abort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n3_n7_each_code_has_the_class_that_the_rules_name() {
        for code in [13, 19, 20, CONCURRENT_TRANSACTIONS] {
            assert_eq!(meaning(code), Meaning::Later, "{code}");
        }
        for code in [3, 6, 15, 16] {
            assert_eq!(meaning(code), Meaning::Elsewhere, "{code}");
        }
        for code in [22, 25, 47, 90] {
            assert_eq!(meaning(code), Meaning::Dead(Class::Fenced), "{code}");
        }
        for code in [29, 30, 53] {
            assert_eq!(meaning(code), Meaning::Dead(Class::Denied), "{code}");
        }
        for code in [35, 50, 87] {
            assert_eq!(meaning(code), Meaning::Dead(Class::Fatal), "{code}");
        }
        for code in [48, 49, 59, 120, -1, 9_999] {
            assert_eq!(meaning(code), Meaning::Dead(Class::Abort), "{code}");
        }
    }

    #[test]
    fn n3_no_code_has_two_meanings() {
        let all = [FENCED, DENIED, FATAL, LATER, ELSEWHERE].concat();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
