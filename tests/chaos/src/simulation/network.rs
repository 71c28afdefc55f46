//! Requests of the producers on their way, and what becomes of them: answered, lost, or late.
//!
//! ```text
//!  append, seal ─▶ outbox, in order ─▶ deliver ─┬─ answered ─▶ next
//!                                               ├─ the answer is lost: sent again, but an EndTxn: its outcome is unknown (N-7)
//!                                               ├─ a connection that breaks: the same, and what was sent comes later, or never
//!                                               └─ refused: again, or the transaction is dead
//! ```
//!
//! The client is what `wire::producer` is to the loop: sequences, retries in order, positions when all is acknowledged, the
//! end when they are in. An EndTxn is asked once. Two transactional ids take turns: records of the next transaction go to
//! partitions that have all of this one, before its end and while its markers are written.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use headrace::kafka::{Committed, Member, ProduceError, Slot};
use headrace::position::{Offset, TopicPartition};

use super::arm::Arm;
use super::broker::{Broker, Refusal};
use super::group::{Group, ILLEGAL_GENERATION};
use super::log::{Entry, Producer};

/// How long positions of an old generation wait for the new one, as in `wire::producer`.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(3);

/// A request.
#[derive(Debug, Clone)]
enum Request {
    Initialise,
    Produce { at: TopicPartition, sequence: u64, entries: Vec<Entry>, slot: Option<Slot> },
    Offsets { positions: Vec<(TopicPartition, Offset)>, member: Member },
    End { commit: bool },
}

/// One that was sent by somebody who does not listen any more.
pub(super) struct Late {
    id: String,
    producer: Option<Producer>,
    request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Records,
    Offsets,
    End,
}

/// A transaction that was sealed.
struct Sealed {
    records: BTreeMap<TopicPartition, Vec<(Option<Slot>, Entry)>>,
    positions: Vec<(TopicPartition, Offset)>,
    member: Option<Member>,
    step: Step,
}

/// What becomes of a request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    AnswerLost,
    /// Not delivered now; `true`: it comes later.
    Broken(bool),
    /// The broker can't at the moment.
    Away,
    /// The broker refuses to write, for good.
    Refused,
}

/// One of the two transactional ids, and what is open under it.
#[derive(Default)]
struct Side {
    producer: Option<Producer>,
    sequences: BTreeMap<TopicPartition, u64>,
    began: bool,
    next_offsets: BTreeMap<Slot, i64>,
}

/// A producer's client.
pub(super) struct Sender {
    pub(super) actor: usize,
    id: String,
    sides: [Side; 2],
    /// There is only the first side.
    alone: bool,
    /// Whose transaction ends next.
    turn: usize,
    filling: BTreeMap<TopicPartition, Vec<(Option<Slot>, Entry)>>,
    outbox: VecDeque<(usize, Request)>,
    /// A request of the next transaction, beside those of this one.
    ahead: Option<(usize, Request)>,
    sealed: Option<Sealed>,
    /// The outcome of what is on the wire was told before it was known.
    told_early: bool,
    /// The positions' generation is an old one; since when.
    outdated: Option<Duration>,
    pub(super) outcome: Option<Committed>,
    pub(super) failure: Option<ProduceError>,
}

impl Sender {
    pub(super) fn new(actor: usize, id: String, alone: bool) -> Self {
        Sender {
            actor,
            id,
            sides: Default::default(),
            alone,
            turn: 0,
            filling: BTreeMap::new(),
            outbox: VecDeque::new(),
            ahead: None,
            sealed: None,
            told_early: false,
            outdated: None,
            outcome: None,
            failure: None,
        }
    }

    pub(super) fn initialise(&mut self) {
        let missing = (0..self.sides()).find(|side| self.sides[*side].producer.is_none());
        if let Some(side) = missing.filter(|_| self.outbox.is_empty()) {
            self.outbox.push_back((side, Request::Initialise));
        }
    }

    pub(super) fn is_initialised(&self) -> bool {
        self.sides.iter().take(self.sides()).all(|side| side.producer.is_some())
    }

    fn sides(&self) -> usize {
        if self.alone { 1 } else { 2 }
    }

    /// The transactional id of a side.
    fn id(&self, side: usize) -> String {
        if side == 0 { self.id.clone() } else { twin(&self.id) }
    }

    pub(super) fn append(&mut self, at: TopicPartition, slot: Option<Slot>, entry: Entry) {
        self.filling.entry(at).or_default().push((slot, entry));
    }

