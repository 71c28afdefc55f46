//! The end of a transaction, step by step: positions, then EndTxn, then the identity of the next (rules N-2, N-4, N-7).
//!
//! | step | answered | not answered |
//! |---|---|---|
//! | TxnOffsetCommit | per partition; one of an old generation goes again with the new one | again: the same positions in the same transaction |
//! | EndTxn | the next identity | the outcome is unknown: `Abort`, and initialise settles it |

use std::time::{Duration, Instant};

use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    EndTxnRequest, EndTxnResponse, TransactionalId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::codes::{self, Class, Meaning};
use super::engine::{Call, Engine, code_text, fault};
use super::error::ProduceError;
use super::rights::Asked;
use super::shared::{Committed, Member, Notice, Seal, Slot};
use super::sides::{Identity, Side, Turn};
use crate::position::Offset;
use crate::wire::WireError;

/// First and last wait before a coordinator is asked again.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LAST_WAIT: Duration = Duration::from_millis(500);
/// How long positions of an old generation wait for the new one. The consumer hears of it when the broker does, give or take
/// a network's delay, or has left the group.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(3);

/// Where the producer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody has asked for anything.
    Idle,
    Initialising {
        under_way: bool,
        at: Instant,
        tries: u32,
    },
    Ready,
    /// Something went wrong; only initialising helps.
    Dead,
}

/// Which step of its end a transaction is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Producing,
    Offsets,
    Ending,
}

/// The transaction on the wire.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) turn: Turn,
    /// Whether anything was sent in it, so that the broker knows of it.
    pub(super) begun: bool,
    seal: Option<Seal>,
    step: Step,
    under_way: bool,
    elsewhere: bool,
    tries: u32,
    at: Instant,
    deadline_from: Instant,
    /// When the records were acknowledged, and when the positions were.
    reached: (Option<Instant>, Option<Instant>),
    hindrance: String,
    /// Since when the positions have waited for a newer generation, and what the coordinator said to the old one.
    outdated: Option<(Instant, String)>,
    pub(super) next_offsets: Vec<(Slot, Offset)>,
}

impl Transaction {
    pub(super) fn new(turn: Turn, now: Instant) -> Self {
        Transaction {
            turn,
            begun: false,
            seal: None,
            step: Step::Producing,
            under_way: false,
            elsewhere: false,
            tries: 0,
            at: now,
            deadline_from: now,
            reached: (None, None),
            hindrance: "no answer".to_owned(),
            outdated: None,
            next_offsets: Vec::new(),
        }
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// Whether its EndTxn has no answer yet.
    pub(super) fn is_ending(&self) -> bool {
        self.step == Step::Ending && self.under_way
    }

    pub(super) fn seal(&mut self, seal: Seal, now: Instant) {
        self.seal = Some(seal);
        self.deadline_from = now;
    }

    /// A changelog partition has come this far.
    pub(super) fn acknowledged(&mut self, slot: Slot, next: Offset) {
        match self.next_offsets.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, known)) => *known = next.max(*known),
            None => self.next_offsets.push((slot, next)),
        }
    }

    /// The step goes on after a wait.
    fn again(&mut self, elsewhere: bool, hindrance: String, now: Instant) {
        self.under_way = false;
        self.elsewhere |= elsewhere;
        self.hindrance = hindrance;
        self.at = now + wait(self.tries);
        self.tries += 1;
    }

    fn enter(&mut self, step: Step, now: Instant) {
        (self.step, self.under_way, self.tries, self.at) = (step, false, 0, now);
        self.reached.0.get_or_insert(now);
        if step == Step::Ending {
            self.reached.1.get_or_insert(now);
        }
    }

    fn end(&mut self, now: Instant) -> Committed {
        let (acknowledged, placed) = (self.reached.0.unwrap_or(now), self.reached.1.unwrap_or(now));
        Committed {
            next_offsets: std::mem::take(&mut self.next_offsets),
            flush: acknowledged.saturating_duration_since(self.deadline_from),
            offsets: placed.saturating_duration_since(acknowledged),
            end: now.saturating_duration_since(placed),
        }
    }
}

pub(super) fn wait(tries: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << tries.min(10)).min(LAST_WAIT)
}

impl Engine {
    /// The transaction is dead; the owner is told why.
    pub(super) fn die(&mut self, class: Class, text: String) {
        self.fail(class.error(text));
    }

    /// The same, with an error of any class.
    pub(super) fn fail(&mut self, error: ProduceError) {
        if self.stage != Stage::Dead {
            self.stage = Stage::Dead;
            self.forget();
            self.notices.push(Notice::Failed(error));
        }
    }

