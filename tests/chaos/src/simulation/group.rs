//! The group: its coordinator in the model, and what librdkafka is to each member: joining, heartbeats, rebalances.
//!
//! ```text
//!  member                                    coordinator
//!  new ── join ─────────────────────────────▶ preparing: all others join again, or their sessions run out
//!  joined ◀─ sync: generation, partitions ─── stable: generation + 1, each partition to one member
//!    │  Revoked ▸ Assigned, each answered by the loop (rule R-14); what was revoked makes it join again
//!    └─ heartbeat ──────────────────────────▶ unknown? lost: Revoked { lost } and no membership (rule N-4)
//! ```
//!
//! Cooperative-sticky with static members (KIP-345, KIP-429): one that comes back under its name has its partitions at once,
//! without a generation, and its predecessor is fenced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use headrace::kafka::{Member, Rebalance};
use headrace::position::{Offset, TopicPartition};

use crate::application::SESSION;

/// The group has gone on to another generation.
pub(super) const ILLEGAL_GENERATION: &str = "ILLEGAL_GENERATION";

/// What is on its way when a revoke comes, and what is open.
const COMMITS_OF_AN_ANSWER: usize = 2;

type Partitions = BTreeSet<TopicPartition>;

/// A member as the coordinator knows it.
struct Known {
    member_id: String,
    assigned: Partitions,
    heard: Duration,
    /// What it had when it joined the generation that is being prepared.
    joined: Option<Partitions>,
    /// The generation whose partitions it has not been told yet.
    unsynced: bool,
}

/// What a member is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    New,
    Joining,
    Stable,
    /// Told that the membership is gone; joins when all was given up.
    Lost,
    /// Its name was taken by another.
    Fenced,
}

/// The client of one stream thread.
pub(super) struct Client {
    pub(super) name: String,
    member_id: String,
    generation: i32,
    doing: Doing,
    owned: Partitions,
    /// Those of them that are read: their tasks are open.
    awake: Partitions,
    events: VecDeque<Rebalance>,
    unanswered: bool,
    /// What it was asked to give up and has not, and how often its position was committed since.
    asked_back: Option<(Partitions, usize)>,
    rejoin: bool,
    /// It has unsubscribed.
    leaving: bool,
    /// The text of the error that is to be told once.
    pub(super) fenced: Option<String>,
}

/// A position, and its place in the group's log.
#[derive(Debug, Clone, Copy)]
struct Position {
    next: Offset,
    written: u64,
}

/// The group, its positions, and its members' clients.
pub(super) struct Group {
    id: String,
    inputs: Vec<TopicPartition>,
    generation: i32,
    preparing: bool,
    members: BTreeMap<String, Known>,
    pub(super) clients: BTreeMap<u64, Client>,
    committed: BTreeMap<TopicPartition, Position>,
    pending: BTreeMap<i64, BTreeMap<TopicPartition, Position>>,
    /// Positions that were written into the group's log.
    written: u64,
    /// Positions that were moved back, in words.
    pub(super) moved_back: Vec<String>,
    /// How often what was asked back was worked on before it was given up.
    pub(super) handovers: u64,
}

impl Group {
    pub(super) fn new(id: &str, inputs: Vec<TopicPartition>) -> Self {
        Group {
            id: id.to_owned(),
            inputs,
            generation: 0,
            preparing: false,
            members: BTreeMap::new(),
            clients: BTreeMap::new(),
            committed: BTreeMap::new(),
            pending: BTreeMap::new(),
            written: 0,
            moved_back: Vec::new(),
            handovers: 0,
        }
    }

