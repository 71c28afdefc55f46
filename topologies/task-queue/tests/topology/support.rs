//! A queue under test: what is submitted, what is handed out, how it ends.

use std::time::Duration;

use headrace::codec::{Codec, avro};
use headrace::config::{Layers, Loaded};
use headrace::record::Headers;
use headrace::task::Outcome as Processed;
use headrace::testing::{Driven, TopologyDriver};
use task_queue::config::Config;
use task_queue::cron::Cron;
use task_queue::tasks::{
    Action, Command, Outcome, OutcomeKind, Priority, QueueState, ReadyTask, Stop, Task, TaskResult,
};
use task_queue::{DEFAULTS, topology};

pub(crate) struct Queue {
    driver: TopologyDriver,
    config: Config,
    tasks: headrace::codec::Avro<Task>,
    outcomes: headrace::codec::Avro<Outcome>,
    commands: headrace::codec::Avro<Command>,
    ready: headrace::codec::Avro<ReadyTask>,
    results: headrace::codec::Avro<TaskResult>,
    crons: headrace::codec::Avro<Cron>,
    queues: headrace::codec::Avro<QueueState>,
    stops: headrace::codec::Avro<Stop>,
}

/// A task that wants nothing special.
pub(crate) fn task(id: &str) -> Task {
    Task { id: id.to_owned(), queue: "default".to_owned(), payload: b"{}".to_vec(), ..Task::default() }
}

fn configuration(set: &[&str]) -> Config {
    let set: Vec<_> = set.iter().map(|set| (*set).to_owned()).collect();
    let Loaded { topology: config, .. } = Layers::new(DEFAULTS).flags(set).load::<Config>().expect("configuration");
    config
}

impl Queue {
    pub(crate) fn new() -> Self {
        Queue::with(&[])
    }

    /// With these keys of the configuration.
    pub(crate) fn with(set: &[&str]) -> Self {
        let config = configuration(set);
        let mut driver = TopologyDriver::new(topology(&config).expect("topology")).expect("driver");
        let schemas = driver.schemas().clone();
        let queue = |driver| Queue {
            driver,
            config,
            tasks: avro(),
            outcomes: avro(),
            commands: avro(),
            ready: avro(),
            results: avro(),
            crons: avro(),
            queues: avro(),
            stops: avro(),
        };
        driver.assign(0).expect("tasks");
        let queue = queue(driver);
        let bind = |schema: Option<String>| {
            let writer = schema.map(|schema| schemas.register_local(&schema).expect("schema"));
            headrace::codec::Binding { schemas: schemas.clone(), writer }
        };
        queue.tasks.bind(&bind(queue.tasks.writer_schema()));
        queue.outcomes.bind(&bind(queue.outcomes.writer_schema()));
        queue.commands.bind(&bind(queue.commands.writer_schema()));
        queue.crons.bind(&bind(queue.crons.writer_schema()));
        queue.queues.bind(&bind(queue.queues.writer_schema()));
        queue.stops.bind(&bind(None));
        queue.ready.bind(&bind(None));
        queue.results.bind(&bind(None));
        queue
    }

    /// Goes on with these keys of the configuration.
    pub(crate) fn restart(&mut self, set: &[&str]) {
        self.config = configuration(set);
        self.driver.restart(topology(&self.config).expect("topology")).expect("driver");
        self.advance(Duration::ZERO);
    }

    /// How often the schedule has counted this.
    pub(crate) fn counted(&self, event: &str) -> u64 {
        self.driver.counted("schedule", event)
    }

    fn send<T>(&mut self, topic: &str, key: Option<&str>, codec: &impl Codec<T>, value: &T) -> Processed {
        let mut bytes = Vec::new();
        codec.encode(value, &mut bytes).expect("encode");
        let key = key.map(str::as_bytes);
        self.driver.send(topic, 0, key, Some(&bytes), &Headers::new()).expect("send")
    }

