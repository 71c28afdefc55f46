//! What brokers answer, taken apart: records become deliveries, codes become verdicts (rules R7, R14, R15).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::delivery::{Content, Delivery, Lease, Settlement};
use super::engine::{Engine, Flight};
use super::error::Lost;
use super::grant::Grant;
use super::ledger::{Acquisition, Told, Verdict};
use super::session::Named;
use crate::wire::share::{Acknowledgement, FetchedPart, Found, ShareAcknowledged, ShareFetched, read};
use crate::wire::{BrokerId, Code, WireError};

const INVALID_RECORD_STATE: i16 = 121;
/// Unknown topic or partition (which a broker says that does not lead it any more), unknown topic id, not the leader, fenced
/// leader epoch.
const GONE: [i16; 4] = [3, 100, 6, 74];
/// The keeper of the group's state is away: locks stand.
const LATER: [i16; 3] = [14, 15, 7];

/// What a code says of acknowledgements.
fn verdict(code: Option<Code>) -> Verdict {
    match code.map(Code::number) {
        None => Verdict::Taken,
        Some(INVALID_RECORD_STATE) => Verdict::OneIsWrong,
        Some(number) if GONE.contains(&number) => Verdict::Gone(Lost::Moved),
        Some(number) if LATER.contains(&number) => Verdict::Later,
        Some(_) => Verdict::Gone(Lost::Refused),
    }
}

