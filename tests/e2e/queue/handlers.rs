//! A handler in another process, as far as the queue can see: an HTTP server that answers as the task's kind says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::runtime::Runtime;

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) begun: Instant,
    /// Whether the handler came to its end; it does not, if the caller goes away.
    pub(super) ended: Option<Instant>,
    /// Whether the caller went away before.
    pub(super) is_cut: bool,
    /// By what name it may be spoken of.
    pub(super) lease: String,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// Sees the end of a call, however it comes.
struct Seen(Calls, usize);

impl Drop for Seen {
    fn drop(&mut self) {
        let call = &mut self.0.lock().unwrap()[self.1];
        call.is_cut = call.ended.is_none();
    }
}

/// It ends when it is dropped.
pub(super) struct Handlers {
    pub(super) address: SocketAddr,
    calls: Calls,
    _runtime: Runtime,
}

impl Handlers {
    pub(super) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let calls = Calls::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&calls));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Handlers { address, calls, _runtime: runtime }
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap()
    }

    /// How often each task was begun.
    pub(super) fn begun(&self) -> BTreeMap<String, usize> {
        let mut begun = BTreeMap::new();
        self.calls().iter().for_each(|call| *begun.entry(call.id.clone()).or_default() += 1);
        begun
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers[name].to_str().unwrap().to_owned()
}

/// The first tick of an interval is now.
async fn work(span: Duration) {
    let mut clock = tokio::time::interval(span);
    clock.tick().await;
    clock.tick().await;
}

async fn answer(State(calls): State<Calls>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    let (id, attempt) = (text(&headers, "task-id"), text(&headers, "task-attempt").parse().unwrap());
    let at = {
        let mut calls = calls.lock().unwrap();
        let lease = text(&headers, "task-lease");
        calls.push(Call { id, attempt, begun: Instant::now(), ended: None, is_cut: false, lease });
        calls.len() - 1
    };
    let _seen = Seen(Arc::clone(&calls), at);
    let kind = text(&headers, "task-kind");
    if let Some(millis) = kind.strip_prefix("sleep ") {
        work(Duration::from_millis(millis.parse().unwrap())).await;
    }
    calls.lock().unwrap()[at].ended = Some(Instant::now());
    match kind.as_str() {
        "refuse" => (StatusCode::UNPROCESSABLE_ENTITY, b"never".to_vec()),
        "fail" => (StatusCode::SERVICE_UNAVAILABLE, b"not now".to_vec()),
        "fail twice" if attempt < 3 => (StatusCode::SERVICE_UNAVAILABLE, b"not yet".to_vec()),
        _ => (StatusCode::OK, [b"done ", &body[..]].concat()),
    }
}
