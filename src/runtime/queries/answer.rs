//! What `/state` answers: entries and pages as JSON, and each refusal with its status and its way out.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::token::{PositionJson, Token};
use crate::position::Partition;
use crate::store::ViewError;

/// Seconds after which another try is worth it: about what a rebalance takes.
const RETRY_AFTER: &str = "1";

/// One key's value.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) store: String,
    pub(super) key: Box<RawValue>,
    pub(super) value: Box<RawValue>,
    #[serde(flatten)]
    pub(super) part: Part,
    /// Partitions that gave no answer; the key may be there, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unanswered: Vec<i32>,
}

/// Who answered for a partition, and how fresh it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) partition: i32,
    pub(super) task: String,
    pub(super) instance: String,
    /// The next offset of each input.
    pub(super) position: PositionJson,
    /// The same, to be given as `min-position`.
    pub(super) token: String,
}

/// One entry of a page.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) key: Box<RawValue>,
    pub(super) value: Box<RawValue>,
    pub(super) partition: i32,
}

/// A page of a scan.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Rows {
    pub(super) store: String,
    pub(super) entries: Vec<Row>,
    pub(super) partitions: Vec<Part>,
    /// Of all of them.
    pub(super) token: String,
    /// Goes on after the last entry; null at the end.
    pub(super) next: Option<String>,
}

/// What an instance says of a key that it does not have, and of whatever else went wrong.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Complaint {
    #[serde(default)]
    pub(super) error: String,
    /// The present position; a 404 without one is about the store.
    pub(super) token: Option<String>,
}

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Bad(String),
    #[error("there is no store of this name")]
    UnknownStore(Vec<String>),
    #[error("the key is not there")]
    Absent(Token),
    #[error("{0}")]
    InMemory(String),
    #[error("partition {0} is not on this instance")]
    Elsewhere(Partition, Option<String>),
    #[error("it is on another instance")]
    Redirect(String),
    #[error("more than one partition has the key; name one as partition=")]
    Ambiguous(Vec<i32>),
    #[error("{0}")]
    Unavailable(String),
    #[error("the store has not come to min-position in time")]
    Late(Token),
    #[error("too many queries are under way")]
    Busy,
    #[error("{0}")]
    Failed(String),
}

impl Refusal {
    /// Its name in `headrace_queries_total`.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Refusal::Bad(_) | Refusal::Ambiguous(_) => "bad-request",
            Refusal::UnknownStore(_) => "unknown-store",
            Refusal::Absent(_) => "absent",
            Refusal::InMemory(_) => "in-memory",
            Refusal::Elsewhere(..) | Refusal::Redirect(_) => "elsewhere",
            Refusal::Unavailable(_) => "unavailable",
            Refusal::Late(_) => "late",
            Refusal::Busy => "busy",
            Refusal::Failed(_) => "failed",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Refusal::Bad(_) => StatusCode::BAD_REQUEST,
            Refusal::UnknownStore(_) | Refusal::Absent(_) => StatusCode::NOT_FOUND,
            Refusal::InMemory(_) => StatusCode::NOT_IMPLEMENTED,
            Refusal::Elsewhere(..) => StatusCode::MISDIRECTED_REQUEST,
            Refusal::Redirect(_) => StatusCode::TEMPORARY_REDIRECT,
            Refusal::Ambiguous(_) => StatusCode::CONFLICT,
            Refusal::Unavailable(_) | Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Late(_) => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<ViewError> for Refusal {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Closed => Refusal::Unavailable("the task is moving or being reconciled".to_owned()),
            ViewError::Sparse => Refusal::Unavailable(error.to_string()),
            ViewError::Store(error) => Refusal::Failed(error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut body = json!({ "error": self.to_string() });
        match &self {
            Refusal::UnknownStore(known) => body["stores"] = json!(known),
            Refusal::Absent(reached) | Refusal::Late(reached) => {
                body["position"] = json!(reached.to_json());
                body["token"] = json!(reached.to_string());
            }
            Refusal::Elsewhere(partition, owner) => {
                body["partition"] = json!(partition.0);
                body["owner"] = json!(owner);
            }
            Refusal::Ambiguous(partitions) => body["partitions"] = json!(partitions),
            _ => {}
        }
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::MISDIRECTED_REQUEST {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER));
        }
        if let Refusal::Redirect(location) = &self
            && let Ok(location) = location.parse()
        {
            headers.insert(header::LOCATION, location);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_its_status_and_says_when_and_where_to_try_again() {
        let retries = |response: &Response| response.headers().contains_key(header::RETRY_AFTER);
        for (refusal, status, again) in [
            (Refusal::Bad("x".into()), 400, false),
            (Refusal::UnknownStore(Vec::new()), 404, false),
            (Refusal::Absent(Token::default()), 404, false),
            (Refusal::InMemory("x".into()), 501, false),
            (Refusal::Elsewhere(Partition(1), None), 421, true),
            (Refusal::Ambiguous(vec![0, 1]), 409, false),
            (Refusal::Unavailable("x".into()), 503, true),
            (Refusal::Busy, 503, true),
            (Refusal::Late(Token::default()), 504, false),
            (Refusal::Failed("x".into()), 500, false),
        ] {
            let response = refusal.into_response();
            assert_eq!((response.status().as_u16(), retries(&response)), (status, again));
        }
        let redirected = Refusal::Redirect("http://host:1/state/s?partition=1".into()).into_response();
        assert_eq!(redirected.status().as_u16(), 307);
        assert_eq!(redirected.headers()[header::LOCATION], "http://host:1/state/s?partition=1");
    }
}
