//! The moment between two transactions: what is answered to EndTxn is the decision, its markers are written afterwards.
//!
//! ```text
//!  EndTxn ─ decided ─▶ answer ·· markers, 1 to 5 ms ·· ─ complete ─▶ the next may begin
//!                        └ DescribeTransactions, each millisecond ┘
//! ```
//!
//! A Produce that comes in between is not refused: the broker keeps it and tries again after 20 ms
//! (`add.partitions.to.txn.retry.backoff.ms`), so that small transactions one after the other would take 25 ms each. So the
//! coordinator is asked, and the first request of the next transaction with this id goes when the one before is complete. It is for speed
//! only: where the coordinator can't be asked, or does not come to an end, the request goes and the broker does as it does.

use std::time::{Duration, Instant};

use kafka_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

use super::codes::{self, Meaning};
use super::engine::{Call, Engine, fault};
use super::sides::{Side, Turn};
use super::transaction::Stage;
use crate::wire::WireError;

/// The pause before each question.
const PAUSE: Duration = Duration::from_millis(1);
/// After that the next transaction begins all the same.
const PATIENCE: Duration = Duration::from_millis(50);

/// A transaction that has been decided and may not be complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Completing {
    at: Instant,
    until: Instant,
    under_way: bool,
}

impl Engine {
    /// The transaction was decided just now.
    pub(super) fn decided(&mut self, side: Side, now: Instant) {
        let completing = Completing { at: now + PAUSE, until: now + PATIENCE, under_way: false };
        self.completing[side as usize] = self.asks_completion.then_some(completing);
    }

    /// Whether the next transaction has to wait, and the question that is due.
    pub(super) fn next_completing(&mut self, turn: Turn, now: Instant) -> Option<Option<Call>> {
        // The follower's records need not be there before this one has ended: nothing of them is sent that would be kept, and
        // keep others waiting behind it.
        let is_next = turn == self.transaction.turn;
        let completing = &mut self.completing[turn.side as usize];
        *completing = completing.filter(|completing| !is_next || completing.until > now);
        // Mostly none is, and then the lanes need no look.
        completing.filter(|_| self.has_to_send(turn, now))?;
        let completing = self.completing[turn.side as usize].as_mut()?;
        let due = !completing.under_way && completing.at <= now;
        completing.under_way |= due;
        Some(due.then_some(Call::Describe(turn.side)))
    }

    /// When to go on. While there is nothing to send, nobody has to be woken: that would be a loop without a rest.
    pub(super) fn completing_wakes(&self, now: Instant) -> Option<Instant> {
        if self.stage != Stage::Ready || self.closing.is_some() {
            return None;
        }
        let turns = [self.transaction.turn, self.follower.turn].into_iter();
        let waiting = turns.filter_map(|turn| {
            let completing = self.completing[turn.side as usize].filter(|_| self.has_to_send(turn, now))?;
            match completing.under_way {
                true => Some(completing.until).filter(|_| turn == self.transaction.turn),
                false => Some(completing.at),
            }
        });
        waiting.min()
    }

    fn has_to_send(&self, turn: Turn, now: Instant) -> bool {
        let ends = turn == self.transaction.turn && self.transaction.is_sealed();
        ends || self.lanes.iter().any(|lane| lane.sendable(turn, now).is_some())
    }

    pub(super) fn describe_request(&self, side: Side) -> DescribeTransactionsRequest {
        DescribeTransactionsRequest::default().with_transactional_ids(vec![self.transactional_id(side)])
    }

    pub(super) fn described(
        &mut self,
        side: Side,
        answer: Result<DescribeTransactionsResponse, WireError>,
        now: Instant,
    ) {
        let state = match &answer {
            Ok(response) => response.transaction_states.first().filter(|state| state.error_code == 0),
            Err(_) => None,
        };
        match (state, &mut self.completing[side as usize]) {
            (Some(state), Some(completing)) if state.transaction_state.starts_with("Prepare") => {
                (completing.at, completing.under_way) = (now + PAUSE, false);
            }
            (Some(_), completing) => *completing = None,
            (None, completing) => {
                *completing = None;
                // Away or moved: this one is no place to find out. Not allowed, or not known: that won't change.
                let meaning = match &answer {
                    Ok(response) => response.transaction_states.first().map(|state| codes::meaning(state.error_code)),
                    Err(error) => Some(fault(error)),
                };
                self.asks_completion = !matches!(meaning, Some(Meaning::Dead(_)));
            }
        }
    }
}
