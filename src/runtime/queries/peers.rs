//! Asking another instance, by its own `/state`.
//!
//! A request that came from an instance is answered from what is here, whatever it asks for: so two instances that disagree
//! about a task don't send a request round between them.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;

use super::answer::{Complaint, Refusal};
use super::request::Request;
use super::token::Token;
use crate::error::FatalError;

/// Says that a request comes from an instance, and from which.
pub(super) const ROUTED: &str = "headrace-routed";
/// Bytes of an answer; a page of 1 MiB may grow several times as JSON.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Patience with a connection to an instance that may just have gone.
const CONNECT: Duration = Duration::from_secs(2);
/// What an answer may take beyond the time that it may wait for a position.
const GRACE: Duration = Duration::from_secs(5);

/// How other instances are asked.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    client: reqwest::Client,
    own: String,
}

impl Peers {
    pub(super) fn new(instance: &str) -> Result<Self, FatalError> {
        let client = reqwest::Client::builder()
            // The address is another instance's, and answers by itself or not at all.
            .no_proxy()
            // Plain HTTP only: a host without any authority's certificate must do.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build();
        let failed =
            |source: reqwest::Error| FatalError::Other { context: "an HTTP client".into(), source: source.into() };
        let own = instance.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
        Ok(Peers { client: client.map_err(failed)?, own })
    }

    /// Sends a request on; the client's token goes with it, since instances of one application share theirs.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        address: &str,
        path: &str,
        request: &Request,
        token: Option<&HeaderValue>,
    ) -> Result<T, Refusal> {
        let mut asked = self.client.get(format!("http://{address}{path}")).timeout(request.patience() + GRACE);
        asked = asked.header(ROUTED, &self.own);
        if let Some(token) = token {
            asked = asked.header(header::AUTHORIZATION, token);
        }
        // Without the URL, which has the key.
        let away = |error: reqwest::Error| {
            tracing::debug!(target: "headrace::queries", error = %error.without_url(), address, "an instance did not answer");
            Refusal::Unavailable(
                "the instance that has the partition does not answer; it may be about to move".to_owned(),
            )
        };
        let mut answer = asked.send().await.map_err(away)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Refusal::Failed(format!("an instance's answer is larger than {MAX_ANSWER_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if status == StatusCode::OK {
            let parsed = serde_json::from_slice(&body);
            return parsed.map_err(|_| Refusal::Failed("an instance of another version has answered".to_owned()));
        }
        Err(refused(status, &serde_json::from_slice(&body).unwrap_or_default()))
    }
}

/// Another instance's refusal as our own.
fn refused(status: StatusCode, complaint: &Complaint) -> Refusal {
    let token = complaint.token.as_deref().and_then(|token| Token::parse(token).ok());
    match (status, token) {
        (StatusCode::NOT_FOUND, Some(token)) => Refusal::Absent(token),
        (StatusCode::GATEWAY_TIMEOUT, Some(token)) => Refusal::Late(token),
        (StatusCode::BAD_REQUEST, _) => Refusal::Bad(complaint.error.clone()),
        (StatusCode::UNAUTHORIZED, _) => {
            Refusal::Unavailable("the owner refuses the token; give all instances one http.state-token".to_owned())
        }
        (StatusCode::MISDIRECTED_REQUEST, _) => Refusal::Unavailable("the partition is just moving".to_owned()),
        (StatusCode::SERVICE_UNAVAILABLE, _) => Refusal::Unavailable(complaint.error.clone()),
        (status, _) => Refusal::Unavailable(format!("the instance that has the partition answers {status}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    /// What an instance sends is what its asker understands.
    #[tokio::test]
    async fn a_refusal_arrives_as_it_was_sent() {
        let token = || Token::parse("in:0:7").unwrap();
        for (sent, arrives) in [
            (Refusal::Absent(token()), "Absent(Token({"),
            (Refusal::Late(token()), "Late(Token({"),
            (Refusal::Bad("a".into()), "Bad(\"a\")"),
            (Refusal::Unavailable("b".into()), "Unavailable(\"b\")"),
            (Refusal::Busy, "Unavailable(\"too many queries are under way\")"),
            (Refusal::UnknownStore(vec!["s".into()]), "Unavailable(\"the instance that has the partition answers 404"),
            (Refusal::Elsewhere(crate::position::Partition(1), None), "Unavailable(\"the partition is just moving\")"),
        ] {
            let response = sent.into_response();
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let arrived = format!("{:?}", refused(status, &serde_json::from_slice(&body).unwrap()));
            assert!(arrived.starts_with(arrives), "{arrived}");
        }
    }
}
