//! A mutation: what a caller wants written to the targets of a namespace; its schema is the file in `schemas/`.
//!
//! [`validate`](Mutation::validate) refuses what no namespace could take. The bounds are here so that a mutation that was accepted
//! also fits what it goes through: an HTTP header, an index of PostgreSQL, a state store.

use std::collections::BTreeMap;

use headrace::codec::AvroSchema;
use headrace::error::{RecordError, Stage};
use serde::{Deserialize, Serialize};

use crate::group::Member;
use crate::version::Version;

/// The longest token, in bytes.
pub const LONGEST_TOKEN: usize = 200;
/// The longest key, and the longest ordering key, in bytes: PostgreSQL's indices take entries of up to 2.7 kB.
pub const LONGEST_KEY: usize = 1 << 10;
/// How many headers a mutation may have.
pub const MOST_HEADERS: usize = 32;
/// Names and values of all its headers together, in bytes: most HTTP servers take no more than 8 kB.
pub const LONGEST_HEADERS: usize = 4 << 10;
/// The longest time that a mutation may be put off, in milliseconds: ten years.
pub const LONGEST_DELAY_MS: i64 = 3_653 * 24 * 60 * 60 * 1_000;
/// The longest name of a namespace or of a target, in bytes: they are parts of topics, metrics and keys.
pub const LONGEST_NAME: usize = 100;

/// Headers that are the log's, or the connection's, to set.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// All names that begin so are the log's.
const RESERVED_PREFIX: &str = "headrace-";

/// What is to be done with a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// It has this value.
    #[default]
    Put,
    /// It is gone.
    Delete,
}

impl Operation {
    /// Its name, as people and headers have it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Delete => "delete",
        }
    }
}

/// Something that is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// Says where it is written and how.
    pub namespace: String,
    /// Identity within the namespace, chosen by the caller.
    pub token: String,
    /// When the caller made it, in milliseconds since the epoch.
    pub created_at: i64,
    /// One target by its name; all of the namespace if there is none.
    pub target: Option<String>,
    /// What it is about.
    pub key: String,
    /// Mutations of one ordering key are applied one after the other.
    pub order: Option<String>,
    /// What is to be done with the key.
    pub operation: Operation,
    /// What is put.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub value: Option<Vec<u8>>,
    /// Not applied before, in milliseconds since the epoch.
    pub not_before: Option<i64>,
    /// Not applied before so many milliseconds after [`created_at`](Self::created_at).
    pub delay_ms: Option<i64>,
    /// For the target.
    pub headers: BTreeMap<String, String>,
    /// Of which group it is an operation; the log's to set.
    pub group: Option<Member>,
    /// When and where it was written, in a namespace that several regions have; the log's to set.
    pub version: Option<Version>,
}

impl AvroSchema for Mutation {
    const SCHEMA: &'static str = include_str!("../../../schemas/write-ahead-log.mutations-value.avsc");
}

impl Mutation {
    /// The ordering key: what it says, or the key itself.
    pub fn ordering_key(&self) -> &str {
        self.order.as_deref().unwrap_or(&self.key)
    }

    /// What brings mutations of one ordering key into one partition, whatever their targets: the key of their records.
    pub fn record_key(&self) -> String {
        format!("{}/{}", self.namespace, self.ordering_key())
    }

    /// The first moment at which it may be applied, in milliseconds since the epoch, where the namespace has this delay (rule W5).
    /// Never before it was made.
    pub fn due(&self, namespace_delay_ms: i64) -> i64 {
        let delay = self.delay_ms.unwrap_or(namespace_delay_ms).max(0);
        self.created_at.saturating_add(delay).max(self.not_before.unwrap_or(i64::MIN))
    }

