//! murmur2 as Java's producer has it: 32 bits, seed 0x9747b28c, little-endian words.
//!
//! ```text
//!  key ──▶ murmur2 ──▶ & 0x7fffffff ──▶ % partitions
//! ```
//! The mask, not the absolute value, makes it positive; librdkafka calls the whole `murmur2_random`.

use crate::position::Partition;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const ROTATION: u32 = 24;

/// The hash of a key, with the bits of Java's `int`.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    // Kafka bounds a key below 2 GiB, so the length fits; a longer one could not be sent anyway.
    #[allow(clippy::cast_possible_truncation)]
    let mut hash = SEED ^ (key.len() as u32);
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut mixed = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> ROTATION;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// The partition of a key among `partitions`, which must be positive.
#[must_use]
pub fn partition_of(key: &[u8], partitions: i32) -> Partition {
    let positive = i32::try_from(murmur2(key) & 0x7fff_ffff).unwrap_or(0);
    Partition(positive % partitions.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Java's `Utils.murmur2`, from Kafka's own tests and from runs of it.
    const JAVA: &[(&[u8], i32)] = &[
        (b"21", -973_932_308),
        (b"foobar", -790_332_482),
        (b"a-little-bit-long-string", -985_981_536),
        (b"a-little-bit-longer-string", -1_486_304_829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        (b"abc", 479_470_107),
        (b"0", 971_027_396),
        (b"1", -1_993_445_489),
        (b"12", 126_087_238),
        (b"123", -267_702_483),
        (b"1234", -1_614_185_708),
        (b"12345", -1_188_365_604),
        (b"16384", -325_739_742),
        (b"279936", 1_462_227_128),
    ];

    #[test]
    fn n1_hashes_as_java_does() {
        for (key, expected) in JAVA {
            assert_eq!(murmur2(key) as i32, *expected, "{:?}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn n1_a_negative_hash_is_masked_not_negated() {
        let hash = -973_932_308_i32;
        assert_eq!(partition_of(b"21", 7), Partition((hash & i32::MAX) % 7));
        assert_ne!(partition_of(b"21", 7), Partition(hash.abs() % 7));
        assert!((0..100_000).all(|n: u32| (0..12).contains(&partition_of(&n.to_be_bytes(), 12).0)));
    }
}
