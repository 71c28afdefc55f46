//! An answer to a fetch, taken apart: what of it goes to the stream thread, and where each partition goes on.

use std::sync::Arc;
use std::time::Instant;

use kafka_protocol::messages::fetch_response::{FetchResponse, PartitionData};

use super::codes::{Meaning, meaning};
use super::engine::{Engine, Flight, Wanted};
use super::event::{Event, Unreadable};
use super::part::Whence;
use super::shared::{Waiting, Weight};
use super::sorting::sort;
use crate::position::{Offset, Position};
use crate::wire::{Code, WireError};

impl Engine {
    /// A broker has answered. `weight`: the answer's bytes, which live for as long as anything of it does.
    pub(super) fn fetched(&mut self, flight: &Flight, response: FetchResponse, weight: &Arc<Weight>, now: Instant) {
        self.landed(flight.broker);
        if let Some(code) = Code::new(response.error_code) {
            for wanted in &flight.wanted {
                self.refused(wanted, code, now);
            }
            return;
        }
        let mut expected = 0;
        for topic in response.responses {
            let (name, id) = (topic.topic, *topic.topic_id.as_bytes());
            for data in topic.partitions {
                let is_it = |wanted: &Wanted| {
                    wanted.partition == data.partition_index
                        && if name.0.is_empty() { wanted.topic_id.0 == id } else { *wanted.topic == *name.0 }
                };
                // They come in the order of the request, mostly.
                let count = flight.wanted.len();
                let found = (0..count).map(|step| (expected + step) % count).find(|at| is_it(&flight.wanted[*at]));
                let Some(found) = found else { continue };
                expected = found + 1;
                let wanted = &flight.wanted[found];
                match Code::new(data.error_code) {
                    Some(code) => self.refused(wanted, code, now),
                    None => self.taken(wanted, data, weight),
                }
            }
        }
    }

    fn taken(&mut self, wanted: &Wanted, data: PartitionData, weight: &Arc<Weight>) {
        let (slot, ticket) = (wanted.slot, wanted.ticket);
        let turn = self.served();
        let Some(part) = self.part(slot, ticket) else { return };
        part.fetched();
        let aborted = data.aborted_transactions.unwrap_or_default();
        let aborted = aborted.into_iter().map(|aborted| (aborted.producer_id.0, aborted.first_offset)).collect();
        let records = data.records.unwrap_or_default();
        let sorted = sort(&records, part.position, aborted);
        if sorted.advanced {
            part.turn = turn;
        }
        let first = sorted.runs.first().map_or(sorted.next, |run| run.from);
        let mut deliveries = Vec::with_capacity(sorted.runs.len() + 2);
        // Only where no run says where it leads.
        if first > part.position {
            deliveries.push(Waiting::Skip(first));
        }
        for run in sorted.runs {
            part.buffered += run.bytes.len();
            deliveries.push(Waiting::Run(run, Arc::clone(weight)));
        }
        part.position = sorted.next;
        if let Some(reason) = sorted.bad {
            part.stopped = true;
            let offset = Offset(sorted.next);
            let at = Position { topic: Arc::clone(&part.at.topic), partition: part.at.partition, offset };
            deliveries.push(Waiting::Event(Box::new(Event::Unreadable(Unreadable { at, reason }))));
        } else if part.position >= data.last_stable_offset && part.ended != Some(part.position) {
            part.ended = Some(part.position);
            let (position, high) = (Offset(part.position), Offset(data.high_watermark));
            let end = Event::End { at: part.at.clone(), position, high };
            deliveries.push(Waiting::Event(Box::new(end)));
        }
        self.deliveries.extend(deliveries.into_iter().map(|waiting| (slot, ticket, waiting)));
    }

    fn refused(&mut self, wanted: &Wanted, code: Code, now: Instant) {
        let (slot, ticket) = (wanted.slot, wanted.ticket);
        let patience = self.settings.missing_patience;
        let Some(part) = self.part(slot, ticket) else { return };
        let what = format!("fetch {}", part.at);
        let event = match meaning(code) {
            Meaning::Elsewhere => return part.doubt(now),
            Meaning::Unknown => {
                if !part.miss(now, patience) {
                    return;
                }
                Event::Missing { at: part.at.clone(), reason: WireError::from_code(what, code).to_string() }
            }
            Meaning::Range => {
                part.whence = Whence::OutOfRange;
                return;
            }
            Meaning::Damaged => {
                part.stopped = true;
                let offset = Offset(part.position);
                let at = Position { topic: Arc::clone(&part.at.topic), partition: part.at.partition, offset };
                Event::Unreadable(Unreadable { at, reason: code.to_string() })
            }
            Meaning::Fatal => {
                part.put_off(now);
                return self.tell_fatal(WireError::from_code(what, code));
            }
        };
        self.tell(slot, ticket, event);
    }
}
