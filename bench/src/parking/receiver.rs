//! The target: an HTTP server in this process, which fails at the poison key until it is healed, and keeps what was written to it,
//! each token once.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::put;
use tokio::runtime::Runtime;

use super::plan::Which;
use crate::Failure;
use crate::spans::now_us;

/// What it has, and what was wrong with it.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// When each of the others was applied, by number; in microseconds since the epoch.
    pub(super) others: Vec<Option<i64>>,
    /// How many of them were.
    pub(super) applied: u64,
    /// Of the poison key, in the order in which they were applied.
    pub(super) poison: Vec<u64>,
    /// Calls of the poison key that failed, and which of its mutations they were of.
    pub(super) attempts: u64,
    pub(super) attempted: BTreeSet<u64>,
    /// Calls for what it had already.
    pub(super) repeated: u64,
    /// Of a key of the others, after one that should have been later.
    pub(super) out_of_order: u64,
    /// Calls that say of themselves nothing that is known.
    pub(super) strangers: u64,
    last: HashMap<String, u64>,
    is_healed: bool,
}

impl Book {
    /// Takes a call; false if it fails.
    fn take(&mut self, which: Option<Which>) -> bool {
        match which {
            Some(Which::Other(number)) => self.other(number),
            Some(Which::Poison(number)) if !self.is_healed => {
                self.attempts += 1;
                self.attempted.insert(number);
                return false;
            }
            Some(Which::Poison(number)) if self.poison.contains(&number) => self.repeated += 1,
            Some(Which::Poison(number)) => self.poison.push(number),
            None => self.strangers += 1,
        }
        true
    }

    fn other(&mut self, number: u64) {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        if self.others.len() <= place {
            self.others.resize(place + 1, None);
        }
        if self.others[place].is_some() {
            self.repeated += 1;
            return;
        }
        self.others[place] = Some(now_us());
        self.applied += 1;
        let last = self.last.insert(Which::Other(number).key(), number);
        self.out_of_order += u64::from(last.is_some_and(|last| last > number));
    }
}

/// It ends when it is dropped.
pub(super) struct Receiver {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    _runtime: Runtime,
}

impl Receiver {
    pub(super) fn start() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let book = Arc::<Mutex<Book>>::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/{key}", put(write)).with_state(Arc::clone(&book));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Receiver { address, book, _runtime: runtime })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/{{key}}", self.address)
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the poison key is like any other.
    pub(super) fn heal(&self) {
        self.book().is_healed = true;
    }
}

async fn write(State(book): State<Arc<Mutex<Book>>>, headers: HeaderMap) -> StatusCode {
    let token = headers.get("idempotency-key").and_then(|token| token.to_str().ok()).unwrap_or_default();
    let is_done = book.lock().unwrap_or_else(PoisonError::into_inner).take(Which::named(token));
    if is_done { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
