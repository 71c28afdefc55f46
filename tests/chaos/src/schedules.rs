//! Exactness on a network that delays, cuts, loses, refuses and reorders requests, by a seed each.
//!
//! The broker is reached through the proxy only. A schedule is one seed: a ground of its own, the dice, an instance of both
//! stages in this process, input that comes portion by portion, then the judgement.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use headrace::telemetry::{TaskState, Telemetry};
use tempfile::TempDir;
use testbed::{Kafka, Testbed, wait};
use tokio_util::sync::CancellationToken;

use crate::application::{PATIENCE, telemetry, tokio};
use crate::brokers::Brokers;
use crate::check::Findings;
use crate::check::judge::{Judgement, judge, judge_outputs};
use crate::ground::Ground;
use crate::load::Source;
use crate::network::dice::{self, Dice};
use crate::network::proxy::Proxy;
use crate::positions::Positions;
use crate::side_by_side::side_by_side;
use crate::transactions;
use crate::{Failure, Result};

/// Few: a long run has hundreds of grounds.
const PARTITIONS: i32 = 2;
/// Events of a schedule.
const EVENTS: u64 = 8_000;
/// Events that come at a time, so that the input lasts for dozens of commits.
const PORTION: u64 = 400;
/// Events that may wait for their commit: while one portion is on the wire, the next is processed.
const AHEAD: u64 = PORTION;
/// Schedules within which the control arm must be caught.
pub const CONTROL_SCHEDULES: u32 = 12;

/// A broker behind a proxy.
pub struct Network {
    bed: Testbed,
    proxy: Proxy<Dice>,
}

/// What a schedule has shown.
#[derive(Debug)]
pub struct Outcome {
    /// What the checker says.
    pub judgement: Judgement,
    /// What was done to requests of transactions.
    pub faults: BTreeMap<&'static str, u64>,
    /// Of how many.
    pub requests: u64,
}

impl Network {
    /// Starts the broker.
    ///
    /// # Errors
    /// It does not start.
    pub fn start() -> Result<Network> {
        let proxy = Proxy::bind(Dice::default());
        let advertised = format!("PLAINTEXT://{}", proxy.address());
        let kafka = Kafka::builder()?.property("advertised.listeners", &advertised);
        let kafka = kafka.property("group.min.session.timeout.ms", "1000");
        let bed = Testbed::builder().kafka_with(kafka).start()?;
        proxy.lead_to(bed.kafka()?.port());
        Ok(Network { bed, proxy })
    }

    /// Where clients reach it.
    pub fn address(&self) -> String {
        self.proxy.address()
    }

    fn ground(&self, name: &str) -> Result<Ground> {
        let ground = Ground::new(&self.proxy.address(), name, PARTITIONS);
        ground.create(1)?;
        Ok(ground)
    }

    /// Runs our arm under the faults of a seed.
    ///
    /// # Errors
    /// It does not get on, or can't be judged.
    pub fn schedule(&self, seed: u64) -> Result<Outcome> {
        let (ground, directory) = (self.ground("schedule")?, TempDir::with_prefix("headrace-chaos-")?);
        let (before, thrown) = (self.proxy.plan.done(), self.proxy.plan.thrown());
        let state = directory.path().join("one");
        let shutdown = CancellationToken::new();
        dice::start(&self.proxy, seed);
        let (own, own_state, told) = (ground.clone(), state.clone(), shutdown.clone());
        let app = tokio().spawn(async move { own.run("one", &own_state, std::time::Duration::ZERO, told).await });
        let trickled = trickle(&ground, seed);
        self.proxy.plan.stop();
        let produced = trickled.and_then(|produced| {
            Positions::new(&ground)?
                .wait_drained(|| if app.is_finished() { Err("it has ended".into()) } else { Ok(()) })?;
            Ok(produced)
        });
        shutdown.cancel();
        let ended = tokio().block_on(async { tokio::time::timeout(PATIENCE, app).await });
        let produced = produced?;
        ended???;
        settle(&ground, &state)?;
        transactions::none_open(&ground.servers, transactions::PATIENCE)?;
        let judgement = judge(&ground, Brokers::one(self.bed.kafka()?), &produced, &[("one".to_owned(), state)])?;
        ground.delete()?;
        let mut faults = self.proxy.plan.done();
        faults.iter_mut().for_each(|(name, count)| *count -= before.get(name).copied().unwrap_or(0));
        faults.retain(|_, count| *count > 0);
        Ok(Outcome { judgement, faults, requests: self.proxy.plan.thrown() - thrown })
    }

