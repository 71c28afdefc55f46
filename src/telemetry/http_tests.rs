//! Tests of the HTTP server over a real socket.

use std::time::Duration;

use axum::routing::post;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::*;
use crate::error::Dependency;
use crate::telemetry::{Health, Metrics};

struct Running {
    address: SocketAddr,
    telemetry: Telemetry,
    shutdown: CancellationToken,
    server: tokio::task::JoinHandle<Result<(), FatalError>>,
}

async fn start(adjust: impl FnOnce(HttpServer) -> HttpServer) -> Running {
    let telemetry = Telemetry::new(Metrics::new(true).unwrap(), Health::new(Duration::from_secs(30)));
    let site = Site {
        name: "cdc <test>".into(),
        version: "1.2.3".into(),
        topology: TopologyDescription {
            text: "Topologies:\n a --> b".into(),
            mermaid: "flowchart LR\n a --> b".into(),
            dot: "digraph {}".into(),
            json: "{\"nodes\":[]}".into(),
        },
        ..Site::default()
    };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = adjust(HttpServer::bind(listen, site, telemetry.clone()).await.unwrap());
    let (address, shutdown) = (server.address(), CancellationToken::new());
    let server = tokio::spawn(server.run(shutdown.clone()));
    Running { address, telemetry, shutdown, server }
}

impl Running {
    /// Sends bytes as they are and gives all that comes back until the end of the connection.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // A server that refuses may close with unread bytes, which is a reset after the answer.
        let _ =
            tokio::time::timeout(Duration::from_secs(20), read).await.expect("the server keeps the connection open");
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }
}

const LONGEST: Duration = Duration::from_secs(10);

fn json_of(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn readyz_is_503_with_reasons_until_everything_is_there() {
    let running = start(|server| server).await;
    running.telemetry.dependency_away(&Dependency::External("redis".into()), "connection refused");
    let answer = running.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let body = json_of(&answer);
    assert_eq!(body["ready"], false);
    assert_eq!(body["reasons"][1]["what"], "redis");
    assert_eq!(body["reasons"][1]["why"], "connection refused");
    let since = body["reasons"][1]["since"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(since).is_ok(), "{since}");
    assert!(running.get("/startupz").await.starts_with("HTTP/1.1 503"));

    running.telemetry.health.assigned();
    assert!(running.get("/startupz").await.starts_with("HTTP/1.1 200"));
    running.telemetry.dependency_back(&Dependency::External("redis".into()));
    let answer = running.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"ready\":true,\"reasons\":[]}"), "{answer}");
}

