//! Handlers in a process of their own, as far as the queue can see: an HTTP server that is called, and clients that ask. Both
//! answer as the task's [`Fate`] says, and keep a ledger of all calls.
//!
//! ```text
//!  instance ── POST /<gate> ──▶ server ─┐
//!                                       ├─▶ Fate::answer ─▶ ledger
//!  instance ◀── lease, done ─── clients ┘
//! ```
//!
//! A gate holds the calls that come through it for as long as it is shut: so a test knows that an instance has its hands full.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fate::{Answer, Fate, Job};
use super::ground::{TOKEN, now};
use crate::application::tokio;
use crate::{Failure, Result};

/// What a slow task takes, if nothing else is said.
const SLOW: Duration = Duration::from_millis(150);
/// Between two questions to an instance that is away.
const REST: Duration = Duration::from_millis(100);

/// One call of a handler.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The attempt, from 1.
    pub attempt: u32,
    /// When it began by the wall clock, in milliseconds since the epoch.
    pub at: i64,
    /// When it began.
    pub begun: Instant,
    /// When it ended, and with what; it has not, if the caller went away.
    pub ended: Option<(Instant, Answer)>,
}

/// All calls, by task.
pub type Calls = HashMap<Job, Vec<Call>>;

/// What all handlers share.
#[derive(Default)]
struct Ledger {
    calls: Mutex<Calls>,
    gates: Mutex<HashMap<String, Arc<Gate>>>,
    slow: Mutex<Option<Duration>>,
}

/// Calls from one instance.
struct Gate {
    open: watch::Sender<bool>,
    held: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Gate { open: watch::Sender::new(true), held: watch::Sender::new(0) }
    }
}

/// They end when it is dropped.
pub struct Handlers {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    _stop: DropGuard,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handlers {
    /// A server on a free port of loopback.
    ///
    /// # Errors
    /// There is none.
    pub fn start() -> Result<Handlers> {
        let ledger = Arc::<Ledger>::default();
        let listener = tokio().block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/{gate}", post(answer)).with_state(Arc::clone(&ledger));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio().spawn(async move {
            tokio::select! {
                () = stopped => Ok(()),
                ended = axum::serve(listener, router) => ended,
            }
        });
        Ok(Handlers { address, ledger, _stop: stop.clone().drop_guard(), stop })
    }

    /// Where calls come through this gate.
    pub fn url(&self, gate: &str) -> String {
        format!("http://{}/{gate}", self.address)
    }

    /// How long slow tasks take from now on.
    pub fn set_slow(&self, span: Duration) {
        *locked(&self.ledger.slow) = Some(span);
    }

    /// Opens a gate, or shuts it.
    pub fn set_open(&self, gate: &str, open: bool) {
        self.ledger.gate(gate).open.send_replace(open);
    }

    /// How many calls a gate holds.
    pub fn held(&self, gate: &str) -> usize {
        *self.ledger.gate(gate).held.borrow()
    }

    /// So many clients that ask this instance for a queue's tasks, until the end.
    pub fn ask(&self, instance: &str, queue: &str, clients: usize) {
        for _ in 0..clients {
            let client = Client {
                http: reqwest::Client::new(),
                lease: format!("http://{instance}/queues/{queue}/lease?wait=5s"),
                leases: format!("http://{instance}/leases"),
                ledger: Arc::clone(&self.ledger),
            };
            let stop = self.stop.clone();
            tokio().spawn(async move { stop.run_until_cancelled(client.run()).await });
        }
    }

    /// What has been called by now.
    pub fn calls(&self) -> Calls {
        locked(&self.ledger.calls).clone()
    }
}

impl Ledger {
    fn gate(&self, name: &str) -> Arc<Gate> {
        Arc::clone(locked(&self.gates).entry(name.to_owned()).or_default())
    }

    /// Notes the call, works on it, and notes its end.
    async fn work(&self, job: Job, attempt: u32) -> Answer {
        let at = {
            let mut calls = locked(&self.calls);
            let own = calls.entry(job).or_default();
            own.push(Call { attempt, at: now(), begun: Instant::now(), ended: None });
            own.len() - 1
        };
        if job.fate == Fate::Slow {
            let span = locked(&self.slow).unwrap_or(SLOW);
            // The first tick is now.
            let mut clock = tokio::time::interval(span);
            clock.tick().await;
            clock.tick().await;
        }
        let answer = job.fate.answer(job.number, attempt);
        if let Some(call) = locked(&self.calls).get_mut(&job).and_then(|own| own.get_mut(at)) {
            call.ended = Some((Instant::now(), answer));
        }
        answer
    }
}

/// Counts a call for as long as a gate holds it, also if its caller goes away.
struct Held<'a>(&'a Gate);

impl<'a> Held<'a> {
    fn by(gate: &'a Gate) -> Self {
        gate.held.send_modify(|held| *held += 1);
        Held(gate)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.send_modify(|held| *held -= 1);
    }
}

async fn answer(
    State(ledger): State<Arc<Ledger>>,
    Path(gate): Path<String>,
    headers: HeaderMap,
    _: Bytes,
) -> (StatusCode, String) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (Ok(job), Ok(attempt)) = (text("task-id").parse::<Job>(), text("task-attempt").parse()) else {
        return (StatusCode::BAD_REQUEST, "no task, or no attempt".to_owned());
    };
    let gate = ledger.gate(&gate);
    let mut open = gate.open.subscribe();
    let held = Held::by(&gate);
    // The gate is there for as long as the ledger is.
    _ = open.wait_for(|open| *open).await;
    drop(held);
    match ledger.work(job, attempt).await {
        Answer::Done => (StatusCode::OK, job.result()),
        Answer::NotNow => (StatusCode::SERVICE_UNAVAILABLE, "not now".to_owned()),
        Answer::Never => (StatusCode::UNPROCESSABLE_ENTITY, "never".to_owned()),
    }
}

/// Asks one instance for work.
struct Client {
    http: reqwest::Client,
    lease: String,
    leases: String,
    ledger: Arc<Ledger>,
}

impl Client {
    async fn run(self) {
        let mut rest = tokio::time::interval(REST);
        rest.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if self.turn().await.is_err() {
                // It is away, or knows the lease no more; both pass.
                rest.tick().await;
            }
        }
    }

    async fn post(&self, url: &str, body: String) -> reqwest::Result<reqwest::Response> {
        self.http.post(url).bearer_auth(TOKEN).body(body).send().await?.error_for_status()
    }

    /// Asks once, and does what it is given.
    async fn turn(&self) -> Result<()> {
        let given = self.post(&self.lease, String::new()).await?;
        if given.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        let given: Value = serde_json::from_slice(&given.bytes().await?)?;
        let text = |name: &str| given[name].as_str().ok_or_else(|| Failure::from(format!("a lease without {name}")));
        let (job, lease): (Job, _) = (text("id")?.parse()?, format!("{}/{}", self.leases, text("lease")?));
        let attempt = given["attempt"].as_u64().ok_or("a lease without an attempt")?;
        match self.ledger.work(job, attempt.try_into()?).await {
            Answer::Done => self.post(&format!("{lease}/done"), job.result()).await?,
            Answer::NotNow => self.post(&format!("{lease}/failed"), "not now".to_owned()).await?,
            Answer::Never => self.post(&format!("{lease}/failed?final=true"), "never".to_owned()).await?,
        };
        Ok(())
    }
}
