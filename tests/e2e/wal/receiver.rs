//! A receiver of HTTP calls: remembers each request, and answers as its path says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use tokio::runtime::Runtime;

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

type Requests = Arc<Mutex<Vec<Request>>>;

/// It ends when it is dropped.
pub(super) struct Receiver {
    address: SocketAddr,
    requests: Requests,
    runtime: Option<Runtime>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        Receiver::start_at("127.0.0.1:0".parse().unwrap())
    }

    /// At the address of one that has ended.
    pub(super) fn start_at(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let requests = Requests::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&requests));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Receiver { address, requests, runtime: Some(runtime) }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Connections that hang are cut.
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// `/status/<code>/…` with the query as `Retry-After`, `/hang/…`, `/long/…`; all else is well.
async fn answer(
    State(requests): State<Requests>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().unwrap().to_string();
    let request = Request { method: method.to_string(), path, headers, body: body.to_vec() };
    requests.lock().unwrap().push(request);
    let mut parts = uri.path().split('/').skip(1);
    match parts.next() {
        Some("hang") => std::future::pending().await,
        Some("long") => (StatusCode::CONFLICT, "x".repeat(8 << 20)).into_response(),
        Some("status") => {
            let status = StatusCode::from_bytes(parts.next().unwrap().as_bytes()).unwrap();
            let mut response = (status, format!("because\nof {}", status.as_u16())).into_response();
            if let Some(after) = uri.query() {
                let after = after.replace('_', " ").parse().unwrap();
                response.headers_mut().insert("retry-after", after);
            }
            if status.is_redirection() {
                response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
            }
            response
        }
        _ => StatusCode::NO_CONTENT.into_response(),
    }
}
