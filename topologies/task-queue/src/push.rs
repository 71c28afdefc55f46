//! Handlers that are called: each attempt is a POST to a queue's URL, whose answer is the outcome.
//!
//! | answer | outcome |
//! |---|---|
//! | 2xx | done; the body is the result |
//! | 408, 425, 429, 5xx, none in time, no connection | failed: another attempt may help |
//! | any other | refused: none can |
//!
//! The payload is the body. What else is known of the task is in headers: `task-id`, `task-queue`, `task-kind`, `task-attempt`,
//! `task-deadline`, and `traceparent`. The same attempt may be posted twice, if this process is killed in between; a handler with
//! an effect outside tells them apart by `task-id` (`idempotency-key` is the same, for those that know it).

use std::time::Duration;

use headrace::error::RecordError;
use headrace::processor::{Attempt, Given, Worker};
use headrace::record::Record;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};

use crate::tasks::{Outcome, OutcomeKind, ReadyTask};

/// The longest result that is kept, in bytes; it goes through topics and a store.
const LONGEST_RESULT: usize = 256 << 10;
/// The longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 1 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub struct Push {
    client: Client,
    url: Url,
    timeout: Duration,
    /// Who this is, in outcomes.
    worker: String,
}

impl Push {
    /// Nothing is called yet.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(url: Url, timeout: Duration, worker: &str) -> reqwest::Result<Self> {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Push { client, url, timeout, worker: worker.to_owned() })
    }

    async fn call(&self, job: &ReadyTask) -> Result<(StatusCode, Vec<u8>), String> {
        let request = self.client.post(self.url.clone()).headers(headers(job)).timeout(self.timeout);
        let said = |error: reqwest::Error| {
            if error.is_timeout() { format!("no answer within {:?}", self.timeout) } else { chain(&error) }
        };
        let mut answer = request.body(job.task.payload.clone()).send().await.map_err(said)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(said)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_RESULT {
                return Err(format!("an answer of more than {LONGEST_RESULT} bytes; keep large results elsewhere"));
            }
        }
        Ok((answer.status(), body))
    }

    fn outcome(&self, job: &ReadyTask, kind: OutcomeKind, result: Option<Vec<u8>>, error: Option<String>) -> Outcome {
        let (id, attempt, worker) = (job.task.id.clone(), job.attempt, Some(self.worker.clone()));
        Outcome { id, attempt, kind, result, error, progress: None, worker }
    }
}

impl Worker for Push {
    type KeyIn = String;
    type ValueIn = ReadyTask;
    type KeyOut = String;
    type ValueOut = Outcome;

    async fn run(&self, record: &Record<String, ReadyTask>, _: &Attempt) -> Given<String, Outcome> {
        let job = &record.value;
        let outcome = match self.call(job).await {
            Ok((status, body)) if status.is_success() => self.outcome(job, OutcomeKind::Done, Some(body), None),
            Ok((status, body)) => {
                let kind = if may_pass(status) { OutcomeKind::Failed } else { OutcomeKind::Refused };
                self.outcome(job, kind, None, Some(reason(status, &body)))
            }
            Err(reason) => self.outcome(job, OutcomeKind::Failed, None, Some(reason)),
        };
        Ok(vec![record.map(job.lane.clone(), outcome)])
    }

    /// The attempt has failed, whatever the handlers have made of it.
    fn give_up(
        &self,
        record: &Record<String, ReadyTask>,
        _: &Attempt,
        error: &RecordError,
    ) -> Option<Vec<Record<String, Outcome>>> {
        let job = &record.value;
        let outcome = self.outcome(job, OutcomeKind::Failed, None, Some(error.reason.clone()));
        Some(vec![record.map(job.lane.clone(), outcome)])
    }
}

/// Whether the same request may be answered otherwise later (RFC 9110, RFC 6585).
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

fn headers(job: &ReadyTask) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut push = |name: &'static str, value: &str| {
        // What is no header value (line breaks, other scripts) goes percent-encoded, as in RFC 8187.
        let value = HeaderValue::from_str(value).or_else(|_| HeaderValue::from_str(&percent(value)));
        if let Ok(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let task = &job.task;
    push("task-id", &task.id);
    push("idempotency-key", &task.id);
    push("task-queue", &task.queue);
    push("task-kind", &task.kind);
    push("task-attempt", &job.attempt.to_string());
    if let Some(deadline) = task.deadline {
        push("task-deadline", &deadline.to_string());
    }
    if let Some(trace) = &task.trace {
        push("traceparent", trace);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers
}

fn percent(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn reason(status: StatusCode, body: &[u8]) -> String {
    let said = String::from_utf8_lossy(&body[..body.len().min(LONGEST_REASON)]);
    if said.trim().is_empty() { format!("answered {status}") } else { format!("answered {status}: {}", said.trim()) }
}

/// reqwest's own words leave out the causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