    /// What the coordinator holds against a transactional commit of positions; generation −1 passes for anybody's, as it does
    /// in Kafka.
    pub(super) fn validate(&self, member: &Member) -> Result<(), &'static str> {
        if member.generation < 0 && member.member_id.is_empty() {
            return Ok(());
        }
        let known = member.instance_id.as_ref().and_then(|name| self.members.get(name));
        match known {
            None => Err("UNKNOWN_MEMBER_ID"),
            Some(known) if known.member_id != member.member_id => Err("FENCED_INSTANCE_ID"),
            Some(_) if member.generation != self.generation => Err(ILLEGAL_GENERATION),
            Some(_) => Ok(()),
        }
    }

    /// Positions of a transaction that is open.
    pub(super) fn pend(&mut self, producer: i64, positions: &[(TopicPartition, Offset)]) {
        self.written += 1;
        let written = self.written;
        let positions = positions.iter().map(|(at, next)| (at.clone(), Position { next: *next, written }));
        self.pending.entry(producer).or_default().extend(positions);
    }

    /// The transaction has ended. Of positions whose markers come in another order, those count that were written last.
    pub(super) fn settle(&mut self, producer: i64, commit: bool) {
        let pending = self.pending.remove(&producer).unwrap_or_default();
        for (asked_back, commits) in self.clients.values_mut().filter_map(|client| client.asked_back.as_mut()) {
            *commits += usize::from(commit && pending.keys().any(|at| asked_back.contains(at)));
        }
        for (at, position) in pending.into_iter().filter(|_| commit) {
            let before = self.committed.get(&at).copied();
            if before.is_some_and(|before| before.written > position.written) {
                continue;
            }
            self.committed.insert(at.clone(), position);
            if let Some(before) = before.filter(|before| before.next > position.next) {
                self.moved_back
                    .push(format!("the position of {at} went from {} back to {}", before.next, position.next));
            }
        }
    }

    /// The stable position of a partition; an error while a transaction that is open may change it (KIP-447).
    pub(super) fn committed(&self, at: &TopicPartition) -> Result<Option<Offset>, i16> {
        const UNSTABLE_OFFSET_COMMIT: i16 = 88;
        match self.pending.values().any(|pending| pending.contains_key(at)) {
            true => Err(UNSTABLE_OFFSET_COMMIT),
            false => Ok(self.committed.get(at).map(|position| position.next)),
        }
    }

    /// A client of this name begins to join.
    pub(super) fn join(&mut self, key: u64, name: String) {
        let client = Client {
            name,
            member_id: String::new(),
            generation: -1,
            doing: Doing::New,
            owned: Partitions::new(),
            awake: Partitions::new(),
            events: VecDeque::new(),
            unanswered: false,
            asked_back: None,
            rejoin: false,
            leaving: false,
            fenced: None,
        };
        self.clients.insert(key, client);
    }

    /// Another generation, for no reason of the members: a broker that restarts, a partition more.
    pub(super) fn disturb(&mut self) {
        self.preparing |= !self.members.is_empty();
    }

    /// Gives up members that have not been heard of, and ends the preparation if all have joined. Tells what has happened.
    pub(super) fn tick(&mut self, now: Duration) -> Option<String> {
        let gone = self.members.iter().find(|(_, known)| known.heard + SESSION < now).map(|(name, _)| name.clone());
        if let Some(name) = gone {
            self.members.remove(&name);
            self.preparing = true;
            return Some(format!("the session of {name} has run out"));
        }
        if !self.preparing || self.members.is_empty() || self.members.values().any(|known| known.joined.is_none()) {
            return None;
        }
        self.preparing = false;
        self.generation += 1;
        self.assign();
        let sizes: Vec<String> =
            self.members.iter().map(|(name, known)| format!("{name}:{}", known.assigned.len())).collect();
        Some(format!("generation {}: {}", self.generation, sizes.join(" ")))
    }

    /// Sticky: who has a partition keeps it up to its share; what moves is given up in one generation and taken in the next.
    fn assign(&mut self) {
        let (all, count) = (self.inputs.len(), self.members.len());
        let had: Vec<(String, Partitions)> =
            self.members.iter().map(|(name, known)| (name.clone(), known.joined.clone().unwrap_or_default())).collect();
        let taken: Partitions = had.iter().flat_map(|(_, had)| had.iter().cloned()).collect();
        let mut free: VecDeque<TopicPartition> =
            self.inputs.iter().filter(|at| !taken.contains(*at)).cloned().collect();
        let mut given = Partitions::new();
        for (number, (name, had)) in had.into_iter().enumerate() {
            let share = all / count + usize::from(number < all % count);
            let mut assigned: Partitions = had.into_iter().filter(|at| given.insert(at.clone())).take(share).collect();
            while assigned.len() < share
                && let Some(at) = free.pop_front()
            {
                assigned.insert(at);
            }
            if let Some(known) = self.members.get_mut(&name) {
                (known.assigned, known.joined, known.unsynced) = (assigned, None, true);
            }
        }
    }

    /// Partitions that no member has; `None` while that is being settled.
    pub(super) fn unowned(&self) -> Option<Vec<TopicPartition>> {
        if self.preparing || self.members.is_empty() {
            return None;
        }
        let is_owned = |at: &TopicPartition| self.members.values().any(|known| known.assigned.contains(at));
        Some(self.inputs.iter().filter(|at| !is_owned(at)).cloned().collect())
    }

    /// A member is taken out; its client learns it when it is next heard of.
    pub(super) fn remove(&mut self, name: &str) {
        self.preparing |= self.members.remove(name).is_some();
    }

    /// One step of a client's own thread: a join, a sync or a heartbeat. Tells what has happened, if anything has.
    pub(super) fn step(&mut self, key: u64, now: Duration) -> Option<String> {
        let client = self.clients.get_mut(&key)?;
        match client.doing {
            Doing::Fenced => None,
            Doing::Lost => {
                if client.owned.is_empty() && client.events.is_empty() && !client.unanswered && !client.leaving {
                    client.doing = Doing::New;
                }
                None
            }
            Doing::New if client.leaving => None,
            Doing::New => Some(self.join_anew(key, now)),
            Doing::Joining => self.sync(key, now),
            Doing::Stable => self.beat(key, now),
        }
    }

    fn join_anew(&mut self, key: u64, now: Duration) -> String {
        let Some(client) = self.clients.get_mut(&key) else { return String::new() };
        client.member_id = format!("{}-{key}-{}", client.name, now.as_micros());
        client.doing = Doing::Joining;
        let known = Known {
            member_id: client.member_id.clone(),
            assigned: Partitions::new(),
            heard: now,
            joined: Some(Partitions::new()),
            unsynced: false,
        };
        match self.members.remove(&client.name) {
            // A static member that comes back: it has what its name had, in the same generation.
            Some(before) if !self.preparing && !before.unsynced => {
                let known = Known { assigned: before.assigned, joined: None, unsynced: true, ..known };
                self.members.insert(client.name.clone(), known);
                format!("{} is back", client.name)
            }
            _ => {
                self.members.insert(client.name.clone(), known);
                self.preparing = true;
                format!("{} joins", client.name)
            }
        }
    }

    fn sync(&mut self, key: u64, now: Duration) -> Option<String> {
        let client = self.clients.get_mut(&key)?;
        let known = self.members.get_mut(&client.name);
        let Some(known) = known.filter(|known| known.member_id == client.member_id) else { return self.lose(key) };
        known.heard = now;
        if !known.unsynced {
            return None;
        }
        known.unsynced = false;
        (client.generation, client.doing) = (self.generation, Doing::Stable);
        let revoked: Vec<_> = client.owned.difference(&known.assigned).cloned().collect();
        let added: Vec<_> = known.assigned.difference(&client.owned).cloned().collect();
        client.rejoin = !revoked.is_empty();
        let told = format!("{} syncs {}: +{} -{}", client.name, client.generation, added.len(), revoked.len());
        if !revoked.is_empty() {
            client.events.push_back(Rebalance::Revoked { partitions: revoked, lost: false });
        }
        if !added.is_empty() {
            client.events.push_back(Rebalance::Assigned(added));
        }
        Some(told)
    }

    fn beat(&mut self, key: u64, now: Duration) -> Option<String> {
        let client = self.clients.get_mut(&key)?;
        let Some(known) = self.members.get_mut(&client.name) else { return self.lose(key) };
        if known.member_id != client.member_id {
            client.doing = Doing::Fenced;
            client.generation = -1;
            client.fenced = Some(format!("{}: another member has joined under this name", client.name));
            return Some(format!("{} is fenced", client.name));
        }
        known.heard = now;
        if client.unanswered || !client.events.is_empty() || client.leaving {
            return None;
        }
        if (self.preparing || client.rejoin) && known.joined.is_none() {
            self.preparing = true;
            client.rejoin = false;
            client.doing = Doing::Joining;
            known.joined = Some(client.owned.clone());
            return Some(format!("{} joins again with {}", client.name, client.owned.len()));
        }
        None
    }

    /// The coordinator does not know the member any more: nothing of its partitions can be committed.
    fn lose(&mut self, key: u64) -> Option<String> {
        let client = self.clients.get_mut(&key)?;
        client.doing = Doing::Lost;
        client.generation = -1;
        client.rejoin = false;
        // What it has not been told of, it never had.
        client.events.clear();
        if !client.owned.is_empty() {
            client.events.push_back(lost(&client.owned));
        }
        Some(format!("{} has lost its membership", client.name))
    }

    /// Whether a client has something to tell.
    pub(super) fn has_news(&self, key: u64) -> bool {
        self.clients
            .get(&key)
            .is_some_and(|client| client.fenced.is_some() || (!client.unanswered && !client.events.is_empty()))
    }

    /// Everybody that is a member has what its client has, and reads it.
    pub(super) fn is_stable(&self) -> bool {
        let awake = self.clients.values().map(|client| client.awake.len()).sum::<usize>();
        !self.preparing
            && awake == self.inputs.len()
            && self.clients.values().all(|client| client.doing == Doing::Stable && client.events.is_empty())
    }
}

