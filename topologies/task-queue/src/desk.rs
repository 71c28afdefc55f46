//! Where handlers that ask for work meet the tasks that are handed out: one desk for each queue that is pulled.
//!
//! ```text
//!  handler ── ask ──▶ │ who waits │ ◀── offer ── attempt (it was fetched because somebody asked)
//!          ◀─ taken ─ │ what waits│ ── taken ──▶
//! ```
//!
//! No more is fetched than there are handlers that wait ([`Desk::bound`]). One that goes away in between leaves an attempt that
//! is for whoever asks next; one that nobody takes within a lease's time goes back to the share group, for somebody may ask
//! elsewhere.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::tasks::ReadyTask;

/// An attempt that a handler has taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Its lease's name.
    pub token: String,
    /// The attempt.
    pub ready: Arc<ReadyTask>,
}

struct Offer {
    taken: Taken,
    told: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    asking: VecDeque<oneshot::Sender<Offer>>,
    offers: VecDeque<Offer>,
    /// Attempts that are offered, or were taken and have not ended.
    out: usize,
}

/// A queue's desk. Clones are the same.
#[derive(Clone, Default)]
pub struct Desk {
    state: Arc<Mutex<State>>,
    bound: Arc<watch::Sender<usize>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// An attempt that is out, until it ends, however it does.
#[derive(Debug)]
pub struct Out<'a> {
    desk: &'a Desk,
    token: String,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.desk.change(|state| {
            state.offers.retain(|offer| offer.taken.token != self.token);
            state.out -= 1;
        });
    }
}

/// Somebody who asks, until they have an attempt or go away, be it in the middle.
struct Asking<'a>(&'a Desk);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.asking.retain(|asking| !asking.is_closed()));
    }
}

impl Desk {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut state);
        let bound = state.asking.len() + state.out;
        self.bound.send_if_modified(|now| mem::replace(now, bound) != bound);
        changed
    }

    /// How many attempts may be out: those that are, and one for each handler that waits.
    pub fn bound(&self) -> BoxStream<'static, usize> {
        let mut bound = self.bound.subscribe();
        bound.mark_changed();
        let next = async |mut bound: watch::Receiver<usize>| {
            bound.changed().await.ok()?;
            let now = *bound.borrow_and_update();
            Some((now, bound))
        };
        Box::pin(stream::unfold(bound, next))
    }

    /// Asks for an attempt, and waits for one.
    pub async fn ask(&self, patience: Duration) -> Option<Taken> {
        // It goes after what it waits for.
        let _asking = Asking(self);
        let asked = self.change(|state| {
            while let Some(offer) = state.offers.pop_front() {
                if let Some(taken) = take(offer) {
                    return Err(taken);
                }
            }
            let (asking, asked) = oneshot::channel();
            state.asking.push_back(asking);
            Ok(asked)
        });
        let asked = match asked {
            Ok(asked) => asked,
            Err(taken) => return Some(taken),
        };
        take(timeout(patience, asked).await.ok()?.ok()?)
    }

    /// Offers an attempt under a lease's name; nothing if nobody has taken it in time.
    pub async fn offer(&self, token: &str, ready: Arc<ReadyTask>, patience: Duration) -> Option<Out<'_>> {
        let out = Out { desk: self, token: token.to_owned() };
        let taken = self.change(|state| {
            state.out += 1;
            let (told, is_taken) = oneshot::channel();
            let mut offer = Offer { taken: Taken { token: token.to_owned(), ready }, told };
            while let Some(asking) = state.asking.pop_front() {
                match asking.send(offer) {
                    Ok(()) => return is_taken,
                    Err(back) => offer = back,
                }
            }
            state.offers.push_back(offer);
            is_taken
        });
        timeout(patience, taken).await.ok()?.ok().map(|()| out)
    }
}

/// Takes an offer; nothing if the attempt has gone back meanwhile.
fn take(offer: Offer) -> Option<Taken> {
    offer.told.send(()).ok().map(|()| offer.taken)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::tasks::Task;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(60);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test);
    }

    fn ready(id: &str) -> Arc<ReadyTask> {
        let task = Task { id: id.to_owned(), ..Task::default() };
        Arc::new(ReadyTask { task, attempt: 1, lane: id.to_owned() })
    }

    #[test]
    fn whoever_asks_is_given_what_is_offered() {
        run(async {
            let desk = Desk::default();
            let mut bounds = desk.bound();
            let attempt = async {
                assert_eq!(bounds.next().await, Some(1));
                let out = desk.offer("t", ready("a"), LONG).await;
                assert!(bounds.next().now_or_never().is_none(), "as many as before: one who waited has it");
                drop(out.expect("taken"));
                bounds.next().await
            };
            let (taken, bound) = tokio::join!(desk.ask(LONG), attempt);
            let taken = taken.expect("an attempt");
            assert_eq!((taken.token.as_str(), taken.ready.task.id.as_str(), bound), ("t", "a", Some(0)));
        });
    }

    #[test]
    fn what_nobody_takes_goes_back_and_who_is_given_nothing_goes_away() {
        run(async {
            let desk = Desk::default();
            assert!(desk.ask(Duration::ZERO).await.is_none());
            assert_eq!(*desk.bound.borrow(), 0, "nothing is to be fetched for it any more");
            assert!(timeout(SHORT, desk.ask(LONG)).await.is_err());
            assert_eq!(*desk.bound.borrow(), 0, "nor for one who goes away in the middle");
            assert!(desk.offer("a", ready("a"), SHORT).await.is_none());
            assert!(desk.ask(Duration::ZERO).await.is_none(), "it has gone back");
            let offered = timeout(SHORT, desk.offer("b", ready("b"), LONG)).await;
            assert!(
                offered.is_err() && desk.state.lock().expect("a state").offers.is_empty(),
                "its attempt has ended otherwise"
            );
            assert_eq!(*desk.bound.borrow(), 0);
        });
    }
}
