//! A simulation of the loop over a model of Kafka: thousands of schedules an hour, and each that fails comes again by its seed.
//!
//! ```text
//!                       the real thing                          │              the model
//!  stream threads of 2 or 3 instances: assignment, commit cycle,│ partitions of real record batches, markers, last stable
//!  pipeline, recovery, rebalances, restore, tasks, RocksDB,     │ offsets; transactions v2; a group with static members;
//!  the fetcher's engine and its portions                        │ requests that are lost, late, refused; the clock
//! ```
//!
//! One thread moves at a time, and a seed says which (`world`), so that a run is a function of its seed. What is done to it:
//! kill −9 in the middle of any call, lost disks, SIGSTOP for longer than a session, rebalances at any step, coordinators and
//! leaders that are away, lost heartbeats, EndTxn of unknown outcome, requests of the dead that arrive later. Then all is left in peace, the input
//! is worked off, and the [checker](crate::check) of the other runs compares outputs, changelogs and stores with what is due.
//!
//! The control arms ([`Arm`]) are worlds in which one rule does not hold; each has to be caught within [`CONTROL_SEEDS`] seeds.

mod arm;
mod broker;
mod client;
mod dice;
mod group;
mod instance;
mod judge;
mod log;
mod network;
mod runs;
mod schedule;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod twice;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use headrace::position::{Partition, TopicPartition};
use headrace::runtime::{Implementation, Implementations, Options};
use headrace::store::{StoreOptions, StoreResources};

pub use arm::Arm;
use broker::Broker;
use dice::Plan;
use group::Group;
use instance::Instance;
pub use runs::{Runs, Wanted, control, each_twice, many};
pub use twice::{Difference, twice};
use world::{State, World};

use crate::check::judge::Judgement;
use crate::ground::Stage;
use crate::{Result, application, topology};

/// Within so many seeds a control arm has to be caught.
pub const CONTROL_SEEDS: u64 = 300;
/// How long a run may take by the machine's clock.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one seed has come to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the checker says.
    pub judgement: Judgement,
    /// How often what was done.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often what a rebalance asked back was worked on before it was given up.
    pub handovers: u64,
    /// What happened, one line each, with the milliseconds of the run before it.
    pub trace: Vec<String>,
    /// How long it was, by its own clock.
    pub took: Duration,
}

/// Runs one seed.
///
/// # Errors
/// The run does not end, or its stores can't be read.
pub fn run(seed: u64, arm: Arm) -> Result<Outcome> {
    let directory = tempfile::Builder::new().prefix("headrace-simulation-").tempdir_in(memory())?;
    let mut rng = Rng::with_seed(seed);
    let plan = Plan::new(&mut rng);
    let stage = stage();
    let topics = [stage.input.clone()].into_iter().chain(stage.written());
    let at = |topic: &str, number: i32| TopicPartition { topic: topic.into(), partition: Partition(number) };
    let all: Vec<_> = topics.flat_map(|topic| (0..plan.partitions).map(move |number| at(&topic, number))).collect();
    let broker = Broker::new(arm, all.into_iter());
    let inputs = (0..plan.partitions).map(|number| at(&stage.input, number)).collect();
    let group = Group::new(&stage.application, inputs);
    let options = options(&stage, &plan, directory.path());
    let topology = topology::of(&stage, Duration::ZERO)?;
    let instance = |number: usize, rng: &mut Rng| {
        let (name, start_at) = (format!("i{number}"), Duration::from_millis(rng.u64(0..500) * number as u64));
        let own = directory.path().join(&name);
        Instance::new(name, own, options.clone(), topology.clone(), start_at, rng.u64(..))
    };
    let instances = (0..plan.instances).map(|number| instance(number, &mut rng)).collect();
    let world = World::new(State::new(rng, arm, plan, stage, broker, group, instances));
    world.start();
    if !world.run(PATIENCE) {
        return Err(format!("seed {seed}: does not end; the last: {:?}", world.lock().trace.last()).into());
    }
    let state = world.lock();
    let judgement = judge::judge(&state)?;
    let (faults, handovers, trace) = (state.faults.clone(), state.group.handovers, state.trace.clone());
    Ok(Outcome { judgement, faults, handovers, trace, took: state.now() })
}

/// Where disks are quick: nothing here depends on one that outlives a power loss.
fn memory() -> std::path::PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() }
}

fn stage() -> Stage {
    Stage {
        application: "simulated".to_owned(),
        input: "events".to_owned(),
        output: "tallies".to_owned(),
        moved: Some("moved".to_owned()),
    }
}

fn options(stage: &Stage, plan: &Plan, directory: &Path) -> Options {
    let settings = application::settings("", &stage.application, "");
    let options = application::options(settings, plan.partitions, directory);
    let clients = Implementations { producer: Implementation::Native, fetcher: Implementation::Native };
    // A thread that writes would have its own time, and what is staged decides when a transaction is committed.
    let stores = StoreOptions { block_cache_bytes: 4 << 20, write_buffer_bytes: 4 << 20, ..StoreOptions::default() };
    Options { clients, stores: StoreResources::in_step(stores), max_staged_bytes: plan.staged, ..options }
}
