//! Ids of members: sixteen bytes as text, as Kafka's own members have them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2_scram::{Digest as _, Sha256};

/// The most that brokers take for a member's id, in bytes.
pub const MAX_MEMBER_BYTES: usize = 36;
const BYTES: usize = 16;

/// An id that nobody else has.
pub fn random_member() -> String {
    URL_SAFE_NO_PAD.encode(std::array::from_fn::<u8, BYTES, _>(|_| fastrand::u8(..)))
}

/// The id that always goes with these names.
pub fn member_of(names: &[&str]) -> String {
    // Each with its length before it, so that no two lists are the same bytes.
    let add = |digest: Sha256, name: &&str| digest.chain_update(name.len().to_be_bytes()).chain_update(name);
    let digest = names.iter().fold(Sha256::new(), add);
    URL_SAFE_NO_PAD.encode(&digest.finalize()[..BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_id_and_other_names_another() {
        let one = member_of(&["one", "tasks"]);
        assert_eq!(one, member_of(&["one", "tasks"]));
        for other in [&["two", "tasks"][..], &["one", "task", "s"], &["onetasks"], &["one", "tasks", ""]] {
            assert_ne!(one, member_of(other), "{other:?}");
        }
        assert!(one.len() <= MAX_MEMBER_BYTES && random_member().len() == one.len());
        assert_ne!(random_member(), random_member());
    }
}
