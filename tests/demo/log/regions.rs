//! Another region, with its own brokers, log and Redis: both write the prices, and the way between them is cut for a while.

use std::path::Path;
use std::time::Duration;

use chaos::network::Relay;
use chaos::queue::ground::Ground;
use chaos::wal::regions::{KEYS, Servers, Side, Wanted, Writer, replicated, value};
use chaos::wal::settings::set;
use testbed::{Redis, Testbed};

use crate::Result;

/// What both regions write.
pub(crate) const PRICES: &str = "prices";
/// This region's name, and that of the other one; tokens begin with them.
pub(crate) const REGIONS: [&str; 2] = [HERE, THERE];
pub(crate) const HERE: &str = "eu";
const THERE: &str = "us";
/// Between two requests of a region, each of a few mutations.
const PACE: Duration = Duration::from_millis(200);

/// The servers of the other region.
pub(crate) fn servers(bed: &Testbed) -> Result<Servers> {
    Servers::start(bed.cache(), bed.dirs()?, THERE)
}

/// The other region, and who writes in both.
pub(crate) struct Regions<'a> {
    there: Side<'a>,
    here: &'a Redis,
    /// From there to here.
    way: Relay,
    writers: Vec<Writer>,
}

/// What both regions have in the end.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Mutations of both.
    pub(crate) mutations: usize,
    /// Keys that are there in any of them.
    pub(crate) keys: usize,
    /// Keys that differ.
    pub(crate) divergent: usize,
}

impl<'a> Regions<'a> {
    /// Runs the other region; `instance` of this one is where it sends what is written there.
    pub(crate) fn start(servers: &'a Servers, bed: &'a Testbed, ground: &Ground, instance: &str) -> Result<Self> {
        let directory = bed.dirs()?.root().join("regions");
        let mut there = Side::new(servers, Path::new(&directory), &["only"])?;
        let (way, here) = (Relay::to(instance)?, bed.redis()?);
        set(ground, PRICES, &replicated(here, (THERE, there.way())))?;
        there.join(PRICES, (HERE, &way))?;
        there.start()?;
        Ok(Regions { there, here, way, writers: Vec::new() })
    }

    /// Has both written, a number of mutations each.
    pub(crate) fn write(&mut self, here: Vec<String>, mutations: u32) {
        let there = self.there.instances();
        let wanted = |region, instances| {
            let (namespace, seed, pace) = (PRICES, fastrand::u64(..), PACE);
            Wanted { region, namespace, instances, seed, mutations, pace }
        };
        self.writers =
            [(HERE, here), (THERE, there)].map(|(region, instances)| Writer::start(wanted(region, instances))).into();
    }

    pub(crate) fn cut(&self, is_cut: bool) {
        self.way.cut(is_cut);
        self.there.way().cut(is_cut);
    }

    /// Keys that differ just now.
    pub(crate) fn divergent(&self) -> Result<usize> {
        Ok(self.compare(0)?.divergent)
    }

    /// Waits until both have written; gives how much in all.
    pub(crate) fn written(&mut self) -> Result<usize> {
        let written = self.writers.drain(..).map(Writer::finish).collect::<chaos::Result<Vec<_>>>()?;
        Ok(written.iter().map(Vec::len).sum())
    }

    /// Results that the other region has.
    pub(crate) fn ended(&self) -> usize {
        self.there.ended().load(std::sync::atomic::Ordering::SeqCst)
    }

    /// An error if somebody has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.there.supervise()
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.there.end()
    }

    /// Each key of both.
    pub(crate) fn compare(&self, mutations: usize) -> Result<Compared> {
        let mut compared = Compared { mutations, ..Compared::default() };
        for key in (0..KEYS).map(|key| format!("k{key}")) {
            let (here, there) = (value(self.here, &key)?, self.there.value(&key)?);
            compared.keys += usize::from(here.is_some() || there.is_some());
            compared.divergent += usize::from(here != there);
        }
        Ok(compared)
    }
}
