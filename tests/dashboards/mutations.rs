//! The side of `write-ahead-log`: targets, namespaces, and mutations of all fates over its HTTP intake, until it is told to stop.
//!
//! ```text
//! produce ── POST ──▶ write-ahead-log ─┬─▶ receiver (an HTTP target), which answers as the namespace and the key say
//!         ── unreadable ──▶ Kafka ──▲  └─▶ Redis
//! ```
//!
//! | namespace | its mutations |
//! |---|---|
//! | `shop` | are done, fail at first, are refused and given up, put off, taken back, sent twice, too old |
//! | `halting` | are refused, and their keys stand still |
//! | `sick` | fail at a target that is always down, so its breaker opens |

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::put;
use chaos::Result;
use chaos::pause::Stop;
use chaos::queue::ground::TOKEN;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use testbed::{Testbed, wait};
use tokio::runtime::{Builder, Runtime};

use crate::application::Application;

/// The topology, its job, and the beginning of its topics' names.
pub(crate) const JOB: &str = "write-ahead-log";
/// Between two rounds of mutations: a few dozen per second, which is little beside the row changes.
const PAUSE: Duration = Duration::from_millis(200);
/// Of one request.
const PATIENCE: Duration = Duration::from_secs(30);
/// Older than any namespace's `drift-limit` here, in milliseconds since the epoch.
const LONG_AGO: i64 = 1_000_000_000_000;

/// An HTTP target; it ends when it is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Receiver {
    pub(crate) fn start() -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/{namespace}/{key}", put(answer));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Receiver { address, _runtime: runtime })
    }

    /// Where mutations of a namespace are sent.
    fn url(&self, namespace: &str) -> String {
        format!("http://{}/{namespace}/{{key}}", self.address)
    }
}

/// The first part of a key says what becomes of it.
async fn answer(Path((namespace, key)): Path<(String, String)>, headers: HeaderMap) -> StatusCode {
    let is_first = headers.get("headrace-attempt").is_some_and(|attempt| attempt == "1");
    match (namespace.as_str(), key.split('-').next()) {
        ("sick", _) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Some("late")) if is_first => StatusCode::SERVICE_UNAVAILABLE,
        (_, Some("refused")) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::OK,
    }
}

/// Sets its namespaces, once it has its topics.
pub(crate) fn set_namespaces(bed: &Testbed, application: &Application, receiver: &Receiver) -> Result<()> {
    let target = |kind: &str, address: &str| json!({ "name": kind, "kind": kind, "address": address });
    let api = |namespace: &str| target("http", &receiver.url(namespace));
    let retry = json!({ "backoff": "200ms", "longest-backoff": "1s", "max-attempts": 5 });
    for (name, says) in [
        ("shop", json!({ "targets": [api("shop"), target("redis", bed.redis()?.url())], "retry": retry })),
        ("halting", json!({ "targets": [api("halting")], "on-exhausted": "halt" })),
        ("sick", json!({ "targets": [api("sick")], "retry": retry, "breaker": { "failures": 2, "open": "500ms" } })),
    ] {
        let file = bed.dirs()?.root().join(format!("{name}.json"));
        std::fs::write(&file, says.to_string())?;
        application.tell(&["namespaces", "set", name, "--file", &file.to_string_lossy()])?;
    }
    Ok(())
}

/// Sends mutations to the intake at this address, and a few records that are none to Kafka.
pub(crate) fn produce(address: &str, brokers: &str, stop: &Stop) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let (runtime, client) = (Builder::new_current_thread().enable_all().build()?, Client::new());
    let once = |request: RequestBuilder| -> Result<()> {
        // Its timer needs the runtime as soon as it is made.
        let (status, body) = runtime.block_on(async {
            let answer = request.bearer_auth(TOKEN).timeout(PATIENCE).send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        })?;
        if status.is_success() { Ok(()) } else { Err(format!("the intake answered {status}: {body}").into()) }
    };
    // A namespace that was set a moment ago may not be known yet; with the same tokens it is no other request.
    let send = |request: &dyn Fn() -> RequestBuilder| {
        wait::until("the intake", PATIENCE, || once(request()).map_err(|error| error.to_string()))
    };
    let log = |namespace: &str| format!("http://{address}/v1/{namespace}/log");
    let mut round = 0_u64;
    while stop.pause(PAUSE) {
        round += 1;
        for (namespace, mutations) in mutations(round) {
            send(&|| client.post(log(namespace)).json(&mutations))?;
        }
        // What waits for an hour would be cancelled much later, too.
        let unwanted = format!("{}/unwanted-{round}?key=unwanted-{round}", log("shop"));
        send(&|| client.delete(&unwanted))?;
        producer.send(BaseRecord::to("write-ahead-log.mutations").key("").payload("{")).map_err(|(error, _)| error)?;
        producer.flush(PATIENCE)?;
    }
    Ok(())
}

fn mutations(round: u64) -> [(&'static str, Value); 3] {
    let put = |key: &str| json!({ "token": format!("{key}-{round}"), "key": format!("{key}-{round}"), "value": round });
    let with = |key: &str, field: &str, value: Value| {
        let mut mutation = put(key);
        mutation[field] = value;
        mutation
    };
    let shop = json!([
        put("plain"),
        // The same again, which is no other mutation.
        put("plain"),
        put("late"),
        // Behind it.
        json!({ "token": format!("behind-{round}"), "key": format!("late-{round}"), "value": round }),
        put("refused"),
        with("delayed", "delay", json!("300ms")),
        with("unwanted", "delay", json!("1h")),
        with("old", "created_at", json!(LONG_AGO)),
    ]);
    [("shop", shop), ("halting", json!([put("refused"), put("plain")])), ("sick", json!([put("plain")]))]
}
