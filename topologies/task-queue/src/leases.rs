//! Attempts in handlers' hands, by a name that nobody else can guess: a handler says by it that it is still at it, or how it has
//! ended. An instance knows its own only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::tasks::OutcomeKind;

/// Words of a handler that wait to be heard.
const WORDS: usize = 4;

/// What a handler says of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// It is still at it.
    Working {
        /// How much is done, from 0 to 1, if it says so.
        progress: Option<f64>,
    },
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

type Open = HashMap<String, mpsc::Sender<Word>>;

/// All leases of a queue. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Leases(Arc<Mutex<Open>>);

/// A lease, as long as its attempt lasts.
#[derive(Debug)]
pub struct Lease {
    leases: Leases,
    /// Its name.
    pub token: String,
    words: mpsc::Receiver<Word>,
}

impl Leases {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new one.
    pub fn begin(&self) -> Lease {
        let token = format!("{:032x}", fastrand::u128(..));
        let (said, words) = mpsc::channel(WORDS);
        self.open().insert(token.clone(), said);
        Lease { leases: self.clone(), token, words }
    }

    /// Says something of an attempt; false if the lease is over.
    pub async fn say(&self, token: &str, word: Word) -> bool {
        let said = self.open().get(token).cloned();
        match said {
            Some(said) => said.send(word).await.is_ok(),
            None => false,
        }
    }
}

impl Lease {
    /// What is said next.
    pub async fn word(&mut self) -> Word {
        match self.words.recv().await {
            Some(word) => word,
            // Its sender is kept for as long as the lease is.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.open().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_until_the_lease_is_over() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let leases = Leases::default();
            let (mut first, second) = (leases.begin(), leases.begin());
            assert_ne!(first.token, second.token);
            let word = Word::Working { progress: Some(0.5) };
            assert!(leases.say(&first.token, word.clone()).await);
            assert_eq!(first.word().await, word);
            let token = first.token.clone();
            drop(first);
            assert!(!leases.say(&token, word.clone()).await);
            assert!(leases.say(&second.token, word).await);
        });
    }
}
