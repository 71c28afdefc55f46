//! A target over HTTP that is hard to write to, and a witness of what was: it fails now and then, before it has done what was asked or
//! after, hangs for longer than its callers wait, and may be away. It does what has an `Idempotency-Key` once.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::put;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::judge::{Effect, Witness};
use super::plan::{deleting, token_of};
use crate::Result;
use crate::application::tokio;
use crate::queue::ground::now;

/// Of what a delete finds nothing of.
const NOTHING: &str = "nothing";

/// How it behaves.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// Decides which calls fail.
    pub seed: u64,
    /// One in so many fails; none if it is 0.
    pub fails: u32,
    /// One in so many hangs; none if it is 0.
    pub hangs: u32,
    /// For so long: longer than whoever calls waits.
    pub hang: Duration,
}

impl Manners {
    /// Nothing ever fails.
    pub const GOOD: Manners = Manners { seed: 0, fails: 0, hangs: 0, hang: Duration::ZERO };
}

/// What it has.
#[derive(Debug)]
pub struct Book {
    /// By key, in the order in which they were done.
    pub effects: BTreeMap<String, Vec<Effect>>,
    /// What each key has: the token of its last put.
    pub values: BTreeMap<String, String>,
    /// Numbers of calls (`Headrace-Sequence`) that went back, each within its key.
    pub backward: Vec<String>,
    /// Calls.
    pub calls: usize,
    /// Calls of what was done already.
    pub repeated: usize,
    /// Nothing can be done.
    pub away: bool,
    done: HashSet<String>,
    sequences: BTreeMap<String, i64>,
    manners: Manners,
    dice: fastrand::Rng,
}

/// It ends when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    _stop: DropGuard,
}

fn locked(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    /// On a free port of loopback.
    ///
    /// # Errors
    /// There is none.
    pub fn start(manners: Manners) -> Result<Receiver> {
        let book = Arc::new(Mutex::new(Book::new(manners)));
        let listener = tokio().block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/{key}", put(answer).delete(answer)).with_state(Arc::clone(&book));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio().spawn(async move {
            tokio::select! {
                () = stopped => Ok(()),
                ended = axum::serve(listener, router) => ended,
            }
        });
        Ok(Receiver { address, book, _stop: stop.drop_guard() })
    }

    /// Its address, as a namespace has it.
    pub fn url(&self) -> String {
        format!("http://{}/{{key}}", self.address)
    }

    /// What it has by now.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        locked(&self.book)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
struct Fate {
    fails: bool,
    /// Whether it is done, though it may fail.
    is_done: bool,
    hangs: bool,
}

/// A call, as far as it matters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) key: &'a str,
    /// Nothing: it is a delete.
    pub(super) value: Option<&'a [u8]>,
    /// Its `Idempotency-Key`.
    pub(super) once: Option<&'a str>,
    /// Its `Headrace-Sequence`.
    pub(super) sequence: Option<i64>,
}

impl Book {
    /// What it says as a witness of this target.
    pub fn witness(&self, target: &'static str) -> Witness {
        let (effects, values, backward) = (Some(self.effects.clone()), self.values.clone(), self.backward.clone());
        Witness { target, effects, values, backward }
    }

    pub(super) fn new(manners: Manners) -> Self {
        Book {
            effects: BTreeMap::new(),
            values: BTreeMap::new(),
            backward: Vec::new(),
            calls: 0,
            repeated: 0,
            away: false,
            done: HashSet::new(),
            sequences: BTreeMap::new(),
            manners,
            dice: fastrand::Rng::with_seed(manners.seed),
        }
    }

    /// What is called, and whether it is told that all is well, and after it has hung.
    pub(super) fn call(&mut self, call: Call<'_>) -> (bool, bool) {
        self.calls += 1;
        let fate = self.fate();
        if fate.is_done {
            self.write(call);
        }
        (!fate.fails, fate.hangs)
    }

    fn fate(&mut self) -> Fate {
        if self.away {
            return Fate { fails: true, is_done: false, hangs: false };
        }
        let Book { manners: Manners { fails, hangs, .. }, dice, .. } = self;
        let hangs = *hangs > 0 && dice.u32(..*hangs) == 0;
        let fails = hangs || *fails > 0 && dice.u32(..*fails) == 0;
        Fate { fails, is_done: !fails || dice.bool(), hangs }
    }

    fn write(&mut self, call: Call<'_>) {
        if call.once.is_some_and(|once| !self.done.insert(once.to_owned())) {
            self.repeated += 1;
            return;
        }
        let key = call.key.to_owned();
        let token = match call.value {
            Some(value) => {
                let token = token_of(value).unwrap_or_else(|| String::from_utf8_lossy(value).into_owned());
                self.values.insert(key.clone(), token.clone());
                token
            }
            None => deleting(self.values.remove(&key).as_deref().unwrap_or(NOTHING)),
        };
        if let Some(sequence) = call.sequence
            && self.sequences.insert(key.clone(), sequence).is_some_and(|last| sequence < last)
        {
            self.backward.push(format!("{token} of {key} has the number {sequence}, below the one before it"));
        }
        self.effects.entry(key).or_default().push(Effect { token, at: now() });
    }
}

async fn answer(
    State(book): State<Arc<Mutex<Book>>>,
    Path(key): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let sequence = text("headrace-sequence").and_then(|text| text.parse().ok());
    let value = (method != Method::DELETE).then_some(&*body);
    let call = Call { key: &key, value, once: text("idempotency-key"), sequence };
    let (is_well, hangs, hang) = {
        let mut book = locked(&book);
        let (is_well, hangs) = book.call(call);
        (is_well, hangs, book.manners.hang)
    };
    if hangs {
        // The first tick is now.
        let mut clock = tokio::time::interval(hang);
        clock.tick().await;
        clock.tick().await;
    }
    if is_well { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}