    /// What is kept of it, in bytes; the namespace's limit is checked against it.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let texts =
            [Some(&self.namespace), Some(&self.token), Some(&self.key), self.target.as_ref(), self.order.as_ref()];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        texts + headers + self.value.as_ref().map_or(0, Vec::len)
    }

    /// Whether it is one at all, whatever its namespace says.
    ///
    /// # Errors
    /// The first thing that is wrong: the field, the reason, the way out. Never a payload (rule O5).
    pub fn validate(&self) -> Result<(), RecordError> {
        self.name("namespace", &self.namespace)?;
        self.target.as_ref().map_or(Ok(()), |target| self.name("target", target))?;
        self.version.as_ref().map_or(Ok(()), |version| self.name("version.region", &version.region))?;
        self.identity()?;
        self.text("key", &self.key)?;
        self.order.as_ref().map_or(Ok(()), |order| self.text("order", order))?;
        self.content()?;
        self.times()?;
        self.header_fields()
    }

    fn name(&self, field: &str, name: &str) -> Result<(), RecordError> {
        is_name(name).map_err(|reason| refused("mutation-name", format!("{field}: {reason}")))
    }

    fn identity(&self) -> Result<(), RecordError> {
        let bytes = self.token.len();
        // In another region it has the name of its own behind it.
        let most = LONGEST_TOKEN + self.version.as_ref().map_or(0, |version| version.region.len() + 1);
        let way_out = "send an id of the request, a UUID say, and the same one when you send it again";
        let reason = match () {
            () if bytes == 0 => "is empty".to_owned(),
            () if bytes > most => format!("has {bytes} bytes, of at most {most}"),
            () if self.token.chars().any(char::is_control) => "holds a control character".to_owned(),
            () => return Ok(()),
        };
        Err(refused("mutation-token", format!("token: {reason}; {way_out}")))
    }

    fn text(&self, field: &str, text: &str) -> Result<(), RecordError> {
        let bytes = text.len();
        let reason = match () {
            () if bytes == 0 => "is empty; say what the mutation is about".to_owned(),
            () if bytes > LONGEST_KEY => {
                format!("has {bytes} bytes, of at most {LONGEST_KEY}; use a hash of it, and put it into the value")
            }
            () if text.contains('\0') => "holds a zero byte, which targets do not take; encode it".to_owned(),
            () => return Ok(()),
        };
        Err(refused("mutation-key", format!("{field}: {reason}")))
    }

    fn content(&self) -> Result<(), RecordError> {
        let reason = match (self.operation, &self.value) {
            (Operation::Put, None) => "value: a PUT has none; give one (empty bytes are one), or send a DELETE",
            (Operation::Delete, Some(_)) => {
                "value: a DELETE has one, which would be lost; leave it null, or send a PUT"
            }
            _ => return Ok(()),
        };
        Err(refused("mutation-value", reason.to_owned()))
    }

    fn times(&self) -> Result<(), RecordError> {
        let reason = if self.created_at <= 0 {
            format!("created_at: is {}; send milliseconds since 1970, of when the mutation was made", self.created_at)
        } else if let Some(delay) = self.delay_ms.filter(|delay| !(0..=LONGEST_DELAY_MS).contains(delay)) {
            format!("delay_ms: is {delay}; send 0 to {LONGEST_DELAY_MS} (ten years), or null")
        } else if let Some(at) = self.not_before.filter(|at| {
            // The epoch in seconds would be January 1970, and applied at once.
            !(0..=self.created_at.saturating_add(LONGEST_DELAY_MS)).contains(at)
        }) {
            format!("not_before: is {at}; send milliseconds since 1970, at most ten years after created_at, or null")
        } else {
            return Ok(());
        };
        Err(refused("mutation-time", reason))
    }

    fn header_fields(&self) -> Result<(), RecordError> {
        let refuse = |reason: String| Err(refused("mutation-headers", format!("headers: {reason}")));
        let count = self.headers.len();
        if count > MOST_HEADERS {
            return refuse(format!("{count}, of at most {MOST_HEADERS}; put the rest into the value"));
        }
        let bytes: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > LONGEST_HEADERS {
            return refuse(format!("{bytes} bytes, of at most {LONGEST_HEADERS}; put the rest into the value"));
        }
        for (name, value) in &self.headers {
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(token) {
                return refuse("a name is none of HTTP's; use letters, digits and -".to_owned());
            }
            let lower = name.to_ascii_lowercase();
            if lower.starts_with(RESERVED_PREFIX) || RESERVED.contains(&lower.as_str()) {
                return refuse(format!("{lower} is not the caller's to set; leave it out, or call it otherwise"));
            }
            if value.chars().any(char::is_control) {
                return refuse(format!("{lower} holds a control character; encode its value"));
            }
        }
        Ok(())
    }
}

/// Whether a text can be the name of a namespace or of a target.
///
/// # Errors
/// Why not, and what can.
pub fn is_name(name: &str) -> Result<(), String> {
    let way_out = format!("use a-z, 0-9, - and _, a letter or a digit first, at most {LONGEST_NAME} bytes");
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match name.chars().next() {
        None => Err(format!("is empty; {way_out}")),
        Some(_) if name.len() > LONGEST_NAME => Err(format!("has {} bytes; {way_out}", name.len())),
        Some(first) if !first.is_ascii_alphanumeric() || !name.chars().all(fine) => {
            Err(format!("is no name; {way_out}"))
        }
        Some(_) => Ok(()),
    }
}

fn refused(class: &'static str, reason: String) -> RecordError {
    RecordError::new(Stage::Process, class, reason)
}

#[cfg(test)]
mod tests {
    use apache_avro::reader::datum::GenericDatumReader;
    use apache_avro::schema::NamesRef;

    use super::*;

