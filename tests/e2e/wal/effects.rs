//! A target that keeps what was written to it, each token once, and is hard to write to: it fails now and then, before it has done
//! what was asked or after.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::put;
use tokio::runtime::Runtime;

use super::application::now;

/// Something that was written.
#[derive(Debug, Clone)]
pub(super) struct Effect {
    pub(super) token: String,
    pub(super) sequence: i64,
    /// In milliseconds since the epoch.
    pub(super) at: i64,
    /// Its place among all that was written, whatever its key.
    pub(super) place: usize,
}

/// What it has, and how it behaves.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// By key, in the order in which they were written.
    pub(super) effects: BTreeMap<String, Vec<Effect>>,
    pub(super) calls: usize,
    /// Calls of tokens that were there already.
    pub(super) repeated: usize,
    seen: HashMap<String, HashSet<String>>,
    /// Keys at which nothing can be done.
    pub(super) broken: HashSet<String>,
    /// One in so many calls fails; none if it is 0.
    pub(super) one_in: u32,
    dice: Option<fastrand::Rng>,
}

/// It ends when it is dropped.
pub(super) struct Effects {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    _runtime: Runtime,
}

impl Effects {
    pub(super) fn start(seed: u64, one_in: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let book = Book { one_in, dice: Some(fastrand::Rng::with_seed(seed)), ..Book::default() };
        let book = Arc::new(Mutex::new(book));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/{key}", put(write).delete(write)).with_state(Arc::clone(&book));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Effects { address, book, _runtime: runtime }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/{{key}}", self.address)
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }
}

impl Book {
    /// Whether a call fails, and whether it is done all the same.
    fn fate(&mut self, key: &str) -> (bool, bool) {
        if self.broken.contains(key) {
            return (true, false);
        }
        let (one_in, Some(dice)) = (self.one_in, self.dice.as_mut()) else { return (false, true) };
        match one_in > 0 && dice.u32(..one_in) == 0 {
            true => (true, dice.bool()),
            false => (false, true),
        }
    }

    /// As an idempotent target has it: each token once.
    pub(super) fn write(&mut self, key: &str, token: &str, sequence: i64) {
        if self.seen.entry(key.to_owned()).or_default().insert(token.to_owned()) {
            let place = self.effects.values().map(Vec::len).sum();
            let effect = Effect { token: token.to_owned(), sequence, at: now(), place };
            self.effects.entry(key.to_owned()).or_default().push(effect);
        } else {
            self.repeated += 1;
        }
    }
}

async fn write(
    State(book): State<Arc<Mutex<Book>>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, &'static str) {
    let text = |name: &str| headers[name].to_str().unwrap();
    let mut book = book.lock().unwrap();
    book.calls += 1;
    let (fails, is_done) = book.fate(&key);
    if is_done {
        book.write(&key, text("idempotency-key"), text("headrace-sequence").parse().unwrap());
    }
    if fails { (StatusCode::SERVICE_UNAVAILABLE, "not now") } else { (StatusCode::OK, "") }
}