    /// The next request of the transaction's end, once all records are acknowledged.
    pub(super) fn next_step(&mut self, now: Instant) -> Option<Call> {
        let plain = self.settings.transactional_id.is_none();
        if !self.transaction.is_sealed() || self.transaction.under_way || !self.is_acknowledged() {
            return None;
        }
        if self.transaction.step == Step::Producing {
            let positions = self.transaction.seal.as_ref().is_some_and(|seal| !seal.positions.is_empty());
            if plain || (!positions && !self.transaction.begun) {
                // Nothing that a coordinator would have to end (rules ).
                self.committed(None, now);
                return None;
            }
            self.transaction.enter(if positions { Step::Offsets } else { Step::Ending }, now);
        }
        if self.transaction.at > now || self.transaction.outdated.is_some() {
            return None;
        }
        self.transaction.under_way = true;
        let elsewhere = std::mem::take(&mut self.transaction.elsewhere);
        Some(match self.transaction.step {
            Step::Offsets => Call::Offsets { elsewhere },
            _ => Call::End { elsewhere },
        })
    }

    pub(super) fn step_wakes(&self) -> Option<Instant> {
        if self.closing.is_some() {
            return self.close_wakes();
        }
        match self.stage {
            Stage::Initialising { under_way: false, at, .. } => Some(at),
            Stage::Ready if self.transaction.is_sealed() && !self.transaction.under_way => {
                let waits = self.transaction.outdated.as_ref().map(|(since, _)| *since + RENEWAL_PATIENCE);
                let at = waits.unwrap_or(self.transaction.at);
                Some(at).filter(|_| self.transaction.step != Step::Producing)
            }
            _ => None,
        }
    }

    /// The end has to come before the broker's patience is over.
    pub(super) fn expire_step(&mut self, now: Instant) {
        if let Some((since, text)) = &self.transaction.outdated
            && self.stage == Stage::Ready
            && now.duration_since(*since) >= RENEWAL_PATIENCE
        {
            return self.die(Class::Fenced, format!("offsets {text}"));
        }
        let patience = self.settings.transaction_timeout;
        let ending = self.transaction.is_sealed() && self.transaction.step != Step::Producing;
        if self.stage == Stage::Ready && ending && now.duration_since(self.transaction.deadline_from) > patience {
            let step = if self.transaction.step == Step::Offsets { "offsets" } else { "commit" };
            let hindrance = self.transaction.hindrance.clone();
            self.die(Class::Abort, format!("{step}: not done within {patience:?}: {hindrance}"));
        }
    }

    pub(super) fn transactional_id(&self, side: Side) -> TransactionalId {
        let id = self.settings.transactional_id(side).unwrap_or_default();
        TransactionalId(StrBytes::from_string(id))
    }

    /// Who ends the transaction that ends next.
    pub(super) fn ending_identity(&self) -> Option<Identity> {
        self.sides.get(self.transaction.turn.side)
    }

