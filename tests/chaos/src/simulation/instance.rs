//! The processes of a run: started, killed, stopped, told to end, and started again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use headrace::error::FatalError;
use headrace::kafka::Settings;
use headrace::runtime::Options;
use headrace::testing;
use headrace::topology::Topology;
use tokio_util::sync::CancellationToken;

use super::client::Clients;
use super::dice::Fault;
use super::world::{Killed, Season, State, World};
use crate::application;

/// A process with its disk.
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) options: Options,
    pub(super) topology: Topology,
    pub(super) is_up: bool,
    pub(super) shutdown: CancellationToken,
    actors: Vec<usize>,
    stopped_until: Duration,
    deaf_until: Duration,
    start_at: Option<Duration>,
    /// It starts with an empty disk.
    disk_lost: bool,
    seed: u64,
}

impl Instance {
    /// It starts at this time.
    pub(super) fn new(
        name: String,
        directory: PathBuf,
        options: Options,
        topology: Topology,
        start_at: Duration,
        seed: u64,
    ) -> Self {
        let options = Options {
            state_directory: directory.clone(),
            kafka: Settings { instance_id: name.clone(), ..options.kafka },
            ..options
        };
        Instance {
            name,
            directory,
            options,
            topology,
            is_up: false,
            shutdown: CancellationToken::new(),
            actors: Vec::new(),
            stopped_until: Duration::ZERO,
            deaf_until: Duration::ZERO,
            start_at: Some(start_at),
            disk_lost: false,
            seed,
        }
    }

    pub(super) fn is_stopped(&self, now: Duration) -> bool {
        now < self.stopped_until
    }

    /// Whether the group's coordinator and its members hear of each other.
    pub(super) fn is_deaf(&self, now: Duration) -> bool {
        now < self.deaf_until
    }

    /// Nobody is stopped any more, and who is down comes back now.
    pub(super) fn calm_down(&mut self, now: Duration) {
        (self.stopped_until, self.deaf_until) = (Duration::ZERO, Duration::ZERO);
        self.start_at = self.start_at.map(|at| at.min(now));
    }
}

impl State {
    /// Starts what is due, and notes what has ended by itself.
    pub(super) fn start_due(&mut self, world: &Arc<World>) {
        let now = self.now();
        for number in 0..self.instances.len() {
            let ended = self.instances[number].actors.iter().all(|actor| self.actors[*actor].ended);
            if self.instances[number].is_up && ended && self.season != Season::Over {
                let pause = Duration::from_millis(self.rng.u64(50..1_000));
                let instance = &mut self.instances[number];
                (instance.is_up, instance.start_at) = (false, Some(now + pause));
            }
            let instance = &self.instances[number];
            let due = instance.start_at.is_some_and(|at| at <= now);
            if due && ended && self.season != Season::Over {
                self.start(number, world);
            }
        }
    }

    fn start(&mut self, number: usize, world: &Arc<World>) {
        let name = self.instances[number].name.clone();
        self.note(format!("start of {name}"));
        let threads = self.plan.threads;
        let actors: Vec<usize> = (0..threads).map(|_| self.actor(number)).collect();
        let clock = self.clock.clone();
        let instance = &mut self.instances[number];
        if std::mem::take(&mut instance.disk_lost) {
            // There may be none yet.
            _ = std::fs::remove_dir_all(&instance.directory);
        }
        (instance.is_up, instance.start_at, instance.shutdown) = (true, None, CancellationToken::new());
        instance.actors.clone_from(&actors);
        instance.seed = instance.seed.wrapping_mul(31).wrapping_add(7);
        for (index, actor) in actors.into_iter().enumerate() {
            let (options, topology, shutdown) =
                (instance.options.clone(), instance.topology.clone(), instance.shutdown.clone());
            let (world, clock, seed) = (Arc::clone(world), clock.clone(), instance.seed.wrapping_add(index as u64));
            let work = move || {
                clock.follow();
                fastrand::seed(seed);
                if world.begin(actor) {
                    let clients = Clients {
                        world: Arc::clone(&world),
                        actor,
                        application: options.kafka.application_id.clone(),
                        instance: options.kafka.instance_id.clone(),
                    };
                    let options = Options { stream_threads: threads, simulated: Some(Arc::new(clients)), ..options };
                    let run =
                        || testing::stream_thread(&topology, options, index, application::tokio().handle(), shutdown);
                    let ended = catch_unwind(AssertUnwindSafe(run));
                    world.lock().note_end(actor, index, ended);
                }
                world.end(actor);
            };
            let spawned = thread::Builder::new().name(format!("{name}-{index}")).spawn(work);
            if let Err(error) = spawned {
                self.actors[actor].ended = true;
                self.defects.push(format!("no thread: {error}"));
            }
        }
    }

