//! A group: several mutations that are applied together or not at all, whatever their keys and targets; what is written of one, and how
//! far it is.
//!
//! ```text
//!  operation 0, 1, 2 … ─▶ OPEN ── all are there, and are what was sent ─▶ COMPLETE ─ its time comes ─▶ APPLYING ─ each has ended ─▶ DONE
//!  end: how many, checksum ┘│                                                │                         (one after the other)
//!                           └── too late, damaged, taken back ─▶ ABORTED ◀───┘
//! ```
//!
//! Until it is complete nothing of it is written anywhere; from `APPLYING` on it goes forward only (rules W12, W13).

use crc32fast::Hasher;
use headrace::codec::AvroSchema;
use serde::{Deserialize, Serialize};

use crate::entry::State;
use crate::mutation::Mutation;

/// The longest id of a group, in bytes: with the place of an operation it is a token.
pub const LONGEST_GROUP: usize = 180;
/// How many operations a group may have.
pub const MOST_OPERATIONS: i64 = 10_000;

/// Of which group a mutation is an operation, where it is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The group.
    pub group: String,
    /// Its place there, from 0.
    pub sequence: i64,
}

/// One operation, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "StagedOperation")]
pub struct Staged {
    /// Its place in the group, from 0.
    pub sequence: i64,
    /// What [`checksum`] says of the mutation.
    pub checksum: i64,
    /// What is to be written. Its token, times and delays are the group's to set.
    pub mutation: Mutation,
}

/// That a group is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "GroupEnd")]
pub struct End {
    /// How many operations it has.
    pub operations: i64,
    /// What [`whole`] says of their checksums.
    pub checksum: i64,
    /// Not applied before, in milliseconds since the epoch.
    pub not_before: Option<i64>,
}

/// What has become of an operation at a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "GroupProgress")]
pub struct Progress {
    /// The operation's place.
    pub sequence: i64,
    /// Where.
    pub target: String,
    /// How it has ended there.
    pub state: State,
}

/// Something about a group; one of the four.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its namespace.
    pub namespace: String,
    /// Its id, chosen by the caller.
    pub group: String,
    /// An operation.
    pub operation: Option<Staged>,
    /// It is whole.
    pub end: Option<End>,
    /// An operation has ended; the log's to say.
    pub progress: Option<Progress>,
    /// It is taken back, if that is not too late.
    pub abort: bool,
}

impl AvroSchema for GroupRecord {
    const SCHEMA: &'static str = include_str!("../../../schemas/write-ahead-log.groups-value.avsc");
}

/// How far a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Phase {
    /// Operations are missing, or the end.
    Open,
    /// It is whole, and its time has not come.
    Complete,
    /// Its operations are applied, one after the other.
    Applying,
    /// All have ended.
    Done,
    /// Nothing of it was applied, and nothing will be.
    Aborted,
}

impl Phase {
    /// Its name, as metrics and people have it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Complete => "complete",
            Phase::Applying => "applying",
            Phase::Done => "done",
            Phase::Aborted => "aborted",
        }
    }
}

/// A group, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its namespace.
    pub namespace: String,
    /// Its id.
    pub group: String,
    /// How far it is.
    pub phase: Phase,
    /// Its end, once that has come.
    pub end: Option<End>,
    /// How many of its operations have come.
    pub staged: i64,
    /// The first operation that was not sent to its targets.
    pub next: i64,
    /// Operations and targets that are waited for, as `sequence/target`.
    pub pending: Vec<String>,
    /// Operations that have ended at a target without being applied.
    pub given_up: i64,
    /// When it is given up if it is not whole, or begins, or is forgotten, in milliseconds since the epoch.
    pub timer: i64,
    /// Since when it is so far, in milliseconds since the epoch.
    pub since: i64,
    /// Why it was aborted.
    pub reason: Option<String>,
}

impl AvroSchema for Group {
    const SCHEMA: &'static str = include_str!("../../../schemas/write-ahead-log-groups-changelog-value.avsc");
}

impl Group {
    /// What it is known by.
    pub fn id(&self) -> String {
        id(&self.namespace, &self.group)
    }
}

/// How a group has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupResult {
    /// Its namespace.
    pub namespace: String,
    /// Its id.
    pub group: String,
    /// Done or aborted.
    pub phase: Phase,
    /// How many operations it has, or how many had come.
    pub operations: i64,
    /// How many have ended at a target without being applied.
    pub given_up: i64,
    /// Why it was aborted.
    pub reason: Option<String>,
    /// When that was, in milliseconds since the epoch.
    pub ended: i64,
}

