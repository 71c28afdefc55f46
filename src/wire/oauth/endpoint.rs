//! The token endpoint of an identity provider: OAuth 2.0's client credentials (RFC 6749, section 4.4), as OIDC providers have it.
//!
//! One question over HTTP, some times in an hour. Which answers may change by themselves is what this knows: a provider that
//! is away or overloaded is asked again, one that does not know us is not.

use std::fmt;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Client, Response, StatusCode, Url, redirect};
use serde::Deserialize;

use super::{MECHANISM, Token};
use crate::wire::error::WireError;
use crate::wire::security::Password;
use crate::wire::settings::refuse;

/// Time for one question, from connecting to the last byte.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Longest text of the provider that an error repeats.
const MAX_REASON_CHARS: usize = 300;
/// The property that names it.
pub(super) const URL: &str = "sasl.oauthbearer.token.endpoint.url";

/// Who asks, whom, and for what.
pub(super) struct Endpoint {
    url: Url,
    client: String,
    secret: Password,
    scope: Option<String>,
    http: Client,
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<f64>,
}

/// RFC 6749, section 5.2.
#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Endpoint {
    /// `authorities` is PEM; without it those of the system are trusted.
    pub(super) fn new(
        url: Url,
        client: String,
        secret: Password,
        scope: Option<String>,
        authorities: Option<(&str, &[u8])>,
    ) -> Result<Self, WireError> {
        // A redirect would carry the secret to somewhere else, and a pooled connection belongs to the runtime that made it.
        let mut builder =
            Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).pool_max_idle_per_host(0);
        if let Some((property, pem)) = authorities {
            let found = Certificate::from_pem_bundle(pem).map_err(|error| refuse(property, error.to_string()))?;
            if found.is_empty() {
                return Err(refuse(property, "has no certificate in PEM"));
            }
            builder = builder.tls_certs_only(found);
        }
        let http = builder
            .build()
            .map_err(|error| refuse(URL, format!("no HTTP client: {}", causes(&error.without_url()))))?;
        Ok(Endpoint { url, client, secret, scope, http })
    }

    pub(super) fn client(&self) -> &str {
        &self.client
    }

    /// Asks for a token.
    pub(super) async fn fetch(&self) -> Result<Token, WireError> {
        let away = |error: reqwest::Error| self.away(causes(&error.without_url()));
        let asked = SystemTime::now();
        let request = self.http.post(self.url.clone()).basic_auth(&self.client, Some(self.secret.reveal()));
        let request =
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").header(ACCEPT, "application/json");
        let mut response = request.body(self.form()).send().await.map_err(away)?;
        let answer = self.body(&mut response).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.judge(status, &answer));
        }
        let no_token =
            || self.refused(format!("status {status}, but the answer has no access_token; is it a token endpoint?"));
        let granted: Granted = serde_json::from_slice(&answer).map_err(|_| no_token())?;
        let lifetime = granted.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let token = Token::new(&granted.access_token, lifetime, asked).map_err(|reason| self.refused(reason))?;
        if token.expires().is_some_and(|expires| expires <= SystemTime::now()) {
            return Err(self.away("the token that it gives has expired already; compare the clocks".to_owned()));
        }
        Ok(token)
    }

    fn form(&self) -> String {
        let mut form = self.url.clone();
        form.set_query(None);
        form.query_pairs_mut().append_pair("grant_type", "client_credentials");
        if let Some(scope) = &self.scope {
            form.query_pairs_mut().append_pair("scope", scope);
        }
        form.query().unwrap_or_default().to_owned()
    }

    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, WireError> {
        let mut answer = Vec::new();
        loop {
            let chunk = response.chunk().await.map_err(|error| self.away(causes(&error.without_url())))?;
            let Some(chunk) = chunk else { return Ok(answer) };
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(self.refused(format!("an answer longer than {MAX_ANSWER_BYTES} bytes")));
            }
            answer.extend_from_slice(&chunk);
        }
    }

    fn judge(&self, status: StatusCode, answer: &[u8]) -> WireError {
        let said = match serde_json::from_slice::<Refused>(answer) {
            Ok(refused) => format!("{} {}", refused.error, refused.error_description),
            Err(_) => "without an error in JSON".to_owned(),
        };
        let reason = self.shown(&format!("status {status}: {}", said.trim()));
        match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => self.away(reason),
            status if status.is_server_error() => self.away(reason),
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let properties = "sasl.oauthbearer.client.id, sasl.oauthbearer.client.secret, sasl.oauthbearer.scope";
                self.refused(format!("{reason}; see {properties}"))
            }
            _ => self.refused(format!("{reason}; is it a token endpoint?")),
        }
    }

    fn shown(&self, text: &str) -> String {
        text.replace(self.secret.reveal(), "***").chars().take(MAX_REASON_CHARS).collect()
    }

    /// Without what a URL may hold besides the place.
    fn place(&self) -> String {
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{}{port}{} ({URL})", self.url.scheme(), self.url.host_str().unwrap_or_default(), self.url.path())
    }

    fn away(&self, reason: String) -> WireError {
        WireError::Token { place: self.place(), reason }
    }

    fn refused(&self, reason: String) -> WireError {
        WireError::Authentication { address: self.place(), mechanism: MECHANISM, user: self.client.clone(), reason }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("place", &self.place()).field("client", &self.client).finish_non_exhaustive()
    }
}

/// An error with what lies beneath it: reqwest's own text says no more than that it did not work.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "hunter2-canary";

    fn endpoint(scope: Option<&str>) -> Endpoint {
        let url = Url::parse("http://user:hunter2-canary@idp.example:8080/token?key=hunter2-canary").unwrap();
        Endpoint::new(url, "ada".into(), Password::new(CANARY), scope.map(str::to_owned), None).unwrap()
    }

    #[test]
    fn rfc_6749_the_form_is_url_encoded() {
        assert_eq!(endpoint(None).form(), "grant_type=client_credentials");
        let form = endpoint(Some("kafka:read a&b")).form();
        assert_eq!(form, "grant_type=client_credentials&scope=kafka%3Aread+a%26b");
    }

    #[test]
    fn rfc_6749_who_is_refused_is_told_why_and_who_is_overloaded_is_asked_again() {
        let body = br#"{"error":"invalid_client","error_description":"no hunter2-canary here"}"#;
        for (status, retriable) in [(400, false), (401, false), (403, false), (404, false), (429, true), (503, true)] {
            let error = endpoint(None).judge(StatusCode::from_u16(status).unwrap(), body);
            let shown = format!("{error} {error:?}");
            assert_eq!(error.is_retriable(), retriable, "{shown}");
            assert!(shown.contains("invalid_client") && shown.contains(&status.to_string()), "{shown}");
            assert!(shown.contains("http://idp.example:8080/token (sasl.oauthbearer.token.endpoint.url)"), "{shown}");
            assert!(!shown.contains(CANARY), "{shown}");
        }
        assert!(!format!("{:?}", endpoint(None)).contains(CANARY));
    }
}
