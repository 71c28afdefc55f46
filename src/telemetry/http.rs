//! The HTTP server: status page, probes, metrics and the topology's description.
//!
//! It reads only; a caller adds routes of its own, and those that change something are behind a bearer token. Everything
//! that a client can make large or slow is bounded: connections, headers, bodies, and the time for each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::StreamExt as _;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::events::Telemetry;
use super::health::Reason;
use super::page;
use crate::error::{FatalError, Source};

/// What the server bounds.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at a time; further ones wait in the kernel's queue.
    connections: usize,
    /// Bytes of a request's line and headers.
    header_bytes: usize,
    /// Headers of a request.
    headers: usize,
    /// Bytes of a request's body.
    body_bytes: usize,
    /// From the first byte (or the last answer) to the end of the headers.
    header_time: Duration,
    /// From the headers to the answer.
    request_time: Duration,
    /// For answers that are under way when the process stops.
    drain_time: Duration,
    /// What is read, and thrown away, of a body that is too large, and for how long.
    linger_bytes: usize,
    linger_time: Duration,
}

const LIMITS: Limits = Limits {
    connections: 128,
    header_bytes: 16 * 1024,
    headers: 64,
    body_bytes: 64 * 1024,
    // Above the usual scrape intervals, so that a scraper keeps its connection.
    header_time: Duration::from_secs(75),
    request_time: Duration::from_secs(10),
    drain_time: Duration::from_secs(2),
    linger_bytes: 32 << 20,
    linger_time: Duration::from_secs(2),
};

/// The declared graph in every format that `describe` has.
#[derive(Debug, Clone, Default)]
pub struct TopologyDescription {
    /// As Kafka Streams prints it.
    pub text: String,
    /// For Markdown.
    pub mermaid: String,
    /// For Graphviz.
    pub dot: String,
    /// For programs.
    pub json: String,
}

/// What the pages are about.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// The topology's name.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// The application id.
    pub application_id: String,
    /// The instance id.
    pub instance_id: String,
    /// The graph.
    pub topology: TopologyDescription,
    /// Names of the stores that can be asked, below `/state`.
    pub stores: Vec<String>,
}

/// Routes of others than the server's own, with what bounds each of their answers.
#[derive(Debug)]
pub struct Routes {
    /// Where they lead.
    pub router: Router,
    /// From the headers to the answer.
    pub longest: Duration,
    /// Bytes of a request's body. As many requests as there may be connections can have one at a time, unless the routes bound them.
    pub body_bytes: usize,
}

impl From<(Router, Duration)> for Routes {
    /// With bodies as small as those of the server's own routes.
    fn from((router, longest): (Router, Duration)) -> Self {
        Routes { router, longest, body_bytes: LIMITS.body_bytes }
    }
}

/// A token that requests which change something have to bring. Never printed.
#[derive(Clone)]
pub struct Bearer(String);

impl Bearer {
    /// Wraps the token.
    pub fn new(token: impl Into<String>) -> Self {
        Bearer(token.into())
    }

