//! The engine against the answers of a cluster that is made up, without a socket or a clock.

use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{EndTxnResponse, InitProducerIdResponse, TxnOffsetCommitResponse};
use kafka_protocol::protocol::StrBytes;

use super::super::shared::Slot;
use super::*;
use crate::position::{Partition, TopicPartition};
use crate::record::{Headers, Timestamp};
use crate::wire::batch::{Entry, Open};
use crate::wire::producer::ProduceError;
use crate::wire::producer::leaders::Led;
use crate::wire::producer::shared::{Committed, Member, Seal};

/// A topic of this id with these leaders.
fn led(id: u8, leaders: [i32; 2]) -> Led {
    Led { id: TopicId([id; 16]), leaders: leaders.map(|leader| Some(BrokerId(leader))).to_vec() }
}

struct World {
    engine: Engine,
    now: Instant,
}

/// A producer with two ids.
fn world() -> World {
    started(0)
}

/// A producer that may not use the second one.
fn alone() -> World {
    started(codes::TRANSACTIONAL_ID_DENIED)
}

fn started(second: i16) -> World {
    let now = Instant::now();
    let settings = ProducerSettings::new(Some("id".to_owned()));
    let mut world = World { engine: Engine::new(settings, Duration::from_secs(300), now), now };
    world.engine.asks_completion = false;
    world.command(Command::Initialise);
    world.initialise(second);
    world.command(Command::Topic { name: "t".into(), named: false });
    assert!(matches!(world.calls()[..], [Call::Metadata { .. }]));
    world.engine.metadata(vec![("t".into(), Ok(led(1, [1, 1])))], now);
    world
}

impl World {
    /// Answers for both ids; for the second one with this code.
    fn initialise(&mut self, second: i16) {
        assert!(matches!(self.calls()[..], [Call::Initialise(Side::First)]));
        let response = InitProducerIdResponse::default().with_producer_id(7.into()).with_producer_epoch(32_766);
        assert_eq!(self.engine.initialised(Ok(response), self.now), None);
        assert!(
            !self.engine.notices.iter().any(|notice| matches!(notice, Notice::Initialised)),
            "both have to be there"
        );
        assert!(matches!(self.calls()[..], [Call::Initialise(Side::Second)]));
        let response = InitProducerIdResponse::default().with_producer_id(70.into()).with_error_code(second);
        assert_eq!(self.engine.initialised(Ok(response), self.now), None);
        assert!(matches!(self.engine.notices.pop(), Some(Notice::Initialised)));
    }

    fn command(&mut self, command: Command) {
        self.engine.command(command, self.now);
    }

    fn batch(&mut self, partition: i32) {
        self.batch_to(0, partition);
    }

    fn batch_to(&mut self, topic: usize, partition: i32) {
        let mut open = Open::new(Vec::new());
        open.append(&Entry { key: None, value: None, timestamp: Timestamp(1), headers: &Headers::new() });
        let handed = Handed { topic, partition, slot: Some(Slot(4)), batch: open.close() };
        self.command(Command::Batch(handed));
    }

    fn seal(&mut self, positions: bool) {
        let member = Member { group: "g".to_owned(), generation: 3, member_id: "m".to_owned(), instance_id: None };
        let at = TopicPartition { topic: "in".into(), partition: Partition(0) };
        let positions = if positions { vec![(at, Offset(9))] } else { Vec::new() };
        self.command(Command::Seal(Seal { positions, member: Some(member) }));
    }

    fn calls(&mut self) -> Vec<Call> {
        std::iter::from_fn(|| self.engine.next(self.now)).collect()
    }

