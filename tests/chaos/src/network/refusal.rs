//! A broker's answer that refuses a request, made by the proxy in the broker's place.

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey, EndTxnResponse,
    InitProducerIdResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::{Decodable as _, Encodable};

/// Bytes of a frame's length.
const LENGTH: usize = 4;

/// The frame that answers this one with an error for all that it asks; `None` for kinds that are not refused.
pub(super) fn refuse(frame: &[u8], code: i16) -> Option<Vec<u8>> {
    let mut request = Bytes::copy_from_slice(frame.get(LENGTH..)?);
    let (api, version) = (request.chunk().get(..2)?, request.chunk().get(2..4)?);
    let api = ApiKey::try_from(i16::from_be_bytes(api.try_into().ok()?)).ok()?;
    let version = i16::from_be_bytes(version.try_into().ok()?);
    let header = RequestHeader::decode(&mut request, api.request_header_version(version)).ok()?;
    let mut answer = BytesMut::from(&[0; LENGTH][..]);
    let head = ResponseHeader::default().with_correlation_id(header.correlation_id);
    head.encode(&mut answer, api.response_header_version(version)).ok()?;
    body(api, version, &mut request, code, &mut answer)?;
    let length = u32::try_from(answer.len() - LENGTH).ok()?;
    answer[..LENGTH].copy_from_slice(&length.to_be_bytes());
    Some(answer.to_vec())
}

fn body(api: ApiKey, version: i16, request: &mut Bytes, code: i16, answer: &mut BytesMut) -> Option<()> {
    let mut give = |response: &dyn Fn(&mut BytesMut) -> bool| response(answer).then_some(());
    match api {
        ApiKey::EndTxn => give(&|out| put(&EndTxnResponse::default().with_error_code(code), out, version)),
        ApiKey::AddOffsetsToTxn => {
            give(&|out| put(&AddOffsetsToTxnResponse::default().with_error_code(code), out, version))
        }
        ApiKey::InitProducerId => {
            give(&|out| put(&InitProducerIdResponse::default().with_error_code(code), out, version))
        }
        ApiKey::Produce => {
            let response = produce(&ProduceRequest::decode(request, version).ok()?, code);
            give(&|out| put(&response, out, version))
        }
        ApiKey::TxnOffsetCommit => {
            let response = offsets(&TxnOffsetCommitRequest::decode(request, version).ok()?, code);
            give(&|out| put(&response, out, version))
        }
        // From version 4 on only brokers send it.
        ApiKey::AddPartitionsToTxn if version < 4 => {
            let response = partitions(&AddPartitionsToTxnRequest::decode(request, version).ok()?, code);
            give(&|out| put(&response, out, version))
        }
        _ => None,
    }
}

fn put(response: &impl Encodable, out: &mut BytesMut, version: i16) -> bool {
    response.encode(out, version).is_ok()
}

fn produce(request: &ProduceRequest, code: i16) -> ProduceResponse {
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| {
            PartitionProduceResponse::default().with_index(partition.index).with_error_code(code).with_base_offset(-1)
        });
        let named = TopicProduceResponse::default().with_name(topic.name.clone()).with_topic_id(topic.topic_id);
        named.with_partition_responses(partitions.collect())
    });
    ProduceResponse::default().with_responses(topics.collect())
}

fn offsets(request: &TxnOffsetCommitRequest, code: i16) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        let named = TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone());
        named.with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

fn partitions(request: &AddPartitionsToTxnRequest, code: i16) -> AddPartitionsToTxnResponse {
    let topics = request.v3_and_below_topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| {
            AddPartitionsToTxnPartitionResult::default().with_partition_index(*index).with_partition_error_code(code)
        });
        let named = AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone());
        named.with_results_by_partition(partitions.collect())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{EndTxnRequest, HeartbeatRequest};

    fn frame(api: ApiKey, version: i16, request: &impl Encodable) -> Vec<u8> {
        let mut frame = BytesMut::from(&[0; LENGTH][..]);
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(77);
        header.encode(&mut frame, api.request_header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        frame.to_vec()
    }

    fn answered(api: ApiKey, version: i16, request: &impl Encodable) -> Bytes {
        let mut answer = Bytes::from(refuse(&frame(api, version, request), 51).unwrap());
        assert_eq!(answer.get_u32() as usize, answer.len());
        let head = ResponseHeader::decode(&mut answer, api.response_header_version(version)).unwrap();
        assert_eq!(head.correlation_id, 77);
        answer
    }

    #[test]
    fn each_partition_of_a_request_is_refused() {
        for version in [3, 5] {
            let mut answer = answered(ApiKey::EndTxn, version, &EndTxnRequest::default());
            assert_eq!(EndTxnResponse::decode(&mut answer, version).unwrap().error_code, 51);
        }
        let partitions = [0, 3].map(|index| PartitionProduceData::default().with_index(index));
        let topic = TopicProduceData::default().with_partition_data(partitions.to_vec());
        let request = ProduceRequest::default().with_topic_data(vec![topic]);
        for version in [9, 13] {
            let mut answer = answered(ApiKey::Produce, version, &request);
            let answer = ProduceResponse::decode(&mut answer, version).unwrap();
            let refused = &answer.responses[0].partition_responses;
            let refused: Vec<(i32, i16)> = refused.iter().map(|one| (one.index, one.error_code)).collect();
            assert_eq!(refused, [(0, 51), (3, 51)]);
        }
    }

    #[test]
    fn other_kinds_and_what_is_no_request_are_not_refused() {
        assert_eq!(refuse(&frame(ApiKey::Heartbeat, 4, &HeartbeatRequest::default()), 51), None);
        assert_eq!(refuse(&[0, 0, 0, 2, 0, 26], 51), None);
    }
}
