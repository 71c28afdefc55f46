//! The first stage's work, by hand: the folds in memory, found anew in the output after a crash or an abort.

use std::collections::BTreeMap;

use rdkafka::message::{BorrowedMessage, Message as _};

use crate::Result;
use crate::event::{Event, Tallied, Tally};
use crate::ground::{Ground, Stage};
use crate::reader::{Isolation, visit};

/// What is sent for one event.
pub(super) struct Sent {
    pub(super) key: String,
    pub(super) tallied: String,
    pub(super) group: String,
    pub(super) moved: String,
}

/// The folds of all keys.
#[derive(Debug, Default)]
pub(super) struct Folds(BTreeMap<String, Tally>);

impl Folds {
    /// As the last output of each key says.
    pub(super) fn found(ground: &Ground, stage: &Stage) -> Result<Folds> {
        let mut folds = BTreeMap::new();
        visit(&ground.client(), &stage.output, Isolation::Committed, |record| {
            if let Some(Ok(Tallied { tally, .. })) = record.value.map(|value| value.parse()) {
                folds.insert(record.key, tally);
            }
        })?;
        Ok(Folds(folds))
    }

    pub(super) fn add(&mut self, message: &BorrowedMessage<'_>) -> Result<Sent> {
        let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        let event: Event = String::from_utf8_lossy(message.payload().unwrap_or_default()).parse()?;
        let tally = self.0.entry(key.clone()).or_insert(Tally::NONE);
        *tally = tally.with(event.amount);
        let tallied = Tallied { event, tally: *tally }.to_string();
        Ok(Sent { key, tallied, group: event.group(), moved: event.to_string() })
    }
}
