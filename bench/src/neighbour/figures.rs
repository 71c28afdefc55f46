//! How late the victim's tasks began, and on which part of their way.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use headrace::wire::fetch::Event;

use super::feed::{Pace, Side, named};
use crate::Failure;
use crate::counting::committed_reader;
use crate::spans::Spans;

const LOOK: Duration = Duration::from_millis(10);
/// Nothing new for so long, and all was read.
const QUIET: Duration = Duration::from_secs(1);
/// What is handed out goes on where a backlog is left; that is read in less.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was seen of the tasks that were due in some time.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// From when each was due to be sent until its handler began. One that has not begun counts with what it has waited so far.
    pub(super) latency: Spans,
    pub(super) not_begun: u64,
    /// The part of it until the attempt was handed out, and the part after that: of those that have begun.
    pub(super) handed_out: Spans,
    pub(super) picked_up: Spans,
}

/// Of the tasks that were due between two times; `begun`: by number, as it was seen `now`; `ready`: when each was handed out.
pub(super) fn seen(
    pace: Pace,
    (begun, now): (&[Option<i64>], i64),
    ready: &HashMap<u64, i64>,
    (from, to): (i64, i64),
) -> Seen {
    let mut not_begun = 0;
    let (mut latency, mut handed_out, mut picked_up) = (Vec::new(), Vec::new(), Vec::new());
    for number in pace.from(from)..pace.from(to) {
        let due = pace.due(number);
        let Some(at) = usize::try_from(number).ok().and_then(|place| begun.get(place).copied().flatten()) else {
            not_begun += 1;
            latency.push(now - due);
            continue;
        };
        latency.push(at - due);
        if let Some(ready) = ready.get(&number) {
            handed_out.push(ready - due);
            picked_up.push(at - ready);
        }
    }
    let [latency, handed_out, picked_up] = [latency, handed_out, picked_up].map(Spans::of);
    Seen { latency, not_begun, handed_out, picked_up }
}

/// When the victim's attempts were handed out, by number, as the records say it: in microseconds, to the millisecond.
pub(super) fn handed_out(servers: &str, topic: &str) -> Result<HashMap<u64, i64>, Failure> {
    let (reader, mut ready, begun) = (committed_reader(servers, topic)?, HashMap::new(), Instant::now());
    let mut last = begun;
    while last.elapsed() < QUIET && begun.elapsed() < PATIENCE {
        match reader.poll(LOOK) {
            Event::Records(mut portion) => {
                last = Instant::now();
                while let Some(record) = portion.next_record() {
                    let record = record?;
                    let id = record.key.and_then(|key| std::str::from_utf8(key).ok()).and_then(named);
                    if let Some((Side::Victim, number)) = id {
                        ready.entry(number).or_insert(record.timestamp.0 * 1_000);
                    }
                }
            }
            Event::End { .. } | Event::Idle => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(ready)
}