    /// The one Produce request that is due: its flight, and the header of its first batch.
    fn produce(&mut self) -> (u64, Bytes) {
        match &self.calls()[..] {
            [Call::Produce { flight, parts, .. }] => (*flight, parts[0].bytes.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn produced(&mut self, flight: u64, partition: i32, code: i16) {
        self.produced_to("t", flight, partition, code);
    }

    fn produced_to(&mut self, name: &'static str, flight: u64, partition: i32, code: i16) {
        let part = PartitionProduceResponse::default().with_index(partition).with_error_code(code).with_base_offset(40);
        let topic = TopicProduceResponse::default()
            .with_name(StrBytes::from_static_str(name).into())
            .with_partition_responses(vec![part]);
        self.engine.produced(flight, Ok(ProduceResponse::default().with_responses(vec![topic])), self.now);
    }

    fn ended(&mut self, id: i64, epoch: i16) {
        let response = EndTxnResponse::default().with_producer_id(id.into()).with_producer_epoch(epoch);
        self.engine.ended(self.ends(), Ok(response), self.now);
    }

    /// The side and the kind of the EndTxn that is on the wire.
    fn ends(&self) -> (Side, bool) {
        (self.engine.transaction.turn.side, !self.engine.is_aborting())
    }

    fn positions_answered(&mut self, code: i16) {
        let part = TxnOffsetCommitResponsePartition::default().with_error_code(code);
        let topic = TxnOffsetCommitResponseTopic::default().with_partitions(vec![part]);
        self.engine.offsets_answered(Ok(TxnOffsetCommitResponse::default().with_topics(vec![topic])), self.now);
    }

    fn failure(&mut self) -> ProduceError {
        let failed = self.engine.notices.drain(..).find_map(|notice| match notice {
            Notice::Failed(error) => Some(error),
            _ => None,
        });
        failed.expect("a failure")
    }

    fn committed(&mut self) -> Option<Committed> {
        self.engine.notices.drain(..).find_map(|notice| match notice {
            Notice::Committed(committed) => Some(committed),
            _ => None,
        })
    }
}

fn closed() -> WireError {
    WireError::Closed { address: "b:1".to_owned(), reason: "gone".to_owned() }
}

#[test]
fn n2_an_exhausted_epoch_changes_the_id_and_sequences_begin_anew() {
    let mut world = alone();
    for (id, epoch, next) in [(7_i64, 32_766_i16, (8, 0)), (8, 0, (8, 1)), (8, 1, (8, 2))] {
        world.batch(0);
        let (flight, bytes) = world.produce();
        assert_eq!(&bytes[43..51], id.to_be_bytes());
        assert_eq!(&bytes[51..53], epoch.to_be_bytes());
        assert_eq!(&bytes[53..57], [0; 4]);
        world.produced(flight, 0, 0);
        world.seal(false);
        assert!(matches!(world.calls()[..], [Call::End { elsewhere: false }]));
        let request = world.engine.end_request().unwrap();
        assert_eq!((request.producer_id.0, request.producer_epoch, request.committed), (id, epoch, true));
        world.ended(next.0, next.1);
        assert_eq!(world.committed().unwrap().next_offsets, [(Slot(4), Offset(41))]);
    }
}

#[test]
fn n5_with_one_id_the_next_transaction_waits_until_the_end_of_this_one_is_answered() {
    let mut world = alone();
    world.batch(0);
    let (flight, _) = world.produce();
    world.seal(true);
    world.batch(1);
    assert!(world.calls().is_empty());
    world.produced(flight, 0, 0);
    assert!(matches!(world.calls()[..], [Call::Offsets { elsewhere: false }]));
    assert!(world.calls().is_empty());
    world.positions_answered(0);
    assert!(matches!(world.calls()[..], [Call::End { .. }]));
    assert!(world.calls().is_empty());
    assert_eq!(world.committed(), None);
    world.ended(7, 32_767);
    assert!(world.committed().is_some());
    let (_, bytes) = world.produce();
    assert_eq!(&bytes[51..53], 32_767_i16.to_be_bytes());
}

#[test]
fn n4_positions_carry_the_membership_that_they_were_made_under() {
    let mut world = world();
    world.seal(true);
    assert!(matches!(world.calls()[..], [Call::Offsets { .. }]));
    let request = world.engine.offsets_request().unwrap();
    assert_eq!((request.generation_id, request.member_id.as_str(), &**request.group_id), (3, "m", "g"));
    assert_eq!(request.topics[0].partitions[0].committed_offset, 9);
}

fn member(member_id: &str, generation: i32) -> Member {
    Member { group: "g".to_owned(), generation, member_id: member_id.to_owned(), instance_id: None }
}

/// A transaction whose positions were refused, because the group has gone on to another generation.
fn outdated() -> World {
    let mut world = world();
    world.seal(true);
    assert!(matches!(world.calls()[..], [Call::Offsets { .. }]));
    world.positions_answered(22);
    assert!(matches!(world.engine.notices.pop(), Some(Notice::Outdated(3))));
    assert!(world.calls().is_empty(), "it waits");
    world
}

#[test]
fn n4_positions_of_an_old_generation_go_again_with_the_same_members_new_one() {
    let mut world = outdated();
    // As often as rebalances end in the moment.
    for generation in [4, 9] {
        world.command(Command::Renew(member("m", generation)));
        assert!(matches!(world.calls()[..], [Call::Offsets { .. }]));
        assert_eq!(world.engine.offsets_request().unwrap().generation_id, generation);
        world.positions_answered(if generation == 4 { 22 } else { 0 });
    }
    assert!(matches!(world.calls()[..], [Call::End { .. }]));
}

#[test]
fn n4_positions_of_an_old_generation_go_with_nobody_elses_and_wait_for_seconds_only() {
    for other in [member("another", 4), member("m", 3), member("m", 2)] {
        let mut world = outdated();
        world.command(Command::Renew(other));
        assert!(matches!(world.failure(), ProduceError::Fenced(text) if text.contains("IllegalGeneration")));
        assert!(world.calls().is_empty());
    }
    let mut world = outdated();
    let wakes = world.engine.wakes(world.now).unwrap();
    assert!(wakes > world.now, "no busy loop");
    world.now += Duration::from_secs(3);
    world.engine.expire(world.now);
    assert!(matches!(world.failure(), ProduceError::Fenced(text) if text.contains("IllegalGeneration")));
}

#[test]
fn n3_a_coordinator_that_moves_is_looked_up_and_asked_again() {
    let mut world = world();
    world.seal(true);
    world.calls();
    world.positions_answered(16);
    assert!(world.calls().is_empty(), "after a wait");
    world.now += Duration::from_millis(500);
    assert!(matches!(world.calls()[..], [Call::Offsets { elsewhere: true }]));
    world.engine.offsets_answered(Err(closed()), world.now);
    world.now += Duration::from_millis(500);
    assert!(matches!(world.calls()[..], [Call::Offsets { elsewhere: true }]), "positions may be repeated");
    world.positions_answered(0);
    world.calls();
    let response = EndTxnResponse::default().with_error_code(codes::CONCURRENT_TRANSACTIONS);
    world.engine.ended(world.ends(), Ok(response), world.now);
    world.now += Duration::from_millis(500);
    assert!(matches!(world.calls()[..], [Call::End { elsewhere: false }]));
}

#[test]
fn n7_an_end_without_an_answer_is_an_unknown_outcome_and_is_not_repeated() {
    let mut world = world();
    world.batch(0);
    let (flight, _) = world.produce();
    world.produced(flight, 0, 0);
    world.seal(false);
    world.calls();
    world.batch(1);
    world.engine.ended(world.ends(), Err(closed()), world.now);
    assert!(matches!(world.failure(), ProduceError::Abort(text) if text.contains("unknown")));
    world.now += Duration::from_secs(5);
    assert!(world.calls().is_empty(), "nor is anything of the next one sent");
    world.command(Command::Initialise);
    assert!(matches!(world.calls()[..], [Call::Initialise(Side::First)]));
}

#[test]
fn n7_an_end_that_was_not_sent_is_sent_again() {
    let mut world = world();
    world.seal(true);
    world.calls();
    world.positions_answered(0);
    world.calls();
    world.engine.not_ended(world.ends(), &WireError::UnknownBroker(BrokerId(3)), world.now);
    world.now += Duration::from_millis(500);
    assert!(matches!(world.calls()[..], [Call::End { elsewhere: true }]));
}

#[test]
fn n6_a_failure_comes_without_a_seal_and_ends_the_session() {
    let mut world = world();
    world.batch(0);
    let (flight, _) = world.produce();
    world.produced(flight, 0, 47);
    let error = world.failure();
    assert!(matches!(&error, ProduceError::Fenced(text) if text.starts_with("produce t-0")), "{error}");
    world.batch(0);
    world.seal(false);
    assert!(world.calls().is_empty());
}

#[test]
fn n8_an_answer_to_an_earlier_session_concerns_nobody() {
    let mut world = world();
    world.batch(0);
    let (flight, _) = world.produce();
    world.command(Command::Initialise);
    world.initialise(0);
    world.batch(0);
    let (second, _) = world.produce();
    world.produced(flight, 0, 90);
    assert!(!world.engine.notices.iter().any(|notice| matches!(notice, Notice::Failed(_))));
    world.produced(second, 0, 0);
    assert!(world.engine.is_acknowledged());
}

#[test]
fn n8_a_leader_that_moved_is_looked_up_and_gets_the_same_batch() {
    let mut world = world();
    world.batch(0);
    let (flight, bytes) = world.produce();
    world.produced(flight, 0, 6);
    world.now += Duration::from_secs(1);
    assert!(matches!(world.calls()[..], [Call::Metadata { .. }]));
    world.engine.metadata(vec![("t".into(), Ok(led(1, [2, 1])))], world.now);
    match &world.calls()[..] {
        [Call::Produce { broker: BrokerId(2), parts, .. }] => assert_eq!(parts[0].bytes, bytes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn n8_a_batch_that_nobody_takes_is_given_up_in_time() {
    let mut world = world();
    world.batch(1);
    let (flight, _) = world.produce();
    world.produced(flight, 1, 19);
    world.now += world.engine.settings.delivery_timeout + Duration::from_millis(1);
    world.engine.expire(world.now);
    let error = world.failure();
    assert!(matches!(&error, ProduceError::Abort(text) if text.contains("t-1") && text.contains("(19)")), "{error}");
}

#[test]
fn n8_one_request_carries_one_batch_of_each_partition() {
    let mut world = world();
    for partition in [0, 1, 0] {
        world.batch(partition);
    }
    let calls = world.calls();
    let sizes: Vec<usize> =
        calls.iter().map(|call| if let Call::Produce { parts, .. } = call { parts.len() } else { 0 }).collect();
    assert_eq!(sizes, [2, 1]);
}

#[test]
fn a_producer_that_is_closed_aborts_what_is_open_and_nothing_else() {
    let mut world = world();
    world.command(Command::Close);
    assert!(world.engine.is_closed(world.now), "nothing is open");

    let mut world = self::world();
    world.batch(0);
    let (flight, _) = world.produce();
    world.batch(0);
    world.command(Command::Close);
    assert!(matches!(world.calls()[..], [Call::Abort { elsewhere: false }]), "no record is sent any more");
    world.produced(flight, 0, 0);
    assert!(world.calls().is_empty() && !world.engine.is_closed(world.now), "the abort has no answer yet");
    assert_eq!(
        world.engine.abort_request().map(|request| (request.committed, request.producer_epoch)),
        Some((false, 32_766))
    );
    world.engine.ended(world.ends(), Ok(EndTxnResponse::default().with_error_code(16)), world.now);
    world.now += Duration::from_secs(1);
    assert!(matches!(world.calls()[..], [Call::Abort { elsewhere: true }]), "the coordinator has moved");
    world.ended(7, 32_767);
    assert!(world.engine.is_closed(world.now));
}

#[test]
fn a_producer_that_is_closed_while_it_commits_waits_for_the_answer() {
    for answered in [true, false] {
        let mut world = world();
        world.batch(0);
        let (flight, _) = world.produce();
        world.seal(false);
        world.produced(flight, 0, 0);
        assert!(matches!(world.calls()[..], [Call::End { .. }]));
        world.batch(0);
        world.command(Command::Close);
        assert!(world.calls().is_empty() && !world.engine.is_closed(world.now));
        if answered {
            world.ended(8, 0);
            assert!(world.committed().is_some());
        } else {
            world.engine.ended(world.ends(), Err(closed()), world.now);
            assert!(matches!(world.calls()[..], [Call::Abort { .. }]), "if it has committed, this is refused");
            world.engine.ended(world.ends(), Ok(EndTxnResponse::default().with_error_code(90)), world.now);
        }
        assert!(world.calls().is_empty() && world.engine.is_closed(world.now));
    }
}

#[test]
fn a_producer_that_is_closed_gives_up_on_a_silent_broker() {
    let mut world = world();
    world.batch(0);
    world.produce();
    world.command(Command::Close);
    world.calls();
    let end = world.engine.wakes(world.now + Duration::from_secs(60)).expect("an end");
    assert!(!world.engine.is_closed(world.now));
    assert!(world.engine.is_closed(end));
}

#[test]
fn n8_a_topic_that_is_made_anew_ends_the_transaction() {
    let mut world = world();
    world.batch(0);
    let (flight, _) = world.produce();
    world.produced(flight, 0, 100);
    world.engine.metadata(vec![("t".into(), Ok(led(1, [1, 1])))], world.now);
    assert!(!world.engine.notices.iter().any(|notice| matches!(notice, Notice::Failed(_))), "it is the same one");
    world.engine.metadata(vec![("t".into(), Ok(led(2, [1, 1])))], world.now);
    let error = world.failure();
    assert!(
        matches!(&error, ProduceError::Abort(text) if text.contains("topic t was deleted and made anew")),
        "{error}"
    );
}

#[test]
fn n8_a_topic_that_stays_away_is_named_as_missing() {
    let mut world = world();
    world.batch(0);
    let (flight, _) = world.produce();
    world.produced(flight, 0, 100);
    let missing = || Err(WireError::UnknownTopic { topic: "t".to_owned() });
    world.engine.metadata(vec![("t".into(), missing())], world.now);
    let patience = world.engine.settings.delivery_timeout;
    world.now += patience / 2;
    world.engine.expire(world.now);
    world.now += patience;
    world.engine.expire(world.now);
    let error = world.failure();
    assert!(matches!(&error, ProduceError::Missing(text) if text.contains("topic t does not exist")), "{error}");
}

#[test]
fn n8_answers_that_name_topics_by_id_are_understood() {
    let mut world = world();
    world.batch(1);
    let (flight, _) = world.produce();
    let part = PartitionProduceResponse::default().with_index(1).with_base_offset(40);
    let topic = TopicProduceResponse::default().with_partition_responses(vec![part]);
    let topic = topic.with_topic_id("01010101-0101-0101-0101-010101010101".parse().unwrap());
    world.engine.produced(flight, Ok(ProduceResponse::default().with_responses(vec![topic])), world.now);
    world.seal(false);
    world.calls();
    world.ended(7, 1);
    assert_eq!(world.committed().unwrap().next_offsets, [(Slot(4), Offset(41))]);
}

#[cfg(test)]
#[path = "completing_tests.rs"]
mod completing;
#[cfg(test)]
#[path = "named_tests.rs"]
mod named;
#[cfg(test)]
#[path = "sides_tests.rs"]
mod sides;
