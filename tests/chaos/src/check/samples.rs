//! A small run in which nothing is wrong, for tests to make something wrong in it.

use super::due::Due;
use crate::event::Tallied;
use crate::reader::Stored;

/// What a run of two keys with a few events each has written, all in one partition.
pub(super) struct Sample {
    pub(super) due: Due,
    pub(super) tallies: Vec<Stored>,
    pub(super) moved: Vec<Stored>,
    pub(super) logs: [Vec<Stored>; 4],
}

pub(super) fn sample() -> Sample {
    let due = Due::produced(&[30, 6]);
    let stored = |offset: usize, key: &str, value: String| Stored {
        partition: 0,
        offset: i64::try_from(offset).unwrap(),
        key: key.to_owned(),
        value: Some(value),
    };
    let (mut tallies, mut moved, mut logs) = (Vec::new(), Vec::new(), [const { Vec::new() }; 4]);
    for key in due.keys() {
        for &(event, tally) in due.of(key) {
            tallies.push(stored(tallies.len(), key, Tallied { event, tally }.to_string()));
            moved.push(stored(moved.len(), &event.group(), event.to_string()));
            for (log, part) in logs.iter_mut().zip(tally.parts()) {
                log.push(stored(log.len(), key, part.to_string()));
            }
        }
    }
    Sample { due, tallies, moved, logs }
}
