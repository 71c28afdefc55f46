//! Handlers that are called: each attempt is a POST to a queue's URL, whose answer is the outcome.
//!
//! | answer | outcome |
//! |---|---|
//! | 2xx | done; the body is the result |
//! | 408, 425, 429, 5xx, none in time, no connection | failed: another attempt may help |
//! | any other | refused: none can |
//!
//! The payload is the body. What else is known of the task is in headers: `task-id`, `task-queue`, `task-kind`, `task-attempt`,
//! `task-deadline`, `traceparent`, and `task-lease`: by its name the handler may say at this instance that it is still at it, and how
//! much is done. A call that is heard of may take longer than the time-out; one whose task is cancelled is cut off.
//!
//! The same attempt may be posted twice, if this process is killed in between; a handler with an effect outside tells them apart
//! by `task-id` (`idempotency-key` is the same, for those that know it).

use headrace::error::RecordError;
use headrace::processor::{Attempt, BoxFuture, Failed, Given, Lookups, Worker};
use headrace::record::Record;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};

use crate::handlers::{Handlers, Work, given_up};
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
    handlers: Handlers,
}

impl Push {
    /// Nothing is called yet.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(url: Url, handlers: Handlers) -> reqwest::Result<Self> {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Push { client, url, handlers })
    }

    async fn call(&self, ready: &ReadyTask, lease: &str) -> Outcome {
        match self.answer(ready, lease).await {
            Ok((status, body)) if status.is_success() => ready.outcome(OutcomeKind::Done, Some(body), None),
            Ok((status, body)) => {
                let kind = if may_pass(status) { OutcomeKind::Failed } else { OutcomeKind::Refused };
                ready.outcome(kind, None, Some(reason(status, &body)))
            }
            Err(reason) => ready.outcome(OutcomeKind::Failed, None, Some(reason)),
        }
    }

    async fn answer(&self, ready: &ReadyTask, lease: &str) -> Result<(StatusCode, Vec<u8>), String> {
        let request = self.client.post(self.url.clone()).headers(headers(ready, lease));
        let said = |error: reqwest::Error| chain(&error);
        let mut answer = request.body(ready.task.payload.clone()).send().await.map_err(said)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(said)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_RESULT {
                return Err(format!("an answer of more than {LONGEST_RESULT} bytes; keep large results elsewhere"));
            }
        }
        Ok((answer.status(), body))
    }

    /// The answer, or what the handler says by its lease before; the call is cut off when it says nothing for too long.
    async fn work(&self, record: &Record<String, ReadyTask>, job: &Work) -> Result<Outcome, Failed> {
        let mut lease = self.handlers.leases.begin();
        let name = format!("{}.{}", self.handlers.queue, lease.token);
        tokio::select! {
            outcome = self.call(&record.value, &name) => Ok(outcome),
            outcome = self.handlers.last_word(record, job, &mut lease) => outcome,
        }
    }
}

impl Worker for Push {
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

    fn give_up(
        &self,
        record: &Record<String, ReadyTask>,
        _: &Attempt,
        error: &RecordError,
    ) -> Option<Vec<Record<String, Outcome>>> {
        Some(vec![given_up(record, error)])
    }
}

/// Whether the same request may be answered otherwise later (RFC 9110, RFC 6585).
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

fn headers(job: &ReadyTask, lease: &str) -> HeaderMap {
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
    push("task-lease", lease);
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
