//! Who keeps a copy of a task: rendezvous hashing (Thaler and Ravishankar, 1998) over the instances that live.
//!
//! Each instance gives each task a number that depends on the two of them alone; the highest hold the copies. So all compute
//! the same without a word, and an instance that comes or goes moves its own copies only.

use crate::position::TaskId;

/// An instance that may hold a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) struct Candidate<'a> {
    /// Its id.
    pub(in crate::runtime) instance: &'a str,
    /// The machine that it runs on, as far as its address tells.
    pub(in crate::runtime) host: &'a str,
}

/// The instances that hold the `copies` of a task, which `owner` processes: other machines than the owner's first, and each
/// machine once, as long as there are any.
pub(in crate::runtime) fn holders<'a>(
    task: TaskId,
    owner: Candidate<'_>,
    candidates: impl Iterator<Item = Candidate<'a>>,
    copies: usize,
) -> Vec<&'a str> {
    let mut left: Vec<_> = candidates.filter(|candidate| candidate.instance != owner.instance).collect();
    // The id settles a tie.
    left.sort_by_key(|candidate| (weight(task, candidate.instance), candidate.instance));
    let (mut hosts, mut holders) = (vec![owner.host], Vec::new());
    while holders.len() < copies {
        let elsewhere = left.iter().rposition(|candidate| !hosts.contains(&candidate.host));
        let Some(best) = elsewhere.or_else(|| left.len().checked_sub(1)) else { break };
        let Candidate { instance, host } = left.remove(best);
        hosts.push(host);
        holders.push(instance);
    }
    holders
}

/// FNV-1a, and a last stir, since it leaves the high bits of short texts alike. Never to be changed: instances of two
/// versions have to agree.
fn weight(task: TaskId, instance: &str) -> u64 {
    let task = task.to_string();
    let bytes = task.bytes().chain([0]).chain(instance.bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::position::Partition;

    fn task(partition: i32) -> TaskId {
        TaskId { sub_topology: 0, partition: Partition(partition) }
    }

    fn on<'a>(instance: &'a str, host: &'a str) -> Candidate<'a> {
        Candidate { instance, host }
    }

    fn placed(count: i32, names: &[&'static str], copies: usize) -> Vec<Vec<&'static str>> {
        let all = || names.iter().map(|name| on(name, name));
        (0..count).map(|at| holders(task(at), on("owner", "owner"), all(), copies)).collect()
    }

    #[test]
    fn r24_copies_are_on_different_instances_and_never_on_the_owner() {
        for holders in placed(100, &["a", "owner", "b", "c"], 2) {
            assert_eq!(holders.len(), 2);
            assert!(holders[0] != holders[1] && !holders.contains(&"owner"), "{holders:?}");
        }
        assert_eq!(placed(1, &["a", "b"], 5)[0].len(), 2, "no more than there are");
        assert!(placed(1, &["owner"], 1)[0].is_empty());
    }

    #[test]
    fn r24_copies_are_spread_evenly() {
        let mut counts = BTreeMap::<&str, u32>::new();
        for holder in placed(1_000, &["pod-0", "pod-1", "pod-2", "pod-3"], 1).concat() {
            *counts.entry(holder).or_default() += 1;
        }
        assert!(counts.len() == 4 && counts.values().all(|count| (200..=300).contains(count)), "{counts:?}");
    }

    #[test]
    fn r24_who_comes_or_goes_moves_nothing_but_its_own() {
        let (few, more) = (placed(1_000, &["a", "b", "c"], 1), placed(1_000, &["a", "b", "c", "d"], 1));
        let moved = few.iter().zip(&more).filter(|(before, after)| before != after);
        assert!(moved.clone().all(|(_, after)| after[0] == "d"));
        assert!((150..=350).contains(&moved.count()));
    }

    #[test]
    fn r24_another_machine_comes_first() {
        let all = [on("a", "one"), on("b", "one"), on("c", "two"), on("d", "three")];
        for partition in 0..100 {
            let placed = |copies| holders(task(partition), on("a", "one"), all.into_iter(), copies);
            assert!(!placed(1).contains(&"b"));
            assert_eq!(placed(3)[2], "b", "better than none");
            assert_eq!(placed(2)[..1], placed(1)[..], "another copy moves none");
        }
    }
}
