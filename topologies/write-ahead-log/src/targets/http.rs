//! HTTP: a request per call, whose headers say what it is; the receiver keeps the fence, if it wants effects once.
//!
//! | header | is |
//! |---|---|
//! | `Idempotency-Key` | the mutation's token, unique within the namespace |
//! | `Headrace-Sequence` | its number: rises by ordering key, so a receiver that keeps the last one knows what is stale |
//! | `Headrace-Namespace`, `-Key`, `-Order`, `-Operation`, `-Attempt` | the rest; percent-encoded where they are no header's value |
//!
//! | answer | reply |
//! |---|---|
//! | 2xx; 404 and 410 to a DELETE | applied; it is gone already |
//! | 408, 425, 429, 5xx, none in time, no connection | failed, with the time of `Retry-After` |
//! | any other | refused, with the beginning of the body |
//!
//! | setting | says | default |
//! |---|---|---|
//! | `put` | method of a PUT | `PUT`, or `POST` if the address has no `{key}` |
//! | `delete` | method of a DELETE | `DELETE`, or `POST` |
//! | `content-type` | of the value | `application/octet-stream` |
//! | `token-env` | variable of a bearer token | none |

use std::time::{Duration, SystemTime};

use futures::stream::{self, StreamExt as _};
use headrace::config::Secret;
use headrace::processor::{BoxFuture, Reply};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::time::{Instant, timeout_at};

use super::settings::Settings;
use super::{Kind, Link, failed};
use crate::call::Call;
use crate::mutation::Operation;
use crate::namespace::{Problem, TargetSpec, field};

const SETTINGS: &[&str] = &["put", "delete", "content-type", "token-env"];
/// Where the key goes.
const KEY: &str = "{key}";
/// What a key may have in a URL as it is (RFC 3986, unreserved).
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Requests at the same time by one lane.
const MOST_REQUESTS: usize = 64;
/// What is read of an answer, so that its connection can be used again; of a longer one it is closed.
const LONGEST_ANSWER: usize = 64 << 10;
/// What is told of it.
const LONGEST_REASON: usize = 256;
/// However long a server wants to be left alone.
const LONGEST_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Http;

impl Kind for Http {
    fn check(&self, target: &TargetSpec, problems: &mut Vec<Problem>) {
        if let Err(reason) = url(target, "key") {
            let way_out = "write it like https://host/items/{key}";
            problems.push(Problem::new(field(target, "address"), reason, way_out));
        }
        let settings = Settings(&target.settings);
        settings.check(target, SETTINGS, problems);
        for operation in [Operation::Put, Operation::Delete] {
            if let Err(reason) = method(target, operation) {
                let place = field(target, &format!("settings.{}", operation.name()));
                problems.push(Problem::new(place, reason, "use PUT, POST, PATCH or DELETE"));
            }
        }
        if settings.text("content-type").is_some_and(|text| HeaderValue::from_str(text).is_err()) {
            let place = field(target, "settings.content-type");
            problems.push(Problem::new(place, "is no header's value", "write it like application/json"));
        }
    }

    fn place(&self, target: &TargetSpec) -> String {
        format!("http {}", target.address.reveal())
    }

    fn promise(&self, _: &TargetSpec) -> String {
        "sent at least once and in order: after a failure or a crash the same request comes again. It takes effect once if the receiver \
         remembers Idempotency-Key, or the highest Headrace-Sequence of each ordering key"
            .to_owned()
    }

    fn connection_settings(&self) -> &'static [&'static str] {
        &["token-env"]
    }

    fn link(&self, target: &TargetSpec) -> Result<Box<dyn Link>, String> {
        let token = Settings(&target.settings).secret("token-env")?;
        // A redirect could take values and tokens to somebody else.
        let client = Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.pool_max_idle_per_host(MOST_REQUESTS).build();
        let client = client.map_err(|error| format!("TLS can't be set up: {error}"))?;
        Ok(Box::new(HttpLink { client, token, shown: target.address.to_string() }))
    }
}

/// The address with a key in it.
fn url(target: &TargetSpec, key: &str) -> Result<Url, String> {
    let address = target.address.reveal();
    let parse = |key: &str| Url::parse(&address.replace(KEY, key)).map_err(|_| "is no URL".to_owned());
    let (plain, url) = (parse("k")?, parse(&utf8_percent_encode(key, &PLAIN).to_string())?);
    if !["http", "https"].contains(&url.scheme()) {
        return Err("is no http:// or https:// URL".to_owned());
    }
    if url.host() != plain.host() || url.port() != plain.port() || url.username() != plain.username() {
        return Err("has {key} where it would choose the server; have it in the path or in the query".to_owned());
    }
    // Such a segment is taken away when the URL is parsed, however it is encoded.
    let segments = |url: &Url| url.path_segments().map(|parts| parts.map(str::is_empty).collect::<Vec<_>>());
    if segments(&url) != segments(&plain) {
        return Err("the key is . or .., which no path can have; have {key} in the query".to_owned());
    }
    Ok(url)
}

fn method(target: &TargetSpec, operation: Operation) -> Result<Method, String> {
    let keyed = target.address.reveal().contains(KEY);
    match (Settings(&target.settings).text(operation.name()), operation) {
        (Some("PUT"), _) => Ok(Method::PUT),
        (Some("POST"), _) => Ok(Method::POST),
        (Some("PATCH"), _) => Ok(Method::PATCH),
        (Some("DELETE"), _) => Ok(Method::DELETE),
        (Some(_), _) => Err("is no method that changes something".to_owned()),
        (None, _) if !keyed => Ok(Method::POST),
        (None, Operation::Put) => Ok(Method::PUT),
        (None, Operation::Delete) => Ok(Method::DELETE),
    }
}

