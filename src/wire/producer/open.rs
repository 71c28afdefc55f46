//! Open batches, one for each partition that is being appended to.
//!
//! A topic's name is looked up once a record, so that has to be cheap: the one of the last record is tried first, then
//! the few others by length and bytes, and only with many topics a map.

use std::sync::Arc;

use ahash::AHashMap;

use super::shared::Slot;
use crate::wire::batch::Open;

/// Up to this many topics are searched one by one.
const FEW: usize = 16;

/// Where records of one partition gather.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) open: Option<Open>,
    pub(super) slot: Option<Slot>,
}

/// A topic and its partitions.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// Whether a record has named it.
    pub(super) named: bool,
    /// One for each partition that is known.
    pub(super) lanes: Vec<Lane>,
    /// Where records without a key go until the batch there is full: one large batch instead of many small ones.
    pub(super) sticky: usize,
}

impl Topic {
    /// As many lanes as there are partitions; one more partition is seen here, one less only by the broker.
    pub(super) fn grow(&mut self, partitions: i32) {
        let wanted = usize::try_from(partitions).unwrap_or(0).max(self.lanes.len());
        self.lanes.resize_with(wanted, Lane::default);
    }

    /// A batch was handed over: if it is the one without keys, the next goes elsewhere.
    pub(super) fn turn_from(&mut self, lane: usize) {
        if lane == self.sticky {
            self.turn();
        }
    }

    /// Another partition for records without a key.
    pub(super) fn turn(&mut self) {
        self.sticky = fastrand::usize(..self.lanes.len().max(1));
    }
}

/// All topics that were produced to, by number.
#[derive(Debug, Default)]
pub(super) struct Topics {
    pub(super) all: Vec<Topic>,
    last: usize,
    many: AHashMap<Arc<str>, usize>,
}

impl Topics {
    /// The number of a topic.
    #[inline]
    pub(super) fn find(&mut self, name: &str) -> Option<usize> {
        if self.all.get(self.last).is_some_and(|topic| *topic.name == *name) {
            return Some(self.last);
        }
        let found = if self.all.len() <= FEW {
            self.all.iter().position(|topic| *topic.name == *name)
        } else {
            self.many.get(name).copied()
        };
        self.last = found.unwrap_or(self.last);
        found
    }

    /// A new topic's number.
    pub(super) fn add(&mut self, name: Arc<str>, named: bool) -> usize {
        let index = self.all.len();
        self.many.insert(Arc::clone(&name), index);
        self.all.push(Topic { name, named, lanes: Vec::new(), sticky: 0 });
        index
    }
}
