//! Where handlers that ask for work meet the tasks that are handed out: one desk for each queue that is pulled.
//!
//! ```text
//!  handler ── ask ──▶ │ who waits │ ◀── offer ── attempt (it was fetched because somebody asked)
//!          ◀─ lease ─ │ what waits│                 │
//!          ── word ──────────────────────────────▶ │ done, failed, or: still at it
//!          ── nothing for so long ────────────────▶ │ failed: the lease has run out
//! ```
//!
//! An attempt that nobody takes within a lease's time goes back to the share group: whoever had asked has gone away, and
//! somebody may ask elsewhere.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::tasks::{OutcomeKind, ReadyTask};

/// Words of a handler that wait to be heard.
const WORDS: usize = 4;

/// What a handler says of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It is still at it.
    Working,
    /// It has come to an end.
    Ended {
        /// How.
        kind: OutcomeKind,
        /// What it gives back.
        result: Option<Vec<u8>>,
        /// Why it failed.
        error: Option<String>,
    },
}

/// An attempt in a handler's hands.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Its name, which nobody else can guess.
    pub token: String,
    /// The attempt.
    pub job: Arc<ReadyTask>,
}

struct Offer {
    lease: Lease,
    taken: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    asking: VecDeque<oneshot::Sender<Offer>>,
    offers: VecDeque<Offer>,
    held: HashMap<String, mpsc::Sender<Word>>,
}

/// A queue's desk. Clones are the same.
#[derive(Clone)]
pub struct Desk {
    state: Arc<Mutex<State>>,
    /// One for each handler that asks and for which nothing is being fetched yet.
    wanted: Arc<Semaphore>,
    /// How long a handler may say nothing.
    pub lease: Duration,
}

/// Why an attempt has no outcome by its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nobody has taken it.
    NotTaken,
    /// Nobody has said anything for the time of a lease.
    RunOut,
}

/// Takes a lease away when its attempt ends, however it does.
struct Held<'a>(&'a Desk, &'a str);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.held.remove(self.1);
        state.offers.retain(|offer| offer.lease.token != self.1);
    }
}

impl Desk {
    /// Nobody has asked yet.
    pub fn new(lease: Duration) -> Self {
        Desk { state: Arc::default(), wanted: Arc::new(Semaphore::new(0)), lease }
    }

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
    pub async fn ask(&self, patience: Duration) -> Option<Lease> {
        let asked = {
            let mut state = self.state();
            while let Some(offer) = state.offers.pop_front() {
                if let Some(lease) = take(offer) {
                    return Some(lease);
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

    /// Offers an attempt, and waits for its handler's last word.
    ///
    /// # Errors
    /// There was none.
    pub async fn offer(&self, job: Arc<ReadyTask>) -> Result<Word, Silence> {
        let token = format!("{:032x}", fastrand::u128(..));
        let (said, mut words) = mpsc::channel(WORDS);
        let _held = Held(self, &token);
        let taken = {
            let mut state = self.state();
            state.held.insert(token.clone(), said);
            let (taken, is_taken) = oneshot::channel();
            let mut offer = Offer { lease: Lease { token: token.clone(), job }, taken };
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
        if !matches!(timeout(self.lease, taken).await, Ok(Ok(()))) {
            return Err(Silence::NotTaken);
        }
        let mut deadline = Instant::now() + self.lease;
        loop {
            match timeout_at(deadline, words.recv()).await {
                Ok(Some(Word::Working)) => deadline = Instant::now() + self.lease,
                Ok(Some(word)) => return Ok(word),
                Ok(None) | Err(_) => return Err(Silence::RunOut),
            }
        }
    }

    /// Says something of an attempt; false if the lease is over.
    pub async fn say(&self, token: &str, word: Word) -> bool {
        let said = self.state().held.get(token).cloned();
        match said {
            Some(said) => said.send(word).await.is_ok(),
            None => false,
        }
    }
}

/// Takes an offer; nothing if the attempt has gone back meanwhile.
fn take(offer: Offer) -> Option<Lease> {
    offer.taken.send(()).ok().map(|()| offer.lease)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Task;

    const LEASE: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_secs(60);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test);
    }

    fn job(id: &str) -> Arc<ReadyTask> {
        let task = Task { id: id.to_owned(), ..Task::default() };
        Arc::new(ReadyTask { task, attempt: 1, lane: id.to_owned() })
    }

    fn done() -> Word {
        Word::Ended { kind: OutcomeKind::Done, result: Some(b"r".to_vec()), error: None }
    }

    #[test]
    fn whoever_asks_is_given_what_is_offered_and_has_the_last_word() {
        run(async {
            let desk = Desk::new(LEASE);
            let handler = async {
                let lease = desk.ask(LONG).await.expect("a lease");
                assert!(desk.say(&lease.token, Word::Working).await);
                assert!(desk.say(&lease.token, done()).await);
                lease
            };
            let attempt = async {
                desk.wanted().await;
                desk.offer(job("a")).await
            };
            let (lease, word) = tokio::join!(handler, attempt);
            assert_eq!((lease.job.task.id.as_str(), word), ("a", Ok(done())));
            assert!(!desk.say(&lease.token, Word::Working).await, "it is over");
        });
    }

    #[test]
    fn a_lease_lasts_as_long_as_its_handler_speaks() {
        run(async {
            let desk = Desk::new(LEASE);
            let handler = async {
                let lease = desk.ask(LONG).await.expect("a lease");
                let mut clock = tokio::time::interval(LEASE / 2);
                for _ in 0..4 {
                    clock.tick().await;
                    assert!(desk.say(&lease.token, Word::Working).await);
                }
            };
            let begun = Instant::now();
            let ((), word) = tokio::join!(handler, desk.offer(job("a")));
            assert_eq!(word, Err(Silence::RunOut));
            assert!(begun.elapsed() >= LEASE / 2 * 3 + LEASE);
        });
    }

    #[test]
    fn what_nobody_takes_goes_back_and_who_is_given_nothing_goes_away() {
        run(async {
            let desk = Desk::new(LEASE);
            assert!(desk.ask(Duration::ZERO).await.is_none());
            assert_eq!(desk.wanted.available_permits(), 0, "nothing is to be fetched for it any more");
            assert_eq!(desk.offer(job("a")).await, Err(Silence::NotTaken));
            assert!(desk.ask(Duration::ZERO).await.is_none(), "it has gone back");
            let (lease, word) = tokio::join!(desk.ask(LONG), timeout(LEASE / 10, desk.offer(job("b"))));
            assert_eq!(lease.map(|lease| lease.job.task.id.clone()).as_deref(), Some("b"));
            assert!(word.is_err(), "taken, and then nothing was said of it");
            assert!(desk.state().held.is_empty() && desk.state().offers.is_empty());
        });
    }
}
