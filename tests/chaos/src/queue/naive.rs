//! The control arm of the kills: the worker that everybody writes first. It accepts a record when it gets it, calls the
//! handler, and produces the result by a plain producer. No state, no transaction, no second attempt by anybody else.
//!
//! The judge has to find that a kill loses what it had in hand.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use headrace::share::{Delivery, Pool, ShareConsumer, ShareSettings};
use headrace::wire::Settings;
use rdkafka::producer::{BaseProducer, BaseRecord};
use task_queue::tasks::{State, Task, TaskResult};
use testbed::{spawn, wait};

use super::PATIENCE;
use super::fate::{Fate, Job};
use super::ground::{Ground, Records, now};
use super::handlers::Handlers;
use super::judge::{Findings, judge};
use super::results::{Follower, read};
use super::submit::Submitter;
use crate::Result;
use crate::application::tokio;
use crate::brokers::Brokers;
use crate::instance::Program;

/// Tasks of the control arm, of which a third is slow, and the kills that are spread over them.
const TASKS: u32 = 2_000;
const KILLS: u32 = 5;
/// Calls at the same time.
const CONCURRENCY: usize = 32;
/// Nothing new for so long, and nothing more comes.
const QUIET: Duration = Duration::from_secs(4);
/// Names of the variables begin with it.
const PREFIX: &str = "HEADRACE_CHAOS_NAIVE_";

/// What the judge finds.
///
/// # Errors
/// It does not get on.
pub fn control(brokers: Brokers<'_>, registry: &str, program: &Program) -> Result<Findings> {
    let ground = Ground::new(&brokers.servers(), registry, "naive", brokers.replication());
    ground.create(&["tasks", "results"])?;
    ground.set_group(&ground.group("workers"), ("share.auto.offset.reset", "earliest"))?;
    let handlers = Handlers::start()?;
    let (submitter, follower) = (Submitter::new(&ground)?, Follower::start(&ground)?);
    let job = |number: u32| Job { number, fate: if number.is_multiple_of(3) { Fate::Slow } else { Fate::Plain } };
    let submitted = (0..TASKS).map(|number| submitter.submit(job(number), TASKS)).collect::<Result<Vec<_>>>()?;
    submitter.flush()?;
    let mut child = start(&ground, &handlers, program)?;
    for kill in 1..=KILLS {
        let due = (TASKS * kill / (KILLS + 1)) as usize;
        wait::until("the control arm's results", PATIENCE, || match follower.count() {
            count if count >= due => Ok(()),
            count => Err(format!("{count} of {due}")),
        })?;
        end(&mut child)?;
        child = start(&ground, &handlers, program)?;
    }
    wait_quiet(&follower)?;
    end(&mut child)?;
    follower.finish()?;
    Ok(judge(&submitted, &read(&ground)?, &handlers.calls()))
}

fn end(child: &mut Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn wait_quiet(follower: &Follower) -> Result<()> {
    let (ended, mut last, mut since) = (follower.ended(), follower.count(), Instant::now());
    wait::until("the control arm's end", PATIENCE, || {
        let count = ended.load(Ordering::SeqCst);
        if count > last {
            (last, since) = (count, Instant::now());
        }
        if since.elapsed() > QUIET { Ok(()) } else { Err(format!("{count} results, and more come")) }
    })?;
    Ok(())
}

fn start(ground: &Ground, handlers: &Handlers, program: &Program) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let variables = [
        ("SERVERS", ground.servers.clone()),
        ("REGISTRY", ground.registry.clone()),
        ("ID", ground.id.clone()),
        ("URL", handlers.url("naive")),
    ];
    command.args(&program.arguments);
    command.envs(variables.map(|(name, value)| (format!("{PREFIX}{name}"), value)));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(spawn(command)?)
}

/// Runs as what the environment asks for, until it is killed; nothing, if it asks for nothing of this.
pub(crate) fn from_environment() -> Option<Result<()>> {
    let variables = std::env::vars();
    let own: BTreeMap<String, String> =
        variables.filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value))).collect();
    (!own.is_empty()).then(|| work(&own))
}

/// What its calls share.
struct Desk {
    http: reqwest::Client,
    url: String,
    records: Records,
    producer: BaseProducer,
    topic: String,
}

fn work(variables: &BTreeMap<String, String>) -> Result<()> {
    let variable = |name: &str| variables.get(name).cloned().ok_or_else(|| format!("{PREFIX}{name} is not set"));
    let (servers, registry, id) = (variable("SERVERS")?, variable("REGISTRY")?, variable("ID")?);
    let ground = Ground { servers, registry, id, replication: 1 };
    let records = Records::new(&ground)?;
    let producer = ground.client().set("linger.ms", "5").create()?;
    let (http, url, topic) = (reqwest::Client::new(), variable("URL")?, ground.topic("results"));
    let desk = Arc::new(Desk { http, url, records, producer, topic });
    tokio().block_on(async {
        let settings = ShareSettings::new(ground.group("workers"), [ground.topic("tasks")]);
        let consumer = ShareConsumer::join(Settings::new(&ground.servers, [])?, settings)?;
        let run = |delivery: Delivery| {
            let desk = Arc::clone(&desk);
            async move {
                if let Err(error) = desk.work(delivery).await {
                    eprintln!("naive: {error}");
                }
            }
        };
        Ok(Pool::new(CONCURRENCY).run(consumer, std::future::pending(), run).await?)
    })
}

impl Desk {
    async fn work(&self, delivery: Delivery) -> Result<()> {
        let value = delivery.value.clone().ok_or("a record without a value")?;
        // As a consumer that commits what it has read.
        delivery.accept().await?;
        let task: Task = self.records.read_task(&value)?;
        let call = self.http.post(&self.url).header("task-id", &task.id).header("task-attempt", 1);
        let answer = call.send().await?.error_for_status()?.bytes().await?;
        let result = TaskResult {
            id: task.id.clone(),
            queue: task.queue,
            state: State::Done,
            result: Some(answer.to_vec()),
            error: None,
            attempts: 1,
            ended: now(),
            duplicate_of: None,
            trace: None,
        };
        let value = self.records.result(&result)?;
        let record = BaseRecord::to(&self.topic).key(&task.id).payload(&value);
        self.producer.send(record).map_err(|(error, _)| error)?;
        self.producer.poll(Duration::ZERO);
        Ok(())
    }
}
