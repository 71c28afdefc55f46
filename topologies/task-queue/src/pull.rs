//! Handlers that ask: each takes an attempt when it has time for one, by HTTP.
//!
//! ```text
//!  POST /queues/{queue}/lease?wait=20s      200 {"lease", "id", "kind", "attempt", "payload", …}, or 204: nothing to do
//!  POST /leases/{lease}/working             204: goes on; 410: it has run out, somebody else has the task
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
use headrace::config::Span;
use headrace::error::RecordError;
use headrace::processor::{Attempt, BoxFuture, Failed, Given, Worker};
use headrace::record::Record;
use serde::{Deserialize, Serialize};

use crate::desk::{Desk, Lease, Silence, Word};
use crate::tasks::{Outcome, OutcomeKind, ReadyTask};

/// The longest wait for an attempt.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Hands attempts to whoever asks at a desk.
pub struct Pull(pub Desk);

impl Worker for Pull {
    type KeyIn = String;
    type ValueIn = ReadyTask;
    type KeyOut = String;
    type ValueOut = Outcome;

    async fn run(&self, record: &Record<String, ReadyTask>, _: &Attempt) -> Given<String, Outcome> {
        let job = &record.value;
        let (kind, result, error) = match self.0.offer(Arc::new(job.clone())).await {
            Ok(Word::Ended { kind, result, error }) => (kind, result, error),
            Err(Silence::NotTaken) => return Err(Failed::Again("nobody asks for it here".to_owned())),
            Ok(Word::Working) | Err(Silence::RunOut) => {
                (OutcomeKind::Failed, None, Some(format!("its handler has said nothing for {:?}", self.0.lease)))
            }
        };
        Ok(vec![record.map(job.lane.clone(), outcome(job, kind, result, error))])
    }

    fn admit(&self) -> Option<BoxFuture<'static, ()>> {
        let desk = self.0.clone();
        Some(Box::pin(async move { desk.wanted().await }))
    }

    fn give_up(
        &self,
        record: &Record<String, ReadyTask>,
        _: &Attempt,
        error: &RecordError,
    ) -> Option<Vec<Record<String, Outcome>>> {
        let job = &record.value;
        let outcome = outcome(job, OutcomeKind::Failed, None, Some(error.reason.clone()));
        Some(vec![record.map(job.lane.clone(), outcome)])
    }
}

fn outcome(job: &ReadyTask, kind: OutcomeKind, result: Option<Vec<u8>>, error: Option<String>) -> Outcome {
    let (id, attempt) = (job.task.id.clone(), job.attempt);
    Outcome { id, attempt, kind, result, error, progress: None, worker: None }
}

/// The desks by queue.
pub type Desks = Arc<BTreeMap<String, Desk>>;

/// The routes of all desks.
pub fn routes(desks: Desks) -> Router {
    Router::new()
        .route("/queues/{queue}/lease", post(lease))
        .route("/leases/{lease}/working", post(working))
        .route("/leases/{lease}/done", post(done))
        .route("/leases/{lease}/failed", post(failed))
        .with_state(desks)
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
struct Final {
    #[serde(default, rename = "final")]
    is_final: bool,
}

fn refused(status: StatusCode, text: String) -> Response {
    (status, text + "\n").into_response()
}

async fn lease(State(desks): State<Desks>, Path(queue): Path<String>, Query(wait): Query<Wait>) -> Response {
    let Some(desk) = desks.get(&queue) else {
        let known = desks.keys().cloned().collect::<Vec<_>>().join(", ");
        return refused(StatusCode::NOT_FOUND, format!("no queue {queue} is pulled here; there are: {known}"));
    };
    let patience = match wait.wait.map(|wait| wait.parse::<Span>()).transpose() {
        Ok(span) => span.map_or(Duration::ZERO, Span::duration).min(LONGEST_WAIT),
        Err(reason) => return refused(StatusCode::BAD_REQUEST, format!("wait: {reason}")),
    };
    match desk.ask(patience).await {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Lease { token, job }) => {
            let task = &job.task;
            let shown = Shown {
                lease: &format!("{queue}.{token}"),
                lease_ms: u64::try_from(desk.lease.as_millis()).unwrap_or(u64::MAX),
                id: &task.id,
                queue: &task.queue,
                kind: &task.kind,
                attempt: job.attempt,
                deadline: task.deadline,
                trace: task.trace.as_deref(),
                payload: STANDARD.encode(&task.payload),
            };
            Json(shown).into_response()
        }
    }
}

async fn working(State(desks): State<Desks>, Path(lease): Path<String>) -> Response {
    said(&desks, &lease, Word::Working, StatusCode::NO_CONTENT).await
}

async fn done(State(desks): State<Desks>, Path(lease): Path<String>, result: Bytes) -> Response {
    let word = Word::Ended { kind: OutcomeKind::Done, result: Some(result.to_vec()), error: None };
    said(&desks, &lease, word, StatusCode::ACCEPTED).await
}

async fn failed(
    State(desks): State<Desks>,
    Path(lease): Path<String>,
    Query(how): Query<Final>,
    reason: String,
) -> Response {
    let kind = if how.is_final { OutcomeKind::Refused } else { OutcomeKind::Failed };
    let word = Word::Ended { kind, result: None, error: Some(reason).filter(|reason| !reason.is_empty()) };
    said(&desks, &lease, word, StatusCode::ACCEPTED).await
}

async fn said(desks: &Desks, lease: &str, word: Word, well: StatusCode) -> Response {
    let desk = lease.rsplit_once('.').and_then(|(queue, token)| Some((desks.get(queue)?, token)));
    let heard = match desk {
        Some((desk, token)) => desk.say(token, word).await,
        None => false,
    };
    match heard {
        true => well.into_response(),
        false => {
            refused(StatusCode::GONE, "the lease is over, or was never here; somebody else has the task".to_owned())
        }
    }
}