    /// Runs the control arm under the faults of one seed after the other, until the checker finds something. What it found,
    /// and after how many schedules.
    ///
    /// # Errors
    /// It does not get on.
    pub fn control(&self, first: u64) -> Result<(Findings, u32)> {
        for count in 1..=CONTROL_SCHEDULES {
            let seed = first + u64::from(count) - 1;
            let ground = self.ground("control")?;
            let mut source = Source::new(&ground, seed)?;
            source.send(EVENTS)?;
            source.flush()?;
            dice::start(&self.proxy, seed);
            let ran = crate::naive::transactional::run(&ground, EVENTS);
            self.proxy.plan.stop();
            ran?;
            let mut findings = judge_outputs(&ground, source.produced())?;
            // It believes that all is committed; what the group has not, the next start would do once more.
            let positions = Positions::new(&ground)?;
            let missing: i64 = positions.ends()?[0].iter().sum::<i64>() - positions.committed()?[0].iter().sum::<i64>();
            findings.duplicated += missing.unsigned_abs();
            ground.delete()?;
            println!("control arm, seed {seed}: {} findings", findings.total());
            if !findings.is_clean() {
                return Ok((findings, count));
            }
        }
        Ok((Findings::default(), CONTROL_SCHEDULES))
    }
}

/// What many schedules have come to.
#[derive(Debug, Default)]
pub struct Runs {
    /// All of them together.
    pub judgement: Judgement,
    /// What was done to requests of transactions.
    pub faults: BTreeMap<&'static str, u64>,
    /// Of how many.
    pub requests: u64,
    /// Seeds with findings.
    pub failed: Vec<u64>,
}

impl Runs {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        if !outcome.judgement.findings.is_clean() {
            self.failed.push(seed);
        }
        self.judgement.add(outcome.judgement);
        outcome.faults.into_iter().for_each(|(name, count)| *self.faults.entry(name).or_insert(0) += count);
        self.requests += outcome.requests;
    }
}

/// Runs a schedule for each seed, one at a time on each of the networks; `told` hears of each that is over.
///
/// # Errors
/// One of them does not get on, or can't be judged.
pub fn many(networks: &[Network], seeds: Range<u64>, told: impl Fn(u64, &Outcome) + Sync) -> Result<Runs> {
    let runs = Mutex::new(Runs::default());
    side_by_side(seeds, networks, |network, seed| {
        let outcome = network.schedule(seed).map_err(|error| format!("seed {seed}: {error}"))?;
        told(seed, &outcome);
        runs.lock().unwrap_or_else(PoisonError::into_inner).add(seed, outcome);
        Ok(true)
    })?;
    let mut runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    runs.failed.sort_unstable();
    Ok(runs)
}

/// Starts once more, on a calm network, and stops when all tasks run. A commit whose end was lost on the network is in the
/// changelogs, and in the stores after the next reconciliation: a stop need not have waited for that one.
fn settle(ground: &Ground, state: &Path) -> Result<()> {
    let (telemetry, shutdown) = ([telemetry(), telemetry()], CancellationToken::new());
    let (own, own_state, own_telemetry, told) = (ground.clone(), state.to_owned(), telemetry.clone(), shutdown.clone());
    let app = tokio()
        .spawn(async move { own.run_told("one", &own_state, std::time::Duration::ZERO, own_telemetry, told).await });
    let run = |told: &Telemetry| {
        let running = told.health.tasks().iter().filter(|task| task.state == TaskState::Running).count();
        running == PARTITIONS as usize
    };
    let settled = wait::until("all tasks run", PATIENCE, || match telemetry.iter().all(run) {
        true => Ok(()),
        false if app.is_finished() => Err("it has ended".to_owned()),
        false => Err("some don't yet".to_owned()),
    });
    shutdown.cancel();
    let ended = tokio().block_on(async { tokio::time::timeout(PATIENCE, app).await });
    settled?;
    ended??
}

/// Produces the events portion by portion, as they are committed.
fn trickle(ground: &Ground, seed: u64) -> Result<Vec<u64>> {
    let mut source = Source::new(ground, seed)?;
    let positions = Positions::new(ground)?;
    for sent in (0..EVENTS).step_by(usize::try_from(PORTION)?) {
        source.send(PORTION)?;
        source.flush()?;
        positions.wait_events(sent.saturating_sub(AHEAD))?;
    }
    Ok::<_, Failure>(source.produced().to_vec())
}
