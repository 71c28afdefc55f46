//! The dataflow of a run: count, sum, least and largest amount by key, and the same once more by another key.
//!
//! ```text
//! events ─▶ tally (counts, sums, minima, maxima) ─▶ tallies
//!             └─▶ regroup ─▶ moved ─▶ tally (the same stores) ─▶ totals
//! ```
//!
//! Two applications with a topic between them do what a repartition does: see [`Stage`].

use std::time::Instant;

use headrace::codec::text;
use headrace::error::{RecordError, Stage as ErrorStage};
use headrace::processor::{Context, Fault, Processor};
use headrace::record::Record;
use headrace::store::{Store, StoreIndex, Stores};
use headrace::topology::{Error, Topology};

use crate::event::{Event, NotOurs, Tallied, Tally};
use crate::ground::Stage;

/// The stores of each stage, in the order of a tally's parts.
pub const STORES: [&str; 4] = ["counts", "sums", "minima", "maxima"];

/// The topology of a stage; each record takes `pace` at least.
///
/// # Errors
/// It is none; touches no network.
pub fn of(stage: &Stage, pace: std::time::Duration) -> Result<Topology, Error> {
    let mut builder = Topology::builder("chaos");
    let events = builder.source("events", &stage.input, (text(), text()));
    let stores = STORES.map(|name| builder.store(name, Stores::rocks(text(), text()).with_changelog()));
    let tallied = builder.process("tally", events, Fold { stores, pace });
    builder.sink("tallied", tallied, &stage.output, text(), text());
    if let Some(moved) = &stage.moved {
        let regrouped = builder.process("regroup", tallied, Regroup);
        builder.sink("moved", regrouped, moved, text(), text());
    }
    builder.build()
}

fn refuse(error: NotOurs) -> Fault {
    RecordError::new(ErrorStage::Process, "not-ours", error.to_string()).into()
}

/// Folds each key's events, and forwards each with the fold that it made.
#[derive(Clone)]
struct Fold {
    stores: [Store<String, String>; 4],
    pace: std::time::Duration,
}

impl Processor for Fold {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        self.stores.iter().map(Store::index).collect()
    }

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let started = Instant::now();
        let event: Event = record.value.parse().map_err(refuse)?;
        let mut known = [None; 4];
        for (store, known) in self.stores.iter().zip(&mut known) {
            *known = context.store(store).read(&record.key)?.and_then(|text| text.parse::<i64>().ok());
        }
        let before = match known {
            [Some(count), Some(sum), Some(min), Some(max)] => Tally { count: count.unsigned_abs(), sum, min, max },
            [None, None, None, None] => Tally::NONE,
            // A record's writes are there together or not at all.
            torn => return Err(refuse_torn(&record.key, torn)),
        };
        let tally = before.with(event.amount);
        for (store, part) in self.stores.iter().zip(tally.parts()) {
            context.store(store).write(&record.key, Some(&part.to_string()))?;
        }
        context.forward(&record.map(record.key.clone(), Tallied { event, tally }.to_string()));
        while started.elapsed() < self.pace {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

fn refuse_torn(key: &str, parts: [Option<i64>; 4]) -> Fault {
    RecordError::new(ErrorStage::Process, "torn", format!("the stores of {key} disagree: {parts:?}")).into()
}

/// Gives each event its key of the second stage.
#[derive(Clone)]
struct Regroup;

impl Processor for Regroup {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let Tallied { event, .. } = record.value.parse().map_err(refuse)?;
        context.forward(&record.map(event.group(), event.to_string()));
        Ok(())
    }
}
