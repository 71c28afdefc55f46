//! DescribeShareGroupOffsets against what Kafka's own client writes and reads.

use proptest::prelude::*;

use super::super::golden::{self, address, damaged, hex};
use super::*;

fn request(group: &str, topics: Option<Vec<(Arc<str>, Vec<i32>)>>) -> ShareLagRequest {
    ShareLagRequest { group: group.into(), topics }
}

fn decoded(group: &str, bytes: Bytes) -> Result<ShareLag, WireError> {
    request(group, None).decode(&address(), bytes)
}

#[test]
fn a_request_is_what_kafka_writes() {
    let named = request("workers", Some(vec![("jobs".into(), vec![0, 1, 2]), ("retries".into(), vec![7])]));
    let outgoing = named.outgoing(Duration::from_secs(9));
    assert_eq!((outgoing.key, outgoing.version), (ApiKey::DescribeShareGroupOffsets, 1));
    assert_eq!(outgoing.timeout, Some(Duration::from_secs(9)));
    assert_eq!(outgoing.body.concat(), hex(golden::LAG_REQUEST));
    assert_eq!(request("workers", None).outgoing(Duration::ZERO).body.concat(), hex(golden::LAG_REQUEST_ALL));
}

#[test]
fn r18_start_and_lag_are_read_and_minus_one_is_unknown() {
    let part = |topic: &str, id, (partition, leader_epoch), (start, lag), error| PartLag {
        topic: topic.into(),
        id,
        partition,
        leader_epoch: Some(leader_epoch),
        start,
        lag,
        error: Code::new(error),
    };
    let wanted = ShareLag {
        throttle: Duration::from_millis(3),
        error: None,
        message: None,
        parts: vec![
            part("jobs", golden::A, (0, 4), (Some(1 << 35), Some(1_234_567)), 0),
            part("jobs", golden::A, (1, 0), (None, None), 0),
            part("retries", golden::B, (7, 0), (Some(0), None), 3),
        ],
    };
    assert_eq!(decoded("workers", hex(golden::LAG_RESPONSE)).unwrap(), wanted);
}

#[test]
fn another_groups_answer_is_not_taken_for_this_ones() {
    let others = decoded("others", hex(golden::LAG_RESPONSE)).unwrap();
    assert_eq!((others.error, others.message.as_deref()), (Code::new(69), Some("not found")));
    let error = decoded("mine", hex(golden::LAG_RESPONSE)).unwrap_err().to_string();
    assert!(error.ends_with("group mine is not in it"), "{error}");
}

#[test]
fn an_answer_that_is_cut_off_anywhere_is_refused() {
    let frame = hex(golden::LAG_RESPONSE);
    for length in 0..frame.len() {
        assert!(matches!(decoded("workers", frame.slice(..length)), Err(WireError::Protocol { .. })), "{length}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_an_answer_or_refused_and_takes_no_more_than_it_vouches_for(
        frame in prop_oneof![any::<Vec<u8>>().prop_map(Bytes::from), damaged(golden::LAG_RESPONSE)],
    ) {
        let size = frame.len();
        if let Ok(answer) = decoded("workers", frame) {
            prop_assert!(answer.parts.len() * SMALLEST_PART <= size);
        }
    }
}
