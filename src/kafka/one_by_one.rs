//! Changelog partitions through librdkafka, where the native fetcher can't be had: one after the other, because rdkafka's
//! end-of-partition event names neither topic nor offset.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::error::KafkaError;

use super::changelog::{Bounds, Changelogs as _};
use super::librdkafka_changelogs::{LibrdkafkaChangelogs, is_final, is_out_of_range};
use super::restoring::{Found, Records};
use super::settings::Settings;
use crate::error::FatalError;
use crate::position::{Offset, TopicPartition};

/// Patience with one look-up: whoever restores has others to look after.
const LOOKUP: Duration = Duration::from_secs(1);
/// Between two looks whether the transactions of a partition have ended.
const SETTLING: Duration = Duration::from_millis(50);

/// A partition that is to be read.
struct Turn {
    at: TopicPartition,
    from: Offset,
    /// The end for readers of uncommitted records, when it was looked at first: all before it has to be settled.
    high: Option<Offset>,
    /// Where it ends, once it is being read.
    end: Option<Offset>,
}

/// Reads one partition at a time.
pub(super) struct OneByOne {
    reader: LibrdkafkaChangelogs,
    /// Those whose bounds are wanted.
    asked: VecDeque<TopicPartition>,
    /// Those that are read, the first one now.
    turns: VecDeque<Turn>,
    not_before: Option<Instant>,
}

impl OneByOne {
    pub(super) fn new(settings: &Settings, buffer_bytes: usize) -> Result<Self, FatalError> {
        let own = Settings { fetch_queue_bytes: buffer_bytes, ..settings.clone() };
        let (asked, turns) = (VecDeque::new(), VecDeque::new());
        Ok(OneByOne { reader: LibrdkafkaChangelogs::new(&own)?, asked, turns, not_before: None })
    }

    pub(super) fn begin(&mut self, at: &TopicPartition) {
        self.asked.push_back(at.clone());
    }

    pub(super) fn read(&mut self, at: &TopicPartition, from: Offset) {
        self.turns.push_back(Turn { at: at.clone(), from, high: None, end: None });
    }

    pub(super) fn stop(&mut self, at: &TopicPartition) {
        self.asked.retain(|asked| asked != at);
        if self.turns.front().is_some_and(|turn| turn.at == *at && turn.end.is_some()) {
            self.reader.end();
        }
        self.turns.retain(|turn| turn.at != *at);
    }

    pub(super) fn poll(&mut self, wait: Duration) -> Found<'_> {
        if let Some(left) = self.not_before.map(|until| until.saturating_duration_since(Instant::now()))
            && !left.is_zero()
        {
            std::thread::park_timeout(left.min(wait));
            return Found::Idle;
        }
        self.not_before = None;
        if let Some(at) = self.asked.pop_front() {
            return self.look_up(at);
        }
        match self.turns.front() {
            None => {
                std::thread::park_timeout(wait);
                Found::Idle
            }
            Some(Turn { end: None, .. }) => self.settle(),
            Some(Turn { end: Some(_), .. }) => self.next(wait),
        }
    }

    fn look_up(&mut self, at: TopicPartition) -> Found<'static> {
        match self.reader.committed_bounds(&at, LOOKUP) {
            Ok(bounds) => Found::Bounds { at, bounds },
            Err(error) => {
                self.asked.push_back(at);
                self.away(error.to_string())
            }
        }
    }

    /// Begins to read the first one, up to where a transaction is open in what it has.
    fn settle(&mut self) -> Found<'static> {
        let Some(turn) = self.turns.front_mut() else { return Found::Idle };
        let looked = match turn.high {
            Some(high) => Ok(high),
            None => self.reader.high_watermark(&turn.at, LOOKUP),
        };
        let looked = looked.and_then(|high| Ok((high, self.reader.committed_bounds(&turn.at, LOOKUP)?)));
        match looked {
            Ok((high, Bounds { start, end })) => {
                turn.high = Some(high);
                if turn.from < start || turn.from > end.max(high) {
                    return Found::Unfit { at: turn.at.clone() };
                }
                if turn.from >= end && end < high {
                    return held_up(&mut self.turns, &mut self.not_before);
                }
                turn.end = Some(end);
                match self.reader.begin(&turn.at, turn.from) {
                    Ok(()) => Found::Idle,
                    Err(error) => {
                        turn.end = None;
                        self.away(error.to_string())
                    }
                }
            }
            Err(error) => {
                self.turns.rotate_left(1);
                self.away(error.to_string())
            }
        }
    }

    fn next(&mut self, wait: Duration) -> Found<'_> {
        let Some(Turn { at, from, end: Some(end), high }) = self.turns.front_mut() else { return Found::Idle };
        match self.reader.committed.poll(wait) {
            Some(Ok(message)) => {
                *from = Offset(message.offset()).next();
                Found::Records(Records::one(message, at.clone()))
            }
            // The end lies behind the last record: control records follow it.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                let next = (*from).max(*end);
                if high.is_none_or(|high| next >= high) {
                    return Found::End { at: at.clone(), next, high: next };
                }
                *from = next;
                self.turns[0].end = None;
                self.reader.end();
                held_up(&mut self.turns, &mut self.not_before)
            }
            Some(Err(error)) if is_out_of_range(&error) => Found::Unfit { at: at.clone() },
            Some(Err(error)) if is_final(&error) => Found::Missing(format!("{at}: {error}")),
            Some(Err(error)) => Found::Away(error.to_string()),
            None => Found::Idle,
        }
    }

    fn away(&mut self, reason: String) -> Found<'static> {
        self.not_before = Some(Instant::now() + SETTLING);
        Found::Away(reason)
    }
}

/// All that is settled of the first one was read, and there is more.
fn held_up(turns: &mut VecDeque<Turn>, not_before: &mut Option<Instant>) -> Found<'static> {
    let Some(Turn { at, from, high: Some(high), .. }) = turns.front() else { return Found::Idle };
    let found = Found::End { at: at.clone(), next: *from, high: *high };
    *not_before = Some(Instant::now() + SETTLING);
    // Others have their turn meanwhile.
    turns.rotate_left(1);
    found
}
