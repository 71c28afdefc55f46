//! ShareAcknowledge against what Kafka's own client writes and reads.

use proptest::prelude::*;

use super::super::golden::{self, address, damaged, hex};
use super::super::{AcknowledgedBatch, Acknowledgement};
use super::*;

fn decoded(bytes: Bytes) -> Result<ShareAcknowledged, WireError> {
    ShareAcknowledged::decode(&address(), bytes)
}

#[test]
fn r11_a_request_is_what_kafka_writes() {
    use Acknowledgement::{Accept, Gap, Reject, Release, Renew};
    let part = |topic, partition, batches: &[(i64, i64, &[Acknowledgement])]| SharePart {
        topic,
        partition,
        acknowledged: batches
            .iter()
            .map(|(first, last, kinds)| AcknowledgedBatch { first: *first, last: *last, kinds: kinds.to_vec() })
            .collect(),
    };
    let request = ShareAcknowledge {
        group: "workers".into(),
        member: "member-1".into(),
        epoch: i32::MAX,
        renews: true,
        parts: vec![
            part(golden::A, 0, &[(10, 19, &[Accept]), (20, 24, &[Gap, Accept, Release, Reject, Renew])]),
            part(golden::B, 1, &[(3, 3, &[Release])]),
            part(golden::B, 2, &[(1 << 33, 1 << 34, &[Reject])]),
        ],
    };
    let outgoing = request.outgoing(Duration::from_secs(9));
    assert_eq!((outgoing.key, outgoing.version), (ApiKey::ShareAcknowledge, 2));
    assert_eq!(outgoing.timeout, Some(Duration::from_secs(9)));
    assert_eq!(outgoing.body.concat(), hex(golden::ACKNOWLEDGE_REQUEST));
}

#[test]
fn an_answer_of_kafka_is_read() {
    let part = |topic, partition, error, leader| AcknowledgedPart { topic, partition, error: Code::new(error), leader };
    let wanted = ShareAcknowledged {
        throttle: Duration::from_millis(5),
        error: None,
        message: None,
        lock: Some(Duration::from_secs(15)),
        parts: vec![
            part(golden::A, 0, 0, None),
            part(golden::A, 1, 121, None),
            part(golden::B, 2, 6, Some((BrokerId(3), 11))),
        ],
        endpoints: vec![Endpoint { broker: BrokerId(3), host: "b3".to_owned(), port: 9094 }],
    };
    assert_eq!(decoded(hex(golden::ACKNOWLEDGE_RESPONSE)).unwrap(), wanted);
}

#[test]
fn r5_a_refused_session_is_told_with_its_code_and_no_lock() {
    let answer = decoded(hex(golden::ACKNOWLEDGE_RESPONSE_REFUSED)).unwrap();
    assert_eq!((answer.error, answer.message.as_deref(), answer.lock), (Code::new(123), Some("epoch"), None));
}

#[test]
fn an_answer_that_is_cut_off_anywhere_is_refused() {
    let frame = hex(golden::ACKNOWLEDGE_RESPONSE);
    for length in 0..frame.len() {
        assert!(matches!(decoded(frame.slice(..length)), Err(WireError::Protocol { .. })), "{length}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_an_answer_or_refused_and_takes_no_more_than_it_vouches_for(
        frame in prop_oneof![any::<Vec<u8>>().prop_map(Bytes::from), damaged(golden::ACKNOWLEDGE_RESPONSE)],
    ) {
        let size = frame.len();
        if let Ok(answer) = decoded(frame) {
            prop_assert!(answer.parts.len() * SMALLEST_PART + answer.endpoints.capacity() <= size);
        }
    }
}
