//! A call: one attempt to apply one mutation at one target, as bytes on the way from the task to its lane.
//!
//! The bytes never leave the process, so they have no schema and no version; whatever outlives it is the mutation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mutation::Operation;
use crate::namespace::TargetSpec;
use crate::version::Version;

/// One attempt at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Where.
    pub target: TargetSpec,
    /// Of which namespace.
    pub namespace: String,
    /// The mutation's identity.
    pub token: String,
    /// Its place: rises with each mutation of an ordering key at a target, and is the same at each attempt.
    pub number: i64,
    /// From 1.
    pub attempt: i32,
    /// What it is about.
    pub key: String,
    /// What orders it, where that is not the key. Fences go by it: numbers of different ordering keys say nothing of each other.
    pub order: Option<String>,
    /// What is to be done with the key.
    pub operation: Operation,
    /// What is put.
    pub value: Option<Vec<u8>>,
    /// For the target.
    pub headers: BTreeMap<String, String>,
    /// When the caller made it, in milliseconds since the epoch.
    pub created_at: i64,
    /// When and where it was written, where several regions write.
    pub version: Option<Version>,
}

impl Call {
    /// As bytes, for this process.
    ///
    /// # Errors
    /// None that is known of: all fields have a form.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        postcard::to_allocvec(self).map_err(|error| error.to_string())
    }

    /// From [`encode`](Self::encode)'s bytes.
    ///
    /// # Errors
    /// They are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        postcard::from_bytes(bytes).map_err(|error| format!("not a call: {error}"))
    }

    /// A number as text that orders as numbers do: 64 bits do not fit what Redis' functions calculate with.
    pub fn fence(&self) -> String {
        format!("{:020}", i128::from(self.number) - i128::from(i64::MIN))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::namespace::{Address, TargetKind};

    fn call(number: i64, value: Option<Vec<u8>>) -> Call {
        let target = TargetSpec {
            name: "cache".to_owned(),
            kind: TargetKind::Redis,
            address: Address::new("redis://:canary@h"),
            settings: BTreeMap::from([("ttl".to_owned(), "1h".to_owned())]),
        };
        Call {
            target,
            namespace: "shop".to_owned(),
            token: "t".to_owned(),
            number,
            attempt: 1,
            key: "k".to_owned(),
            order: None,
            operation: Operation::Put,
            value,
            headers: BTreeMap::new(),
            created_at: 1,
            version: None,
        }
    }

    proptest! {
        #[test]
        fn a_call_is_read_as_it_was_written(number: i64, value: Option<Vec<u8>>) {
            let call = call(number, value);
            prop_assert_eq!(Call::decode(&call.encode().unwrap()), Ok(call));
        }

        #[test]
        fn w8_fences_order_as_numbers_do(a: i64, b: i64) {
            prop_assert_eq!(call(a, None).fence().cmp(&call(b, None).fence()), a.cmp(&b));
        }
    }

    #[test]
    fn what_is_no_call_is_an_error_and_passwords_are_not_shown() {
        assert!(Call::decode(b"\xff\xff").unwrap_err().contains("not a call"));
        let shown = format!("{:?}", call(1, None));
        assert!(shown.contains("redis://***@h") && !shown.contains("canary"), "{shown}");
    }
}