    fn mutation() -> Mutation {
        Mutation {
            namespace: "shop".to_owned(),
            token: "8d5e".to_owned(),
            created_at: 1_700_000_000_000,
            key: "cart:1".to_owned(),
            value: Some(b"{}".to_vec()),
            ..Mutation::default()
        }
    }

    type Change = fn(&mut Mutation);

    #[test]
    fn what_is_wrong_is_said_with_its_field_and_a_way_out() {
        let wrong: [(Change, &str, &str); 16] = [
            (|m| m.namespace = "Shop".to_owned(), "namespace: is no name", "use a-z"),
            (|m| m.target = Some(String::new()), "target: is empty", "use a-z"),
            (|m| m.target = Some("-a".to_owned()), "target: is no name", "use a-z"),
            (|m| m.token.clear(), "token: is empty", "a UUID"),
            (|m| m.token = "t".repeat(201), "token: has 201 bytes", "a UUID"),
            (|m| m.token = "a\nb".to_owned(), "token: holds a control character", "a UUID"),
            (|m| m.key.clear(), "key: is empty", "say what"),
            (|m| m.order = Some("o".repeat(1_025)), "order: has 1025 bytes", "use a hash"),
            (|m| m.key = "a\0b".to_owned(), "key: holds a zero byte", "encode it"),
            (|m| m.value = None, "value: a PUT has none", "send a DELETE"),
            (|m| m.operation = Operation::Delete, "value: a DELETE has one", "leave it null"),
            (|m| m.created_at = 0, "created_at: is 0", "milliseconds since 1970"),
            (|m| m.delay_ms = Some(-1), "delay_ms: is -1", "or null"),
            (|m| m.not_before = Some(i64::MAX), "not_before: is", "or null"),
            (
                |m| _ = m.headers.insert("Headrace-Key".to_owned(), "x".to_owned()),
                "headers: headrace-key",
                "leave it out",
            ),
            (|m| _ = m.headers.insert("x".to_owned(), "a\r\nb".to_owned()), "headers: x holds", "encode"),
        ];
        for (change, reason, way_out) in wrong {
            let mut mutation = mutation();
            change(&mut mutation);
            let error = mutation.validate().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(way_out), "{error}");
        }
        assert!(mutation().validate().is_ok());
    }

    #[test]
    fn o5_no_payload_is_in_an_error() {
        let mut secret = mutation();
        secret.headers.insert("se cret".to_owned(), "canary".to_owned());
        assert!(!secret.validate().unwrap_err().to_string().contains("se cret"));
        secret.key = "canary\0".to_owned();
        assert!(!secret.validate().unwrap_err().to_string().contains("canary"));
    }

    #[test]
    fn w5_a_mutation_is_due_at_the_latest_of_its_times() {
        let mut mutation = mutation();
        assert_eq!(mutation.due(0), mutation.created_at);
        assert_eq!(mutation.due(5_000), mutation.created_at + 5_000);
        mutation.delay_ms = Some(100);
        assert_eq!(mutation.due(5_000), mutation.created_at + 100, "its own delay counts, not the namespace's");
        mutation.not_before = Some(mutation.created_at + 7_000);
        assert_eq!(mutation.due(5_000), mutation.created_at + 7_000);
        mutation.not_before = Some(1);
        assert_eq!(mutation.due(5_000), mutation.created_at + 100);
        mutation.created_at = i64::MAX;
        assert_eq!(mutation.due(5_000), i64::MAX);
    }

    #[test]
    fn w4_the_key_orders_where_nothing_else_does() {
        let mut mutation = mutation();
        assert_eq!(mutation.ordering_key(), "cart:1");
        mutation.order = Some("customer:7".to_owned());
        assert_eq!(mutation.ordering_key(), "customer:7");
    }

    #[test]
    fn a_mutation_is_read_as_it_was_written() {
        let schema = apache_avro::Schema::parse_str(Mutation::SCHEMA).unwrap();
        let mut all = mutation();
        all.target = Some("cache".to_owned());
        all.order = Some("customer:7".to_owned());
        all.not_before = Some(1);
        all.delay_ms = Some(2);
        all.headers.insert("traceparent".to_owned(), "00-a-b-01".to_owned());
        let mut delete = mutation();
        delete.operation = Operation::Delete;
        delete.value = None;
        for mutation in [mutation(), all, delete] {
            let mut bytes = Vec::new();
            apache_avro::write_avro_datum_ref(&schema, &NamesRef::new(), &mutation, &mut bytes).unwrap();
            let reader = GenericDatumReader::builder(&schema).build().unwrap();
            let value = reader.read_value(&mut bytes.as_slice()).unwrap();
            assert_eq!(apache_avro::from_value::<Mutation>(&value).unwrap(), mutation);
        }
    }
}
