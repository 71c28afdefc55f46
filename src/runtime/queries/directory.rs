//! Which instance has which task, as the instances announce it.
//!
//! An announcement names all tasks of its instance. A task that two instances name belongs to the one that has named it
//! last: repeating what was said before, as each does to stay alive, is no new claim. So an instance that hung while its
//! tasks moved takes nothing back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::is_address;
use crate::position::TaskId;

use super::super::standby::{Candidate, holders};

/// An instance that has not been heard of for so long is forgotten.
pub(super) const LIFETIME: Duration = Duration::from_secs(45);
/// Instances that are known at most.
const MAX_INSTANCES: usize = 4096;

/// What an instance says of itself: the value of a record of `<application-id>-instances`, as JSON. Not Avro, because an
/// application without a registry has it too, and a person reads it with any console consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announcement {
    /// `host:port` of its HTTP server.
    pub(super) address: String,
    /// Tasks whose stores it answers for, as `0_3`.
    pub(super) tasks: Vec<String>,
    /// Stores of the topology.
    pub(super) stores: Vec<String>,
    /// Copies of each task that it wants there to be; who wants none holds none.
    #[serde(default)]
    pub(super) standbys: usize,
}

impl Announcement {
    /// Reads a record's value; `None` for what is none, or names no address.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let announcement: Announcement = serde_json::from_slice(bytes).ok()?;
        is_address(&announcement.address).then_some(announcement)
    }
}

#[derive(Debug)]
struct Peer {
    address: String,
    standbys: usize,
    /// Each with the number of the announcement that first named it.
    tasks: BTreeMap<TaskId, u64>,
    heard: Instant,
}

/// The instances of the application, by their id.
#[derive(Debug, Default)]
pub(super) struct Directory {
    peers: BTreeMap<String, Peer>,
    announcements: u64,
    /// Of each sub-topology.
    partitions: BTreeMap<u32, i32>,
}

impl Directory {
    /// Takes note of an announcement; `None` is a farewell.
    pub(super) fn hear(&mut self, instance: &str, announcement: Option<Announcement>, now: Instant) {
        let Some(announcement) = announcement else {
            self.peers.remove(instance);
            return;
        };
        if self.peers.len() >= MAX_INSTANCES && !self.peers.contains_key(instance) {
            return;
        }
        self.announcements += 1;
        let before = self.peers.remove(instance);
        let known = |task: &TaskId| before.as_ref().and_then(|before| before.tasks.get(task).copied());
        let tasks = announcement.tasks.iter().filter_map(|task| task.parse().ok());
        let tasks = tasks.map(|task: TaskId| (task, known(&task).unwrap_or(self.announcements))).collect();
        let Announcement { address, standbys, .. } = announcement;
        self.peers.insert(instance.to_owned(), Peer { address, standbys, tasks, heard: now });
    }

    /// Forgets who has been silent for too long.
    pub(super) fn forget_silent(&mut self, now: Instant) {
        self.peers.retain(|_, peer| now.saturating_duration_since(peer.heard) < LIFETIME);
    }

    /// Address of the instance that has a task.
    pub(super) fn owner(&self, task: TaskId) -> Option<&str> {
        self.claimant(task).map(|(_, peer)| peer.address.as_str())
    }

    fn claimant(&self, task: TaskId) -> Option<(&str, &Peer)> {
        let claims = self.peers.iter().filter_map(|(id, peer)| Some((*peer.tasks.get(&task)?, id, peer)));
        claims.max_by_key(|(claim, ..)| *claim).map(|(_, id, peer)| (id.as_str(), peer))
    }

    /// Whether an instance keeps a copy of a task (rule R-24); none while nobody has announced the task: who it comes to then
    /// is not known.
    pub(super) fn keeps_copy(&self, instance: &str, task: TaskId) -> Option<bool> {
        let (owner, peer) = self.claimant(task)?;
        let willing = self.peers.iter().filter(|(_, peer)| peer.standbys > 0);
        let candidates = willing.map(|(id, peer)| Candidate { instance: id, host: host(peer) });
        let holders = holders(task, Candidate { instance: owner, host: host(peer) }, candidates, peer.standbys);
        Some(holders.contains(&instance))
    }

    /// A sub-topology's number of partitions was looked up.
    pub(super) fn has_partitions(&mut self, sub_topology: u32, partitions: i32) {
        self.partitions.insert(sub_topology, partitions);
    }

