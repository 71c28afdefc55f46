//! The engine against made-up answers: who is asked for what, and what follows from each answer.

use bytes::Bytes;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use kafka_protocol::protocol::StrBytes;

use super::*;
use crate::position::TopicPartition;
use crate::wire::Code;
use crate::wire::compression::Codec;
use crate::wire::fetch::golden::{answer, batch, record};
use crate::wire::fetch::shared::Weight;

const KIB: usize = 1024;

struct Bench {
    engine: Engine,
    now: Instant,
    ticket: u64,
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: Partition(partition) }
}

fn led_by(broker: i32, id: u8) -> Leader {
    Leader { broker: BrokerId(broker), epoch: 5, topic_id: TopicId([id; 16]) }
}

impl Bench {
    fn new(partitions: usize) -> Self {
        let settings =
            FetcherSettings { partition_bytes: KIB, max_bytes: 4 * KIB, buffer_bytes: 16 * KIB, ..Default::default() };
        let engine = Engine::new(settings, Arc::default());
        let mut bench = Bench { engine, now: Instant::now(), ticket: 0 };
        for slot in 0..partitions {
            let ticket = bench.ticket();
            let at = at(i32::try_from(slot).unwrap());
            bench.engine.command(Command::Assign { slot, ticket, at, position: 10 });
        }
        bench
    }

    fn ticket(&mut self) -> u64 {
        self.ticket += 1;
        self.ticket
    }

    /// All that is to be asked now.
    fn calls(&mut self) -> Vec<Call> {
        std::iter::from_fn(|| self.engine.next(self.now)).collect()
    }

    /// Answers the look-up: partition n is led by the n-th of these.
    fn lead(&mut self, brokers: &[i32]) {
        let calls = self.calls();
        let [Call::Leaders { wanted, .. }] = &calls[..] else { panic!("{calls:?}") };
        let found =
            |(slot, ticket, ..): &(usize, u64, Partition, bool)| (*slot, *ticket, Ok(led_by(brokers[*slot], 1)));
        self.engine.leaders(wanted.iter().map(found).collect(), self.now);
    }

    fn flights(&mut self) -> Vec<Flight> {
        let flight = |call| if let Call::Fetch(flight) = call { flight } else { panic!("{call:?}") };
        self.calls().into_iter().map(flight).collect()
    }

    fn flight(&mut self) -> Flight {
        let mut flights = self.flights();
        assert_eq!(flights.len(), 1, "{flights:?}");
        flights.remove(0)
    }

    /// Answers with one partition's data, or its error.
    fn answer(&mut self, flight: &Flight, data: Vec<PartitionData>) -> Arc<Weight> {
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(data);
        let weight = Weight::new(100, &self.engine.held);
        self.engine.fetched(flight, FetchResponse::default().with_responses(vec![topic]), &weight, self.now);
        weight
    }

    fn refuse(&mut self, code: i16) {
        let flight = self.flight();
        let data = PartitionData::default().with_partition_index(0).with_error_code(code);
        self.answer(&flight, vec![data]);
    }

    fn told(&mut self) -> Vec<String> {
        let deliveries = std::mem::take(&mut self.engine.deliveries).into_iter();
        let lines = deliveries.map(|(slot, _, waiting)| match waiting {
            Waiting::Run(run, _) => format!("{slot} run {} to {}", run.from, run.next),
            Waiting::Skip(next) => format!("{slot} skip {next}"),
            Waiting::Event(event) => match *event {
                Event::End { position, .. } => format!("{slot} end {position}"),
                event => format!("{slot} {event:?}"),
            },
        });
        let news = std::mem::take(&mut self.engine.news).into_iter().map(|event| format!("{event:?}"));
        lines.chain(news).collect()
    }

    fn later(&mut self) {
        self.now += Duration::from_secs(2);
    }
}

fn data(partition: i32, records: Bytes, stable: i64) -> PartitionData {
    let data = PartitionData::default().with_partition_index(partition).with_last_stable_offset(stable);
    data.with_records(Some(records)).with_high_watermark(stable + 5)
}

fn records(base: i64, count: usize) -> Bytes {
    answer([batch(base, &vec![record(b"v"); count], Codec::None)])
}

