//! The same namespace in another region: what is written here is written into that region's log, by its intake.
//!
//! ```text
//!  here: log ─ call ─▶ POST {address}/v1/{namespace}/log ─▶ there: durable in its mutations ─▶ its targets, but no region
//! ```
//!
//! It counts as applied once it is durable there (rule W1). An answer that says less is a failure that may pass, and so is none: the same
//! token, with the name of this region behind it, comes again, and is known there. So a mutation is in that region's log once, however
//! often it is sent. Its version goes with it, by which that region knows what is later (rule W14).
//!
//! | setting | says | default |
//! |---|---|---|
//! | `token-env` | variable of that region's `http.token` | none |

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, StreamExt as _};
use headrace::config::Secret;
use headrace::processor::{BoxFuture, Reply};
use reqwest::{Client, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::settings::Settings;
use super::{Kind, Link, failed, http, in_order};
use crate::call::Call;
use crate::mutation::Operation;
use crate::namespace::{Problem, TargetSpec, field};
use crate::version::Version;

const SETTINGS: &[&str] = &["token-env"];
/// Mutations of one request, at most: an intake takes 1,000 by default.
const MOST_ITEMS: usize = 500;
/// Bytes of their values and headers, at most, but for one by itself: an intake takes 4 MiB by default, and base64 is a third longer.
const MOST_BYTES: usize = 1 << 20;
/// Requests at the same time by one lane.
const MOST_REQUESTS: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Region;

impl Kind for Region {
    fn check(&self, target: &TargetSpec, problems: &mut Vec<Problem>) {
        if let Err(reason) = url(target, "namespace") {
            problems.push(Problem::new(field(target, "address"), reason, "write it like https://log.us.example"));
        }
        Settings(&target.settings).check(target, SETTINGS, problems);
    }

    fn place(&self, target: &TargetSpec) -> String {
        format!("region {}", target.address.reveal().trim_end_matches('/'))
    }

    fn promise(&self, _: &TargetSpec) -> String {
        "written into that region's log once, however often it is sent; tried until it is there. Of two writes of a key that cross, each \
         region keeps the later one by their versions, and has the other one in its topic of conflicts"
            .to_owned()
    }

    fn connection_settings(&self) -> &'static [&'static str] {
        SETTINGS
    }

    fn link(&self, target: &TargetSpec) -> Result<Box<dyn Link>, String> {
        let token = Settings(&target.settings).secret("token-env")?;
        // A redirect could take values and tokens to somebody else.
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| format!("TLS can't be set up: {error}"))?;
        Ok(Box::new(RegionLink { client, token, shown: target.address.to_string() }))
    }
}

/// Where the mutations of a namespace are taken.
fn url(target: &TargetSpec, namespace: &str) -> Result<Url, String> {
    let address = target.address.reveal().trim_end_matches('/');
    let url = Url::parse(&format!("{address}/v1/{namespace}/log")).map_err(|_| "is no URL".to_owned())?;
    let is_base = ["http", "https"].contains(&url.scheme()) && url.query().is_none() && url.fragment().is_none();
    is_base.then_some(url).ok_or_else(|| "is no http:// or https:// URL of a log".to_owned())
}

/// A mutation as that region's intake reads it.
#[derive(Debug, Serialize)]
struct Sent<'a> {
    token: &'a str,
    created_at: i64,
    key: &'a str,
    order: Option<&'a str>,
    operation: &'static str,
    base64: Option<String>,
    /// Its time has come here, so it has there.
    delay_ms: i64,
    headers: &'a BTreeMap<String, String>,
    version: Option<&'a Version>,
}

impl<'a> Sent<'a> {
    fn of(call: &'a Call) -> Self {
        Sent {
            token: &call.token,
            created_at: call.created_at,
            key: &call.key,
            order: call.order.as_deref(),
            operation: call.operation.name(),
            base64: call
                .value
                .as_ref()
                .filter(|_| call.operation == Operation::Put)
                .map(|value| STANDARD.encode(value)),
            delay_ms: 0,
            headers: &call.headers,
            version: call.version.as_ref(),
        }
    }
}

/// What is said of one; see [`intake`](crate::intake).
#[derive(Debug, Deserialize)]
struct Said {
    durable: String,
    reason: Option<String>,
    #[serde(default)]
    permanent: bool,
}

impl Said {
    fn reply(self, shown: &str) -> Reply {
        let reason = || format!("{shown}: {}", self.reason.as_deref().unwrap_or(&self.durable));
        match self.durable.as_str() {
            "succeeded" => Reply::Done("durable"),
            _ if self.permanent => Reply::Refused(reason()),
            _ => failed(reason()),
        }
    }
}

struct RegionLink {
    client: Client,
    token: Option<Secret>,
    /// The address without its login.
    shown: String,
}

impl Link for RegionLink {
    fn send<'a>(&'a mut self, calls: &'a [Call], patience: Duration) -> BoxFuture<'a, Vec<Reply>> {
        let (link, end) = (&*self, Instant::now() + patience);
        let sent = stream::iter(requests(calls)).map(move |places| async move {
            let own: Vec<&Call> = places.iter().map(|place| &calls[*place]).collect();
            let replies = link.post(&own, end).await;
            places.into_iter().zip(replies).collect::<Vec<_>>()
        });
        Box::pin(async move {
            let replies: Vec<_> = sent.buffer_unordered(MOST_REQUESTS).collect().await;
            in_order(replies.into_iter().flatten().collect(), calls.len())
        })
    }
}

