//! A ledger's copy, and what of it decides what happens next.
//!
//! The copy has ranges of its own, since those are shared with whoever works on a record. Numbers of ranges only grow, so a
//! range is named by its place among those that are held; those that are over are all the same.

use std::hash::{Hash as _, Hasher};

use super::super::*;
use crate::share::model::clock::{ahead, behind};

/// Of a range that is held no more.
const OVER: usize = usize::MAX;

impl Ledger {
    pub(in crate::share) fn fork(&self) -> Self {
        let account = |account: &Account| Account { waiting: account.waiting.clone(), again: account.again.clone() };
        Ledger {
            grants: self.grants.iter().map(|(number, owned)| (*number, fork(owned))).collect(),
            accounts: self.accounts.iter().map(|(broker, one)| (*broker, account(one))).collect(),
            ..*self
        }
    }

    /// The range of this number, if it is still held.
    pub(in crate::share) fn grant(&self, number: u64) -> Option<&Arc<Grant>> {
        self.grants.get(&number).map(|owned| &owned.shared)
    }

    /// The latest range of a broker's partition that has this offset, and its number in it.
    pub(in crate::share) fn find(&self, broker: BrokerId, named: Named, offset: i64) -> Option<(&Arc<Grant>, u32)> {
        let has = |owned: &&Owned| {
            let first = owned.shared.first;
            owned.broker == broker && owned.named == named && (first..first + owned.shared.len()).contains(&offset)
        };
        let owned = self.grants.values().rev().find(has)?;
        Some((&owned.shared, u32::try_from(offset - owned.shared.first).ok()?))
    }

    fn place(&self, number: u64) -> usize {
        if self.grants.contains_key(&number) { self.grants.range(..number).count() } else { OVER }
    }

    pub(in crate::share) fn image(&self, now: Instant, to: &mut impl Hasher) {
        (self.held, self.renewable, self.renews, self.grants.len(), self.accounts.len()).hash(to);
        for owned in self.grants.values() {
            (owned.broker, owned.named, owned.shared.first, owned.states.len()).hash(to);
            // An end, or half of a lock, of which nothing is left to be lost, or renewed, makes no difference.
            owned.live().next().map(|_| ahead(owned.deadline, now)).hash(to);
            owned.renew_at.filter(|_| owned.out > 0).map(|at| ahead(at, now)).hash(to);
            for ((index, state), end) in (0..).zip(&owned.states).zip(&owned.deadlines) {
                match state {
                    State::Out => 0.hash(to),
                    State::Waiting(kind) => (1, kind).hash(to),
                    State::Flying(kind) => (2, kind).hash(to),
                    State::Done => {
                        3.hash(to);
                        continue;
                    }
                }
                (matches!(owned.shared.fate(index), Fate::Lost(_)), ahead(*end, now)).hash(to);
            }
        }
        for (broker, account) in &self.accounts {
            (broker, account.waiting.len(), account.again.len()).hash(to);
            account.waiting.iter().for_each(|number| self.place(*number).hash(to));
            for (named, groups) in &account.again {
                (named, groups.len()).hash(to);
                for group in groups {
                    group.len().hash(to);
                    group.iter().for_each(|entry| (self.place(entry.grant), entry.index, entry.kind).hash(to));
                }
            }
        }
    }

    /// The same of what is on its way; `sent` is when it was sent.
    pub(in crate::share) fn image_of(&self, load: &Load, sent: Instant, now: Instant, to: &mut impl Hasher) {
        (load.renews, load.told.len(), behind(sent, now)).hash(to);
        for told in &load.told {
            (told.named, told.runs.len()).hash(to);
            for run in &told.runs {
                let place = self.place(run.grant);
                // Of what is over only the number of records matters: it decides how they are halved.
                let first = if place == OVER { 0 } else { run.first };
                (place, first, run.last - run.first, run.kind).hash(to);
            }
        }
    }
}

impl Load {
    pub(in crate::share) fn fork(&self) -> Self {
        let told = |told: &Told| Told { named: told.named, runs: told.runs.clone() };
        Load { told: self.told.iter().map(told).collect(), renews: self.renews }
    }
}

fn fork(owned: &Owned) -> Owned {
    let of = &owned.shared;
    let count = owned.states.len();
    let grant = Grant::new(of.number, Arc::clone(&of.topic), of.partition, (of.first, count), of.fetched);
    for index in 0..u32::try_from(count).unwrap_or(0) {
        if of.fate(index) != Fate::Held {
            grant.decide([index], of.fate(index));
        }
    }
    let (states, waiting, deadlines) = (owned.states.clone(), owned.waiting.clone(), owned.deadlines.clone());
    Owned { shared: Arc::new(grant), states, waiting, deadlines, ..*owned }
}
