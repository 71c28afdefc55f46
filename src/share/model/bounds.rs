//! How large a world is, and what may happen in it.

use super::log::At;
use crate::wire::share::Acknowledgement;

/// What may go wrong, in a world that has a number of faults to spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A connection ends, with what is on its way.
    Cut,
    /// A broker forgets a session while its connection stands: the coordinator has given the member up.
    Evict,
    /// A broker can't write what is acknowledged.
    Away,
    /// A broker does not say what became of it.
    Silent,
    /// A partition gets another leader.
    Move,
    /// The same, and the leader of before does not know.
    Hang,
    /// Metadata names the leader of before.
    Stale,
    /// A beat's answer is lost.
    Beat,
    /// The coordinator forgets a member.
    Forget,
    /// A member is to read something else.
    Reassign,
}

/// A world's bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) members: usize,
    pub(super) brokers: usize,
    pub(super) partitions: usize,
    /// What is in each partition.
    pub(super) log: &'static [At],
    pub(super) window: usize,
    /// How often a record is delivered.
    pub(super) limit: u8,
    pub(super) faults: &'static [Fault],
    /// How many faults there may be.
    pub(super) budget: u8,
    /// What those who work on records may say of them.
    pub(super) says: &'static [Acknowledgement],
    /// Within so many steps of time each request is answered, or its connection ends: as long as a lock holds at most.
    pub(super) patience: u32,
    /// Whether members beat more than once, and join while one looks on.
    pub(super) beats: bool,
    /// Whether members drain and close.
    pub(super) ends: bool,
}

impl Bounds {
    pub(super) fn may(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}
