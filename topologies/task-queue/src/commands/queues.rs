//! `queues`: what is wanted of each queue, what waits in it, and what is under way.
//!
//! Three are asked, and each may be away: the topic of what is wanted, the brokers for the share group's lag (KIP-1226), and the
//! instances for their work. What one of them can't say is a question mark and a line that says why; it is never a zero.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use headrace::error::FatalError;
use headrace::kafka::Bounds;
use headrace::position::TopicPartition;
use headrace::wire::share::PartLag;
use serde_json::{Value, json};

use super::instances::Instances;
use super::metrics::{label, series};
use super::table::{Sum, table};
use super::times::shown;
use super::{Console, share};
use crate::tasks::{Priority, QueueState};

/// How long the topic of what is wanted may take to be read; it is small.
const PATIENCE: Duration = Duration::from_secs(15);

/// See [`Command::Queues`](super::Command::Queues).
#[derive(Debug, Args)]
pub struct Queues {
    /// An instance to ask for its work, once for each; by default where the configuration has one listen.
    #[arg(long, value_name = "URL")]
    at: Vec<String>,
    /// Print JSON; what is not known is null.
    #[arg(long)]
    json: bool,
}

impl Queues {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode, FatalError> {
        let instances = Instances::new(&console.runtime.http, &self.at)?;
        let mut report = Report::new(console.config.queues().into_keys());
        report.wanted(wanted(console));
        report.depths(console)?;
        console.block_on(report.work(&instances));
        if self.json {
            println!("{}", report.json());
        } else {
            print!("{}", report.table());
            report.unknown.iter().for_each(|reason| eprintln!("{}: not known: {reason}", console.name));
        }
        Ok(if report.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// What is known of the queues, by name.
#[derive(Debug, Default)]
struct Report {
    queues: BTreeMap<String, Queue>,
    /// What could not be asked, and why.
    unknown: Vec<String>,
}

/// What is known of one.
#[derive(Debug, Default, Clone, PartialEq)]
struct Queue {
    /// What is wanted of it; none while that is not known.
    wanted: Option<QueueState>,
    /// What waits or is under way, by priority.
    depth: [Sum; 3],
    /// What handlers work on.
    in_flight: Sum,
    /// How often records were handed out for the first time, the second, and so on, as the instances have counted since their
    /// starts.
    deliveries: BTreeMap<String, i64>,
}

/// What somebody has said of queues; none of those that can't be read.
type Wanted = BTreeMap<String, Result<QueueState, String>>;

/// The newest record of each queue.
fn wanted(console: &Console) -> Result<Wanted, FatalError> {
    let topic = &console.config.topics.queues;
    console.partitions(topic)?;
    let mut newest: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
    let read = console.follower(topic)?.read_whole(PATIENCE, |key, value| {
        newest.insert(String::from_utf8_lossy(key).into_owned(), value.map(<[u8]>::to_vec));
    });
    read.map_err(|error| console.failed(topic, &error))?;
    let values = console.values::<QueueState>(topic)?.read();
    let mut wanted = Wanted::new();
    // Without a value a queue is as if nobody had said anything.
    for (queue, value) in newest.into_iter().filter_map(|(queue, value)| Some((queue, value?))) {
        let state = console.block_on(values.decode(Some(&value)));
        wanted.insert(queue, state.map_err(|error| error.to_string()));
    }
    Ok(wanted)
}

impl Report {
    fn new(names: impl Iterator<Item = String>) -> Self {
        Report { queues: names.map(|name| (name, Queue::default())).collect(), unknown: Vec::new() }
    }

    /// Whether nobody could be asked for anything.
    fn is_empty(&self) -> bool {
        let sums = |queue: &Queue| queue.depth.iter().chain([&queue.in_flight]).all(|sum| sum.known.is_none());
        self.queues.values().all(|queue| queue.wanted.is_none() && sums(queue))
    }

    fn wanted(&mut self, wanted: Result<Wanted, FatalError>) {
        let mut wanted = match wanted {
            Ok(wanted) => wanted,
            Err(error) => return self.unknown.push(format!("state of the queues: {error}")),
        };
        for (name, queue) in &mut self.queues {
            match wanted.remove(name) {
                // Of which nobody has said anything, it runs.
                None => queue.wanted = Some(QueueState::default()),
                Some(Ok(state)) => queue.wanted = Some(state),
                Some(Err(reason)) => self.unknown.push(format!("state of {name}: {reason}")),
            }
        }
    }

    /// # Errors
    /// A property can't be honoured.
    fn depths(&mut self, console: &Console) -> Result<(), FatalError> {
        let client = console.client()?;
        for (name, queue) in &mut self.queues {
            let group = share::group_of(console, name);
            // A group that is not there has begun with nothing.
            let parts = match console.block_on(share::lag(console, &client, &group)) {
                Ok(parts) => parts.unwrap_or_default(),
                Err(error) => {
                    self.unknown.push(format!("depth of {name}: {error}"));
                    continue;
                }
            };
            for (priority, depth) in Priority::ALL.into_iter().zip(&mut queue.depth) {
                let topic = console.config.topics.ready(name, priority);
                match bounds(console, &topic) {
                    Ok(bounds) => *depth = left(&topic, &bounds, &parts),
                    Err(error) => self.unknown.push(format!("depth of {topic}: {error}")),
                }
                if depth.more {
                    let reason = format!("share group {group} has not begun with all that is there");
                    self.unknown.push(format!("depth of {topic}: {reason}"));
                }
            }
        }
        Ok(())
    }

    async fn work(&mut self, instances: &Instances) {
        for url in &instances.urls {
            let page = match instances.get(url, &["metrics"]).await {
                Ok((status, page)) if status.is_success() => Some(page),
                Ok((status, _)) => {
                    self.unknown.push(format!("work of {url}: answered {status}"));
                    None
                }
                Err(reason) => {
                    self.unknown.push(format!("work of {url}: {reason}"));
                    None
                }
            };
            self.queues.iter_mut().for_each(|(name, queue)| queue.add_work(name, page.as_deref()));
        }
    }

    fn table(&self) -> String {
        let columns = ["QUEUE", "STATE", "HIGH", "NORMAL", "LOW", "IN FLIGHT", "DELIVERIES"];
        let mut rows = vec![columns.map(str::to_owned).to_vec()];
        for (name, queue) in &self.queues {
            let [high, normal, low] = queue.depth.map(|depth| depth.to_string());
            let deliveries = match (queue.in_flight.known, queue.deliveries.is_empty()) {
                (None, _) => "?".to_owned(),
                (Some(_), true) => "-".to_owned(),
                (Some(_), false) => {
                    let counts = queue.deliveries.iter().map(|(which, count)| format!("{which}: {count}"));
                    counts.collect::<Vec<_>>().join(", ")
                }
            };
            rows.push(vec![name.clone(), queue.state(), high, normal, low, queue.in_flight.to_string(), deliveries]);
        }
        table(&rows)
    }

    fn json(&self) -> Value {
        let queue = |(name, queue): (&String, &Queue)| {
            let wanted = queue.wanted.as_ref();
            let depth: serde_json::Map<String, Value> = Priority::ALL
                .iter()
                .zip(queue.depth)
                .map(|(priority, depth)| (priority.name().to_owned(), json!(depth.whole())))
                .collect();
            json!({
                "queue": name,
                "paused": wanted.map(|state| state.paused),
                "since": wanted.filter(|state| state.since > 0).map(|state| state.since),
                "reason": wanted.and_then(|state| state.reason.clone()),
                "depth": depth,
                "in-flight": queue.in_flight.whole(),
                "deliveries": queue.in_flight.whole().map(|_| &queue.deliveries),
            })
        };
        json!({ "queues": self.queues.iter().map(queue).collect::<Vec<_>>(), "unknown": self.unknown })
    }
}

/// Where the records of each of a topic's partitions begin and end.
fn bounds(console: &Console, topic: &str) -> Result<Vec<(TopicPartition, Bounds)>, FatalError> {
    console.partitions(topic)?;
    console.follower(topic)?.all_bounds().map_err(|error| console.failed(topic, &error))
}

/// What is left of a topic: the group's lag, and nothing in a partition without records, with which a group never begins.
fn left(topic: &str, bounds: &[(TopicPartition, Bounds)], parts: &[PartLag]) -> Sum {
    Sum::of(bounds.iter().map(|(at, Bounds { start, end })| {
        let part = parts.iter().find(|part| *part.topic == *topic && part.partition == at.partition.0);
        part.and_then(|part| part.lag).or_else(|| (start == end).then_some(0))
    }))
}

impl Queue {
    /// What an instance's metrics say of it; of an instance that has not answered nothing is known.
    fn add_work(&mut self, name: &str, page: Option<&str>) {
        let of_queue = [("workers", name)];
        // An instance without a series has not begun with anything of the queue.
        let running = page.map(|page| series(page, "headrace_worker_running", &of_queue));
        self.in_flight.add(running.map(|running| running.iter().map(|(_, number)| *number as i64).sum()));
        for (labels, number) in
            page.map_or_else(Vec::new, |page| series(page, "headrace_worker_deliveries_total", &of_queue))
        {
            if let Some(which) = label(labels, "delivery") {
                *self.deliveries.entry(which.to_owned()).or_default() += number as i64;
            }
        }
    }

    fn state(&self) -> String {
        match &self.wanted {
            None => "?".to_owned(),
            Some(QueueState { paused: false, .. }) => "running".to_owned(),
            Some(QueueState { paused: true, since, reason: None }) => format!("paused since {}", shown(*since)),
            Some(QueueState { paused: true, since, reason: Some(reason) }) => {
                format!("paused since {}: {reason}", shown(*since))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use headrace::position::{Offset, Partition};
    use headrace::wire::TopicId;

    use super::*;

    const PAGE: &str = "\
headrace_worker_running{workers=\"mail\"} 3
headrace_worker_deliveries_total{delivery=\"1\",workers=\"mail\"} 20
headrace_worker_deliveries_total{delivery=\"2\",workers=\"mail\"} 1
";

    fn report() -> Report {
        Report::new(["default", "mail"].into_iter().map(str::to_owned))
    }

    #[test]
    fn what_nobody_could_be_asked_for_is_a_question_mark_and_null() {
        let mut report = report();
        report.wanted(Err(FatalError::Environment("kafka is away".to_owned())));
        report.queues.values_mut().for_each(|queue| queue.add_work("mail", None));
        assert!(report.is_empty());
        assert_eq!(report.table().lines().nth(1), Some("default  ?      ?     ?       ?    ?          ?"));
        let json = report.json();
        assert_eq!(json["unknown"], json!(["state of the queues: kafka is away"]));
        assert_eq!(json["queues"][0]["depth"], json!({ "high": null, "normal": null, "low": null }));
        assert_eq!((&json["queues"][0]["in-flight"], &json["queues"][0]["paused"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn a_partition_without_records_has_nothing_left_and_one_that_nobody_has_begun_with_is_not_known() {
        let at = |partition| TopicPartition { topic: "ready".into(), partition: Partition(partition) };
        let bounds = |ends: &[i64]| -> Vec<_> {
            let bounds = ends.iter().map(|end| Bounds { start: Offset(0), end: Offset(*end) });
            (0..).map(at).zip(bounds).collect()
        };
        let part = |topic: &str, partition, lag| PartLag {
            topic: topic.into(),
            id: TopicId::default(),
            partition,
            leader_epoch: None,
            start: lag,
            lag,
            error: None,
        };
        let parts = [part("ready", 0, Some(3)), part("ready", 1, None), part("other", 2, Some(7))];
        assert_eq!(left("ready", &bounds(&[9, 0, 0]), &parts).to_string(), "3");
        assert_eq!(left("ready", &bounds(&[9, 1, 0]), &parts).to_string(), "3+?");
        assert_eq!(left("ready", &bounds(&[4]), &[]).to_string(), "?");
    }

    #[test]
    fn work_of_all_instances_is_one_sum_and_one_that_is_silent_is_seen() {
        let mut mail = Queue::default();
        mail.add_work("mail", Some(PAGE));
        mail.add_work("mail", Some(PAGE));
        assert_eq!((mail.in_flight.to_string(), mail.deliveries["1"], mail.deliveries["2"]), ("6".to_owned(), 40, 2));
        mail.add_work("mail", None);
        assert_eq!(mail.in_flight.to_string(), "6+?");
        let mut idle = Queue::default();
        idle.add_work("default", Some(PAGE));
        assert_eq!((idle.in_flight.to_string(), idle.deliveries.len()), ("0".to_owned(), 0));
    }

    #[test]
    fn a_queue_runs_until_somebody_says_otherwise() {
        let mut report = report();
        let paused = QueueState { paused: true, since: 86_400_000, reason: Some("a deploy".to_owned()) };
        report.wanted(Ok(Wanted::from([("mail".to_owned(), Ok(paused))])));
        assert_eq!(report.queues["default"].state(), "running");
        assert_eq!(report.queues["mail"].state(), "paused since 1970-01-02T00:00:00.000Z: a deploy");
        assert_eq!(report.json()["queues"][1]["reason"], "a deploy");
    }
}
