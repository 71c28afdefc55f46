//! What is said of each mutation, and of all of them together.
//!
//! | status | all mutations of the request |
//! |---|---|
//! | 200 | have succeeded |
//! | 400, 413 | have failed by themselves: they are none, or too large |
//! | 503, Retry-After | are unknown, or have failed because Kafka or the registry did not take them: send them again |
//! | 207 | some this, some that: look at each |

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use headrace::kafka::{NotWritten, Written};
use serde::Serialize;

use super::refusal::RETRY_AFTER;

/// Whether a mutation is in the log (rule W1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Durable {
    Succeeded,
    Failed,
    Unknown,
}

/// Whose matter it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matter {
    Nobodys,
    Bad,
    TooLarge,
    Servers,
}

/// What is said of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Answer {
    durable: Durable,
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Sending it again won't help.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    permanent: bool,
    #[serde(skip)]
    matter: Matter,
}

impl Answer {
    /// It is no mutation, or none that can be taken; it was not written.
    pub(super) fn bad(token: Option<String>, reason: String) -> Self {
        Answer { durable: Durable::Failed, token, reason: Some(reason), permanent: true, matter: Matter::Bad }
    }

    /// It was not written, for no fault of its own.
    pub(super) fn not_taken(token: String, reason: String) -> Self {
        let (token, reason) = (Some(token), Some(reason));
        Answer { durable: Durable::Failed, token, reason, permanent: false, matter: Matter::Servers }
    }

    pub(super) fn of(token: String, written: Written) -> Self {
        let (durable, reason, matter) = match written {
            Written::Succeeded { .. } => (Durable::Succeeded, None, Matter::Nobodys),
            Written::Failed(reason) => {
                let is_large = matches!(reason, NotWritten::TooLarge(_));
                let matter = if is_large { Matter::TooLarge } else { Matter::Servers };
                (Durable::Failed, Some(reason.to_string()), matter)
            }
            Written::Unknown(reason) => {
                let way_out = "send it again with the same token, or ask for its status";
                (Durable::Unknown, Some(format!("{reason}; {way_out}")), Matter::Servers)
            }
        };
        Answer { durable, token: Some(token), reason, permanent: matter == Matter::TooLarge, matter }
    }

    /// Whether it is in the log for certain.
    pub(super) fn has_succeeded(&self) -> bool {
        self.durable == Durable::Succeeded
    }

    /// Whether it is in the log.
    pub(super) fn durable(&self) -> Durable {
        self.durable
    }

    /// Why it is not, or may not be.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The same with its place among others in its reason.
    pub(super) fn at(mut self, index: usize) -> Self {
        self.reason = self.reason.map(|reason| format!("item {index}: {reason}"));
        self
    }
}

/// The status of an answer about all of them; `well` if there is nothing to complain of.
pub(super) fn status(answers: &[Answer], well: StatusCode) -> StatusCode {
    let all = |matters: &[Matter]| answers.iter().all(|answer| matters.contains(&answer.matter));
    match () {
        () if all(&[Matter::Nobodys]) => well,
        () if all(&[Matter::TooLarge]) => StatusCode::PAYLOAD_TOO_LARGE,
        () if all(&[Matter::Bad, Matter::TooLarge]) => StatusCode::BAD_REQUEST,
        () if all(&[Matter::Servers]) => StatusCode::SERVICE_UNAVAILABLE,
        () => StatusCode::MULTI_STATUS,
    }
}

/// The answer with this body.
pub(super) fn response(status: StatusCode, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}

#[cfg(test)]
mod tests {
    use headrace::position::{Offset, Partition};

    use super::*;

    fn of(written: Written) -> Answer {
        Answer::of("t".to_owned(), written)
    }

    #[test]
    fn w1_the_status_tells_whether_anything_is_to_be_done() {
        let good = || of(Written::Succeeded { partition: Partition(1), offset: Some(Offset(2)) });
        let unknown = || of(Written::Unknown("timed out".to_owned()));
        let large = || of(Written::Failed(NotWritten::TooLarge("x".to_owned())));
        let full = || of(Written::Failed(NotWritten::Full));
        let bad = || Answer::bad(None, "x".to_owned());
        let away = || Answer::not_taken("t".to_owned(), "x".to_owned());
        for (answers, expected) in [
            (vec![], 200),
            (vec![good(), good()], 200),
            (vec![bad()], 400),
            (vec![bad(), large()], 400),
            (vec![large()], 413),
            (vec![unknown()], 503),
            (vec![unknown(), full(), away()], 503),
            (vec![good(), unknown()], 207),
            (vec![good(), bad()], 207),
            (vec![bad(), unknown()], 207),
        ] {
            let status = status(&answers, StatusCode::OK);
            assert_eq!(status.as_u16(), expected, "{answers:?}");
            let again = response(status, ()).headers().contains_key(header::RETRY_AFTER);
            assert_eq!(again, expected == 503);
        }
    }

    #[test]
    fn w1_each_of_the_three_has_its_word() {
        let json = |answer: Answer| serde_json::to_value(answer).unwrap();
        let good = json(of(Written::Succeeded { partition: Partition(0), offset: None }).at(3));
        assert_eq!(good, serde_json::json!({ "durable": "succeeded", "token": "t" }));
        let unknown = json(of(Written::Unknown("timed out".to_owned())).at(3));
        assert_eq!(unknown["durable"], "unknown");
        assert!(
            unknown["reason"].as_str().unwrap().starts_with("item 3: timed out; send it again with the same token")
        );
        assert_eq!(json(of(Written::Failed(NotWritten::Full)))["durable"], "failed");
    }
}