fn lost(owned: &Partitions) -> Rebalance {
    Rebalance::Revoked { partitions: owned.iter().cloned().collect(), lost: true }
}

impl Group {
    /// The next rebalance of a client; the one before has to be answered.
    pub(super) fn next_event(&mut self, key: u64) -> Option<Rebalance> {
        let client = self.clients.get_mut(&key).filter(|client| !client.unanswered)?;
        let event = client.events.pop_front()?;
        client.unanswered = true;
        if let Rebalance::Revoked { partitions, lost: false } = &event {
            client.asked_back = Some((partitions.iter().cloned().collect(), 0));
        }
        Some(event)
    }

    pub(super) fn taken(&mut self, key: u64, partitions: &[TopicPartition]) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.unanswered = false;
        client.owned.extend(partitions.iter().cloned());
        // The membership may be gone by now: they are lost as well.
        if client.doing == Doing::Lost {
            client.events.clear();
            client.events.push_back(lost(&client.owned));
        }
    }

    pub(super) fn given_up(&mut self, key: u64, partitions: &[TopicPartition]) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.unanswered = false;
        let commits = client.asked_back.take().map_or(0, |(_, commits)| commits);
        self.handovers += u64::from(commits > COMMITS_OF_AN_ANSWER);
        client.owned.retain(|at| !partitions.contains(at));
        client.awake.retain(|at| !partitions.contains(at));
        if client.doing == Doing::Lost {
            client.events.clear();
            if !client.owned.is_empty() {
                client.events.push_back(lost(&client.owned));
            }
        }
    }

    pub(super) fn paused(&mut self, key: u64, partitions: &[TopicPartition], paused: bool) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        match paused {
            true => client.awake.retain(|at| !partitions.contains(at)),
            false => client.awake.extend(partitions.iter().cloned()),
        }
    }

    pub(super) fn leave(&mut self, key: u64) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.leaving = true;
        client.events.clear();
        if !client.owned.is_empty() {
            let lost = client.doing == Doing::Lost;
            client.events.push_back(Rebalance::Revoked { partitions: client.owned.iter().cloned().collect(), lost });
        }
    }

    /// The place in the group as the client knows it: none once it has lost it.
    pub(super) fn membership(&self, key: u64) -> Option<Member> {
        let client = self.clients.get(&key).filter(|client| client.generation >= 0)?;
        Some(Member {
            group: self.id.clone(),
            generation: client.generation,
            member_id: client.member_id.clone(),
            instance_id: Some(client.name.clone()),
        })
    }

    /// What passes for anybody's place.
    pub(super) fn anybody(&self) -> Member {
        Member { group: self.id.clone(), generation: -1, member_id: String::new(), instance_id: None }
    }
}