    /// Whether it was taken; else it is a dead letter.
    pub(crate) fn submit(&mut self, task: &Task) -> bool {
        let (topic, codec) = (self.config.topics.tasks.clone(), self.tasks.clone());
        self.send(&topic, Some("any key"), &codec, task);
        let letters = self.driver.take(&self.config.topics.dead_letters.clone());
        letters.is_empty()
    }

    pub(crate) fn say(&mut self, ready: &ReadyTask, kind: OutcomeKind) {
        let error = matches!(kind, OutcomeKind::Failed | OutcomeKind::Refused).then(|| "as it was told".to_owned());
        let outcome = Outcome {
            id: ready.task.id.clone(),
            attempt: ready.attempt,
            kind,
            result: (kind == OutcomeKind::Done).then(|| b"done".to_vec()),
            error,
            progress: None,
            worker: None,
        };
        let (topic, codec) = (self.config.topics.outcomes.clone(), self.outcomes.clone());
        self.send(&topic, Some(&ready.lane), &codec, &outcome);
    }

    pub(crate) fn command(&mut self, lane: &str, id: &str, action: Action) {
        let command = Command { id: id.to_owned(), action };
        let (topic, codec) = (self.config.topics.commands.clone(), self.commands.clone());
        self.send(&topic, Some(lane), &codec, &command);
    }

    pub(crate) fn pause(&mut self, paused: bool) {
        let state = QueueState { paused, since: self.now(), reason: None };
        let (topic, codec) = (self.config.topics.queues.clone(), self.queues.clone());
        self.send(&topic, Some("default"), &codec, &state);
    }

    /// Whether it was taken; else it is a dead letter.
    pub(crate) fn plan(&mut self, name: &str, cron: Option<&Cron>) -> bool {
        let topic = self.config.topics.crons.clone();
        match cron {
            Some(cron) => _ = self.send(&topic, Some(name), &self.crons.clone(), cron),
            None => {
                let sent = self.driver.send(&topic, 0, Some(name.as_bytes()), None, &Headers::new());
                sent.expect("send");
            }
        }
        self.driver.take(&self.config.topics.dead_letters.clone()).is_empty()
    }

    /// What was submitted by crons since the last look.
    pub(crate) fn planned(&mut self) -> Vec<Task> {
        let driven = self.driver.take(&self.config.topics.tasks.clone());
        driven.iter().map(|record| record.value(&self.tasks).expect("a task")).collect()
    }

    /// What was stopped since the last look: task, and the attempt up to which; none: it need not be known any more.
    pub(crate) fn stopped(&mut self) -> Vec<(String, Option<i32>)> {
        let driven = self.driver.take(&self.config.topics.stops.clone());
        let id = |record: &Driven| String::from_utf8(record.key.clone().expect("a key")).expect("text");
        let attempt =
            |record: &Driven| record.value.is_some().then(|| record.value(&self.stops).expect("a stop").attempt);
        driven.iter().map(|record| (id(record), attempt(record))).collect()
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.driver.advance_wall_clock(by).expect("punctuators");
    }

    pub(crate) fn now(&self) -> i64 {
        self.driver.clock.now().0
    }

    /// What may be begun since the last look, the most urgent first.
    pub(crate) fn ready(&mut self) -> Vec<ReadyTask> {
        let topics = Priority::ALL.map(|priority| self.config.topics.ready("default", priority));
        let driven = topics.into_iter().flat_map(|topic| self.driver.take(&topic)).collect::<Vec<_>>();
        driven.iter().map(|record| record.value(&self.ready).expect("a ready task")).collect()
    }

    /// The one that may be begun.
    pub(crate) fn only(&mut self) -> ReadyTask {
        let mut ready = self.ready();
        assert_eq!(ready.len(), 1, "{ready:?}");
        ready.remove(0)
    }

    /// What has ended since the last look.
    pub(crate) fn ended(&mut self) -> Vec<TaskResult> {
        let driven = self.driver.take(&self.config.topics.results.clone());
        driven.iter().map(|record| record.value(&self.results).expect("a result")).collect()
    }
}
