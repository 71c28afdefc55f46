//! How many records a pool may begin: as many as it has room for, unless it is held up, or begins only what somebody asks for.
//!
//! | | begins | fetches |
//! |---|---|---|
//! | open | into free places | into them, and a stock |
//! | held | nothing | nothing |
//! | admitting | what was asked for | the same |

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use super::pool::{Ask, Asked, Pool};

/// See the module's documentation.
pub(super) struct Gate {
    admit: Option<Ask>,
    asking: Option<Asked>,
    /// So many have been asked for, and are not begun yet.
    admitted: usize,
    hold: Option<Ask>,
    held: Option<Asked>,
}

impl Gate {
    pub(super) fn new(pool: &Pool) -> Self {
        Gate { admit: pool.admit.clone(), asking: None, admitted: 0, hold: pool.hold.clone(), held: None }
    }

    /// How many of the free places may be taken now. Asks whether anything is to be held up.
    pub(super) fn room(&mut self, free: usize) -> usize {
        if self.held.is_none()
            && let Some(hold) = &self.hold
        {
            let mut held = hold();
            if held.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending {
                self.held = Some(held);
            }
        }
        self.wishes(free)
    }

    /// The same as of the last time that was asked: how many are to be fetched for them.
    pub(super) fn wishes(&self, free: usize) -> usize {
        match (&self.held, &self.admit) {
            (Some(_), _) => 0,
            (None, Some(_)) => self.admitted.min(free),
            (None, None) => free,
        }
    }

    /// One is begun.
    pub(super) fn pass(&mut self) {
        self.admitted = self.admitted.saturating_sub(1);
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether what was fetched may wait for ever.
    pub(super) fn keeps_out(&self) -> bool {
        self.admit.is_some() || self.held.is_some()
    }

    /// Waits until more may be begun: one more is asked for, no more than are free, or nothing is held up any more.
    pub(super) async fn widens(&mut self, free: usize) {
        let asks = self.admitted < free;
        poll_fn(|context| {
            if let Some(held) = &mut self.held
                && held.as_mut().poll(context).is_ready()
            {
                self.held = None;
                return Poll::Ready(());
            }
            if let Some(admit) = self.admit.as_ref().filter(|_| asks)
                && self.asking.get_or_insert_with(|| admit()).as_mut().poll(context).is_ready()
            {
                (self.asking, self.admitted) = (None, self.admitted + 1);
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}
