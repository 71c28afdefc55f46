//! What is due: of each key its events, in the order of the input, with the fold after each.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::event::{Event, Tally};
use crate::reader::Stored;

/// Which event: origin and number.
pub type Which = (u32, u64);

/// The events of each key in order.
#[derive(Debug, Default, Clone)]
pub struct Due {
    keys: BTreeMap<String, Vec<(Event, Tally)>>,
    /// Where an event is due: its place among those of its key.
    places: HashMap<Which, usize>,
}

impl Due {
    /// So many events of each origin, as the load produces them.
    pub fn produced(numbers: &[u64]) -> Due {
        let mut due = Due::default();
        for (origin, &count) in (0u32..).zip(numbers) {
            for number in 1..=count {
                let event = Event::nth(origin, number);
                due.push(event.key(), event);
            }
        }
        due
    }

    /// The events of a topic, as a committed reader sees them by partition and offset. One that is there twice is due once:
    /// whoever wrote it there is to blame.
    pub fn read(records: &[Stored]) -> Due {
        let mut due = Due::default();
        let events =
            records.iter().filter_map(|record| Some((record.key.clone(), record.value.as_ref()?.parse().ok()?)));
        events.for_each(|(key, event)| due.push(key, event));
        due
    }

    fn push(&mut self, key: String, event: Event) {
        let events = self.keys.entry(key).or_default();
        if self.places.contains_key(&(event.origin, event.number)) {
            return;
        }
        let before = events.last().map_or(Tally::NONE, |(_, tally)| *tally);
        self.places.insert((event.origin, event.number), events.len());
        events.push((event, before.with(event.amount)));
    }

    /// The events of a key, each with the fold that it makes.
    pub fn of(&self, key: &str) -> &[(Event, Tally)] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// All events.
    pub fn events(&self) -> impl Iterator<Item = (&str, &Event)> {
        self.keys.iter().flat_map(|(key, events)| events.iter().map(move |(event, _)| (key.as_str(), event)))
    }

    /// How many events are due.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The place of an event among those of its key; `None` if nobody produced it under that key.
    pub fn place(&self, key: &str, event: &Event) -> Option<usize> {
        let place = *self.places.get(&(event.origin, event.number))?;
        self.of(key).get(place).filter(|(due, _)| due == event).map(|_| place)
    }
}

/// Events that stand in an output.
pub type Seen = HashSet<Which>;
