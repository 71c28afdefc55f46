//! Which broker leads which partition, as the engine knows it: asked for when something turned out to be wrong, and once in
//! a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::codes::{self, Class};
use super::engine::{Call, Engine, class};
use super::error::ProduceError;
use super::lanes::Lane;
use super::rights::Asked;
use super::shared::{Notice, Partitions};
use super::sides::Side;
use super::transaction::Stage;
use crate::wire::{BrokerId, Code, TopicId, WireError};

/// First and last wait between two looks at the metadata when a leader is missing.
const METADATA_FIRST_WAIT: Duration = Duration::from_millis(20);
const METADATA_LAST_WAIT: Duration = Duration::from_secs(1);

/// What the cluster says of a topic.
#[derive(Debug)]
pub(super) struct Led {
    /// Changes when the topic is deleted and made anew; zero if it is not known.
    pub(super) id: TopicId,
    /// Leaders of its partitions, in their order.
    pub(super) leaders: Vec<Option<BrokerId>>,
}

/// That, or why there is nothing to say.
pub(super) type Leaders = Result<Led, WireError>;

/// A topic that is produced to.
pub(super) struct TopicState {
    pub(super) name: Arc<str>,
    pub(super) id: TopicId,
    /// Lanes by partition.
    pub(super) lanes: Vec<Option<usize>>,
    pub(super) leaders: Vec<Option<BrokerId>>,
    known: bool,
    /// Whether a record has named it.
    pub(super) named: bool,
    /// Set while the cluster says that there is no such topic.
    missing: Option<String>,
    /// A batch of this size was refused as too large.
    pub(super) too_large: Option<usize>,
}

impl TopicState {
    pub(super) fn new(name: Arc<str>, named: bool) -> Self {
        TopicState {
            name,
            id: TopicId::default(),
            lanes: Vec::new(),
            leaders: Vec::new(),
            known: false,
            named,
            missing: None,
            too_large: None,
        }
    }
}

impl Engine {
    pub(super) fn next_metadata(&mut self, now: Instant) -> Option<Call> {
        let old = now.duration_since(self.metadata_since) >= self.metadata_max_age;
        let due = (self.metadata_wanted && self.metadata_at <= now) || old;
        if self.metadata_under_way || !due || self.topics.is_empty() {
            return None;
        }
        (self.metadata_wanted, self.metadata_under_way) = (false, true);
        let lost = self.lanes.iter().filter(|lane| lane.leader.is_none());
        let lost = lost.map(|lane| (Arc::clone(&self.topics[lane.topic].name), lane.partition));
        let doubted = lost.chain(std::mem::take(&mut self.sought)).collect();
        let topics = self.topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
        Some(Call::Metadata { topics, doubted })
    }

    pub(super) fn want_metadata(&mut self, now: Instant, at_once: bool) {
        if at_once {
            (self.metadata_at, self.metadata_tries) = (now, 0);
        }
        self.metadata_wanted = true;
    }

    /// What the cluster says about the topics that were asked for, in their order.
    pub(super) fn metadata(&mut self, answers: Vec<(Arc<str>, Leaders)>, now: Instant) {
        self.metadata_under_way = false;
        self.metadata_since = now;
        let wait = METADATA_FIRST_WAIT.saturating_mul(1 << self.metadata_tries.min(10)).min(METADATA_LAST_WAIT);
        self.metadata_at = now + wait;
        self.metadata_tries += 1;
        let mut missing = false;
        for (name, leaders) in answers {
            let Some(index) = self.topics.iter().position(|topic| topic.name == name) else { continue };
            match leaders {
                Ok(led) => self.led(index, led),
                Err(error) if error.is_retriable() => {
                    let is_missing = matches!(error, WireError::UnknownTopic { .. });
                    let topic = &mut self.topics[index];
                    topic.missing = is_missing.then(|| error.to_string());
                    missing |= !topic.known;
                    if !topic.known {
                        let text = format!("produce: {error}");
                        let class = if is_missing { Class::Missing } else { Class::Abort };
                        let partitions = Partitions::Unknown(class.error(text));
                        self.notices.push(Notice::Topic { index, partitions });
                    }
                }
                Err(error) => {
                    let code = error.code().map_or(0, Code::number);
                    let text = format!("produce: {error}{}", self.way_out(Asked::Produce, Side::First, code));
                    let partitions = Partitions::Refused(self.of_topic(index, code, class(&error), text));
                    self.notices.push(Notice::Topic { index, partitions });
                }
            }
        }
        if missing || self.lanes.iter().any(Lane::is_lost) {
            self.metadata_wanted = true;
        } else {
            self.metadata_tries = 0;
        }
    }

    fn led(&mut self, index: usize, led: Led) {
        let Led { id, leaders } = led;
        let topic = &mut self.topics[index];
        for (partition, lane) in topic.lanes.iter().enumerate() {
            if let Some(lane) = lane {
                self.lanes[*lane].leader = leaders.get(partition).copied().flatten();
            }
        }
        if !topic.known || topic.leaders.len() != leaders.len() {
            let count = i32::try_from(leaders.len()).unwrap_or(i32::MAX);
            self.notices.push(Notice::Topic { index, partitions: Partitions::Known(count) });
        }
        let before = std::mem::replace(&mut topic.id, id);
        (topic.known, topic.missing, topic.leaders) = (true, None, leaders);
        let anew = ![before, id].contains(&TopicId::default()) && before != id;
        if anew && self.stage == Stage::Ready {
            // What the transaction had written there is gone, and the next record may belong to another partition.
            let text = format!("produce: topic {} was deleted and made anew", topic.name);
            self.die(Class::Abort, text);
        }
    }

    /// The error after this code in an answer about a topic: one that a record has named is itself to blame for what it refuses.
    pub(super) fn of_topic(&self, topic: usize, code: i16, class: Class, text: String) -> ProduceError {
        let topic = &self.topics[topic];
        match topic.named && codes::is_of_topic(code) {
            true => ProduceError::Unwritable { topic: topic.name.to_string(), reason: text },
            false => class.error(text),
        }
    }

    /// How long the lane's oldest batch may take.
    pub(super) fn patience(&self, lane: &Lane) -> Duration {
        let topic = &self.topics[lane.topic];
        let away = topic.missing.is_some() || lane.leader.is_none();
        self.settings.patience(topic.named && away)
    }

    /// The error of a batch that was not delivered in time.
    pub(super) fn late(&self, lane: &Lane) -> ProduceError {
        let (class, reason) = self.overdue(lane);
        let (topic, patience) = (&self.topics[lane.topic], self.patience(lane));
        let text = format!("produce {}-{}: not acknowledged within {patience:?}: {reason}", topic.name, lane.partition);
        match topic.named {
            true => ProduceError::Unwritable { topic: topic.name.to_string(), reason: text },
            false => class.error(text),
        }
    }

    /// Why the lane's oldest batch could not be delivered in time, and the class of that.
    fn overdue(&self, lane: &Lane) -> (Class, String) {
        if let Some(missing) = &self.topics[lane.topic].missing {
            return (Class::Missing, missing.clone());
        }
        let silence = if lane.leader.is_none() { "it has no leader" } else { "no answer" };
        (Class::Abort, lane.hindrance.clone().unwrap_or_else(|| silence.to_owned()))
    }
}
