//! Why a request is answered with nothing but an error: nothing of it was written.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headrace::runtime::LookError;
use serde_json::json;

/// Seconds after which another try is worth it.
pub(super) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What is wrong with a request as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It can't be read.
    Bad(String),
    /// Nobody has made the namespace, or this instance has not heard of it.
    NoNamespace,
    /// There is nothing of the name that is asked for.
    Absent(String),
    /// The body, or the number of mutations in it.
    TooLarge(String),
    /// A body of a kind that is not known.
    Kind,
    /// The namespace has so many requests under way, and may have no more.
    Crowded(usize),
    /// All of them together have no room.
    Full,
    /// What has to be asked is away.
    Away(String),
    /// What has to be asked is broken.
    Failed(String),
}

impl From<LookError> for Refusal {
    fn from(error: LookError) -> Self {
        match error {
            LookError::Away(reason) => Refusal::Away(reason),
            LookError::Failed(reason) => Refusal::Failed(reason),
        }
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::Bad(_) => StatusCode::BAD_REQUEST,
            Refusal::NoNamespace | Refusal::Absent(_) => StatusCode::NOT_FOUND,
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Kind => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::Crowded(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Full | Refusal::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn reason(self) -> String {
        match self {
            Refusal::NoNamespace => {
                "the namespace is not known; make it with `write-ahead-log namespaces set`, it is known a moment later"
                    .to_owned()
            }
            Refusal::Kind => {
                "content-type: send application/json, application/x-ndjson, or application/avro (one datum without framing)"
                    .to_owned()
            }
            Refusal::Crowded(most) => format!(
                "the namespace has {most} requests under way, as many as intake.requests allows; send more mutations in one, or wait"
            ),
            Refusal::Full => "the intake holds as much as intake.memory allows; wait".to_owned(),
            Refusal::Bad(reason)
            | Refusal::Absent(reason)
            | Refusal::TooLarge(reason)
            | Refusal::Away(reason)
            | Refusal::Failed(reason) => reason,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(json!({ "error": self.reason() }))).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_its_status_and_says_when_to_try_again() {
        for (refusal, status, again) in [
            (Refusal::Bad("x".into()), 400, false),
            (Refusal::NoNamespace, 404, false),
            (Refusal::Absent("x".into()), 404, false),
            (Refusal::TooLarge("x".into()), 413, false),
            (Refusal::Kind, 415, false),
            (Refusal::Crowded(1), 429, true),
            (Refusal::Full, 503, true),
            (LookError::Away("x".into()).into(), 503, true),
            (LookError::Failed("x".into()).into(), 500, false),
        ] {
            let response = refusal.into_response();
            let again_told = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!((response.status().as_u16(), again_told), (status, again));
        }
    }
}
