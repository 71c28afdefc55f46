//! Beginnings: what is committed, what is not, and topics that are made anew meanwhile.

use super::*;
use crate::position::{Partition, TopicPartition};
use crate::wire::fetch::settings::FetcherSettings;
use crate::wire::fetch::shared::{Command, UNPLACED};
use crate::wire::{BrokerId, Code, Leader, TopicId};

fn at(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: Partition(partition) }
}

struct Bench {
    engine: Engine,
    now: Instant,
}

impl Bench {
    /// So many partitions, paused as after a rebalance.
    fn new(partitions: usize) -> Self {
        let engine = Engine::new(FetcherSettings::default(), std::sync::Arc::default());
        let mut bench = Bench { engine, now: Instant::now() };
        for slot in 0..partitions {
            let at = at(i32::try_from(slot).unwrap());
            bench.engine.command(Command::Assign { slot, ticket: 1, at, position: UNPLACED });
            bench.engine.command(Command::Pause { slot, paused: true });
        }
        bench
    }

    fn calls(&mut self) -> Vec<Call> {
        std::iter::from_fn(|| self.engine.next(self.now)).collect()
    }

    fn lead(&mut self, slots: usize, id: u8) {
        let leader = Leader { broker: BrokerId(1), epoch: 5, topic_id: TopicId([id; 16]) };
        self.engine.leaders((0..slots).map(|slot| (slot, 1, Ok(leader))).collect(), self.now);
    }

    fn told(&mut self) -> Vec<String> {
        let deliveries = std::mem::take(&mut self.engine.deliveries).into_iter();
        deliveries.map(|(slot, _, waiting)| format!("{slot} {waiting:?}")).collect()
    }

    fn later(&mut self) {
        self.now += std::time::Duration::from_secs(2);
    }
}

fn refusal(code: i16) -> WireError {
    WireError::from_code("committed", Code::new(code).unwrap())
}

#[test]
fn committed_positions_are_asked_for_together_while_paused() {
    let mut bench = Bench::new(3);
    assert!(matches!(&bench.calls()[..], [Call::Leaders { wanted, .. }] if wanted.len() == 3), "the id is known first");
    bench.lead(3, 1);
    let calls = bench.calls();
    assert!(matches!(&calls[..], [Call::Committed(all)] if all.len() == 3), "{calls:?}");
    bench.engine.committed((0..3).map(|slot| (slot, 1, Ok(Some(70)))).collect(), bench.now);
    assert_eq!(bench.told(), ["0 Skip(70)", "1 Skip(70)", "2 Skip(70)"]);
    assert_eq!(bench.calls(), [], "paused");
    bench.engine.command(Command::Pause { slot: 1, paused: false });
    let calls = bench.calls();
    assert!(matches!(&calls[..], [Call::Fetch(flight)] if flight.wanted[0].position == 70), "{calls:?}");
}

#[test]
fn a_position_that_a_transaction_may_change_is_asked_for_again_and_nobody_is_told() {
    let mut bench = Bench::new(1);
    bench.calls();
    bench.lead(1, 1);
    // A coordinator that loads, is none, has moved; offsets that are not stable.
    for code in [14, 15, 16, 88] {
        assert!(matches!(&bench.calls()[..], [Call::Committed(_)]), "{code}");
        bench.engine.committed(vec![(0, 1, Err(refusal(code)))], bench.now);
        assert_eq!((bench.told(), bench.calls()), (vec![], vec![]), "{code}");
        assert!(bench.engine.news.is_empty(), "{code}: {:?}", bench.engine.news);
        bench.later();
    }
    bench.calls();
    bench.engine.committed(vec![(0, 1, Err(refusal(30)))], bench.now);
    assert!(matches!(&bench.engine.news[..], [Event::Fatal(WireError::NotAuthorised { .. })]));
}

#[test]
fn r3_where_nothing_is_committed_the_owner_is_told_what_there_is() {
    let mut bench = Bench::new(1);
    bench.calls();
    bench.lead(1, 1);
    bench.calls();
    bench.engine.committed(vec![(0, 1, Ok(None))], bench.now);
    assert!(matches!(&bench.calls()[..], [Call::Bounds(..)]));
    bench.engine.bounds(0, 1, Ok((3, 9)), bench.now);
    let told = bench.told();
    assert!(told[0].contains("position: None, start: Offset(3), end: Offset(9)"), "{told:?}");
    bench.engine.command(Command::Seek { slot: 0, ticket: 2, position: 9 });
    bench.engine.command(Command::Pause { slot: 0, paused: false });
    let calls = bench.calls();
    assert!(matches!(&calls[..], [Call::Fetch(flight)] if flight.wanted[0].position == 9), "{calls:?}");
}

#[test]
fn an_answer_for_an_assignment_before_is_void() {
    let mut bench = Bench::new(1);
    bench.calls();
    bench.lead(1, 1);
    bench.calls();
    bench.engine.command(Command::Seek { slot: 0, ticket: 2, position: 5 });
    bench.engine.committed(vec![(0, 1, Ok(Some(70)))], bench.now);
    assert_eq!(bench.told(), [""; 0]);
    bench.engine.command(Command::Pause { slot: 0, paused: false });
    let calls = bench.calls();
    assert!(matches!(&calls[..], [Call::Fetch(flight)] if flight.wanted[0].position == 5), "{calls:?}");
}

#[test]
fn a_topic_made_anew_voids_the_positions_of_all_its_partitions_once() {
    let mut bench = Bench::new(2);
    bench.calls();
    bench.lead(1, 1);
    bench.calls();
    // The second partition's leader is looked up later, and has the id of the new topic.
    let new = Leader { broker: BrokerId(1), epoch: 0, topic_id: TopicId([2; 16]) };
    bench.engine.leaders(vec![(1, 1, Ok(new))], bench.now);
    let told = bench.told();
    assert!(told.len() == 2 && told.iter().all(|told| told.contains("Gone")), "{told:?}");
    for slot in 0..2 {
        bench.engine.command(Command::Seek { slot, ticket: 2, position: 0 });
        bench.engine.command(Command::Pause { slot, paused: false });
    }
    let calls = bench.calls();
    assert!(matches!(&calls[..], [Call::Leaders { wanted, .. }] if wanted.iter().all(|(.., doubted)| *doubted)));
    bench.engine.leaders((0..2).map(|slot| (slot, 2, Ok(new))).collect(), bench.now);
    assert_eq!(bench.told(), [""; 0], "they have been sought within the new topic");
    let calls = bench.calls();
    assert!(matches!(&calls[..], [Call::Fetch(flight)] if flight.wanted.len() == 2), "{calls:?}");
}
