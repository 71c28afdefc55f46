//! What this member holds, by range: who has which record, what waits to be told to which broker, and until when (rules R9,
//! R11, R12, R14). Pure.
//!
//! ```text
//!            settled by its holder      taken for a request         answered
//!  Out ───────────────▶ Waiting(kind) ───────────▶ Flying(kind) ───────▶ Done
//!   │  renewed at half of its lock                     │ refused with others (121): in halves, each in a request of its own
//!   └─ lock or session over ─────────────────▶ lost ◀──┘ refused alone
//! ```
//!
//! The broker takes a partition's acknowledgements of one request together or not at all, and does not say which one was
//! wrong. So nothing is sent whose lock may have run out, renewals go without others, and what was refused is halved until it
//! is known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::delivery::Settlement;
use super::error::Lost;
use super::grant::{Fate, Grant};
use super::owned::{Owned, State};
use super::session::Named;
use crate::position::Partition;
use crate::wire::BrokerId;
use crate::wire::share::{AcknowledgedBatch, Acknowledgement, SharePart};

/// Renewals are due at half of a lock's time, give or take this part of it.
const JITTER: f64 = 0.1;

/// One record's acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Entry {
    grant: u64,
    index: u32,
    kind: Acknowledgement,
}

/// Acknowledgements of neighbours, of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    grant: u64,
    first: u32,
    last: u32,
    kind: Acknowledgement,
}

impl Run {
    fn entries(self) -> impl Iterator<Item = Entry> {
        (self.first..=self.last).map(move |index| Entry { grant: self.grant, index, kind: self.kind })
    }
}

/// What one request tells of one partition.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) named: Named,
    runs: Vec<Run>,
}

/// What one request tells a broker.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) told: Vec<Told>,
    /// Whether it renews locks.
    pub(super) renews: bool,
}

/// How a partition's acknowledgements were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    /// One of them at least is not this member's, or done (INVALID_RECORD_STATE).
    OneIsWrong,
    /// Not now; the locks stand.
    Later,
    /// None will be taken.
    Gone(Lost),
}

/// What is to be told to one broker.
#[derive(Debug, Default)]
struct Account {
    /// Ranges with records that wait.
    waiting: BTreeSet<u64>,
    /// What was refused together, by partition: each group goes alone.
    again: BTreeMap<Named, VecDeque<Vec<Entry>>>,
}

/// All that is held.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    grants: BTreeMap<u64, Owned>,
    accounts: BTreeMap<BrokerId, Account>,
    next: u64,
    /// Records that are out, or wait.
    held: usize,
    /// Whether the group has let this member renew a lock.
    renewable: bool,
    renews: bool,
}

/// A range that a broker hands over.
pub(super) struct Acquisition {
    pub(super) broker: BrokerId,
    pub(super) named: Named,
    pub(super) topic: Arc<str>,
    /// First and last offset.
    pub(super) range: (i64, i64),
    /// When it came.
    pub(super) fetched: Instant,
}

impl Ledger {
    pub(super) fn new(renews: bool) -> Self {
        Ledger { renews, ..Ledger::default() }
    }

    /// Records that are out, or whose acknowledgement waits.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Whether any record of a broker is held, or an acknowledgement is on its way there.
    pub(super) fn owes(&self, broker: BrokerId) -> bool {
        self.grants.values().any(|owned| owned.broker == broker)
    }

    /// A range was acquired by a request that was sent at `sent`; all of its records are out.
    pub(super) fn acquire(&mut self, acquisition: Acquisition, sent: Instant, lock: Duration) -> Arc<Grant> {
        let Acquisition { broker, named, topic, range: (first, last), fetched } = acquisition;
        let count = usize::try_from(last - first + 1).unwrap_or(0);
        let number = self.next;
        self.next += 1;
        self.supersede(broker, named, first..=last);
        let shared = Arc::new(Grant::new(number, topic, Partition(named.1), (first, count), fetched));
        let owned = Owned {
            shared: Arc::clone(&shared),
            named,
            broker,
            states: vec![State::Out; count].into(),
            out: count,
            waiting: Vec::new(),
            flying: 0,
            deadlines: vec![sent + lock; count].into(),
            deadline: sent + lock,
            renew_at: self.renews.then(|| sent + half(lock)),
        };
        self.held += count;
        self.grants.insert(number, owned);
        shared
    }

