//! Who writes over HTTP: some mutations of different keys at a time, to one instance after the other, and what is not known to be in the
//! log once more, with the same token, until it is.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::load::Window;
use super::plan::{Planned, Written};
use super::settings::NAMESPACE;
use crate::application::tokio;
use crate::pause::Stop;
use crate::queue::ground::{TOKEN, now};
use crate::{Failure, Result};

/// Mutations in one request.
const TOGETHER: usize = 10;
/// Before something is sent again.
const REST: Duration = Duration::from_millis(200);
/// For one answer: longer than the instances' own.
const PATIENCE: Duration = Duration::from_secs(15);

/// See the module's documentation.
pub struct Intake {
    stop: Arc<Stop>,
    thread: JoinHandle<Vec<Written>>,
}

impl Intake {
    /// Begins, with mutations by their number in the plan; `instances`: `host:port` of each.
    pub fn start(instances: Vec<String>, plan: Vec<(usize, Planned)>, window: Window) -> Intake {
        let stop = Arc::<Stop>::default();
        let client = Client { http: reqwest::Client::new(), instances, turn: 0, stop: Arc::clone(&stop) };
        let thread = std::thread::spawn(move || client.run(plan.into(), &window));
        Intake { stop, thread }
    }

    /// What was written; all of it, if nobody has given up.
    ///
    /// # Errors
    /// Its thread panicked.
    pub fn finish(self) -> Result<Vec<Written>> {
        self.stop.stop();
        self.thread.join().map_err(|_| Failure::from("who writes over HTTP panicked"))
    }
}

struct Client {
    http: reqwest::Client,
    instances: Vec<String>,
    turn: usize,
    stop: Arc<Stop>,
}

impl Client {
    fn run(mut self, mut plan: VecDeque<(usize, Planned)>, window: &Window) -> Vec<Written> {
        let mut written = Vec::with_capacity(plan.len());
        while let Some((number, _)) = plan.front() {
            if !window.wait(*number, &self.stop) {
                break;
            }
            let (mut keys, mut batch) = (HashSet::new(), Vec::new());
            while let Some((_, next)) = plan.front()
                && batch.len() < TOGETHER
                && keys.insert(next.key.clone())
            {
                batch.extend(plan.pop_front().map(|(_, next)| Written { planned: next, due: now() }));
            }
            if !self.write(&batch) {
                break;
            }
            written.extend(batch);
        }
        written
    }

    /// Writes all of them; false if it was told to stop.
    fn write(&mut self, batch: &[Written]) -> bool {
        let form = |one: &Written| {
            let Planned { key, token, .. } = &one.planned;
            json!({ "key": key, "token": token, "created_at": one.due, "value": { "token": token } })
        };
        let mut open: Vec<Value> = batch.iter().map(form).collect();
        loop {
            // Without an answer nobody knows what has become of them: all are sent again.
            let mut answers = self.ask(&open).unwrap_or_default().into_iter();
            open.retain(|_| answers.next().is_none_or(|answer| answer["durable"] != "succeeded"));
            if open.is_empty() {
                return true;
            }
            if !self.stop.pause(REST) {
                return false;
            }
        }
    }

    fn ask(&mut self, open: &[Value]) -> Result<Vec<Value>> {
        self.turn += 1;
        let instance = &self.instances[self.turn % self.instances.len()];
        let request = self.http.post(format!("http://{instance}/v1/{NAMESPACE}/log")).bearer_auth(TOKEN);
        let request =
            request.header("content-type", "application/json").timeout(PATIENCE).body(json!(open).to_string());
        tokio().block_on(async { Ok(serde_json::from_slice(&request.send().await?.bytes().await?)?) })
    }
}
