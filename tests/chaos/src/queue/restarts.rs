//! Rolling restarts of instances that have their hands full: none may burn a delivery of what they hold.
//!
//! A broker counts deliveries, also those that a member gives back unopened when it closes, and archives a record at the
//! group's limit without a word. So a member that fetches ahead, and closes like that, loses tasks in a rolling restart.
//!
//! ```text
//!  gate of one shut: its calls are held ─▶ SIGTERM ─▶ gate opened, calls end ─▶ exit 0 ─▶ gate shut, started again ─▶ two …
//!  at last all gates are opened; each task fails once, and is done at its second attempt
//! ```

use std::collections::HashSet;
use std::time::Duration;

use headrace::share::{Delivery, ShareConsumer, ShareSettings};
use headrace::wire::Settings;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tempfile::TempDir;
use testbed::wait;

use super::PATIENCE;
use super::fate::{Fate, Job};
use super::ground::{Ground, Queue};
use super::handlers::Handlers;
use super::judge::{Findings, judge};
use super::member::Member;
use super::results::{Follower, read};
use super::submit::Submitter;
use crate::Result;
use crate::application::tokio;

/// The broker's limit of deliveries, which is its default, too.
pub const LIMIT: &str = "5";
/// Instances.
const MEMBERS: [&str; 2] = ["one", "two"];
/// Calls at the same time in each; so many have to be held before a restart.
const CONCURRENCY: usize = 8;
/// Tasks for each restart: more than an instance holds, so that none runs out of them.
const TASKS_EACH: u32 = 60;

/// Nothing for so long, and nothing more comes.
const QUIET: Duration = Duration::from_secs(4);

/// What a run has shown.
#[derive(Debug)]
pub struct Outcome {
    /// Restarts.
    pub restarts: u32,
    /// Tasks.
    pub tasks: usize,
    /// Tasks that the broker has put away, or that have no result for another reason.
    pub archived: usize,
    /// Tasks of which a restart has burnt an attempt, or which were called more often than they have attempts.
    pub burnt: usize,
    /// What else the judge says.
    pub findings: Findings,
}

impl Outcome {
    /// Whether all is as it should be.
    pub fn holds(&self) -> bool {
        self.archived == 0 && self.burnt == 0 && self.findings.is_clean()
    }
}

/// Runs it on one broker.
///
/// # Errors
/// An instance does not end as it should, or nothing goes on.
pub fn run(servers: &str, registry: &str, restarts: u32) -> Result<Outcome> {
    let directory = TempDir::with_prefix("headrace-chaos-")?;
    let ground = Ground::new(servers, registry, "rolling", 1);
    let handlers = Handlers::start()?;
    let member = |name: &&str| {
        let handled = format!("push = \"{}\"\ntimeout = \"10m\"", handlers.url(name));
        let queue = Queue { name: "called", handled, concurrency: CONCURRENCY };
        Member::prepare(&ground, directory.path(), name, &[queue])
    };
    let mut members = MEMBERS.iter().map(member).collect::<Result<Vec<_>>>()?;
    members[0].apply()?;
    ground.set_group(&ground.group("called"), ("share.delivery.count.limit", LIMIT))?;
    MEMBERS.iter().for_each(|gate| handlers.set_open(gate, false));
    members.iter_mut().try_for_each(Member::start)?;
    members.iter_mut().try_for_each(Member::wait_ready)?;
    let (submitter, follower) = (Submitter::new(&ground)?, Follower::start(&ground)?);
    let of = restarts * TASKS_EACH;
    // The numbers of the queue whose handlers are called.
    let numbers = (0..of * 2).filter(|number| number / 2 % 2 == 0);
    let jobs = numbers.map(|number| Job { number, fate: Fate::FailsOnce });
    let submitted = jobs.map(|job| submitter.submit(job, of)).collect::<Result<Vec<_>>>()?;
    submitter.flush()?;
    for restart in 0..restarts as usize {
        let at = restart % MEMBERS.len();
        let gate = MEMBERS[at];
        wait::until("an instance to have its hands full", PATIENCE, || match handlers.held(gate) {
            held if held >= CONCURRENCY => Ok(()),
            held => Err(format!("{gate} holds {held} calls, and {} tasks have ended", follower.count())),
        })?;
        members[at].tell_to_end()?;
        handlers.set_open(gate, true);
        members[at].wait_end()?;
        handlers.set_open(gate, false);
        members[at].start()?;
    }
    MEMBERS.iter().for_each(|gate| handlers.set_open(gate, true));
    wait_all(&ground, &follower, submitted.len())?;
    members.iter().try_for_each(Member::tell_to_end)?;
    members.iter_mut().try_for_each(Member::wait_end)?;
    follower.finish()?;
    let (results, calls) = (read(&ground)?, handlers.calls());
    let twice = |result: &&Vec<_>| result.iter().any(|one: &task_queue::tasks::TaskResult| one.attempts != 2);
    let burnt = results.values().filter(twice).count() + calls.values().filter(|own| own.len() != 2).count();
    let findings = judge(&submitted, &results, &calls);
    Ok(Outcome { restarts, tasks: submitted.len(), archived: submitted.len() - results.len(), burnt, findings })
}

