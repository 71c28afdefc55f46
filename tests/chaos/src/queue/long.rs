//! Tasks that take many times as long as the brokers' locks last: each runs once, because its lock is renewed. In the control
//! arm the group does not allow that.

use std::time::Duration;

use tempfile::TempDir;
use testbed::wait;

use super::PATIENCE;
use super::fate::{Fate, Job};
use super::ground::{Ground, Queue};
use super::handlers::Handlers;
use super::judge::{Findings, judge};
use super::member::Member;
use super::results::{Follower, read};
use super::submit::{Submitted, Submitter};
use crate::Result;

/// How many locks' length a task takes.
const LOCKS: u32 = 10;
/// The same of a task of the control arm, and how many there are.
const CONTROL_LOCKS: u32 = 3;
const CONTROL_TASKS: u32 = 4;

/// What a run has shown.
#[derive(Debug)]
pub struct Outcome {
    /// Tasks.
    pub tasks: usize,
    /// The most calls that one of them has had.
    pub most_calls: usize,
    /// What the judge says.
    pub findings: Findings,
}

impl Outcome {
    /// Whether all is as it should be.
    pub fn holds(&self) -> bool {
        self.most_calls == 1 && self.findings.is_clean()
    }
}

/// A queue whose locks are short, with one instance.
struct World {
    handlers: Handlers,
    ground: Ground,
    member: Member,
    follower: Follower,
    submitted: Vec<Submitted>,
    _directory: TempDir,
}

impl World {
    fn build(at: (&str, &str), tasks: u32, lock: Duration, locks: u32, settings: &[(&str, &str)]) -> Result<World> {
        let directory = TempDir::with_prefix("headrace-chaos-")?;
        let ground = Ground::new(at.0, at.1, "long", 1);
        let handlers = Handlers::start()?;
        handlers.set_slow(lock * locks);
        let handled = format!("push = \"{}\"\ntimeout = \"10m\"", handlers.url("long"));
        let queue = Queue { name: "called", handled, concurrency: tasks as usize };
        let mut member = Member::prepare(&ground, directory.path(), "one", &[queue])?;
        member.apply()?;
        let lock = lock.as_millis().to_string();
        for setting in [("share.record.lock.duration.ms", lock.as_str())].iter().chain(settings) {
            ground.set_group(&ground.group("called"), *setting)?;
        }
        member.start()?;
        member.wait_ready()?;
        let (submitter, follower) = (Submitter::new(&ground)?, Follower::start(&ground)?);
        // The numbers of the queue whose handlers are called.
        let jobs = (0..tasks).map(|number| Job { number: number / 2 * 4 + number % 2, fate: Fate::Slow });
        let submitted = jobs.map(|job| submitter.submit(job, tasks)).collect::<Result<_>>()?;
        submitter.flush()?;
        Ok(World { handlers, ground, member, follower, submitted, _directory: directory })
    }

    fn most_calls(&self) -> usize {
        self.handlers.calls().values().map(Vec::len).max().unwrap_or(0)
    }
}

/// Runs it on one broker, whose locks may be so short. `at`: bootstrap servers, and the schema registry.
///
/// # Errors
/// The instance does not get on.
pub fn run(at: (&str, &str), tasks: u32, lock: Duration) -> Result<Outcome> {
    let mut world = World::build(at, tasks, lock, LOCKS, &[])?;
    let (count, patience) = (world.submitted.len(), PATIENCE + lock * LOCKS);
    wait::until("all long tasks to end", patience, || match world.follower.count() {
        ended if ended >= count => Ok(()),
        ended => Err(format!("{ended} of {count}")),
    })?;
    world.member.tell_to_end()?;
    world.member.wait_end()?;
    let most_calls = world.most_calls();
    let findings = judge(&world.submitted, &read(&world.ground)?, &world.handlers.calls());
    world.follower.finish()?;
    Ok(Outcome { tasks: count, most_calls, findings })
}

/// The control arm: the group does not allow renewals. The most calls that a task has had.
///
/// # Errors
/// The instance does not get on.
pub fn control(at: (&str, &str), lock: Duration) -> Result<usize> {
    let settings = [("share.renew.acknowledge.enable", "false")];
    let mut world = World::build(at, CONTROL_TASKS, lock, CONTROL_LOCKS, &settings)?;
    let begun = wait::until("a task to be called", PATIENCE, || match world.most_calls() {
        0 => Err("none is".to_owned()),
        _ => Ok(()),
    });
    begun?;
    // For as long as it would take if it ran once, and as long again.
    let again = wait::until("a task to be called again", lock * CONTROL_LOCKS * 2, || match world.most_calls() {
        calls if calls > 1 => Ok(calls),
        _ => Err("none is".to_owned()),
    });
    world.member.kill()?;
    world.follower.finish()?;
    match again {
        Ok(calls) => Ok(calls),
        Err(testbed::Error::Timeout { .. }) => Ok(1),
        Err(error) => Err(error.into()),
    }
}