impl AvroSchema for GroupResult {
    const SCHEMA: &'static str = include_str!("../../../schemas/write-ahead-log.group-results-value.avsc");
}

/// What a group is known by, and what its records are keyed by: names of namespaces hold no slash.
pub fn id(namespace: &str, group: &str) -> String {
    format!("{namespace}/{group}")
}

/// The token of an operation.
pub fn token(group: &str, sequence: i64) -> String {
    format!("{group}#{sequence}")
}

/// Whether this can be a group's id.
///
/// # Errors
/// What is wrong with it, and the way out.
pub fn is_group(group: &str) -> Result<(), String> {
    let bytes = group.len();
    match () {
        () if bytes == 0 => Err("is empty; send an id of the request, a UUID say".to_owned()),
        () if bytes > LONGEST_GROUP => Err(format!("has {bytes} bytes, of at most {LONGEST_GROUP}; send a UUID, say")),
        () if group.chars().any(char::is_control) => Err("holds a control character; send a UUID, say".to_owned()),
        () => Ok(()),
    }
}

/// CRC-32 (as zlib has it) of what an operation writes, and where: target, key, order, operation, value, and names and values of
/// headers by name. Each as its length in four bytes, big-endian, and its bytes; `0xFFFFFFFF` for one that is null.
pub fn checksum(mutation: &Mutation) -> i64 {
    let mut hasher = Hasher::new();
    let mut add = |part: Option<&[u8]>| match part {
        Some(bytes) => {
            hasher.update(&u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1).to_be_bytes());
            hasher.update(bytes);
        }
        None => hasher.update(&u32::MAX.to_be_bytes()),
    };
    add(mutation.target.as_deref().map(str::as_bytes));
    add(Some(mutation.key.as_bytes()));
    add(mutation.order.as_deref().map(str::as_bytes));
    add(Some(mutation.operation.name().as_bytes()));
    add(mutation.value.as_deref());
    for (name, value) in &mutation.headers {
        add(Some(name.as_bytes()));
        add(Some(value.as_bytes()));
    }
    i64::from(hasher.finalize())
}

/// CRC-32 of the operations' checksums in their order, each as four bytes, big-endian.
pub fn whole(checksums: impl IntoIterator<Item = i64>) -> i64 {
    let mut hasher = Hasher::new();
    for checksum in checksums {
        hasher.update(&u32::try_from(checksum).unwrap_or(u32::MAX).to_be_bytes());
    }
    i64::from(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w13_a_checksum_is_what_zlib_says_of_the_same_bytes() {
        let mutation = Mutation { key: "k".to_owned(), value: Some(b"v".to_vec()), ..Mutation::default() };
        // zlib.crc32(b"\xff\xff\xff\xff\0\0\0\1k\xff\xff\xff\xff\0\0\0\3put\0\0\0\1v")
        assert_eq!(checksum(&mutation), 0xdec5_46e6);
        assert_eq!(whole([1, 2]), 0xb64c_97f5);
    }

    #[test]
    fn w13_whatever_differs_has_another_checksum() {
        let mutation = Mutation { key: "ab".to_owned(), value: Some(b"c".to_vec()), ..Mutation::default() };
        let mut others = vec![Mutation { key: "a".to_owned(), value: Some(b"bc".to_vec()), ..mutation.clone() }];
        others.push(Mutation { target: Some("t".to_owned()), ..mutation.clone() });
        others.push(Mutation { order: Some(String::new()), ..mutation.clone() });
        others.push(Mutation { value: None, ..mutation.clone() });
        others.push(Mutation { headers: [("a".to_owned(), "b".to_owned())].into(), ..mutation.clone() });
        assert!(others.iter().all(|other| checksum(other) != checksum(&mutation)));
        // Who sends it again may not know any more when it was made.
        assert_eq!(
            checksum(&Mutation { created_at: 7, token: "t".to_owned(), ..mutation.clone() }),
            checksum(&mutation)
        );
    }

    #[test]
    fn a_groups_id_fits_into_a_token() {
        assert!(is_group("8d5e/1").is_ok());
        for (group, reason) in [("", "empty"), ("a\nb", "control"), (&"x".repeat(181), "181 bytes")] {
            assert!(is_group(group).unwrap_err().contains(reason), "{group}");
        }
        assert!(token(&"x".repeat(LONGEST_GROUP), MOST_OPERATIONS).len() <= crate::mutation::LONGEST_TOKEN);
    }
}