/// Waits until all have ended, or the broker has nothing left though they have not.
fn wait_all(ground: &Ground, follower: &Follower, tasks: usize) -> Result<()> {
    let group = ground.group("called");
    let all = wait::until("all tasks to end", PATIENCE, || match follower.count() {
        count if count >= tasks => Ok(()),
        count => Err(format!("{count} of {tasks}; the group's lag is {:?}", ground.lag(&group))),
    });
    match all {
        Err(testbed::Error::Timeout { last, .. }) => println!("WRONG: {last}"),
        other => other?,
    }
    Ok(())
}

/// The control arm: a member that takes all that it can get, works on a few, and gives the rest back at its end. How many of
/// so many records the broker has put away after as many restarts.
///
/// # Errors
/// It does not get on.
pub fn control(servers: &str, registry: &str, restarts: u32) -> Result<usize> {
    let ground = Ground::new(servers, registry, "hoarder", 1);
    ground.create(&["tasks"])?;
    let group = ground.group("called");
    ground.set_group(&group, ("share.auto.offset.reset", "earliest"))?;
    ground.set_group(&group, ("share.delivery.count.limit", LIMIT))?;
    let records = restarts as usize * CONCURRENCY * 3;
    let producer: BaseProducer = ground.client().create()?;
    for number in 0..records {
        let value = number.to_string();
        producer
            .send(BaseRecord::to(&ground.topic("tasks")).key(&value).payload(&value))
            .map_err(|(error, _)| error)?;
    }
    producer.flush(PATIENCE)?;
    let accepted = tokio().block_on(async {
        for _ in 0..restarts {
            let mut consumer = hoard(&ground, &group, records)?;
            for _ in 0..CONCURRENCY {
                // Nothing comes of what was put away already.
                drop(next(&mut consumer).await);
            }
            consumer.close(PATIENCE).await;
        }
        work(hoard(&ground, &group, records)?).await
    })?;
    wait::until("the broker to have nothing left", PATIENCE, || match ground.lag(&group) {
        Ok(Some(0)) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    Ok(records - accepted)
}

fn hoard(ground: &Ground, group: &str, records: usize) -> Result<ShareConsumer> {
    let settings = ShareSettings { window: records, ..ShareSettings::new(group, [ground.topic("tasks")]) };
    Ok(ShareConsumer::join(Settings::new(&ground.servers, [])?, settings)?)
}

/// The next record, if one comes; one that is dropped is given back.
async fn next(consumer: &mut ShareConsumer) -> Option<Delivery> {
    tokio::time::timeout(QUIET, consumer.next()).await.ok()?.ok()?
}

/// Works on all that comes. As in our arm, each task fails once. How many were accepted.
async fn work(mut consumer: ShareConsumer) -> Result<usize> {
    let (mut seen, mut accepted) = (HashSet::new(), 0);
    while let Some(delivery) = next(&mut consumer).await {
        if seen.insert((delivery.partition(), delivery.offset())) {
            delivery.release().await?;
        } else {
            delivery.accept().await?;
            accepted += 1;
        }
    }
    consumer.close(PATIENCE).await;
    Ok(accepted)
}