#[tokio::test]
async fn healthz_is_503_when_a_thread_has_died() {
    let running = start(|server| server).await;
    let heartbeat = running.telemetry.health.heartbeat("stream-0");
    assert!(running.get("/healthz").await.starts_with("HTTP/1.1 200"));
    drop(heartbeat);
    let answer = running.get("/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("thread stream-0"), "{answer}");
}

#[tokio::test]
async fn metrics_are_text_exposition() {
    let running = start(|server| server).await;
    running.telemetry.metrics.records_in.with(["s"]).inc_by(7);
    let answer = running.get("/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("headrace_records_in_total{source=\"s\"} 7\n"));
}

#[tokio::test]
async fn status_page_shows_the_state_and_escapes_names() {
    let running = start(|server| server).await;
    let page = running.get("/").await;
    assert!(page.contains("cdc &lt;test&gt;") && !page.contains("<test>"), "{page}");
    assert!(page.contains("1.2.3") && page.contains("a --&gt; b") && page.contains("not ready"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
}

#[tokio::test]
async fn topology_comes_in_every_format() {
    let running = start(|server| server).await;
    for (query, body) in [
        ("", "{\"nodes\":[]}"),
        ("?format=json", "{\"nodes\":[]}"),
        ("?format=text", "Topologies:\n a --> b"),
        ("?format=mermaid", "flowchart LR\n a --> b"),
        ("?format=dot", "digraph {}"),
    ] {
        let answer = running.get(&format!("/topology{query}")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(body), "{answer}");
    }
    assert!(running.get("/topology?format=svg").await.starts_with("HTTP/1.1 400"));
    assert!(running.get("/nowhere").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn routes_that_change_something_need_the_token() {
    let routes = || Router::new().route("/pause", post(|| async { "paused" }));
    let request = |token: &str| {
        format!(
            "POST /pause HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: {token}\r\n\r\n"
        )
    };
    let open = start(|server| server.changing((routes(), LONGEST), None)).await;
    assert!(open.raw(&request("Bearer x")).await.starts_with("HTTP/1.1 403"));
    let guarded = start(|server| server.changing((routes(), LONGEST), Some(Bearer::new("canary")))).await;
    assert!(guarded.raw(&request("Bearer canary")).await.ends_with("paused"));
    for wrong in ["Bearer canarz", "Bearer canar", "Bearer canaryy", "Bearer ", "canary"] {
        let answer = guarded.raw(&request(wrong)).await;
        assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("canary"), "{answer}");
    }
    assert!(guarded.get("/healthz").await.starts_with("HTTP/1.1 200"), "reading needs no token");
}

#[tokio::test]
async fn the_state_needs_its_own_token_where_there_is_one() {
    let routes = || Router::new().route("/state", get(|| async { "state" }));
    let asked = |server: HttpServer, token| server.waiting((routes(), LIMITS.request_time), token);
    let open = start(|server| asked(server, None)).await;
    assert!(open.get("/state").await.ends_with("state"));
    let guarded = start(|server| asked(server, Some(Bearer::new("canary")))).await;
    let with =
        |token: &str| format!("GET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {token}\r\n\r\n");
    assert!(guarded.raw(&with("Bearer canary")).await.ends_with("state"));
    for answer in [guarded.raw(&with("Bearer canarz")).await, guarded.get("/state").await] {
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("http.state-token"), "{answer}");
        assert!(!answer.to_ascii_lowercase().contains("access-control-allow"), "{answer}");
    }
    assert!(guarded.get("/healthz").await.starts_with("HTTP/1.1 200"), "probes need no token");
    assert!(guarded.get("/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_route_that_waits_has_a_longer_time_and_the_others_keep_theirs() {
    let (short, long) = (Duration::from_millis(50), Duration::from_secs(20));
    let never = || get(std::future::pending::<&str>);
    let entered = Arc::new(Notify::new());
    let enters = Arc::clone(&entered);
    let waits = get(async move || {
        enters.notified().await;
        "waited"
    });
    let running = start(|server| {
        let limits = Limits { request_time: short, ..LIMITS };
        let server = HttpServer { limits, ..server.reading(Router::new().route("/never", never())) };
        server.waiting((Router::new().route("/state", waits), long), None)
    })
    .await;
    let ends = async {
        // The control: by then the other route has had its time.
        assert!(running.get("/never").await.starts_with("HTTP/1.1 503"));
        entered.notify_one();
    };
    let (answer, ()) = tokio::join!(running.get("/state"), ends);
    assert!(answer.ends_with("waited"), "{answer}");
}

#[tokio::test]
async fn large_headers_and_bodies_are_refused() {
    let running =
        start(|server| server.reading(Router::new().route("/echo", post(|body: String| async { body })))).await;
    let large = "x".repeat(40_000);
    let answer = running.raw(&format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {large}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = "X-Many: 1\r\n".repeat(100);
    let answer = running.raw(&format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let answer = running.raw(&format!("{head}Content-Length: 100000\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let chunk = format!("{:x}\r\n{large}\r\n", large.len());
    let answer = running.raw(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_slow_request_and_a_slow_answer_are_cut_off() {
    let never = get(std::future::pending::<String>);
    let running = start(|mut server| {
        server.limits.header_time = Duration::from_millis(100);
        server.limits.request_time = Duration::from_millis(100);
        server.reading(Router::new().route("/never", never))
    })
    .await;
    let answer = running.raw("GET / HTTP/1.1\r\nHost: ").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(running.get("/never").await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn more_connections_than_there_is_room_for_wait_their_turn() {
    let running = start(|mut server| {
        server.limits.connections = 1;
        server
    })
    .await;
    let first = TcpStream::connect(running.address).await.unwrap();
    let second = running.get("/healthz");
    tokio::pin!(second);
    let waits = tokio::time::timeout(Duration::from_millis(200), second.as_mut()).await;
    assert!(waits.is_err(), "it was served beside the first: {waits:?}");
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_port_in_use_is_a_configuration_error_that_names_address_and_key() {
    let running = start(|server| server).await;
    let error = HttpServer::bind(running.address, Site::default(), running.telemetry.clone()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("http.listen") && text.contains(&running.address.to_string()), "{text}");
    assert_eq!(error.exit_code(), 64);
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_lets_an_answer_end() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enters, released) = (Arc::clone(&entered), Arc::clone(&release));
    let slow = get(async move || {
        enters.notify_one();
        released.notified().await;
        "done"
    });
    let running = start(|server| server.reading(Router::new().route("/slow", slow))).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    let ends = async {
        entered.notified().await;
        running.shutdown.cancel();
        assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0, "the idle connection is closed");
        release.notify_one();
    };
    let (answer, ()) = tokio::join!(running.get("/slow"), ends);
    assert!(answer.ends_with("done"), "{answer}");
    let ended = tokio::time::timeout(Duration::from_secs(5), running.server).await;
    ended.expect("the server has not stopped").unwrap().unwrap();
}

#[tokio::test]
async fn routes_have_bodies_as_large_as_they_say_and_the_others_keep_their_bound() {
    let echo = || post(|body: axum::body::Bytes| async move { body.len().to_string() });
    let running = start(|server| {
        let routes = Routes { router: Router::new().route("/large", echo()), longest: LONGEST, body_bytes: 200_000 };
        server.waiting(routes, None).reading(Router::new().route("/small", echo()))
    })
    .await;
    let ask = async |path: &str, bytes: usize| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n");
        running.raw(&format!("{head}{}", "x".repeat(bytes))).await
    };
    assert!(ask("/large", 150_000).await.ends_with("150000"));
    assert!(ask("/large", 200_001).await.starts_with("HTTP/1.1 413"));
    assert!(ask("/small", 150_000).await.starts_with("HTTP/1.1 413"));
    // More than sockets hold: it is still being sent when it is known to be too large.
    assert!(ask("/large", 20 << 20).await.starts_with("HTTP/1.1 413"));
}

#[test]
fn a_token_is_sent_as_it_is_asked_for_and_not_printed() {
    let header = Bearer::new("canary").header().unwrap();
    assert!(header == "Bearer canary" && !format!("{header:?}").contains("canary"));
    let request = Request::builder().header(header::AUTHORIZATION, header).body(axum::body::Body::empty()).unwrap();
    assert!(Bearer::new("canary").admits(&request) && !Bearer::new("other").admits(&request));
}
