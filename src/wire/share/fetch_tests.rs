//! ShareFetch against what Kafka's own client writes and reads.

use proptest::prelude::*;

use super::super::golden::{self, address, damaged, hex};
use super::super::{AcknowledgedBatch, Acknowledgement};
use super::*;

fn batch(first: i64, last: i64, kinds: &[Acknowledgement]) -> AcknowledgedBatch {
    AcknowledgedBatch { first, last, kinds: kinds.to_vec() }
}

fn part(topic: TopicId, partition: i32, acknowledged: Vec<AcknowledgedBatch>) -> SharePart {
    SharePart { topic, partition, acknowledged }
}

fn request() -> ShareFetch {
    use Acknowledgement::{Accept, Gap, Reject, Release, Renew};
    ShareFetch {
        group: "arbeit-ä".into(),
        member: "m".repeat(130).into(),
        epoch: 7,
        max_wait: Duration::from_millis(250),
        min_bytes: 1,
        max_bytes: 52_428_800,
        max_records: 500,
        batch_size: 100,
        mode: AcquireMode::RecordLimit,
        renews: true,
        parts: vec![
            part(golden::A, 0, vec![batch(10, 19, &[Accept]), batch(20, 22, &[Accept, Release, Reject])]),
            part(golden::A, 3, vec![]),
            part(golden::B, 70_000, vec![batch(0, 0, &[Gap]), batch(5, 1 << 40, &[Renew])]),
        ],
        forgotten: vec![(golden::A, 9), (golden::B, 4), (golden::B, 5)],
    }
}

fn decoded(bytes: Bytes) -> Result<ShareFetched, WireError> {
    ShareFetched::decode(&address(), bytes)
}

fn code(number: i16) -> Option<Code> {
    Code::new(number)
}

/// The body in one piece.
fn body(request: &ShareFetch) -> Bytes {
    let outgoing = request.outgoing(Duration::from_secs(9));
    assert_eq!((outgoing.key, outgoing.version), (ApiKey::ShareFetch, 2));
    assert_eq!(outgoing.timeout, Some(Duration::from_secs(9)));
    outgoing.body.concat().into()
}

#[test]
fn a_request_is_what_kafka_writes() {
    assert_eq!(body(&request()), hex(golden::FETCH_REQUEST));
}

#[test]
fn r4_a_request_that_only_closes_the_session_has_nothing_else() {
    let closing = ShareFetch {
        group: "g".into(),
        member: "m".into(),
        epoch: -1,
        max_wait: Duration::ZERO,
        min_bytes: 0,
        max_bytes: 0,
        max_records: 0,
        batch_size: 0,
        mode: AcquireMode::BatchOptimized,
        renews: false,
        parts: vec![],
        forgotten: vec![],
    };
    assert_eq!(body(&closing), hex(golden::FETCH_REQUEST_CLOSING));
}

#[test]
fn an_answer_of_kafka_is_read() {
    let frame = hex(golden::FETCH_RESPONSE);
    let answer = decoded(frame.clone()).unwrap();
    assert_eq!((answer.throttle, answer.lock), (Duration::from_millis(12), Duration::from_secs(30)));
    assert_eq!((answer.error, &answer.message), (None, &None));
    let [first, second, third] = &answer.parts[..] else { panic!("{answer:?}") };
    assert_eq!((first.topic, first.partition, first.error), (golden::A, 0, None));
    assert_eq!(first.acknowledge_error, code(121));
    let acquired = |first, last, delivery_count| Acquired { first, last, delivery_count };
    assert_eq!(first.acquired, [acquired(5, 6, 1), acquired(8, 22, 3)]);
    assert_eq!(i64::from_be_bytes(*first.records.first_chunk().unwrap()), 5, "the first batch's base offset");
    let within = frame.as_ptr_range();
    assert!(
        within.contains(&first.records.as_ptr())
            && within.contains(&first.records.last().map(|last| &raw const *last).unwrap())
    );
    assert_eq!((second.topic, second.partition, second.error), (golden::A, 3, code(6)));
    assert_eq!((third.topic, third.partition, third.error), (golden::B, 1, code(74)));
    assert!(second.records.is_empty() && second.acquired.is_empty() && third.records.is_empty());
    let endpoint = |broker, host: &str, port| Endpoint { broker: BrokerId(broker), host: host.to_owned(), port };
    assert_eq!(answer.endpoints, [endpoint(2, "broker-2.example", 9092), endpoint(3, "::1", 19_092)]);
}

// Where it is not set Kafka writes broker 0 and epoch 0: taken for a leader, it would send everything to broker 0.
#[test]
fn r15_a_leader_is_one_only_where_the_error_says_that_it_moved() {
    let answer = decoded(hex(golden::FETCH_RESPONSE)).unwrap();
    let leaders: Vec<_> = answer.parts.iter().map(|part| part.leader).collect();
    assert_eq!(leaders, [None, Some((BrokerId(2), 8)), None]);
}

#[test]
fn tagged_fields_of_a_newer_broker_change_nothing() {
    let plain = decoded(hex(golden::FETCH_RESPONSE)).unwrap();
    assert_eq!(decoded(hex(golden::FETCH_RESPONSE_TAGGED)).unwrap(), plain);
}

#[test]
fn r5_a_refused_session_is_told_with_its_code() {
    let answer = decoded(hex(golden::FETCH_RESPONSE_REFUSED)).unwrap();
    assert_eq!((answer.error, answer.message.as_deref()), (code(122), Some("no such session")));
    assert_eq!((answer.lock, answer.parts.len(), answer.endpoints.len()), (Duration::ZERO, 0, 0));
}

#[test]
fn an_answer_that_is_cut_off_anywhere_is_refused() {
    for frame in [golden::FETCH_RESPONSE, golden::FETCH_RESPONSE_TAGGED, golden::FETCH_RESPONSE_REFUSED] {
        let frame = hex(frame);
        for length in 0..frame.len() {
            let error = decoded(frame.slice(..length)).unwrap_err();
            assert!(
                matches!(&error, WireError::Protocol { address, .. } if address == "broker.example:9092"),
                "{error}"
            );
        }
    }
}

#[test]
fn o5_what_is_printed_has_no_payload() {
    let answer = decoded(hex(golden::FETCH_RESPONSE)).unwrap();
    assert!(format!("{answer:?}").contains("record_bytes: "));
    assert!(!format!("{answer:?}").contains("v1"));
}

proptest! {
    #[test]
    fn whatever_comes_is_an_answer_or_refused_and_takes_no_more_than_it_vouches_for(
        frame in prop_oneof![
            any::<Vec<u8>>().prop_map(Bytes::from),
            damaged(golden::FETCH_RESPONSE),
            damaged(golden::FETCH_RESPONSE_TAGGED),
        ],
    ) {
        let size = frame.len();
        if let Ok(answer) = decoded(frame) {
            let acquired: usize = answer.parts.iter().map(|part| part.acquired.capacity()).sum();
            prop_assert!(acquired * ACQUIRED_BYTES + answer.parts.len() * SMALLEST_PART <= size);
        }
    }
}
