//! The headers that say where a dead letter came from and why.

use std::fmt;

use crate::error::RecordError;
use crate::position::TaskId;
use crate::record::{Headers, RawRecord, Timestamp};

/// Header names: Kafka Streams' (KIP-1034) and Headrace's own.
pub mod names {
    /// Class of the error; Streams has a Java class here, we have `stage.class`.
    pub const EXCEPTION: &str = "__streams.errors.exception";
    /// What went wrong, without payload.
    pub const MESSAGE: &str = "__streams.errors.message";
    /// The chain of causes, one per line.
    pub const STACKTRACE: &str = "__streams.errors.stacktrace";
    /// Topic of the original.
    pub const TOPIC: &str = "__streams.errors.topic";
    /// Partition of the original, as decimal text.
    pub const PARTITION: &str = "__streams.errors.partition";
    /// Offset of the original, as decimal text.
    pub const OFFSET: &str = "__streams.errors.offset";
    /// Step that refused it: `deserialize`, `process`, …
    pub const STAGE: &str = "headrace.dlq.stage";
    /// Stable class by which dead letters are grouped.
    pub const CLASS: &str = "headrace.dlq.class";
    /// How often it was tried.
    pub const ATTEMPTS: &str = "headrace.dlq.attempts";
    /// Application, and task or workers, that set it aside.
    pub const TASK: &str = "headrace.dlq.task";
    /// Of a punctuator's dead letter, which is no record: `<processor>/<punctuator>`, also its key.
    pub const PUNCTUATOR: &str = "headrace.dlq.punctuator";
    /// Of a punctuator's dead letter: the tick that failed, in milliseconds since the epoch, also its timestamp.
    pub const TICK: &str = "headrace.dlq.tick";
    /// Present where the payload was too large to copy: its size in bytes; the original stands at topic, partition, offset.
    pub const CLAIM: &str = "headrace.dlq.claim-bytes";
}

/// Longest header value; a longer one is cut with a marker (rule D4).
const HEADER_LIMIT: usize = 4096;
const CUT: &str = "… (cut)";

/// What in an application set a record aside.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// A task.
    Task(TaskId),
    /// Workers, by their node's name.
    Workers(&'a str),
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Task(task) => task.fmt(f),
            Origin::Workers(name) => f.write_str(name),
        }
    }
}

/// Who set the record aside.
#[derive(Debug, Clone)]
pub struct Provenance<'a> {
    /// Application id.
    pub application: &'a str,
    /// Task or workers.
    pub origin: Origin<'a>,
    /// How often the record was tried.
    pub attempts: u32,
}

/// The record's own headers followed by where it came from and why it is here.
pub(super) fn append_provenance(record: &RawRecord<'_>, error: &RecordError, provenance: &Provenance<'_>) -> Headers {
    let mut headers = record.headers.clone();
    push_error(&mut headers, error);
    push(&mut headers, names::TOPIC, record.topic.to_owned());
    push(&mut headers, names::PARTITION, record.partition.to_string());
    push(&mut headers, names::OFFSET, record.offset.to_string());
    push_origin(&mut headers, error, provenance);
    headers
}

/// What is said of a tick that failed. There is no record to redrive: the next tick is the next chance.
pub fn tick_provenance(name: &str, at: Timestamp, error: &RecordError, provenance: &Provenance<'_>) -> Headers {
    let mut headers = Headers::new();
    push_error(&mut headers, error);
    if let Origin::Task(task) = provenance.origin {
        push(&mut headers, names::PARTITION, task.partition.to_string());
    }
    push_origin(&mut headers, error, provenance);
    push(&mut headers, names::PUNCTUATOR, name.to_owned());
    push(&mut headers, names::TICK, at.0.to_string());
    headers
}

fn push(headers: &mut Headers, name: &str, value: String) {
    headers.push(name, bounded(value));
}

fn push_error(headers: &mut Headers, error: &RecordError) {
    push(headers, names::EXCEPTION, format!("{}.{}", error.stage.name(), error.class));
    push(headers, names::MESSAGE, error.reason.clone());
    push(headers, names::STACKTRACE, causes(error));
}

fn push_origin(headers: &mut Headers, error: &RecordError, provenance: &Provenance<'_>) {
    push(headers, names::STAGE, error.stage.name().to_owned());
    push(headers, names::CLASS, error.class.to_owned());
    push(headers, names::ATTEMPTS, provenance.attempts.to_string());
    push(headers, names::TASK, format!("{}/{}", provenance.application, provenance.origin));
}

fn causes(error: &RecordError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str("\ncaused by: ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

fn bounded(mut value: String) -> Vec<u8> {
    if value.len() > HEADER_LIMIT {
        let end = (0..=HEADER_LIMIT - CUT.len()).rev().find(|&end| value.is_char_boundary(end)).unwrap_or(0);
        value.truncate(end);
        value.push_str(CUT);
    }
    value.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Stage;
    use crate::position::{Offset, Partition};
    use crate::record::Header;

    #[test]
    fn d1_original_headers_come_first_and_unchanged() {
        let original = Headers(vec![
            Header { name: "a".into(), value: None },
            Header { name: "a".into(), value: Some(vec![0xff]) },
            Header { name: names::TOPIC.into(), value: Some(b"first-origin".to_vec()) },
        ]);
        let record = RawRecord {
            topic: "t",
            partition: Partition(1),
            offset: Offset(7),
            timestamp: Timestamp(5),
            key: None,
            value: None,
            headers: &original,
        };
        let error = RecordError::new(Stage::Process, "x", "y".repeat(10_000));
        let task = TaskId { sub_topology: 0, partition: Partition(1) };
        let provenance = Provenance { application: "app", origin: Origin::Task(task), attempts: 3 };
        let headers = append_provenance(&record, &error, &provenance);
        assert_eq!(headers.0[..3], original.0[..]);
        assert_eq!(headers.last(names::OFFSET), Some(&b"7"[..]));
        assert_eq!(headers.last(names::TASK), Some(&b"app/0_1"[..]));
        let message = headers.last(names::MESSAGE).unwrap();
        assert!(message.len() <= HEADER_LIMIT && message.ends_with(CUT.as_bytes()), "D4: cut with a marker");
    }
}
