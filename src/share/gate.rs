//! How many records a pool may begin: as many as it has room for, unless it is held up, or bounded.
//!
//! | | begins | fetches |
//! |---|---|---|
//! | open | into free places | into them, and a stock |
//! | held | nothing | nothing |
//! | bounded | into free places below the bound | the same |

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use super::pool::{Ask, Asked, Bounds, Pool};

/// See the module's documentation.
pub(super) struct Gate {
    bounds: Option<Bounds>,
    is_bounded: bool,
    /// So many may be under way.
    bound: usize,
    /// So many places there are.
    most: usize,
    hold: Option<Ask>,
    held: Option<Asked>,
}

impl Gate {
    pub(super) fn new(pool: &mut Pool) -> Self {
        let bounds = pool.bounds.take();
        let is_bounded = bounds.is_some();
        let bound = if is_bounded { 0 } else { pool.concurrency };
        Gate { bounds, is_bounded, bound, most: pool.concurrency, hold: pool.hold.clone(), held: None }
    }

    /// How many more may be begun beside those that run. Asks whether anything is to be held up.
    pub(super) fn room(&mut self, running: usize) -> usize {
        if self.held.is_none()
            && let Some(hold) = &self.hold
        {
            let mut held = hold();
            if held.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending {
                self.held = Some(held);
            }
        }
        self.wishes(running)
    }

    /// The same as of the last time that was asked: how many are to be fetched for them.
    pub(super) fn wishes(&self, running: usize) -> usize {
        if self.held.is_some() { 0 } else { self.bound.min(self.most).saturating_sub(running) }
    }

    /// Whether what was fetched may wait for ever, so that none is to be had in stock.
    pub(super) fn keeps_out(&self) -> bool {
        self.is_bounded || self.held.is_some()
    }

    /// Waits until there is another bound, or nothing is held up any more.
    pub(super) async fn changes(&mut self) {
        poll_fn(|context| {
            if let Some(held) = &mut self.held
                && held.as_mut().poll(context).is_ready()
            {
                self.held = None;
                return Poll::Ready(());
            }
            match self.bounds.as_mut().map(|bounds| bounds.as_mut().poll_next(context)) {
                Some(Poll::Ready(Some(bound))) => {
                    self.bound = bound;
                    Poll::Ready(())
                }
                // The last one holds.
                Some(Poll::Ready(None)) => {
                    self.bounds = None;
                    Poll::Pending
                }
                Some(Poll::Pending) | None => Poll::Pending,
            }
        })
        .await;
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
