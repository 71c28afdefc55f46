//! What an error code of one partition means for its fetching (the codes are Kafka's).
//!
//! | meaning | what follows |
//! |---|---|
//! | `Elsewhere` | leader or epoch has changed, or the leader is not ready: metadata again, then the same fetch, with back-off |
//! | `Unknown` | the topic or partition is not there, or not yet: the same, and the owner is told after a while |
//! | `Range` | the position is not in the log: the owner decides |
//! | `Damaged` | the broker can't read its own log there |
//! | `Fatal` | a human has to change something |

use crate::wire::Code;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;
/// Unknown topic or partition, unknown topic id, another id than the topic's name has (KIP-516).
const UNKNOWN: [i16; 3] = [3, 100, 103];
/// No leader, another leader, storage error, fenced or unknown leader epoch (KIP-320), an offset that a new leader can't
/// answer for yet (KIP-207).
const ELSEWHERE: [i16; 6] = [5, 6, 56, 74, 75, 78];

/// What follows from a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Elsewhere,
    Unknown,
    Range,
    Damaged,
    Fatal,
}

/// What a code means.
pub(super) fn meaning(code: Code) -> Meaning {
    match code.number() {
        OFFSET_OUT_OF_RANGE => Meaning::Range,
        CORRUPT_MESSAGE => Meaning::Damaged,
        number if UNKNOWN.contains(&number) => Meaning::Unknown,
        number if ELSEWHERE.contains(&number) || code.is_retriable() => Meaning::Elsewhere,
        // Whatever the broker itself did not expect passes, as far as is known.
        -1 => Meaning::Elsewhere,
        _ => Meaning::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n8_each_code_has_its_meaning() {
        let of = |number| meaning(Code::new(number).unwrap());
        for number in [5, 6, 7, 9, 13, 56, 74, 75, 78, -1] {
            assert_eq!(of(number), Meaning::Elsewhere, "{number}");
        }
        for number in [3, 100, 103] {
            assert_eq!(of(number), Meaning::Unknown, "{number}");
        }
        for number in [29, 31, 35, 76, 9_999] {
            assert_eq!(of(number), Meaning::Fatal, "{number}");
        }
        assert_eq!((of(1), of(2)), (Meaning::Range, Meaning::Damaged));
    }
}
