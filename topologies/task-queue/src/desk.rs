//! Where handlers that ask for work meet the tasks that are handed out: one desk for each queue that is pulled.
//!
//! ```text
//!  handler ── ask ──▶ │ who waits │ ◀── offer ── attempt (it was fetched because somebody asked)
//!          ◀─ taken ─ │ what waits│ ── taken ──▶
//! ```
//!
//! An attempt that nobody takes within a lease's time goes back to the share group: whoever had asked has gone away, and
//! somebody may ask elsewhere.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
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
}

/// A queue's desk. Clones are the same.
#[derive(Clone)]
pub struct Desk {
    state: Arc<Mutex<State>>,
    /// One for each handler that asks and for which nothing is being fetched yet.
    wanted: Arc<Semaphore>,
}

impl Default for Desk {
    /// Nobody has asked yet.
    fn default() -> Self {
        Desk { state: Arc::default(), wanted: Arc::new(Semaphore::new(0)) }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// Takes an offer away when its attempt ends, however it does.
struct Offered<'a>(&'a Desk, &'a str);

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        self.0.state().offers.retain(|offer| offer.taken.token != self.1);
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until somebody asks for an attempt.
    pub async fn wanted(&self) {
        // It is never closed.
        if let Ok(permit) = self.wanted.acquire().await {
            permit.forget();
        }
    }

    /// Asks for an attempt, and waits for one.
    pub async fn ask(&self, patience: Duration) -> Option<Taken> {
        let asked = {
            let mut state = self.state();
            while let Some(offer) = state.offers.pop_front() {
                if let Some(taken) = take(offer) {
                    return Some(taken);
                }
            }
            let (asking, asked) = oneshot::channel();
            state.asking.push_back(asking);
            asked
        };
        self.wanted.add_permits(1);
        let offered = timeout(patience, asked).await;
        if offered.is_err() {
            // What is being fetched for it by now is for whoever asks next.
            if let Ok(permit) = self.wanted.try_acquire() {
                permit.forget();
            }
            self.state().asking.retain(|asking| !asking.is_closed());
        }
        take(offered.ok()?.ok()?)
    }

    /// Offers an attempt under a lease's name; false if nobody has taken it in time.
    pub async fn offer(&self, token: &str, ready: Arc<ReadyTask>, patience: Duration) -> bool {
        let _offered = Offered(self, token);
        let taken = {
            let mut state = self.state();
            let (told, is_taken) = oneshot::channel();
            let mut offer = Offer { taken: Taken { token: token.to_owned(), ready }, told };
            loop {
                let Some(asking) = state.asking.pop_front() else {
                    state.offers.push_back(offer);
                    break;
                };
                match asking.send(offer) {
                    Ok(()) => break,
                    Err(back) => offer = back,
                }
            }
            is_taken
        };
        matches!(timeout(patience, taken).await, Ok(Ok(())))
    }
}

/// Takes an offer; nothing if the attempt has gone back meanwhile.
fn take(offer: Offer) -> Option<Taken> {
    offer.told.send(()).ok().map(|()| offer.taken)
}

#[cfg(test)]
mod tests {
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
            let attempt = async {
                desk.wanted().await;
                desk.offer("t", ready("a"), LONG).await
            };
            let (taken, is_taken) = tokio::join!(desk.ask(LONG), attempt);
            let taken = taken.expect("an attempt");
            assert_eq!((taken.token.as_str(), taken.ready.task.id.as_str(), is_taken), ("t", "a", true));
        });
    }

    #[test]
    fn what_nobody_takes_goes_back_and_who_is_given_nothing_goes_away() {
        run(async {
            let desk = Desk::default();
            assert!(desk.ask(Duration::ZERO).await.is_none());
            assert_eq!(desk.wanted.available_permits(), 0, "nothing is to be fetched for it any more");
            assert!(!desk.offer("a", ready("a"), SHORT).await);
            assert!(desk.ask(Duration::ZERO).await.is_none(), "it has gone back");
            let offered = timeout(SHORT, desk.offer("b", ready("b"), LONG)).await;
            assert!(offered.is_err() && desk.state().offers.is_empty(), "its attempt has ended otherwise");
        });
    }
}