impl Engine {
    /// A fetch has its answer.
    pub(super) fn fetched(&mut self, flight: Flight, answer: Result<ShareFetched, WireError>, now: Instant) {
        let answer = answer.and_then(|answer| match answer.error {
            None => Ok(answer),
            Some(code) => Err(WireError::from_code(format!("share fetch from broker {}", flight.broker), code)),
        });
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.session_over(flight.broker, error, now),
        };
        let Flight { broker, sent, load, delta, .. } = flight;
        self.nodes.entry(broker).or_default().answered(delta.as_ref());
        let lock = (sent, answer.lock);
        let code = |part: &FetchedPart| ((part.topic, part.partition), part.acknowledge_error);
        let codes: BTreeMap<Named, Option<Code>> = answer.parts.iter().map(code).collect();
        // What was told comes first: the broker may have handed the same records out anew, after it has taken it.
        self.judge(load.told, broker, &codes, (sent, Some(answer.lock)), now);
        for part in answer.parts {
            let (named, told) = ((part.topic, part.partition), verdict(part.acknowledge_error));
            self.part_fetched(broker, part, lock, now);
            if let Verdict::Gone(Lost::Moved) = told {
                self.ledger.lose_partition(broker, named, Lost::Moved);
            }
        }
    }

    /// Acknowledgements that went alone have their answer.
    pub(super) fn acknowledged(&mut self, flight: Flight, answer: Result<ShareAcknowledged, WireError>, now: Instant) {
        if flight.closes {
            // Whatever it is: the broker lets go of the rest by itself once the connection is closed.
            self.nodes.entry(flight.broker).or_default().failed(now);
            return;
        }
        let answer = answer.and_then(|answer| match answer.error {
            None => Ok(answer),
            Some(code) => Err(WireError::from_code(format!("share acknowledge to broker {}", flight.broker), code)),
        });
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.session_over(flight.broker, error, now),
        };
        let Flight { broker, sent, load, .. } = flight;
        self.nodes.entry(broker).or_default().answered(None);
        let codes = answer.parts.iter().map(|part| ((part.topic, part.partition), part.error)).collect();
        self.judge(load.told, broker, &codes, (sent, answer.lock), now);
    }

    fn judge(
        &mut self,
        told: Vec<Told>,
        broker: BrokerId,
        codes: &BTreeMap<Named, Option<Code>>,
        at: (Instant, Option<Duration>),
        now: Instant,
    ) {
        for told in told {
            let named = told.named;
            // What is missing from the answer has failed.
            let verdict = codes.get(&named).map_or(Verdict::Gone(Lost::Refused), |code| verdict(*code));
            self.ledger.answered(told, broker, verdict, at);
            match verdict {
                Verdict::Gone(Lost::Moved) => self.moved(broker, named, now),
                Verdict::Later => self.nodes.entry(broker).or_default().rest(now),
                _ => {}
            }
        }
    }

    /// Both sides have forgotten the session, and whatever was held of it (rule R5).
    fn session_over(&mut self, broker: BrokerId, error: WireError, now: Instant) {
        tracing::info!(target: "headrace::share", %broker, %error, "a share session is over; what was held of it is lost");
        self.nodes.entry(broker).or_default().failed(now);
        self.ledger.lose_broker(broker, Lost::Session);
        for part in self.parts.values_mut().filter(|part| part.leader == Some(broker)) {
            part.leader = None;
        }
        self.look_soon(now);
        if is_final(&error) {
            self.failed = Some(error.into());
        }
    }

    /// A broker does not lead a partition any more: its locks are gone (rule R12).
    fn moved(&mut self, broker: BrokerId, named: Named, now: Instant) {
        self.ledger.lose_partition(broker, named, Lost::Moved);
        if let Some(part) = self.parts.get_mut(&named).filter(|part| part.leader == Some(broker)) {
            part.leader = None;
            part.put_off(now);
            self.look_soon(now);
        }
    }

    /// A broker that refuses may say who leads instead (rule R15).
    fn told_leader(&mut self, named: Named, leader: Option<BrokerId>) {
        if let Some(leader) = leader {
            self.lead(named, leader);
        }
    }

    fn part_fetched(&mut self, broker: BrokerId, fetched: FetchedPart, lock: (Instant, Duration), now: Instant) {
        let named = (fetched.topic, fetched.partition);
        if let Some(code) = fetched.error {
            let at = format!("share fetch {}-{}", self.name(fetched.topic), fetched.partition);
            if code.is_authorisation() {
                self.failed = Some(WireError::from_code(at, code).into());
            } else if GONE.contains(&code.number()) {
                self.moved(broker, named, now);
                self.told_leader(named, fetched.leader.map(|(leader, _)| leader).filter(|leader| *leader != broker));
            } else if let Some(part) = self.parts.get_mut(&named) {
                tracing::debug!(target: "headrace::share", at, %code, "a partition can't be read now");
                part.put_off(now);
            }
            return;
        }
        if let Some(part) = self.parts.get_mut(&named) {
            part.served();
        }
        self.deliver(broker, &fetched, lock, now);
    }

    /// Gives back what nobody here is to have.
    fn turn_down(&mut self, grants: &[Arc<Grant>]) {
        for grant in grants {
            for index in 0..u32::try_from(grant.len()).unwrap_or(0) {
                self.ledger.settle(Settlement { grant: grant.number, index, kind: Acknowledgement::Release });
            }
        }
    }

    fn deliver(&mut self, broker: BrokerId, part: &FetchedPart, (sent, lock): (Instant, Duration), fetched: Instant) {
        let named = (part.topic, part.partition);
        let mut acquired: Vec<(i64, i64)> = Vec::with_capacity(part.acquired.len());
        acquired.extend(part.acquired.iter().map(|range| (range.first, range.last)));
        acquired.retain(|(first, last)| first <= last);
        acquired.sort_unstable();
        let topic = self.name(part.topic);
        let grants: Vec<Arc<Grant>> = acquired
            .into_iter()
            .map(|range| {
                let acquisition = Acquisition { broker, named, topic: Arc::clone(&topic), range, fetched };
                self.ledger.acquire(acquisition, sent, lock)
            })
            .collect();
        if self.parts.get(&named).and_then(|part| part.leader).is_some_and(|leader| leader != broker) {
            // One that does not know yet that it leads no more hands out what others have done since: an acquisition is
            // checked by nobody. If it leads again, somebody has them at once.
            return self.turn_down(&grants);
        }
        let Engine { tools, ledger, deliveries, desk, .. } = self;
        let mut at = 0;
        read(&part.records, &part.acquired, tools, |found| match found {
            Found::Record { offset, timestamp, key, value, headers, delivery_count } => {
                let Some((grant, index)) = place(&grants, &mut at, offset) else { return };
                let delivery_count = u16::try_from(delivery_count).unwrap_or(0);
                let content = Content { timestamp, key, value, headers, delivery_count };
                deliveries.push(Delivery::new(content, Lease::new(grant, index, desk)));
            }
            Found::Gap { first, last } => {
                for offset in first..=last {
                    let Some((grant, index)) = place(&grants, &mut at, offset) else { continue };
                    ledger.settle(Settlement { grant: grant.number, index, kind: Acknowledgement::Gap });
                }
            }
            Found::Damaged { first, last, reason } => {
                tracing::warn!(
                    target: "headrace::share", topic = &*topic, partition = named.1, first, last, reason,
                    "records can't be read; they are released, and archived when they were delivered too often"
                );
                for offset in first..=last {
                    let Some((grant, index)) = place(&grants, &mut at, offset) else { continue };
                    ledger.settle(Settlement { grant: grant.number, index, kind: Acknowledgement::Release });
                }
            }
        });
    }
}

/// The range of an offset, and its number in it. Offsets ascend, so it is the one of before, or a later one.
fn place<'a>(grants: &'a [Arc<Grant>], at: &mut usize, offset: i64) -> Option<(&'a Arc<Grant>, u32)> {
    while let Some(grant) = grants.get(*at) {
        if offset < grant.first + grant.len() {
            return u32::try_from(offset - grant.first).ok().map(|index| (grant, index));
        }
        *at += 1;
    }
    None
}

/// Whether another try would not help.
fn is_final(error: &WireError) -> bool {
    match error {
        // A session that is not known any more, or what the broker did not expect itself: another one may do.
        WireError::Broker { .. } => false,
        other => !other.is_retriable(),
    }
}