#[test]
fn n8_each_leader_is_asked_for_its_own_and_one_at_a_time() {
    let mut bench = Bench::new(3);
    bench.lead(&[1, 2, 1]);
    let flights = bench.flights();
    let of = |flight: &Flight| flight.wanted.iter().map(|wanted| wanted.partition).collect::<Vec<_>>();
    assert_eq!(
        flights.iter().map(|flight| (flight.broker.0, of(flight))).collect::<Vec<_>>(),
        [(1, vec![0, 2]), (2, vec![1])]
    );
    assert_eq!((flights[0].wanted[0].position, flights[0].wanted[0].epoch), (10, 5));
    // The second broker has news, the first one nothing: it holds up nobody.
    for _ in 0..3 {
        assert_eq!(bench.calls(), []);
        bench.answer(&flights[1], vec![]);
        assert_eq!(bench.flight(), flights[1]);
    }
}

#[test]
fn r22_the_end_is_told_once_each_time_it_is_reached() {
    let mut bench = Bench::new(1);
    bench.lead(&[1]);
    let flight = bench.flight();
    bench.answer(&flight, vec![data(0, Bytes::new(), 10)]);
    assert_eq!(bench.told(), ["0 end 10"], "it begins at its end");
    for (records, stable, expected) in [
        (Bytes::new(), 10, vec![]),
        (records(10, 2), 20, vec!["0 run 10 to 12"]),
        (records(12, 8), 20, vec!["0 run 12 to 20", "0 end 20"]),
        (Bytes::new(), 20, vec![]),
        (answer([crate::wire::fetch::golden::marker(20, 1, 1)]), 21, vec!["0 skip 21", "0 end 21"]),
    ] {
        let flight = bench.flight();
        bench.answer(&flight, vec![data(0, records, stable)]);
        assert_eq!(bench.told(), expected);
    }
    bench.engine.command(Command::Seek { slot: 0, ticket: 9, position: 21 });
    let flight = bench.flight();
    bench.answer(&flight, vec![data(0, Bytes::new(), 21)]);
    assert_eq!(bench.told(), ["0 end 21"], "again after a seek");
}

#[test]
fn r10_an_answer_to_a_fetch_before_a_seek_is_void() {
    let mut bench = Bench::new(1);
    bench.lead(&[1]);
    let flight = bench.flight();
    bench.engine.command(Command::Seek { slot: 0, ticket: 9, position: 3 });
    bench.answer(&flight, vec![data(0, records(10, 2), 12)]);
    assert_eq!(bench.told(), [""; 0]);
    assert_eq!(bench.flight().wanted[0].position, 3);
}

#[test]
fn r4_a_full_partition_is_left_out_and_no_fetch_asks_for_more_than_there_is_room_for() {
    let mut bench = Bench::new(2);
    bench.lead(&[1, 1]);
    let flight = bench.flight();
    assert_eq!((flight.max_bytes, flight.max_wait), (2 * KIB, bench.engine.settings.max_wait));
    let large = answer([batch(10, &[record(&[0; 2 * KIB])], Codec::None)]);
    let size = large.len();
    drop(bench.answer(&flight, vec![data(0, large, 30)]));
    // Held by what waits alone: a partition more, and soon, since the full one may be read at any time.
    let flight = bench.flight();
    assert_eq!((flight.wanted.len(), flight.wanted[0].partition, flight.max_wait), (1, 1, BUSY_WAIT));
    assert!(bench.calls().is_empty() && !bench.engine.hungry, "its answer comes soon, so nobody needs to be woken");
    bench.answer(&flight, vec![]);
    bench.engine.command(Command::Freed { slot: 0, ticket: 1, bytes: size });
    let flight = bench.flight();
    // Who had nothing lately comes first.
    assert_eq!(flight.wanted.iter().map(|wanted| wanted.partition).collect::<Vec<_>>(), [1, 0]);
    bench.answer(&flight, vec![]);
    // Others hold nearly all there is.
    let others = Weight::new(16 * KIB - 600, &bench.engine.held);
    bench.told();
    assert_eq!(bench.flight().max_bytes, 600);
    let more = Weight::new(200, &bench.engine.held);
    bench.engine.landed(BrokerId(1));
    assert!(bench.calls().is_empty() && bench.engine.is_starved());
    drop((others, more));
    assert_eq!(bench.flight().max_bytes, 2 * KIB);
}