    pub(super) fn seal(&mut self, positions: &[(TopicPartition, Offset)], member: Option<Member>) {
        let records = std::mem::take(&mut self.filling);
        if records.is_empty() && !self.sides[self.turn].began && positions.is_empty() {
            self.outcome = Some(Committed::default());
            return;
        }
        self.sealed = Some(Sealed { records, positions: positions.to_vec(), member, step: Step::Records });
    }

    /// The generation of the positions that were refused as old ones.
    pub(super) fn outdated(&self) -> Option<i32> {
        self.outdated?;
        self.sealed.as_ref().and_then(|sealed| Some(sealed.member.as_ref()?.generation))
    }

    /// The positions go again, in a newer generation of the same member.
    pub(super) fn renew(&mut self, member: Member) {
        let Some(sealed) = self.sealed.as_mut().filter(|_| self.outdated.take().is_some()) else { return };
        let before = sealed.member.replace(member.clone());
        sealed.step = Step::Records;
        if before.is_none_or(|before| before.member_id != member.member_id || before.generation >= member.generation) {
            self.fail(ProduceError::Fenced("ILLEGAL_GENERATION".to_owned()));
        }
    }

    /// Whether there is something to be sent, or on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.failure.is_none()
            && (!self.outbox.is_empty()
                || self.ahead.is_some()
                || self.sealed.is_some()
                || (self.is_initialised() && !self.filling.is_empty()))
    }

    /// How much more often than others the next request meets a fault: it is the ends that matter most, and they are few.
    pub(super) fn weight(&self) -> u32 {
        match self.outbox.front() {
            Some((_, Request::End { .. })) => 6,
            Some((_, Request::Offsets { .. })) => 3,
            _ => 1,
        }
    }

    fn produce(&mut self, side: usize, at: TopicPartition, records: Vec<(Option<Slot>, Entry)>) -> (usize, Request) {
        let sequence = self.sides[side].sequences.entry(at.clone()).or_default();
        let slot = records.first().and_then(|(slot, _)| *slot);
        let entries = records.into_iter().map(|(_, entry)| entry).collect();
        let request = Request::Produce { at, sequence: *sequence, entries, slot };
        *sequence += 1;
        self.sides[side].began = true;
        (side, request)
    }

    fn send(&mut self, side: usize, at: TopicPartition, records: Vec<(Option<Slot>, Entry)>) {
        let request = self.produce(side, at, records);
        self.outbox.push_back(request);
    }

    /// Puts records of the next transaction on the wire while this one ends, for a partition that has all of this one.
    fn fill_ahead(&mut self, arm: Arm, early: bool) {
        if !early || self.alone || self.ahead.is_some() || self.failure.is_some() || !self.is_initialised() {
            return;
        }
        let Some(sealed) = &self.sealed else { return };
        let is_out = |at: &TopicPartition| {
            self.outbox.iter().any(|(_, request)| matches!(request, Request::Produce { at: own, .. } if own == at))
        };
        let free = |at: &&TopicPartition| !(sealed.records.contains_key(*at) || is_out(at));
        let next = self.filling.keys().find(|at| arm == Arm::Overtaking || free(at)).cloned();
        if let Some((at, records)) = next.and_then(|at| self.filling.remove_entry(&at)) {
            self.ahead = Some(self.produce(1 - self.turn, at, records));
        }
    }

    /// Puts what may go now into the outbox; `early` whether a batch goes before it has to.
    fn fill_outbox(&mut self, arm: Arm, early: bool) {
        if !self.is_initialised() || self.failure.is_some() || self.outdated.is_some() || !self.outbox.is_empty() {
            return;
        }
        let turn = self.turn;
        if let Some(request) = self.ahead.take_if(|(side, _)| *side == turn) {
            // It was the next transaction's, which is this one now.
            return self.outbox.push_back(request);
        }
        let Some(sealed) = &mut self.sealed else {
            if early && let Some((at, records)) = self.filling.pop_first() {
                self.send(turn, at, records);
            }
            return;
        };
        if let Some((at, records)) = sealed.records.pop_first() {
            return self.send(turn, at, records);
        }
        match (sealed.step, sealed.member.clone()) {
            (Step::Records, Some(member)) if !sealed.positions.is_empty() => {
                sealed.step = Step::Offsets;
                let mut positions = sealed.positions.clone();
                if arm == Arm::OneTooFar {
                    positions.iter_mut().for_each(|(_, next)| *next = next.next());
                }
                self.outbox.push_back((turn, Request::Offsets { positions, member }));
            }
            (Step::Records | Step::Offsets, _) => {
                sealed.step = Step::End;
                self.outbox.push_back((turn, Request::End { commit: true }));
                if arm == Arm::EarlyOutcome {
                    self.told_early = true;
                    self.complete();
                }
            }
            (Step::End, _) => {}
        }
    }

    fn complete(&mut self) {
        let next_offsets = std::mem::take(&mut self.sides[self.turn].next_offsets);
        let next_offsets = next_offsets.into_iter().map(|(slot, next)| (slot, Offset(next))).collect();
        self.outcome = Some(Committed { next_offsets, ..Committed::default() });
    }

    fn fail(&mut self, error: ProduceError) {
        self.outbox.clear();
        self.ahead = None;
        self.sealed = None;
        self.filling.clear();
        self.failure = Some(error);
    }

    /// What is on its way when nobody listens any more; with an abort if the end is an orderly one.
    pub(super) fn late(self, orderly: bool) -> Vec<Late> {
        let open = (0..2).filter(|side| orderly && self.sides[*side].began);
        let aborts = open.map(|side| (side, Request::End { commit: false }));
        let requests = self.outbox.iter().chain(&self.ahead).cloned().chain(aborts);
        requests.map(|(side, request)| self.late_request(side, request)).collect()
    }

    fn late_request(&self, side: usize, request: Request) -> Late {
        Late { id: self.id(side), producer: self.sides[side].producer, request }
    }

    /// Delivers the next request. Gives what came of it in words, and what was left on the wire.
    pub(super) fn deliver(
        &mut self,
        (broker, group): (&mut Broker, &mut Group),
        (arm, fate, early): (Arm, Fate, bool),
        now: Duration,
    ) -> (Option<String>, Vec<Late>) {
        if self.outdated.is_some_and(|since| now >= since + RENEWAL_PATIENCE) {
            self.fail(ProduceError::Fenced("ILLEGAL_GENERATION".to_owned()));
        }
        self.fill_outbox(arm, early);
        self.fill_ahead(arm, early);
        let is_ahead = self.ahead.is_some() && (early || self.outbox.is_empty());
        let next = if is_ahead { self.ahead.as_ref() } else { self.outbox.front() };
        let Some((side, request)) = next.cloned() else { return (None, Vec::new()) };
        let (id, producer) = (self.id(side), self.sides[side].producer);
        let name = format!("{id} {}", name(&request));
        match fate {
            Fate::Away => (None, Vec::new()),
            Fate::Refused if matches!(request, Request::Produce { .. }) => {
                self.fail(ProduceError::Abort("produce: refused".to_owned()));
                (Some(format!("{name}: refused")), Vec::new())
            }
            Fate::Broken(comes) => {
                let beside = self.ahead.clone().filter(|_| !is_ahead);
                let mut late = vec![self.late_request(side, request.clone())];
                self.unanswered(&request, arm);
                if self.failure.is_some() {
                    // What was beside it is not sent again by anybody, and may still arrive.
                    late.extend(beside.map(|(side, request)| self.late_request(side, request)));
                }
                late.retain(|_| comes);
                (Some(format!("{name}: broken, {}", if comes { "late" } else { "gone" })), late)
            }
            Fate::AnswerLost => {
                let result = carry_out(broker, group, &id, producer, &request, now);
                self.unanswered(&request, arm);
                (Some(format!("{name}: {}, unheard", outcome(&result))), Vec::new())
            }
            Fate::Answered | Fate::Refused => {
                let result = carry_out(broker, group, &id, producer, &request, now);
                let told = match &result {
                    Err(Refusal::Again(_)) => None,
                    result => Some(format!("{name}: {}", outcome(result))),
                };
                self.answered((side, is_ahead), &request, result, now);
                (told, Vec::new())
            }
        }
    }

    /// Sent again, unless it was an end: that is not asked twice, but by librdkafka.
    fn unanswered(&mut self, request: &Request, arm: Arm) {
        if matches!(request, Request::End { .. }) && arm != Arm::SameEpoch {
            self.fail(ProduceError::Abort("end: no answer; the outcome is unknown".to_owned()));
        }
    }

    fn answered(
        &mut self,
        (side, is_ahead): (usize, bool),
        request: &Request,
        result: Result<Answer, Refusal>,
        now: Duration,
    ) {
        match result {
            Err(Refusal::Again(_)) => return,
            // The group has gone on to another generation, and so may the positions.
            Err(Refusal::Membership(ILLEGAL_GENERATION)) => {
                self.outdated = Some(now);
                self.outbox.clear();
                return;
            }
            Err(Refusal::InvalidProducerEpoch) => {
                return self.fail(ProduceError::Fenced("INVALID_PRODUCER_EPOCH".to_owned()));
            }
            Err(Refusal::Membership(reason)) => return self.fail(ProduceError::Fenced(reason.to_owned())),
            Err(Refusal::InvalidTxnState) => return self.fail(ProduceError::Abort("INVALID_TXN_STATE".to_owned())),
            Ok(Answer::Producer(producer)) => {
                let own = &mut self.sides[side];
                if own.producer.replace(producer) != Some(producer) {
                    own.sequences.clear();
                }
            }
            Ok(Answer::Base(base)) => {
                if let Request::Produce { slot: Some(slot), entries, .. } = request {
                    self.sides[side].next_offsets.insert(*slot, base + i64::try_from(entries.len()).unwrap_or(0));
                }
            }
            Ok(Answer::Done) => {}
        }
        match is_ahead {
            true => self.ahead = None,
            false => _ = self.outbox.pop_front(),
        }
        if matches!(request, Request::End { .. }) {
            // What was told early may have been followed by the next one.
            self.sealed = self.sealed.take().filter(|sealed| sealed.step != Step::End);
            self.sides[side].began = false;
            if !std::mem::take(&mut self.told_early) {
                self.complete();
            }
            self.turn = if self.alone { 0 } else { 1 - side };
        }
    }
}