impl RegionLink {
    /// Sends calls of one namespace, and has a reply to each.
    async fn post(&self, calls: &[&Call], end: Instant) -> Vec<Reply> {
        let all_failed = |reason: String| calls.iter().map(|_| failed(format!("{}: {reason}", self.shown))).collect();
        let Some(first) = calls.first() else { return Vec::new() };
        let url = match url(&first.target, &first.namespace) {
            Ok(url) => url,
            Err(reason) => return all_failed(reason),
        };
        let body: Vec<Sent<'_>> = calls.iter().map(|call| Sent::of(call)).collect();
        let mut request = self.client.post(url).json(&body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        match timeout_at(end, request.send()).await {
            Ok(Ok(answer)) => self.heard(answer, calls.len(), end).await,
            Ok(Err(error)) => all_failed(http::chain(&error.without_url())),
            Err(_) => all_failed("no answer in time".to_owned()),
        }
    }

    async fn heard(&self, answer: Response, count: usize, end: Instant) -> Vec<Reply> {
        let status = answer.status();
        let after = http::after(answer.headers(), std::time::SystemTime::now());
        let body = match timeout_at(end, answer.bytes()).await {
            Ok(Ok(body)) => body,
            _ => Default::default(),
        };
        match serde_json::from_slice::<Vec<Said>>(&body) {
            Ok(said) if said.len() == count => said.into_iter().map(|said| said.reply(&self.shown)).collect(),
            _ if count == 1 && status == StatusCode::PAYLOAD_TOO_LARGE => {
                vec![Reply::Refused(format!("{}: {}", self.shown, http::told(status, &body)))]
            }
            // Nothing of it was taken: it is not known there, or may not be written by us, or has no room.
            _ => {
                let reason = format!("{}: {}", self.shown, http::told(status, &body));
                (0..count).map(|_| Reply::Failed { reason: reason.clone(), after }).collect()
            }
        }
    }
}

/// The places of calls that go together: of one namespace, and not too many.
fn requests(calls: &[Call]) -> Vec<Vec<usize>> {
    let mut open: BTreeMap<&str, (Vec<usize>, usize)> = BTreeMap::new();
    let mut full = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let headers: usize = call.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = call.value.as_ref().map_or(0, Vec::len) + headers;
        let (places, together) = open.entry(&call.namespace).or_default();
        if places.len() >= MOST_ITEMS || (*together + bytes > MOST_BYTES && !places.is_empty()) {
            full.push(std::mem::take(places));
            *together = 0;
        }
        places.push(place);
        *together += bytes;
    }
    full.extend(open.into_values().map(|(places, _)| places));
    full
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::TargetKind;

    fn call(namespace: &str, bytes: usize) -> Call {
        Call {
            target: TargetSpec::new("us", TargetKind::Region, "http://h/"),
            namespace: namespace.to_owned(),
            token: "t".to_owned(),
            number: 1,
            attempt: 1,
            key: "k".to_owned(),
            order: None,
            operation: Operation::Put,
            value: Some(vec![0; bytes]),
            headers: BTreeMap::new(),
            created_at: 1,
            version: None,
        }
    }

    #[test]
    fn requests_are_of_one_namespace_and_bounded_and_a_large_one_goes_alone() {
        let calls = [("a", 10), ("b", 10), ("a", MOST_BYTES), ("a", 10), ("b", 10)];
        let calls: Vec<Call> = calls.into_iter().map(|(namespace, bytes)| call(namespace, bytes)).collect();
        assert_eq!(requests(&calls), [vec![0], vec![2], vec![3], vec![1, 4]]);
        let many: Vec<Call> = (0..MOST_ITEMS + 1).map(|_| call("a", 1)).collect();
        assert_eq!(requests(&many).iter().map(Vec::len).collect::<Vec<_>>(), [MOST_ITEMS, 1]);
    }

    #[test]
    fn an_address_is_that_of_a_log() {
        let url = |address| url(&TargetSpec::new("us", TargetKind::Region, address), "shop").map(String::from);
        assert_eq!(url("http://h:1/"), Ok("http://h:1/v1/shop/log".to_owned()));
        assert_eq!(url("https://h/wal"), Ok("https://h/wal/v1/shop/log".to_owned()));
        assert!(url("h:1").is_err() && url("ftp://h").is_err() && url("http://h?a").is_err());
    }

    #[test]
    fn w1_what_is_not_certain_comes_again_and_what_is_never_taken_does_not() {
        let said = |durable: &str, permanent| Said { durable: durable.to_owned(), reason: None, permanent };
        assert_eq!(said("succeeded", false).reply("h"), Reply::Done("durable"));
        assert_eq!(said("unknown", false).reply("h"), failed("h: unknown"));
        assert_eq!(said("failed", false).reply("h"), failed("h: failed"));
        assert_eq!(said("failed", true).reply("h"), Reply::Refused("h: failed".to_owned()));
    }
}