    fn note_end(&mut self, actor: usize, thread: usize, ended: thread::Result<Result<(), FatalError>>) {
        let name = format!("{}-{thread}", self.instances[self.actors[actor].instance].name);
        match ended {
            Ok(Ok(())) => self.note(format!("{name} has ended")),
            Ok(Err(error)) => {
                self.note(format!("{name} gives up: {error}"));
                self.defects.push(format!("{name} gave up: {error}"));
                self.take_away(actor, true);
            }
            Err(payload) if payload.is::<Killed>() => self.note(format!("{name} is dead")),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().cloned();
                let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                self.defects.push(format!("{name} panicked: {}", text.unwrap_or_default()));
                self.take_away(actor, false);
            }
        }
    }

    /// Nothing of this stream thread is there any more, but what it has sent.
    fn take_away(&mut self, actor: usize, orderly: bool) {
        let own: Vec<u64> =
            self.senders.iter().filter(|(_, sender)| sender.actor == actor).map(|(key, _)| *key).collect();
        for key in own {
            let late = self.senders.remove(&key).map(|sender| sender.late(orderly)).unwrap_or_default();
            for late in late {
                if self.rng.u8(0..4) > 0 {
                    self.late.push(late);
                }
            }
        }
        self.feeds.retain(|_, fed| fed.actor != actor);
        self.forget_member(actor);
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        let now = self.now();
        let up: Vec<usize> = (0..self.instances.len()).filter(|number| self.instances[*number].is_up).collect();
        let one = (!up.is_empty()).then(|| up[self.rng.usize(..up.len())]);
        let which = match fault {
            Fault::Coordinators(time) => {
                self.coordinators_away = now + time;
                format!("for {time:?}")
            }
            Fault::Leader(time) => {
                let partition = self.rng.i32(0..self.plan.partitions);
                self.leader_away = (partition, now + time);
                format!("of {partition} for {time:?}")
            }
            Fault::Rebalance => {
                self.group.disturb();
                String::new()
            }
            Fault::KillAll => {
                up.into_iter().for_each(|number| self.kill(number, false));
                String::new()
            }
            Fault::Kill { .. } | Fault::Stop(_) | Fault::Deaf(_) | Fault::Restart if one.is_none() => return,
            Fault::Kill { disk_lost } => {
                self.kill(one.unwrap_or(0), disk_lost);
                self.instances[one.unwrap_or(0)].name.clone()
            }
            Fault::Stop(time) => {
                let instance = &mut self.instances[one.unwrap_or(0)];
                instance.stopped_until = now + time;
                format!("{} for {time:?}", instance.name)
            }
            Fault::Deaf(time) => {
                let instance = &mut self.instances[one.unwrap_or(0)];
                instance.deaf_until = now + time;
                format!("{} for {time:?}", instance.name)
            }
            Fault::Restart => {
                let instance = &mut self.instances[one.unwrap_or(0)];
                instance.shutdown.cancel();
                instance.name.clone()
            }
        };
        *self.faults.entry(fault.name()).or_default() += 1;
        self.note(format!("FAULT {} {which}", fault.name()));
    }

    fn kill(&mut self, number: usize, disk_lost: bool) {
        let pause = Duration::from_millis(self.rng.u64(1..1_500));
        let start_at = self.now() + pause;
        let instance = &mut self.instances[number];
        (instance.is_up, instance.start_at, instance.stopped_until) = (false, Some(start_at), Duration::ZERO);
        let actors = instance.actors.clone();
        for actor in actors.into_iter().filter(|actor| !self.actors[*actor].ended).collect::<Vec<_>>() {
            self.actors[actor].killed = true;
            self.take_away(actor, false);
        }
        self.instances[number].disk_lost |= disk_lost;
    }
}