impl Late {
    /// Somebody takes over a transactional id.
    pub(super) fn take_over(id: &str) -> Late {
        Late { id: id.to_owned(), producer: None, request: Request::Initialise }
    }

    /// It arrives after all; nobody hears the answer.
    pub(super) fn arrive(&self, broker: &mut Broker, group: &mut Group, now: Duration) -> String {
        let result = carry_out(broker, group, &self.id, self.producer, &self.request, now);
        format!("late: {} {}: {}", self.id, name(&self.request), outcome(&result))
    }
}

#[derive(Debug)]
enum Answer {
    Producer(Producer),
    Base(i64),
    Done,
}

fn carry_out(
    broker: &mut Broker,
    group: &mut Group,
    id: &str,
    producer: Option<Producer>,
    request: &Request,
    now: Duration,
) -> Result<Answer, Refusal> {
    let known = producer.ok_or(Refusal::InvalidProducerEpoch);
    match request {
        Request::Initialise => broker.initialise(id).map(Answer::Producer),
        Request::Produce { at, sequence, entries, .. } => {
            broker.produce(id, known?, at, *sequence, entries.clone(), now).map(Answer::Base)
        }
        Request::Offsets { positions, member } => {
            broker.offsets(id, known?, group, (positions, member), now).map(|()| Answer::Done)
        }
        Request::End { commit } => broker.end(id, known?, *commit).map(Answer::Producer),
    }
}

/// The other transactional id of the same producer.
pub(super) fn twin(id: &str) -> String {
    id.strip_suffix(".2").map_or_else(|| format!("{id}.2"), str::to_owned)
}

fn name(request: &Request) -> String {
    match request {
        Request::Initialise => "InitProducerId".to_owned(),
        Request::Produce { at, entries, .. } => format!("Produce {at} ×{}", entries.len()),
        Request::Offsets { positions, member } => {
            let positions: Vec<String> = positions.iter().map(|(at, next)| format!("{at}={next}")).collect();
            format!("TxnOffsetCommit {} of generation {}", positions.join(" "), member.generation)
        }
        Request::End { commit } => format!("EndTxn {}", if *commit { "commit" } else { "abort" }),
    }
}

fn outcome(result: &Result<Answer, Refusal>) -> String {
    match result {
        Ok(Answer::Producer(producer)) => format!("producer {} epoch {}", producer.id, producer.epoch),
        Ok(Answer::Base(base)) => format!("at {base}"),
        Ok(Answer::Done) => "taken".to_owned(),
        Err(refusal) => format!("{refusal:?}"),
    }
}