    /// What a request brings that has it. None if it is no text of a header, so that nobody is ever admitted by it.
    pub fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Compares without telling by its time how much is right.
    fn admits(&self, request: &Request) -> bool {
        let value = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let Some(token) = value.and_then(|value| value.strip_prefix(b"Bearer ")) else { return false };
        let expected = self.0.as_bytes();
        let different = expected.iter().zip(token).fold(0, |different, (a, b)| different | (a ^ b));
        different == 0 && expected.len() == token.len() && !expected.is_empty()
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A bound server that doesn't serve yet.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    /// Routes with bounds of their own.
    others: Vec<Routes>,
    limits: Limits,
}

struct Shared {
    site: Site,
    telemetry: Telemetry,
}

impl HttpServer {
    /// Binds the address; with port 0 a free one is taken, which [`address`](Self::address) tells.
    ///
    /// # Errors
    /// [`FatalError::Config`], which names the address and the key `http.listen`.
    pub async fn bind(listen: SocketAddr, site: Site, telemetry: Telemetry) -> Result<Self, FatalError> {
        let refused = |error: std::io::Error| {
            FatalError::Config(format!(
                "http.listen: can't listen on {listen}: {error}; choose another address, or port 0 for any free one"
            ))
        };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        tracing::info!(event = "http-listening", %address, "status page on http://{address}/");
        Ok(HttpServer {
            listener,
            address,
            router: router(Shared { site, telemetry }),
            others: Vec::new(),
            limits: LIMITS,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds routes that only read.
    #[must_use]
    pub fn reading(mut self, routes: Router) -> Self {
        self.router = self.router.merge(routes);
        self
    }

    /// Adds routes that only read and may wait. With a token they need it.
    #[must_use]
    pub fn waiting(mut self, routes: impl Into<Routes>, token: Option<Bearer>) -> Self {
        let routes = routes.into();
        let router = match token {
            Some(_) => routes.router.route_layer(middleware::from_fn_with_state(Arc::new(token), guard_reads)),
            None => routes.router,
        };
        self.others.push(Routes { router, ..routes });
        self
    }

    /// Adds routes that change something: without a token they are refused, with one they need it.
    #[must_use]
    pub fn changing(mut self, routes: impl Into<Routes>, token: Option<Bearer>) -> Self {
        let routes = routes.into();
        let router = routes.router.route_layer(middleware::from_fn_with_state(Arc::new(token), guard));
        self.others.push(Routes { router, ..routes });
        self
    }

    /// Serves until `shutdown`, then lets the answers under way end.
    ///
    /// # Errors
    /// If the listener breaks.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), FatalError> {
        let limits = self.limits;
        let mut router = bounded(self.router, limits);
        for Routes { router: others, longest, body_bytes } in self.others {
            router = router.merge(bounded(others, Limits { request_time: longest, body_bytes, ..limits }));
        }
        let room = Arc::new(Semaphore::new(limits.connections));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = async {
                // The semaphore is never closed, so there is always a permit in the end.
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                (permit, accepted) = accepted => match accepted {
                    Ok((stream, _)) => {
                        let connection = serve(stream, router.clone(), limits, shutdown.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(permit);
                        });
                    }
                    Err(error) if is_passing(&error) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(error) => {
                        let context = format!("accepting connections on {}", self.address);
                        return Err(FatalError::Other { context, source: Source::from(error) });
                    }
                },
            }
        }
        drop(self.listener);
        // Each connection bounds its own end; the set aborts the rest when it is dropped.
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

fn bounded(router: Router, limits: Limits) -> Router {
    router.layer(DefaultBodyLimit::max(limits.body_bytes)).layer(middleware::from_fn_with_state(limits, within_limits))
}

/// A client that went away, or too many open files: the next `accept` may do.
fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

async fn serve(stream: TcpStream, router: Router, limits: Limits, shutdown: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_headers(limits.headers)
        .max_buf_size(limits.header_bytes);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // What a client does wrong is the client's matter: it has got its 4xx, or is gone.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(limits.drain_time, connection).await;
        }
    }
}

/// Bounds size and time of every request, and adds the headers that every answer has.
async fn within_limits(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length: Option<usize> = length.and_then(|value| value.to_str().ok()?.parse().ok());
    let mut response = match length {
        Some(length) if length > limits.body_bytes => {
            linger(request.into_body(), limits).await;
            (StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have up to {} bytes\n", limits.body_bytes))
                .into_response()
        }
        _ => match tokio::time::timeout(limits.request_time, next.run(request)).await {
            Ok(response) => response,
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "took too long\n").into_response(),
        },
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    response
}

/// Takes what a client goes on sending: if the connection were closed while it writes, it would be reset, and the answer lost.
async fn linger(body: Body, limits: Limits) {
    let mut body = body.into_data_stream();
    let mut taken = 0;
    let all = async {
        while taken < limits.linger_bytes
            && let Some(Ok(chunk)) = body.next().await
        {
            taken += chunk.len();
        }
    };
    let _ = tokio::time::timeout(limits.linger_time, all).await;
}

async fn guard(State(token): State<Arc<Option<Bearer>>>, request: Request, next: Next) -> Response {
    match &*token {
        None => (StatusCode::FORBIDDEN, "set http.token to allow this\n").into_response(),
        Some(bearer) if bearer.admits(&request) => next.run(request).await,
        Some(_) => unauthorised("http.token"),
    }
}

async fn guard_reads(State(token): State<Arc<Option<Bearer>>>, request: Request, next: Next) -> Response {
    match token.as_ref().as_ref().is_none_or(|bearer| bearer.admits(&request)) {
        true => next.run(request).await,
        false => unauthorised("http.state-token"),
    }
}

fn unauthorised(key: &str) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, format!("needs the bearer token of {key}\n")).into_response()
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route(
            "/",
            get(|State(shared): State<Arc<Shared>>| async move { Html(page::render(&shared.site, &shared.telemetry)) }),
        )
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/metrics", get(metrics))
        .route("/topology", get(topology))
        .with_state(Arc::new(shared))
}

/// 200 if there is no reason against, else 503, with the reasons.
fn verdict(name: &str, reasons: &[Reason]) -> Response {
    let good = reasons.is_empty();
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ name: good, "reasons": reasons }))).into_response()
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    verdict("live", &shared.telemetry.health.not_live())
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    verdict("ready", &shared.telemetry.health.not_ready())
}

async fn startupz(State(shared): State<Arc<Shared>>) -> Response {
    let health = &shared.telemetry.health;
    match health.is_started() {
        true => verdict("started", &[]),
        false => verdict("started", &health.not_ready()),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match shared.telemetry.exposition() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn topology(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let description = &shared.site.topology;
    let pairs = uri.query().unwrap_or_default().split('&');
    let format = pairs.filter_map(|pair| pair.strip_prefix("format=")).next_back().unwrap_or("json");
    let (content_type, text) = match format {
        "json" => ("application/json", &description.json),
        "text" => ("text/plain; charset=utf-8", &description.text),
        "mermaid" => ("text/plain; charset=utf-8", &description.mermaid),
        "dot" => ("text/vnd.graphviz; charset=utf-8", &description.dot),
        _ => return (StatusCode::BAD_REQUEST, "format is one of json, text, mermaid, dot\n").into_response(),
    };
    ([(header::CONTENT_TYPE, content_type)], text.clone()).into_response()
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
