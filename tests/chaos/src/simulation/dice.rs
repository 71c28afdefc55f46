//! What a seed decides: how rough the world is, and what happens next in it.

use std::time::Duration;

use fastrand::Rng;

use super::network::Fate;

/// The character of one run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) instances: usize,
    pub(super) threads: usize,
    pub(super) partitions: i32,
    /// How many events are produced, of how many origins.
    pub(super) events: u64,
    pub(super) origins: u32,
    /// How long there are faults.
    pub(super) rough: Duration,
    /// Staged bytes per thread.
    pub(super) staged: usize,
    /// In 1,000 requests: answers that are lost, connections that break, refusals.
    unheard: u32,
    broken: u32,
    refused: u32,
    /// Between two faults, more or less: some worlds have no time to work at all, in others what a fault leaves meets work.
    gap: Duration,
}

impl Plan {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Plan {
            instances: rng.usize(2..=3),
            threads: rng.usize(1..=2),
            partitions: rng.i32(2..=4),
            events: rng.u64(100..=400),
            origins: rng.u32(3..=8),
            rough: Duration::from_millis(rng.u64(3_000..=12_000)),
            staged: if rng.u8(0..4) == 0 { 2 << 10 } else { 1 << 20 },
            unheard: rng.u32(0..40),
            broken: rng.u32(0..40),
            refused: rng.u32(0..15),
            gap: Duration::from_millis(100 << rng.u32(0..=4)),
        }
    }

    /// Until the next fault.
    pub(super) fn gap(&self, rng: &mut Rng) -> Duration {
        self.gap * rng.u32(25..=175) / 100
    }

    /// What becomes of a request; one of more weight meets more.
    pub(super) fn fate(&self, rng: &mut Rng, calm: bool, weight: u32) -> Fate {
        if calm {
            return Fate::Answered;
        }
        let dice = rng.u32(0..1_000) / weight;
        if dice < self.unheard {
            Fate::AnswerLost
        } else if dice < self.unheard + self.broken {
            Fate::Broken(rng.u8(0..4) > 0)
        } else if dice < self.unheard + self.broken + self.refused {
            Fate::Refused
        } else {
            Fate::Answered
        }
    }
}

/// Something that is done to an instance or to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// kill −9, and a start some time later.
    Kill { disk_lost: bool },
    /// All of them at once.
    KillAll,
    /// SIGSTOP for so long.
    Stop(Duration),
    /// Its heartbeats are lost for so long: it goes on, and the group goes on without it.
    Deaf(Duration),
    /// SIGTERM, and a start some time later.
    Restart,
    /// The coordinators don't answer for so long.
    Coordinators(Duration),
    /// The leaders of one partition number don't.
    Leader(Duration),
    /// A rebalance that nobody asked for.
    Rebalance,
}

impl Fault {
    pub(super) fn any(rng: &mut Rng) -> Fault {
        // One in two is short: it is felt, and nobody is given up.
        let time = |rng: &mut Rng, most: u64| {
            let most = if rng.bool() { most } else { most / 10 };
            Duration::from_millis(rng.u64(10..=most))
        };
        match rng.u8(0..20) {
            0..5 => Fault::Kill { disk_lost: rng.u8(0..5) == 0 },
            5 => Fault::KillAll,
            6..10 => Fault::Stop(time(rng, 5_000)),
            10..12 => Fault::Restart,
            12..14 => Fault::Coordinators(time(rng, 2_000)),
            14..16 => Fault::Leader(time(rng, 1_500)),
            16..18 => Fault::Deaf(time(rng, 4_000)),
            _ => Fault::Rebalance,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::Kill { disk_lost: false } => "kill",
            Fault::Kill { disk_lost: true } => "kill-and-lose-disk",
            Fault::KillAll => "kill-all",
            Fault::Stop(_) => "stop",
            Fault::Deaf(_) => "deaf",
            Fault::Restart => "restart",
            Fault::Coordinators(_) => "coordinators-away",
            Fault::Leader(_) => "leader-away",
            Fault::Rebalance => "rebalance",
        }
    }
}
