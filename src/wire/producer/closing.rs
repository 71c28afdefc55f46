//! A producer's last words: a transaction that is open when its owner goes is aborted, so that its readers need not wait
//! until the broker loses its patience with it.
//!
//! ```text
//!  close ─┬─ nothing is open ────────────────────────────▶ over, once that holds for both ids
//!         ├─ open ─ EndTxn(abort) ─ answered ────────────▶ over
//!         └─ its commit is on the wire ─ answered ───────▶ over (committed)
//!                         └─ not answered ─ EndTxn(abort) ▶ over; if it had committed, the broker refuses this
//! ```
//!
//! It is a courtesy: nothing depends on it. An abort that overtakes records of its own transaction raises the epoch, so they
//! are refused when they come (rule N-2); one that comes after a successor's InitProducerId is refused itself.

use std::time::{Duration, Instant};

use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};

use super::codes::{self, Meaning};
use super::engine::{Call, Engine, fault};
use super::sides::Side;
use super::transaction::{Stage, wait};
use crate::wire::WireError;

/// How long the abort is tried for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way to the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    /// Then it is over, whatever was answered.
    until: Instant,
    under_way: bool,
    at: Instant,
    tries: u32,
    elsewhere: bool,
}

impl Engine {
    /// Nothing more will be produced.
    pub(super) fn close(&mut self, now: Instant) {
        self.forget();
        let until = now + PATIENCE;
        self.closing = Some(Closing { until, under_way: false, at: now, tries: 0, elsewhere: false });
    }

    /// Whether the I/O thread may go.
    pub(super) fn is_closed(&self, now: Instant) -> bool {
        self.closing.is_some_and(|closing| closing.until <= now || !self.leaves_open())
    }

    /// Whether the broker may know of a transaction that nobody will end. That one has failed does not end it.
    fn leaves_open(&self) -> bool {
        let reached = matches!(self.stage, Stage::Ready | Stage::Dead) && self.ending_identity().is_some();
        let open = self.is_ending_open() || self.follower.begun;
        reached && open && self.settings.transactional_id.is_some()
    }

    fn is_ending_open(&self) -> bool {
        self.transaction.begun || self.transaction.is_sealed()
    }

    fn is_committing(&self) -> bool {
        self.stage == Stage::Ready && self.transaction.is_ending()
    }

    /// The abort, when it is due.
    pub(super) fn next_close(&mut self, now: Instant) -> Option<Call> {
        if !self.is_ending_open() && self.follower.begun {
            self.advance(now);
        }
        let open = self.leaves_open() && !self.is_committing();
        let due = |closing: &&mut Closing| open && !closing.under_way && closing.at <= now;
        let closing = self.closing.as_mut().filter(due)?;
        closing.under_way = true;
        Some(Call::Abort { elsewhere: std::mem::take(&mut closing.elsewhere) })
    }

    /// When to look again.
    pub(super) fn close_wakes(&self) -> Option<Instant> {
        let waits = |closing: &Closing| closing.under_way || self.is_committing();
        self.closing.map(|closing| if waits(&closing) { closing.until } else { closing.at.min(closing.until) })
    }

    /// Whether an answer to EndTxn is the abort's.
    pub(super) fn is_aborting(&self) -> bool {
        self.closing.is_some_and(|closing| closing.under_way)
    }

    pub(super) fn abort_request(&self) -> Option<EndTxnRequest> {
        self.end_request().map(|request| request.with_committed(false))
    }

    /// The answer to an abort; one to the commit that it came after says nothing of it.
    pub(super) fn aborted(&mut self, of: (Side, bool), answer: Result<EndTxnResponse, WireError>, now: Instant) {
        let expected = (self.transaction.turn.side, false);
        let Some(closing) = self.closing.as_mut().filter(|_| of == expected) else { return };
        let meaning = match answer {
            Ok(response) if response.error_code == 0 => Meaning::Dead(codes::Class::Abort),
            Ok(response) => codes::meaning(response.error_code),
            Err(error) => fault(&error),
        };
        closing.under_way = false;
        match meaning {
            // Aborted, or not ours to abort any more.
            Meaning::Dead(_) => {
                closing.tries = 0;
                self.advance(now);
            }
            other => {
                closing.elsewhere |= other == Meaning::Elsewhere;
                closing.at = now + wait(closing.tries);
                closing.tries += 1;
            }
        }
    }
}