    /// Who is handed a record again has lost it before, and what was said of the old lock would be taken for the new one: the
    /// partition has been led by another broker meanwhile, and nobody has told.
    fn supersede(&mut self, broker: BrokerId, named: Named, range: RangeInclusive<i64>) {
        let mut before = Vec::new();
        for owned in self.grants.values().filter(|owned| (owned.broker, owned.named) == (broker, named)) {
            let (first, number) = (owned.shared.first, owned.shared.number);
            let shared = first.max(*range.start())..(first + owned.shared.len()).min(range.end() + 1);
            before.extend(shared.filter_map(|at| u32::try_from(at - first).ok()).map(|index| (number, index)));
        }
        before.into_iter().for_each(|(grant, index)| self.lose(grant, index, Lost::Expired));
    }

    /// A record's holder has said what is to become of it. Whoever says it too late is not heard.
    pub(super) fn settle(&mut self, settlement: Settlement) {
        let Settlement { grant, index, kind } = settlement;
        let Some(owned) = self.grants.get_mut(&grant) else { return };
        if owned.states[index as usize] != State::Out {
            return;
        }
        owned.states[index as usize] = State::Waiting(kind);
        owned.out -= 1;
        owned.waiting.push(index);
        self.accounts.entry(owned.broker).or_default().waiting.insert(grant);
    }

    /// Whether anything is to be told to a broker.
    pub(super) fn has_waiting(&self, broker: BrokerId) -> bool {
        self.accounts.get(&broker).is_some_and(|account| !account.waiting.is_empty() || !account.again.is_empty())
    }

    /// Partitions of which something is to be told to a broker.
    pub(super) fn waiting_in(&self, broker: BrokerId) -> impl Iterator<Item = Named> {
        let account = self.accounts.get(&broker);
        let waiting = account.into_iter().flat_map(|account| &account.waiting);
        let named = waiting.filter_map(|grant| self.grants.get(grant)).map(|owned| owned.named);
        named.chain(account.into_iter().flat_map(|account| account.again.keys().copied()))
    }

    /// Whether a renewal is among what is told again: it goes in no fetch that is to bring something (rule R13).
    pub(super) fn renews_again(&self, broker: BrokerId) -> bool {
        let groups = self.accounts.get(&broker).into_iter().flat_map(|account| account.again.values());
        let mut next = groups.filter_map(VecDeque::front).flatten();
        next.any(|entry| entry.kind == Acknowledgement::Renew)
    }

    /// How many places of the window the next [`take`](Self::take) of a broker frees.
    pub(super) fn freed_by(&self, broker: BrokerId) -> usize {
        let Some(account) = self.accounts.get(&broker) else { return 0 };
        let waiting = account.waiting.iter().filter_map(|grant| self.grants.get(grant));
        // What is told again goes first, and alone.
        waiting.filter(|owned| !account.again.contains_key(&owned.named)).map(|owned| owned.waiting.len()).sum()
    }

    /// What waits for a broker goes out.
    pub(super) fn take(&mut self, broker: BrokerId) -> Load {
        let Some(account) = self.accounts.get_mut(&broker) else { return Load::default() };
        let mut entries: BTreeMap<Named, Vec<Entry>> = BTreeMap::new();
        for (named, groups) in &mut account.again {
            entries.insert(*named, groups.pop_front().unwrap_or_default());
        }
        account.again.retain(|_, groups| !groups.is_empty());
        let alone: BTreeSet<Named> = entries.keys().copied().collect();
        let grants = &mut self.grants;
        let mut freed = 0;
        account.waiting.retain(|grant| {
            let Some(owned) = grants.get_mut(grant) else { return false };
            if alone.contains(&owned.named) {
                return true;
            }
            let to = entries.entry(owned.named).or_default();
            for index in owned.waiting.drain(..) {
                let State::Waiting(kind) = owned.states[index as usize] else { continue };
                owned.states[index as usize] = State::Flying(kind);
                owned.flying += 1;
                freed += 1;
                to.push(Entry { grant: *grant, index, kind });
            }
            false
        });
        self.held -= freed;
        self.load(entries)
    }

    /// Locks of a broker's records that are to be renewed by now; each is asked for once, until that is answered.
    pub(super) fn renewals(&mut self, broker: BrokerId, now: Instant) -> Load {
        let mut entries: BTreeMap<Named, Vec<Entry>> = BTreeMap::new();
        for (number, owned) in self.grants.iter_mut().filter(|(_, owned)| owned.broker == broker) {
            if owned.out == 0 || owned.renew_at.is_none_or(|at| at > now) {
                continue;
            }
            owned.renew_at = None;
            let out = (0..).zip(&owned.states).filter(|(_, state)| **state == State::Out);
            let renewal = |(index, _)| Entry { grant: *number, index, kind: Acknowledgement::Renew };
            entries.entry(owned.named).or_default().extend(out.map(renewal));
        }
        self.load(entries)
    }