    /// The positions, with the membership that they were made under (rule N-4).
    pub(super) fn offsets_request(&self) -> Option<TxnOffsetCommitRequest> {
        let (seal, identity) = (self.transaction.seal.as_ref()?, self.ending_identity()?);
        let member = seal.member.as_ref()?;
        let mut topics: Vec<TxnOffsetCommitRequestTopic> = Vec::new();
        for (at, next) in &seal.positions {
            let partition = TxnOffsetCommitRequestPartition::default()
                .with_partition_index(at.partition.0)
                .with_committed_offset(next.0)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(StrBytes::default()));
            match topics.iter_mut().find(|topic| **topic.name == *at.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => {
                    let name = StrBytes::from_string(at.topic.to_string());
                    let topic = TxnOffsetCommitRequestTopic::default().with_name(name.into());
                    topics.push(topic.with_partitions(vec![partition]));
                }
            }
        }
        Some(
            TxnOffsetCommitRequest::default()
                .with_transactional_id(self.transactional_id(self.transaction.turn.side))
                .with_group_id(StrBytes::from_string(member.group.clone()).into())
                .with_producer_id(identity.id.into())
                .with_producer_epoch(identity.epoch)
                .with_generation_id(member.generation)
                .with_member_id(StrBytes::from_string(member.member_id.clone()))
                .with_group_instance_id(member.instance_id.clone().map(StrBytes::from_string))
                .with_topics(topics),
        )
    }

    /// The group whose coordinator takes the positions.
    pub(super) fn group(&self) -> Option<String> {
        self.transaction.seal.as_ref()?.member.as_ref().map(|member| member.group.clone())
    }

    pub(super) fn end_request(&self) -> Option<EndTxnRequest> {
        let identity = self.ending_identity()?;
        Some(
            EndTxnRequest::default()
                .with_transactional_id(self.transactional_id(self.transaction.turn.side))
                .with_producer_id(identity.id.into())
                .with_producer_epoch(identity.epoch)
                .with_committed(true),
        )
    }

    pub(super) fn offsets_answered(&mut self, answer: Result<TxnOffsetCommitResponse, WireError>, now: Instant) {
        if self.transaction.step != Step::Offsets || !self.transaction.under_way {
            return;
        }
        let side = self.transaction.turn.side;
        let (mut worst, mut text) = (None, String::new());
        let mut outdated = true;
        match answer {
            Ok(response) => {
                for topic in &response.topics {
                    let failed = topic.partitions.iter().filter(|partition| partition.error_code != 0);
                    for partition in failed {
                        outdated &= partition.error_code == codes::ILLEGAL_GENERATION;
                        let meaning = codes::meaning(partition.error_code);
                        let graver = matches!(meaning, Meaning::Dead(_)) && !matches!(worst, Some(Meaning::Dead(_)));
                        if worst.is_none() || graver || meaning == Meaning::Elsewhere && worst == Some(Meaning::Later) {
                            worst = Some(meaning);
                            let code = code_text(partition.error_code);
                            let way_out = self.way_out(Asked::Offsets, side, partition.error_code);
                            text = format!("{}-{}: {code}{way_out}", &**topic.name, partition.partition_index);
                        }
                    }
                }
            }
            Err(error) => (worst, text, outdated) = (Some(fault(&error)), error.to_string(), false),
        }
        match worst {
            None => self.transaction.enter(Step::Ending, now),
            Some(Meaning::Dead(_)) if outdated => self.outdated(text, now),
            Some(Meaning::Dead(class)) => self.die(class, format!("offsets {text}")),
            Some(meaning) => self.transaction.again(meaning == Meaning::Elsewhere, text, now),
        }
    }

    /// A rebalance has ended between the seal and the arrival of the positions. Nothing of the transaction is lost by that, and
    /// whoever is still a member has the new generation in a moment: so the positions wait for it.
    fn outdated(&mut self, text: String, now: Instant) {
        let member = self.transaction.seal.as_ref().and_then(|seal| seal.member.as_ref());
        let generation = member.map_or(-1, |member| member.generation);
        self.transaction.under_way = false;
        self.transaction.outdated = Some((now, text));
        self.notices.push(Notice::Outdated(generation));
    }

    /// The positions go again, in the newer generation of the same member. One that was thrown out gets another id when it
    /// comes back, so a member that has kept its id has been one all the time.
    pub(super) fn renew(&mut self, member: Member, now: Instant) {
        let sealed = self.transaction.seal.as_mut().and_then(|seal| seal.member.as_mut());
        let Some((sealed, (_, text))) = sealed.zip(self.transaction.outdated.take()) else { return };
        if sealed.member_id != member.member_id || sealed.generation >= member.generation {
            return self.die(Class::Fenced, format!("offsets {text}"));
        }
        *sealed = member;
        (self.transaction.tries, self.transaction.at) = (0, now);
    }

    /// What EndTxn has come to: of this side, a commit or an abort.
    pub(super) fn ended(&mut self, of: (Side, bool), answer: Result<EndTxnResponse, WireError>, now: Instant) {
        if self.is_aborting() {
            return self.aborted(of, answer, now);
        }
        if self.transaction.step != Step::Ending || !self.transaction.under_way {
            return;
        }
        match answer {
            Ok(response) if response.error_code == 0 && response.producer_id.0 >= 0 => {
                let next = Identity { id: response.producer_id.0, epoch: response.producer_epoch };
                self.decided(self.transaction.turn.side, now);
                self.committed(Some(next), now);
            }
            Ok(response) if response.error_code == 0 => {
                self.die(Class::Fatal, "commit: the broker does not speak transactions v2 (KIP-890)".to_owned());
            }
            Ok(response) => {
                let text = code_text(response.error_code);
                match codes::meaning(response.error_code) {
                    Meaning::Dead(class) => {
                        let way_out = self.way_out(Asked::End, self.transaction.turn.side, response.error_code);
                        self.die(class, format!("commit: {text}{way_out}"));
                    }
                    meaning => self.transaction.again(meaning == Meaning::Elsewhere, text, now),
                }
            }
            // Whether it was carried out nobody knows, and asking again would not tell (rule N-7).
            Err(error) if error.is_connection() => {
                self.die(Class::Abort, format!("commit: {error}; the outcome is unknown"));
            }
            Err(error) => self.not_ended(of, &error, now),
        }
    }

    /// EndTxn was not sent.
    pub(super) fn not_ended(&mut self, of: (Side, bool), error: &WireError, now: Instant) {
        match fault(error) {
            _ if self.is_aborting() => self.aborted(of, Err(error.clone()), now),
            Meaning::Dead(class) => self.die(class, format!("commit: {error}")),
            meaning => self.transaction.again(meaning == Meaning::Elsewhere, error.to_string(), now),
        }
    }

    /// The transaction has ended. If it had anything that a coordinator knows of, the next one with its id has this identity,
    /// and sequences that begin anew.
    fn committed(&mut self, next: Option<Identity>, now: Instant) {
        let committed = self.transaction.end(now);
        self.notices.push(Notice::Committed(committed));
        let side = self.transaction.turn.side;
        if let Some(identity) = next {
            self.sides.set(side, identity);
            self.lanes.iter_mut().for_each(|lane| lane.restart(side));
        }
        self.advance(now);
    }

    /// The one after it is the one that ends next.
    pub(super) fn advance(&mut self, now: Instant) {
        let turn = self.sides.after(self.follower.turn);
        self.transaction = std::mem::replace(&mut self.follower, Transaction::new(turn, now));
    }
}
