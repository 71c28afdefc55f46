//! Handlers that ask: each takes an attempt when it has time for one, by HTTP. Handlers that are called speak by the same routes of
//! what they have in hands.
//!
//! ```text
//!  POST /queues/{queue}/lease?wait=20s      200 {"lease", "id", "kind", "attempt", "payload", …}, or 204: nothing to do
//!  POST /leases/{lease}/working?progress=.4 204: goes on; 410: it has run out, or the task was cancelled
//!  POST /leases/{lease}/done                202; the body is the result
//!  POST /leases/{lease}/failed?final=true   202; the body says why; final: no other attempt can help
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::BoxStream;
use headrace::config::Span;
use headrace::error::RecordError;
use headrace::processor::{Attempt, BoxFuture, Failed, Given, Lookups, Worker};
use headrace::record::Record;
use serde::{Deserialize, Serialize};

use crate::desk::{Desk, Taken};
use crate::handlers::{Handlers, Work, given_up};
use crate::leases::Word;
use crate::tasks::{Outcome, OutcomeKind, ReadyTask};

/// The longest wait for an attempt.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Hands attempts to whoever asks at a desk.
#[derive(Debug)]
pub struct Pull {
    /// Where they ask.
    pub desk: Desk,
    /// Who asks.
    pub handlers: Handlers,
}

impl Pull {
    async fn work(&self, record: &Record<String, ReadyTask>, job: &Work) -> Result<Outcome, Failed> {
        let mut lease = self.handlers.leases.begin();
        let ready = Arc::new(record.value.clone());
        let Some(_out) = self.desk.offer(&lease.token, ready, self.handlers.silence).await else {
            return Err(Failed::Again("nobody asks for it here".to_owned()));
        };
        self.handlers.last_word(record, job, &mut lease).await
    }
}

impl Worker for Pull {
    type KeyIn = String;
    type ValueIn = ReadyTask;
    type KeyOut = String;
    type ValueOut = Outcome;

    async fn run(&self, record: &Record<String, ReadyTask>, job: &Work) -> Given<String, Outcome> {
        self.handlers.attend(record, job, self.work(record, job)).await
    }

    fn hold(&self, lookups: &Lookups) -> BoxFuture<'static, ()> {
        self.handlers.wishes.resumed(&self.handlers.queue, lookups)
    }

    fn bound(&self) -> Option<BoxStream<'static, usize>> {
        Some(self.desk.bound())
    }

    fn give_up(
        &self,
        record: &Record<String, ReadyTask>,
        _: &Attempt,
        error: &RecordError,
    ) -> Option<Vec<Record<String, Outcome>>> {
        Some(vec![given_up(record, error)])
    }
}

/// Who may be spoken with here, by queue.
#[derive(Debug, Clone)]
pub struct Counter {
    /// Where attempts are asked for, if they are.
    pub desk: Option<Desk>,
    /// Who has them.
    pub handlers: Handlers,
}

/// All of them, by queue.
pub type Counters = Arc<BTreeMap<String, Counter>>;

/// What handlers can ask for and say.
pub fn routes(counters: Counters) -> Router {
    Router::new()
        .route("/queues/{queue}/lease", post(lease))
        .route("/leases/{lease}/working", post(working))
        .route("/leases/{lease}/done", post(done))
        .route("/leases/{lease}/failed", post(failed))
        .with_state(counters)
}

/// An attempt as a handler sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown<'a> {
    lease: &'a str,
    /// Within so many milliseconds something has to be said.
    lease_ms: u64,
    id: &'a str,
    queue: &'a str,
    kind: &'a str,
    attempt: i32,
    deadline: Option<i64>,
    trace: Option<&'a str>,
    /// In base64.
    payload: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    wait: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Going {
    progress: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Final {
    #[serde(default, rename = "final")]
    is_final: bool,
}

fn refused(status: StatusCode, text: String) -> Response {
    (status, text + "\n").into_response()
}

async fn lease(State(counters): State<Counters>, Path(queue): Path<String>, Query(wait): Query<Wait>) -> Response {
    let asked = counters.get(&queue).and_then(|counter| Some((counter.desk.as_ref()?, counter.handlers.silence)));
    let Some((desk, silence)) = asked else {
        let known = counters.iter().filter(|(_, counter)| counter.desk.is_some()).map(|(name, _)| name.as_str());
        let known = known.collect::<Vec<_>>().join(", ");
        return refused(StatusCode::NOT_FOUND, format!("no queue {queue} is pulled here; there are: {known}"));
    };
    let patience = match wait.wait.map(|wait| wait.parse::<Span>()).transpose() {
        Ok(span) => span.map_or(Duration::ZERO, Span::duration).min(LONGEST_WAIT),
        Err(reason) => return refused(StatusCode::BAD_REQUEST, format!("wait: {reason}")),
    };
    match desk.ask(patience).await {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Taken { token, ready }) => {
            let task = &ready.task;
            let shown = Shown {
                lease: &format!("{queue}.{token}"),
                lease_ms: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
                id: &task.id,
                queue: &task.queue,
                kind: &task.kind,
                attempt: ready.attempt,
                deadline: task.deadline,
                trace: task.trace.as_deref(),
                payload: STANDARD.encode(&task.payload),
            };
            Json(shown).into_response()
        }
    }
}

async fn working(State(counters): State<Counters>, Path(lease): Path<String>, Query(going): Query<Going>) -> Response {
    if let Some(progress) = going.progress.filter(|progress| !(0.0..=1.0).contains(progress)) {
        return refused(StatusCode::BAD_REQUEST, format!("progress: {progress} is not between 0 and 1"));
    }
    said(&counters, &lease, Word::Working { progress: going.progress }, StatusCode::NO_CONTENT).await
}

async fn done(State(counters): State<Counters>, Path(lease): Path<String>, result: Bytes) -> Response {
    let word = Word::Ended { kind: OutcomeKind::Done, result: Some(result.to_vec()), error: None };
    said(&counters, &lease, word, StatusCode::ACCEPTED).await
}

async fn failed(
    State(counters): State<Counters>,
    Path(lease): Path<String>,
    Query(how): Query<Final>,
    reason: String,
) -> Response {
    let kind = if how.is_final { OutcomeKind::Refused } else { OutcomeKind::Failed };
    let word = Word::Ended { kind, result: None, error: Some(reason).filter(|reason| !reason.is_empty()) };
    said(&counters, &lease, word, StatusCode::ACCEPTED).await
}

async fn said(counters: &Counters, lease: &str, word: Word, well: StatusCode) -> Response {
    let named = lease.rsplit_once('.').and_then(|(queue, token)| Some((counters.get(queue)?, token)));
    let heard = match named {
        Some((counter, token)) => counter.handlers.leases.say(token, word).await,
        None => false,
    };
    match heard {
        true => well.into_response(),
        false => {
            let reason =
                "the lease is over, or was never here: the task has ended, or somebody else has it; stop working on it";
            refused(StatusCode::GONE, reason.to_owned())
        }
    }
}