#[test]
fn n8_a_leader_that_was_wrong_is_looked_up_again_and_the_fetch_repeated() {
    for code in [5, 6, 56, 74, 75, 78] {
        let mut bench = Bench::new(1);
        bench.lead(&[1]);
        bench.refuse(code);
        assert_eq!((bench.told(), bench.calls()), (vec![], vec![]), "{code}: not at once");
        bench.later();
        let calls = bench.calls();
        let [Call::Leaders { wanted, .. }] = &calls[..] else { panic!("{code}: {calls:?}") };
        assert_eq!(wanted[..], [(0, 1, Partition(0), true)], "{code}: what is known is wrong");
        bench.engine.leaders(vec![(0, 1, Ok(led_by(2, 1)))], bench.now);
        assert_eq!((bench.flight().broker, bench.told()), (BrokerId(2), vec![]), "{code}");
    }
}

#[test]
fn n8_a_broker_that_is_away_is_told_once_until_it_is_back() {
    let mut bench = Bench::new(1);
    let closed = || WireError::Closed { address: "b:1".to_owned(), reason: "gone".to_owned() };
    for _ in 0..2 {
        bench.lead(&[1]);
        let flight = bench.flight();
        bench.engine.failed(&flight, closed(), bench.now);
        let told = bench.told();
        assert!(matches!(&told[..], [away] if away.starts_with("Away")), "{told:?}");
        for _ in 0..3 {
            bench.later();
            bench.lead(&[1]);
            let flight = bench.flight();
            bench.engine.failed(&flight, closed(), bench.now);
            assert_eq!(bench.told(), [""; 0]);
        }
        bench.later();
        bench.lead(&[1]);
        let flight = bench.flight();
        bench.answer(&flight, vec![]);
        bench.refuse(6);
        bench.later();
    }
}

#[test]
fn r3_a_position_that_is_not_in_the_log_is_the_owners_to_decide() {
    let mut bench = Bench::new(1);
    bench.lead(&[1]);
    bench.refuse(1);
    let calls = bench.calls();
    assert!(matches!(&calls[..], [Call::Bounds(wanted, BrokerId(1))] if wanted.position == 10), "{calls:?}");
    bench.engine.bounds(0, 1, Ok((40, 50)), bench.now);
    let told = bench.told();
    assert!(told[0].contains("OutOfRange") && told[0].contains("start: Offset(40), end: Offset(50)"), "{told:?}");
    bench.later();
    assert_eq!(bench.calls(), [], "nothing goes on by itself");
    bench.engine.command(Command::Seek { slot: 0, ticket: 2, position: 40 });
    assert_eq!(bench.flight().wanted[0].position, 40);
}

#[test]
fn a_topic_that_is_not_there_is_told_after_a_while_and_one_made_anew_at_once() {
    for code in [3, 100, 103] {
        let mut bench = Bench::new(1);
        let mut told = Vec::new();
        for _ in 0..6 {
            bench.lead(&[1]);
            bench.refuse(code);
            told.push(bench.told().len());
            bench.later();
        }
        assert_eq!(told, [0, 0, 0, 1, 0, 0], "{code}: once, after five seconds");
        bench.calls();
        bench.engine.leaders(vec![(0, 1, Ok(led_by(1, 2)))], bench.now);
        let told = bench.told();
        assert!(told[0].contains("Gone"), "{told:?}");
        bench.later();
        assert_eq!(bench.calls(), []);
    }
}

#[test]
fn a_missing_right_is_fatal_by_the_topics_name() {
    let mut bench = Bench::new(1);
    bench.lead(&[1]);
    bench.refuse(29);
    let told = bench.told();
    assert!(told[0].contains("Fatal(NotAuthorised") && told[0].contains("fetch t-0"), "{told:?}");
    assert!(Code::new(29).unwrap().is_authorisation());
}

#[test]
fn what_is_paused_or_given_up_is_not_asked_for() {
    let mut bench = Bench::new(2);
    bench.lead(&[1, 1]);
    bench.engine.command(Command::Pause { slot: 0, paused: true });
    assert_eq!(bench.flight().wanted.len(), 1);
    bench.engine.landed(BrokerId(1));
    bench.engine.command(Command::Unassign { slot: 1 });
    assert_eq!(bench.calls(), []);
    bench.engine.command(Command::Pause { slot: 0, paused: false });
    assert_eq!(bench.flight().wanted[0].partition, 0);
    bench.engine.evicted(vec![Evicted { slot: 0, ticket: 7, position: 4 }]);
    bench.engine.landed(BrokerId(1));
    assert_eq!(bench.flight().wanted[0].position, 4, "what was given way is fetched again");
}