struct HttpLink {
    client: Client,
    token: Option<Secret>,
    /// The address without its login.
    shown: String,
}

impl Link for HttpLink {
    fn send<'a>(&'a mut self, calls: &'a [Call], patience: Duration) -> BoxFuture<'a, Vec<Reply>> {
        let end = Instant::now() + patience;
        let link = &*self;
        let sent = stream::iter(calls).map(move |call| link.call(call, end)).buffered(MOST_REQUESTS);
        Box::pin(sent.collect())
    }
}

impl HttpLink {
    async fn call(&self, call: &Call, end: Instant) -> Reply {
        let refused = |reason: String| Reply::Refused(format!("{}: {reason}", self.shown));
        let (url, method) =
            match url(&call.target, &call.key).and_then(|url| Ok((url, method(&call.target, call.operation)?))) {
                Ok(both) => both,
                Err(reason) => return refused(reason),
            };
        let gone = method == Method::DELETE;
        let mut request = self.client.request(method, url).headers(headers(call));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        if let Some(value) = &call.value {
            request = request.body(value.clone());
        }
        let mut answer = match timeout_at(end, request.send()).await {
            Ok(Ok(answer)) => answer,
            // Without the URL, which holds the key, and may hold more.
            Ok(Err(error)) => return failed(format!("{}: {}", self.shown, chain(&error.without_url()))),
            Err(_) => return failed(format!("{}: no answer in time", self.shown)),
        };
        let status = answer.status();
        let after = after(answer.headers(), SystemTime::now());
        // What is missing of the body changes nothing.
        let body = timeout_at(end, body(&mut answer)).await.unwrap_or_default();
        match status {
            _ if status.is_success() => Reply::Done("applied"),
            StatusCode::NOT_FOUND | StatusCode::GONE if gone => Reply::Done("equal"),
            _ if may_pass(status) => {
                Reply::Failed { reason: format!("{}: {}", self.shown, told(status, &body)), after }
            }
            _ if status.is_redirection() => {
                refused(format!("{status}, and redirects are not followed; change the address"))
            }
            _ => refused(told(status, &body)),
        }
    }
}

/// Whether the same request may be answered otherwise later (RFC 9110, RFC 6585).
fn may_pass(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || passing.contains(&status)
}

/// The beginning of it.
async fn body(answer: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < LONGEST_ANSWER
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(LONGEST_ANSWER - body.len())]);
    }
    body
}

pub(super) fn told(status: StatusCode, body: &[u8]) -> String {
    let said = String::from_utf8_lossy(&body[..body.len().min(LONGEST_REASON)]);
    let said: String = said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if said.is_empty() { format!("answered {status}") } else { format!("answered {status}: {said}") }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
pub(super) fn after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(after.min(LONGEST_AFTER))
}

fn headers(call: &Call) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut push = |name: &str, value: &str| {
        // What is no header's value (line breaks, other scripts) goes percent-encoded.
        let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let encoded = if plain { value.to_owned() } else { utf8_percent_encode(value, &PLAIN).to_string() };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&encoded)) {
            headers.insert(name, value);
        }
    };
    let content_type = Settings(&call.target.settings).text("content-type").unwrap_or("application/octet-stream");
    if call.value.is_some() {
        push(CONTENT_TYPE.as_str(), content_type);
    }
    for (name, value) in &call.headers {
        push(name, value);
    }
    // After the mutation's, which can't replace them.
    push("idempotency-key", &call.token);
    push("headrace-namespace", &call.namespace);
    push("headrace-key", &call.key);
    push("headrace-sequence", &call.number.to_string());
    push("headrace-attempt", &call.attempt.to_string());
    push("headrace-operation", call.operation.name());
    if let Some(order) = &call.order {
        push("headrace-order", order);
    }
    headers
}

/// reqwest's own words leave out the causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Address, TargetKind};

    fn at(address: &str, key: &str) -> Result<String, String> {
        let address = Address::new(address);
        let target = TargetSpec { name: "t".to_owned(), kind: TargetKind::Http, address, settings: [].into() };
        url(&target, key).map(String::from)
    }

    #[test]
    fn w8_a_key_stays_where_the_address_has_it() {
        assert_eq!(at("https://h/a/{key}/b", "x/../y?z#"), Ok("https://h/a/x%2F..%2Fy%3Fz%23/b".to_owned()));
        assert_eq!(at("https://h/a?k={key}", ".."), Ok("https://h/a?k=..".to_owned()));
        for (address, key) in [("https://h/a/{key}", "."), ("https://h/a/{key}", ".."), ("https://h/a/.{key}/b", ".")] {
            assert!(at(address, key).unwrap_err().contains("no path can have"), "{address} {key}");
        }
        assert_eq!(at("https://h/a/{key}", "..."), Ok("https://h/a/...".to_owned()));
        for address in ["https://{key}/a", "https://{key}.h/a", "https://{key}@h/a"] {
            assert!(at(address, "x").unwrap_err().contains("choose the server"), "{address}");
        }
        assert!(at("ftp://h/{key}", "x").is_err() && at("h/{key}", "x").is_err());
    }

    #[test]
    fn w9_a_server_says_when_to_come_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let said =
            |text: &'static str| after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]), now);
        assert_eq!(said("120"), Some(Duration::from_secs(120)));
        assert_eq!(said("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(said("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(said("99999999999"), Some(LONGEST_AFTER));
        assert_eq!(said("soon"), None);
    }
}
