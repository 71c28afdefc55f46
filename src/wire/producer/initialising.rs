//! InitProducerId, for one transactional id after the other: it fences whoever has the id, aborts what that has open, and gives
//! the identity (rule N-2).
//!
//! | answer | what follows |
//! |---|---|
//! | the identity | the other id, or the first transaction |
//! | loading, moved, still completing, none | asked again: it may be repeated |
//! | the second id is not allowed | there is one id (see [`sides`](super::sides)) |
//! | any other error | the end |

use std::time::Instant;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::codes::{self, Meaning};
use super::engine::{Engine, code_text, fault};
use super::rights::Asked;
use super::shared::Notice;
use super::sides::{Identity, Side, Turn};
use super::transaction::{Stage, Transaction, wait};
use crate::wire::{Code, WireError};

impl Engine {
    pub(super) fn init_request(&self, side: Side) -> InitProducerIdRequest {
        let timeout = i32::try_from(self.settings.transaction_timeout.as_millis()).unwrap_or(i32::MAX);
        InitProducerIdRequest::default()
            .with_transactional_id(self.settings.transactional_id.as_ref().map(|_| self.transactional_id(side)))
            .with_transaction_timeout_ms(timeout)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    }

    /// Gives the reason if it is not done yet.
    pub(super) fn initialised(
        &mut self,
        answer: Result<InitProducerIdResponse, WireError>,
        now: Instant,
    ) -> Option<String> {
        let (Stage::Initialising { tries, .. }, Some(side)) = (self.stage, self.sides.missing()) else { return None };
        let failed = answer.as_ref().err().map_or(Meaning::Later, fault);
        let (code, text) = match answer {
            Ok(response) if response.error_code == 0 => {
                self.sides.set(side, Identity { id: response.producer_id.0, epoch: response.producer_epoch });
                self.ready_or_next(now);
                return None;
            }
            Ok(response) => (response.error_code, code_text(response.error_code)),
            Err(error) => (error.code().map_or(0, Code::number), error.to_string()),
        };
        let meaning = if code == 0 { failed } else { codes::meaning(code) };
        if side == Side::Second && code == codes::TRANSACTIONAL_ID_DENIED {
            let id = self.settings.transactional_id(side).unwrap_or_default();
            tracing::warn!(
                target: "headrace::wire", id, reason = text,
                "a second transactional id may not be used, so each transaction waits for the one before; allow Write on it"
            );
            self.sides.leave_alone();
            self.ready_or_next(now);
            return None;
        }
        if let Meaning::Dead(class) = meaning {
            let way_out = self.way_out(Asked::Initialise, side, code);
            self.die(class, format!("initialise: {text}{way_out}"));
            return None;
        }
        self.stage = Stage::Initialising { under_way: false, at: now + wait(tries), tries: tries + 1 };
        Some(text)
    }

    /// After the answer for one id: the other one's turn, or everything is there.
    fn ready_or_next(&mut self, now: Instant) {
        if self.sides.missing().is_some() {
            self.stage = Stage::Initialising { under_way: false, at: now, tries: 0 };
            return;
        }
        self.transaction = Transaction::new(Turn::FIRST, now);
        self.follower = Transaction::new(self.sides.after(Turn::FIRST), now);
        self.stage = Stage::Ready;
        self.notices.push(Notice::Initialised);
    }
}
