//! Ids of members: sixteen bytes at random as text, as Kafka's own members have them, behind what tells whose they are, if anything does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2_scram::{Digest as _, Sha256};

const BYTES: usize = 16;
/// So that with the rest it is short enough.
const PREFIX_BYTES: usize = 9;

/// An id that nobody else has.
pub fn random_member(prefix: &str) -> String {
    let own = URL_SAFE_NO_PAD.encode(std::array::from_fn::<u8, BYTES, _>(|_| fastrand::u8(..)));
    format!("{prefix}{own}")
}

/// What the ids of members of this name begin with, and no others.
pub fn member_prefix(name: &str) -> String {
    format!("{}.", URL_SAFE_NO_PAD.encode(&Sha256::digest(name)[..PREFIX_BYTES]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What brokers take.
    const MAX_MEMBER_BYTES: usize = 36;

    #[test]
    fn an_id_is_nobody_elses_and_short_enough() {
        let prefix = member_prefix("one");
        assert_eq!(prefix, member_prefix("one"));
        assert_ne!(prefix, member_prefix("two"));
        let (one, other) = (random_member(&prefix), random_member(&prefix));
        assert!(one.starts_with(&prefix) && one.len() <= MAX_MEMBER_BYTES, "{one}");
        assert_ne!(one, other);
        assert!(!random_member("").contains('.'), "it has no name's prefix");
    }
}