    /// The same, if it was looked up.
    pub(super) fn partitions(&self, sub_topology: u32) -> Option<i32> {
        self.partitions.get(&sub_topology).copied()
    }
}

/// The machine of an address.
fn host(peer: &Peer) -> &str {
    peer.address.rsplit_once(':').map_or(peer.address.as_str(), |(host, _)| host)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::position::Partition;

    fn task(partition: i32) -> TaskId {
        TaskId { sub_topology: 0, partition: Partition(partition) }
    }

    fn says(address: &str, tasks: &[&str]) -> Option<Announcement> {
        let tasks = tasks.iter().map(|task| (*task).to_owned()).collect();
        Some(Announcement { address: address.into(), tasks, stores: Vec::new(), standbys: 1 })
    }

    #[test]
    fn a_task_belongs_to_who_claimed_it_last_and_repeating_is_no_claim() {
        let (mut directory, now) = (Directory::default(), Instant::now());
        directory.hear("a", says("a:1", &["0_0", "0_1"]), now);
        directory.hear("b", says("b:1", &["0_1"]), now);
        assert_eq!((directory.owner(task(0)), directory.owner(task(1))), (Some("a:1"), Some("b:1")));
        // The zombie has not noticed.
        directory.hear("a", says("a:1", &["0_0", "0_1"]), now);
        assert_eq!(directory.owner(task(1)), Some("b:1"));
        directory.hear("a", says("a:1", &["0_0"]), now);
        directory.hear("a", says("a:2", &["0_0", "0_1"]), now);
        assert_eq!(directory.owner(task(1)), Some("a:2"), "lost, and got again");
        directory.hear("a", None, now);
        assert_eq!((directory.owner(task(0)), directory.owner(task(1))), (None, Some("b:1")));
    }

    #[test]
    fn who_is_silent_is_forgotten() {
        let (mut directory, now) = (Directory::default(), Instant::now());
        directory.hear("a", says("a:1", &["0_0"]), now);
        directory.hear("b", says("b:1", &["0_1"]), now + LIFETIME / 2);
        directory.forget_silent(now + LIFETIME);
        assert_eq!((directory.owner(task(0)), directory.owner(task(1))), (None, Some("b:1")));
    }

    #[test]
    fn r24_each_instance_finds_the_same_keeper_of_a_copy_and_nobody_keeps_what_nobody_has() {
        let (mut directory, now) = (Directory::default(), Instant::now());
        directory.hear("a", says("a:1", &["0_0", "0_1"]), now);
        directory.hear("b", says("b:1", &["0_2"]), now);
        directory.hear("c", says("c:1", &[]), now);
        for partition in 0..3 {
            let keepers: Vec<_> =
                ["a", "b", "c"].into_iter().filter(|id| directory.keeps_copy(id, task(partition)).unwrap()).collect();
            assert_eq!(keepers.len(), 1);
            assert!(!keepers.contains(&if partition < 2 { "a" } else { "b" }), "{keepers:?}");
        }
        assert_eq!(directory.keeps_copy("a", task(3)), None);
        // An instance of an earlier version, or one that was told to hold none.
        let silent = r#"{"address":"d:1","tasks":[],"stores":[]}"#;
        directory.hear("d", Announcement::parse(silent.as_bytes()), now);
        assert!((0..3).all(|partition| directory.keeps_copy("d", task(partition)) == Some(false)));
    }

    #[test]
    fn what_is_no_announcement_is_passed_over() {
        let read = |text: &str| Announcement::parse(text.as_bytes());
        let address = |address: &str| format!(r#"{{"address":"{address}","tasks":["0_1"],"stores":[],"more":1}}"#);
        assert_eq!(read(&address("host-1.local:80")).unwrap().tasks, ["0_1"]);
        assert!(read(&address("[::1]:80")).is_some());
        for wrong in ["", "host", "host:x", ":80", "a/b:80", "user@host:80", "host:80/path"] {
            assert!(read(&address(wrong)).is_none(), "{wrong}");
        }
        assert!(read("{").is_none());
    }

    #[test]
    fn an_announcement_reads_back() {
        let said = says("h:1", &["0_0", "12_345"]).unwrap();
        assert_eq!(Announcement::parse(&serde_json::to_vec(&said).unwrap()), Some(said));
    }
}
