//! Handlers that ask for work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::Value;
use task_queue::tasks::{State, Task};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::support::{Queue, TOKEN, task};

/// How long a handler may say nothing.
const LEASE: Duration = Duration::from_secs(2);

/// Asks one instance for work until it is told to stop.
struct Handler {
    client: Client,
    url: String,
    stop: Arc<AtomicBool>,
    /// Attempts that it was given.
    begun: Arc<AtomicUsize>,
}

impl Handler {
    async fn post(&self, path: &str, body: &str) -> reqwest::Result<reqwest::Response> {
        self.client.post(format!("{}{path}", self.url)).bearer_auth(TOKEN).body(body.to_owned()).send().await
    }

    /// Asks once, and does what it is given.
    async fn turn(&self) -> reqwest::Result<()> {
        let given = self.post("/queues/default/lease?wait=1s", "").await?;
        if given.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        assert_eq!(given.status(), StatusCode::OK);
        let given: Value = given.json().await?;
        self.begun.fetch_add(1, Ordering::SeqCst);
        let (lease, attempt) = (given["lease"].as_str().unwrap(), given["attempt"].as_i64().unwrap());
        match given["kind"].as_str().unwrap() {
            "refuse" => _ = self.post(&format!("/leases/{lease}/failed?final=true"), "never").await?,
            "fail twice" if attempt < 3 => _ = self.post(&format!("/leases/{lease}/failed"), "not yet").await?,
            "silent once" if attempt == 1 => {}
            "long" => {
                let mut clock = tokio::time::interval(LEASE / 3);
                for _ in 0..6 {
                    clock.tick().await;
                    let heard = self.post(&format!("/leases/{lease}/working"), "").await?;
                    assert_eq!(heard.status(), StatusCode::NO_CONTENT);
                }
                _ = self.post(&format!("/leases/{lease}/done"), "at last").await?;
            }
            _ => _ = self.post(&format!("/leases/{lease}/done"), "done").await?,
        }
        Ok(())
    }

    /// An instance that is away is asked again.
    fn run(self, runtime: &Runtime) -> JoinHandle<()> {
        runtime.spawn(async move {
            let mut rest = tokio::time::interval(Duration::from_millis(100));
            while !self.stop.load(Ordering::SeqCst) {
                if self.turn().await.is_err() {
                    rest.tick().await;
                }
            }
        })
    }
}

struct Handlers {
    runtime: Runtime,
    running: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
}

impl Handlers {
    /// So many for each of the instances.
    fn start(urls: &[String], each: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let handler = |url: &String| {
            let (client, url) = (Client::new(), url.clone());
            Handler { client, url, stop: Arc::clone(&stop), begun: Arc::clone(&begun) }.run(&runtime)
        };
        let running = urls.iter().flat_map(|url| (0..each).map(|_| handler(url)).collect::<Vec<_>>()).collect();
        Handlers { running, stop, begun, runtime }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        for handler in self.running {
            self.runtime.block_on(handler).unwrap();
        }
        self.begun.load(Ordering::SeqCst)
    }
}

#[test]
fn handlers_that_ask_are_given_what_there_is_and_have_the_last_word() {
    let queue = Queue::pulled("task-pull", LEASE);
    let mut app = queue.app("one");
    app.start_again();
    let handlers = Handlers::start(&[app.url()], 3);
    let tasks = [
        task("plain", ""),
        task("twice", "fail twice"),
        task("refused", "refuse"),
        task("silent", "silent once"),
        task("long", "long"),
    ];
    queue.submit(&tasks);
    let results = queue.wait_results(tasks.len());
    let ends: Vec<(&str, State, i32)> =
        results.iter().map(|(id, results)| (&**id, results[0].state, results[0].attempts)).collect();
    assert_eq!(
        ends,
        [
            ("long", State::Done, 1),
            ("plain", State::Done, 1),
            ("refused", State::Failed, 1),
            ("silent", State::Done, 2),
            ("twice", State::Done, 3),
        ]
    );
    assert!(results.values().all(|results| results.len() == 1), "{results:?}");
    assert_eq!(results["long"][0].result.as_deref(), Some(&b"at last"[..]));
    assert_eq!(results["refused"][0].error.as_deref(), Some("never"));
    assert_eq!(handlers.stop(), 8);
    assert!(app.terminate().success());
}

/// Two instances, of which one is asked no more after a while: it must not sit on what the other's handlers wait for.
#[test]
fn an_instance_that_nobody_asks_holds_nothing() {
    let queue = Queue::pulled("task-idle", Duration::from_secs(600));
    let mut apps = [queue.app("one"), queue.app("two")];
    apps.iter_mut().for_each(|app| app.start_again());
    let (mut done, mut begun) = (0, 0);
    for asked in [&apps[..1], &apps[1..], &apps[..1]] {
        let urls: Vec<String> = asked.iter().map(|app| app.url()).collect();
        let handlers = Handlers::start(&urls, 4);
        let tasks: Vec<Task> = (done..done + 20).map(|number| task(&format!("task {number}"), "")).collect();
        queue.submit(&tasks);
        done += tasks.len();
        let results = queue.wait_results(done);
        assert!(results.values().all(|results| results.len() == 1 && results[0].attempts == 1), "{results:?}");
        begun += handlers.stop();
    }
    assert_eq!(begun, done);
    assert!(apps.iter_mut().all(|app| app.terminate().success()));
}

#[test]
fn who_has_no_token_is_given_nothing_and_mistakes_are_named() {
    let queue = Queue::pulled("task-guard", LEASE);
    let mut app = queue.app("one");
    app.start_again();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::new();
        let post = async |path: &str, token: Option<&str>| {
            let request = client.post(format!("{}{path}", app.url()));
            let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        assert_eq!(post("/queues/default/lease", None).await.0, 401);
        assert_eq!(post("/queues/default/lease", Some("wrong")).await.0, 401);
        assert_eq!(post("/queues/default/lease", Some(TOKEN)).await, (204, String::new()));
        let (status, text) = post("/queues/other/lease", Some(TOKEN)).await;
        assert!(status == 404 && text.contains("there are: default"), "{status} {text}");
        let (status, text) = post("/queues/default/lease?wait=5", Some(TOKEN)).await;
        assert!(status == 400 && text.contains("no unit"), "{status} {text}");
        for word in ["working", "done", "failed"] {
            assert_eq!(post(&format!("/leases/default.0123/{word}"), Some(TOKEN)).await.0, 410, "{word}");
        }
    });
    assert!(app.terminate().success());
}
