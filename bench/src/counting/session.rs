//! One testbed with one loaded input topic, on which run after run is measured.

use std::time::Duration;

use testbed::Testbed;

use super::arm::{Arm, Place, Running, Setting};
use super::observer::Observer;
use super::peer::Peer;
use super::{KEYS, PARTITIONS, number, topics, verify};
use crate::Failure;
use crate::measure::{Run, cpu_seconds, peak_rss_bytes};

/// Records of the measured part.
const RECORDS: u64 = 3_000_000;
/// So that the peer is at work for some seconds before it is measured: of 33,000 records more than half of its time goes
/// to the JVM's compiler, and the comparison would be unfair to it.
const LEAST_WARM_UP: u64 = 500_000;
/// The slowest rate that a run is given time for, in records per second, beside the time to start.
const SLOWEST: u64 = 2_000;
const START: Duration = Duration::from_secs(120);
const EVENTS: &str = "events";

/// A testbed with a loaded input topic.
pub(crate) struct Session {
    bed: Testbed,
    peer: Option<Peer>,
    /// Records of each key in the input.
    expected: Vec<u32>,
    pub(crate) records: u64,
    pub(crate) warm_up: u64,
    runs: u32,
}

impl Session {
    /// Starts the broker and loads the input.
    pub(crate) fn start(with_peer: bool) -> Result<Self, Failure> {
        let records = number("RECORDS", RECORDS)?;
        let warm_up = number("WARM_UP", (records / 3).max(LEAST_WARM_UP))?;
        let bed = Testbed::builder().kafka().start()?;
        let peer = if with_peer { Some(Peer::prepare(&bed, &[Peer::STATEFUL_COUNT])?) } else { None };
        let servers = bed.kafka()?.bootstrap_servers();
        println!("loading {} records of {KEYS} keys …", warm_up + records);
        topics::create(servers, PARTITIONS, &[(EVENTS, &[])])?;
        let expected = topics::load(servers, EVENTS, warm_up + records)?;
        Ok(Session { bed, peer, expected, records, warm_up, runs: 0 })
    }

    pub(crate) fn bed(&self) -> &Testbed {
        &self.bed
    }

    /// A place for one run, with its topics.
    pub(crate) fn place(&mut self, arm: Arm, events: Option<&str>) -> Result<Place, Failure> {
        self.runs += 1;
        let application = format!("{}-{}", arm.name(), self.runs);
        let own = events.map(|events| format!("{application}.{events}"));
        let place = Place::new(&self.bed, application, own.as_deref().unwrap_or(EVENTS))?;
        let changelog = place.changelog();
        let mut wanted: Vec<(&str, &[(&str, &str)])> = vec![(&place.counts, &[])];
        if let Some(own) = &own {
            wanted.push((own, &[]));
        }
        if arm != Arm::Peer {
            // The peer makes its own.
            wanted.push((&changelog, &[("cleanup.policy", "compact")]));
        }
        topics::create(self.bed.kafka()?.bootstrap_servers(), PARTITIONS, &wanted)?;
        Ok(place)
    }

    /// Removes what a run has left.
    pub(crate) fn clear(&self, place: &Place) -> Result<(), Failure> {
        let changelog = place.changelog();
        let mut gone = vec![place.counts.as_str(), changelog.as_str()];
        if place.events != EVENTS {
            gone.push(&place.events);
        }
        topics::delete(self.bed.kafka()?.bootstrap_servers(), &gone)?;
        if place.state.exists() {
            std::fs::remove_dir_all(&place.state)?;
        }
        Ok(())
    }

    /// Starts an arm in its place.
    pub(crate) fn run(&self, arm: Arm, place: &Place, setting: &Setting) -> Result<Running, Failure> {
        Running::start(arm, &self.bed, place, setting, self.peer.as_ref())
    }

    /// One run: measured, then checked record by record.
    pub(crate) fn measure(&mut self, arm: Arm, label: &str, setting: &Setting) -> Result<Run, Failure> {
        let place = self.place(arm, None)?;
        let run = self.measure_in(&place, arm, setting);
        let run = run.map_err(|error| format!("{} ({label}): {error}", arm.name()))?;
        self.clear(&place)?;
        let (rate, cpu, rss) = (run.records_per_second(), run.cpu_seconds_per_million(), run.peak_rss_bytes >> 20);
        println!("{:>6} {label:<24} {rate:>9.0} records/s  {cpu:>6.2} CPU s per million  {rss:>4} MiB", arm.name());
        Ok(run)
    }

    fn measure_in(&self, place: &Place, arm: Arm, setting: &Setting) -> Result<Run, Failure> {
        let kafka = self.bed.kafka()?;
        let (servers, broker) = (kafka.bootstrap_servers(), kafka.pid().ok_or("the broker is gone")?);
        let total = self.warm_up + self.records;
        let patience = START + Duration::from_secs(total / SLOWEST);
        let observer = Observer::new(servers, &place.application, &place.events, PARTITIONS)?;
        let mut running = self.run(arm, place, setting)?;
        let pid = running.pid();
        let first = observer.wait(self.warm_up, &mut running, patience)?;
        let before = (cpu_seconds(pid)?, cpu_seconds(broker)?);
        let last = observer.wait(total, &mut running, patience)?;
        let run = Run {
            records: last.committed - first.committed,
            elapsed: last.at - first.at,
            cpu_seconds: cpu_seconds(pid)? - before.0,
            peak_rss_bytes: peak_rss_bytes(pid)?,
            broker_cpu_seconds: Some(cpu_seconds(broker)? - before.1),
        };
        drop(running);
        verify::output(servers, &place.counts, &self.expected, arm != Arm::Limit)?;
        Ok(run)
    }
}