    /// Entries as runs, in the order of their offsets; without those that have been overtaken by events.
    fn load(&self, entries: BTreeMap<Named, Vec<Entry>>) -> Load {
        let mut load = Load::default();
        for (named, mut entries) in entries {
            entries.retain(|entry| self.stands(entry));
            entries.sort_unstable_by_key(|entry| (self.offset(entry), entry.index));
            let mut runs: Vec<Run> = Vec::new();
            for Entry { grant, index, kind } in entries {
                match runs.last_mut().filter(|run| (run.grant, run.last + 1, run.kind) == (grant, index, kind)) {
                    Some(run) => run.last = index,
                    None => runs.push(Run { grant, first: index, last: index, kind }),
                }
            }
            load.renews |= runs.iter().any(|run| run.kind == Acknowledgement::Renew);
            if !runs.is_empty() {
                load.told.push(Told { named, runs });
            }
        }
        load
    }

    fn stands(&self, entry: &Entry) -> bool {
        let state = self.grants.get(&entry.grant).map(|owned| owned.states[entry.index as usize]);
        match entry.kind {
            Acknowledgement::Renew => state == Some(State::Out),
            kind => state == Some(State::Flying(kind)),
        }
    }

    fn offset(&self, entry: &Entry) -> i64 {
        self.grants.get(&entry.grant).map_or(0, |owned| owned.shared.first + i64::from(entry.index))
    }

    /// A load as a request has it.
    pub(super) fn parts(&self, load: &Load) -> Vec<SharePart> {
        let batch = |run: &Run| {
            let at = self.grants.get(&run.grant).map_or(0, |owned| owned.shared.first);
            AcknowledgedBatch {
                first: at + i64::from(run.first),
                last: at + i64::from(run.last),
                kinds: vec![run.kind],
            }
        };
        let part = |told: &Told| SharePart {
            topic: told.named.0,
            partition: told.named.1,
            acknowledged: told.runs.iter().map(batch).collect(),
        };
        load.told.iter().map(part).collect()
    }

    /// A broker has answered what it was told of one partition, in a request that was sent at `sent`.
    pub(super) fn answered(
        &mut self,
        told: Told,
        broker: BrokerId,
        verdict: Verdict,
        (sent, lock): (Instant, Option<Duration>),
    ) {
        let entries = || told.runs.iter().copied().flat_map(Run::entries);
        match verdict {
            Verdict::Taken => {
                for run in &told.runs {
                    self.taken(*run, sent, lock);
                }
            }
            Verdict::OneIsWrong => match entries().count() {
                0 => {}
                1 => entries().for_each(|entry| self.refused(entry)),
                count => {
                    let mut one: Vec<Entry> = entries().collect();
                    let other = one.split_off(count / 2);
                    let groups = self.accounts.entry(broker).or_default().again.entry(told.named).or_default();
                    groups.extend([one, other]);
                }
            },
            Verdict::Later => {
                let groups = self.accounts.entry(broker).or_default().again.entry(told.named).or_default();
                groups.push_back(entries().collect());
            }
            Verdict::Gone(lost) => entries().for_each(|entry| self.lose(entry.grant, entry.index, lost)),
        }
    }

    fn taken(&mut self, run: Run, sent: Instant, lock: Option<Duration>) {
        let Some(owned) = self.grants.get_mut(&run.grant) else { return };
        if run.kind == Acknowledgement::Renew {
            self.renewable = true;
            let lock = lock.unwrap_or_default();
            owned.renewed(run.first, run.last, sent + lock);
            owned.renew_at = Some(sent + half(lock));
            return;
        }
        for index in run.first..=run.last {
            if matches!(owned.states[index as usize], State::Flying(_)) {
                owned.states[index as usize] = State::Done;
                owned.flying -= 1;
                if owned.shared.fate(index) == Fate::Held {
                    owned.shared.decide([index], Fate::Settled);
                }
            }
        }
        owned.shared.tell();
        self.forget_if_over(run.grant);
    }

    /// One record was refused alone.
    fn refused(&mut self, entry: Entry) {
        // A group may not allow renewals at all (share.renew.acknowledge.enable): the lock stands until its end.
        if entry.kind != Acknowledgement::Renew || self.renewable {
            self.lose(entry.grant, entry.index, Lost::Refused);
        }
    }

    fn lose(&mut self, grant: u64, index: u32, lost: Lost) {
        let Some(owned) = self.grants.get_mut(&grant) else { return };
        match owned.states[index as usize] {
            State::Done => return,
            State::Out => (owned.out, self.held) = (owned.out - 1, self.held - 1),
            State::Waiting(_) => {
                owned.waiting.retain(|waiting| *waiting != index);
                self.held -= 1;
            }
            State::Flying(_) => owned.flying -= 1,
        }
        owned.states[index as usize] = State::Done;
        owned.shared.decide([index], Fate::Lost(lost));
        owned.shared.tell();
        self.forget_if_over(grant);
    }

