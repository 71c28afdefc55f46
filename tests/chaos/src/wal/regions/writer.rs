//! Who writes in a region, over HTTP: keys that the other region writes, too, at its own pace, and again until it is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::application::tokio;
use crate::pause::Stop;
use crate::queue::ground::{TOKEN, now};
use crate::{Failure, Result};

/// Keys of both regions: `k0` and so on.
pub const KEYS: u32 = 300;
/// Mutations of one request.
const TOGETHER: u32 = 5;
/// Before a request is sent again.
const AGAIN: Duration = Duration::from_millis(200);
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// One in so many is a delete, and one in so many is put off, for at most so long.
const DELETES: u32 = 4;
const DELAYED: u32 = 10;
const LONGEST_DELAY_MS: u32 = 3_000;

/// What is to be written.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where; tokens begin with it.
    pub region: &'static str,
    /// In which namespace.
    pub namespace: &'static str,
    /// `host:port` of the region's instances.
    pub instances: Vec<String>,
    /// Decides about keys, deletes and delays.
    pub seed: u64,
    /// How many.
    pub mutations: u32,
    /// Between two requests.
    pub pace: Duration,
}

/// See the module's documentation.
pub struct Writer {
    count: Arc<AtomicU32>,
    thread: JoinHandle<Result<Vec<String>>>,
}

impl Writer {
    /// Begins.
    pub fn start(wanted: Wanted) -> Writer {
        let count = Arc::<AtomicU32>::default();
        let written = Arc::clone(&count);
        Writer { count, thread: std::thread::spawn(move || run(&wanted, &written)) }
    }

    /// How many are written.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// The tokens of all, once they are written.
    ///
    /// # Errors
    /// Its thread panicked.
    pub fn finish(self) -> Result<Vec<String>> {
        self.thread.join().map_err(|_| Failure::from("who writes panicked"))?
    }
}

fn run(wanted: &Wanted, written: &AtomicU32) -> Result<Vec<String>> {
    let (mut dice, pause) = (fastrand::Rng::with_seed(wanted.seed), Stop::default());
    let (http, mut turn, mut tokens) = (reqwest::Client::new(), 0, Vec::new());
    while tokens.len() < wanted.mutations as usize {
        let left = wanted.mutations - u32::try_from(tokens.len())?;
        let mut open = Vec::new();
        for _ in 0..TOGETHER.min(left) {
            let token = format!("{}-{}", wanted.region, tokens.len());
            open.push(one(&mut dice, &token));
            tokens.push(token);
        }
        loop {
            turn += 1;
            let instance = &wanted.instances[turn % wanted.instances.len()];
            // Without an answer nobody knows what has become of them: all are sent again.
            let mut answers = ask(&http, instance, wanted.namespace, &open).unwrap_or_default().into_iter();
            open.retain(|_| answers.next().is_none_or(|answer| answer["durable"] != "succeeded"));
            if open.is_empty() {
                break;
            }
            pause.pause(AGAIN);
        }
        written.store(u32::try_from(tokens.len())?, Ordering::SeqCst);
        pause.pause(wanted.pace);
    }
    Ok(tokens)
}

fn one(dice: &mut fastrand::Rng, token: &str) -> Value {
    let mut one = json!({ "key": format!("k{}", dice.u32(0..KEYS)), "token": token, "created_at": now() });
    match dice.u32(0..DELETES) {
        0 => one["operation"] = "delete".into(),
        _ => one["text"] = token.into(),
    }
    if dice.u32(0..DELAYED) == 0 {
        one["delay_ms"] = dice.u32(1..LONGEST_DELAY_MS).into();
    }
    one
}

fn ask(http: &reqwest::Client, instance: &str, namespace: &str, open: &[Value]) -> Result<Vec<Value>> {
    let request = http.post(format!("http://{instance}/v1/{namespace}/log")).bearer_auth(TOKEN);
    let request = request.header("content-type", "application/json").timeout(PATIENCE).body(json!(open).to_string());
    tokio().block_on(async { Ok(serde_json::from_slice(&request.send().await?.bytes().await?)?) })
}
