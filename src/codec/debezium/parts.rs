//! The parts of an envelope, collected by either reader, and the change that they make.
//!
//! Why apart from the readers: what an `op` requires, and how heartbeats and transaction records are told from rows, is the
//! same for JSON and Avro.

use super::row::Row;
use super::source::Source;
use super::{Change, NOT_AN_ENVELOPE, Op, RowChange, UNKNOWN_OP};

/// The envelope's fields that are read, and those by which other kinds of records are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Before,
    After,
    Source,
    Op,
    Status,
    EventCount,
    /// `ts_ms` and its finer sisters.
    Time,
    /// Anything else.
    Other,
}

impl Part {
    pub(super) fn named(name: &str) -> Part {
        match name {
            "before" => Part::Before,
            "after" => Part::After,
            "source" => Part::Source,
            "op" => Part::Op,
            "status" => Part::Status,
            "event_count" => Part::EventCount,
            "ts_ms" | "ts_us" | "ts_ns" => Part::Time,
            _ => Part::Other,
        }
    }
}

/// What has been read of an envelope.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) before: Option<Row>,
    pub(super) after: Option<Row>,
    pub(super) source: Option<Source>,
    pub(super) op: Option<Box<str>>,
    pub(super) status: Option<Box<str>>,
    /// Fingerprint of the column names of `after`, or else of `before`, where there is no schema.
    pub(super) names: Option<u64>,
    seen: u32,
}

impl Parts {
    /// Notes that a part is there; false if it was there already.
    pub(super) fn note(&mut self, part: Part) -> bool {
        let bit = 1_u32 << part as u32;
        let fresh = self.seen & bit == 0;
        self.seen |= bit;
        // Times and unknown fields may be several.
        fresh || matches!(part, Part::Time | Part::Other)
    }

    fn has(&self, part: Part) -> bool {
        self.seen & (1 << part as u32) != 0
    }

    /// Whether there is nothing but times: a heartbeat, if the key or the topic says so too.
    pub(super) fn only_time(&self) -> bool {
        self.seen == 1 << Part::Time as u32
    }

    /// The change. `columns` is the schema's fingerprint, if there is a schema.
    pub(super) fn change(self, columns: Option<u64>) -> Change {
        let Some(op) = self.op.as_deref() else {
            let boundary = matches!(self.status.as_deref(), Some("BEGIN" | "END")) && self.has(Part::EventCount);
            if boundary {
                return Change::Watermark(None);
            }
            return unreadable(NOT_AN_ENVELOPE, "no op");
        };
        let op = match op {
            "c" => Op::Create,
            "u" => Op::Update,
            "d" => Op::Delete,
            "r" => Op::Read,
            "m" => return Change::Watermark(self.source),
            "t" => {
                return match self.source {
                    Some(source) => Change::Truncate(source),
                    None => unreadable("malformed", "op t without a source"),
                };
            }
            // Not quoted: in a flattened row, `op` is a column.
            _ => return unreadable(UNKNOWN_OP, "op is none of c, u, d, r, t, m"),
        };
        if self.has(Part::Before) || self.has(Part::After) {
            self.row_change(op, columns)
        } else {
            unreadable(NOT_AN_ENVELOPE, "neither before nor after")
        }
    }

    fn row_change(self, op: Op, columns: Option<u64>) -> Change {
        let Some(mut source) = self.source else {
            return unreadable("malformed", format!("{op:?} without a source"));
        };
        match (op, &self.after) {
            (Op::Delete, Some(_)) => return unreadable("malformed", "Delete with a row after"),
            (Op::Create | Op::Update | Op::Read, None) => {
                return unreadable("malformed", format!("{op:?} without a row after"));
            }
            _ => {}
        }
        source.fingerprint = columns.or(self.names);
        Change::Row(RowChange { op, before: self.before, after: self.after, source, moved: None })
    }
}

pub(super) fn unreadable(class: &'static str, reason: impl Into<String>) -> Change {
    Change::Unreadable { class, reason: reason.into() }
}