    fn forget_if_over(&mut self, grant: u64) {
        let over = |owned: &Owned| owned.out == 0 && owned.waiting.is_empty() && owned.flying == 0;
        if self.grants.get(&grant).is_some_and(over) {
            self.grants.remove(&grant);
        }
    }

    /// Everything that was acquired from a broker is lost.
    pub(super) fn lose_broker(&mut self, broker: BrokerId, lost: Lost) {
        self.lose_all(lost, |owned| owned.broker == broker);
        self.accounts.remove(&broker);
    }

    /// What was acquired of a partition from a broker is lost.
    pub(super) fn lose_partition(&mut self, broker: BrokerId, named: Named, lost: Lost) {
        self.lose_all(lost, |owned| owned.broker == broker && owned.named == named);
    }

    /// What was acquired of a partition from any broker but its leader is lost.
    pub(super) fn lose_others(&mut self, leader: BrokerId, named: Named, lost: Lost) {
        self.lose_all(lost, |owned| owned.broker != leader && owned.named == named);
    }

    /// Nobody keeps the books any more; whoever waits for a word would wait for ever.
    pub(super) fn lose_everything(&mut self, lost: Lost) {
        self.lose_all(lost, |_| true);
    }

    fn lose_all(&mut self, lost: Lost, which: impl Fn(&Owned) -> bool) {
        let gone: Vec<u64> = self.grants.iter().filter(|(_, owned)| which(owned)).map(|(number, _)| *number).collect();
        for grant in gone {
            let count = self.grants.get(&grant).map_or(0, |owned| owned.states.len() as u32);
            (0..count).for_each(|index| self.lose(grant, index, lost));
        }
    }

    /// Everything that is out goes back; its holders are told that it is lost.
    pub(super) fn give_back(&mut self) {
        for (number, owned) in &mut self.grants {
            for (index, state) in (0..).zip(&mut owned.states) {
                if *state == State::Out {
                    *state = State::Waiting(Acknowledgement::Release);
                    owned.out -= 1;
                    owned.waiting.push(index);
                    owned.shared.decide([index], Fate::Lost(Lost::Closed));
                    self.accounts.entry(owned.broker).or_default().waiting.insert(*number);
                }
            }
            owned.shared.tell();
        }
    }

    /// Locks that have run out by now: all is lost but what is on the wire, which is the broker's to judge.
    pub(super) fn expire(&mut self, now: Instant) {
        let over = |owned: &&Owned| owned.deadline <= now && (owned.out > 0 || !owned.waiting.is_empty());
        let over: Vec<u64> = self.grants.values().filter(over).map(|owned| owned.shared.number).collect();
        for grant in over {
            let Some(owned) = self.grants.get(&grant) else { continue };
            let gone: Vec<u32> = owned.live().filter(|(_, end)| *end <= now).map(|(index, _)| index).collect();
            gone.into_iter().for_each(|index| self.lose(grant, index, Lost::Expired));
            if let Some(owned) = self.grants.get_mut(&grant) {
                owned.look_again();
            }
        }
        self.expire_again(now);
    }

    /// By now this member may hold such a record anew, and what was said of the old lock would be taken for the new one.
    fn expire_again(&mut self, now: Instant) {
        let mut late = Vec::new();
        for account in self.accounts.values_mut().filter(|account| !account.again.is_empty()) {
            for groups in account.again.values_mut() {
                for group in groups.iter_mut() {
                    let over = |entry: &mut Entry| {
                        self.grants.get(&entry.grant).is_none_or(|owned| owned.deadlines[entry.index as usize] <= now)
                    };
                    late.extend(group.extract_if(.., over));
                }
                groups.retain(|group| !group.is_empty());
            }
            account.again.retain(|_, groups| !groups.is_empty());
        }
        for entry in late.into_iter().filter(|entry| entry.kind != Acknowledgement::Renew) {
            self.lose(entry.grant, entry.index, Lost::Expired);
        }
    }

    /// When a lock ends, or is to be renewed by a broker that may be told.
    pub(super) fn wakes(&self, may_be_told: impl Fn(BrokerId) -> bool) -> Option<Instant> {
        let due = |owned: &Owned| {
            let live = owned.out > 0 || !owned.waiting.is_empty();
            let renewal = owned.renew_at.filter(|_| owned.out > 0 && may_be_told(owned.broker));
            live.then(|| renewal.map_or(owned.deadline, |renewal| renewal.min(owned.deadline)))
        };
        self.grants.values().filter_map(due).min()
    }
}

/// When a lock of this length is to be renewed.
fn half(lock: Duration) -> Duration {
    lock.mul_f64(0.5 + JITTER * (fastrand::f64() - 0.5))
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
