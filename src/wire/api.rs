//! Requests and the versions of them that client and broker have in common.
//!
//! `kafka-protocol` pairs requests with responses only for a crate that is client and broker at once; the pairs that
//! Headrace sends are named here.

use std::collections::HashMap;
use std::ops::{Bound, RangeBounds};

use kafka_protocol::messages::api_versions_response::ApiVersionsResponse;
use kafka_protocol::messages::{self, ApiKey};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message};

use super::error::{ApiName, WireError};

/// A request and what answers it.
pub trait Request: Encodable + Message + HeaderVersion + Send + Sync {
    /// Which request it is.
    const KEY: ApiKey;
    /// What answers it.
    type Response: Decodable + Message + HeaderVersion + Send;

    /// For how long the broker asks to be left alone after this answer, in milliseconds (KIP-219).
    fn throttle_millis(response: &Self::Response) -> i32;
}

macro_rules! requests {
    ($($key:ident: $request:ident => $response:ident $(, $throttle:ident)?;)*) => {$(
        impl Request for messages::$request {
            const KEY: ApiKey = ApiKey::$key;
            type Response = messages::$response;

            fn throttle_millis(_response: &Self::Response) -> i32 {
                0 $(+ _response.$throttle)?
            }
        }
    )*};
}

requests! {
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse, throttle_time_ms;
    SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse;
    SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse;
    Metadata: MetadataRequest => MetadataResponse, throttle_time_ms;
    FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse, throttle_time_ms;
    Produce: ProduceRequest => ProduceResponse, throttle_time_ms;
    InitProducerId: InitProducerIdRequest => InitProducerIdResponse, throttle_time_ms;
    TxnOffsetCommit: TxnOffsetCommitRequest => TxnOffsetCommitResponse, throttle_time_ms;
    EndTxn: EndTxnRequest => EndTxnResponse, throttle_time_ms;
    DescribeTransactions: DescribeTransactionsRequest => DescribeTransactionsResponse, throttle_time_ms;
    DescribeProducers: DescribeProducersRequest => DescribeProducersResponse, throttle_time_ms;
    ListTransactions: ListTransactionsRequest => ListTransactionsResponse, throttle_time_ms;
    DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse, throttle_time_ms;
    LeaveGroup: LeaveGroupRequest => LeaveGroupResponse, throttle_time_ms;
    OffsetFetch: OffsetFetchRequest => OffsetFetchResponse, throttle_time_ms;
    ListOffsets: ListOffsetsRequest => ListOffsetsResponse, throttle_time_ms;
    Fetch: FetchRequest => FetchResponse, throttle_time_ms;
    CreateTopics: CreateTopicsRequest => CreateTopicsResponse, throttle_time_ms;
    DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse, throttle_time_ms;
    DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse, throttle_time_ms;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse, throttle_time_ms;
    ShareGroupHeartbeat: ShareGroupHeartbeatRequest => ShareGroupHeartbeatResponse, throttle_time_ms;
    ShareGroupDescribe: ShareGroupDescribeRequest => ShareGroupDescribeResponse, throttle_time_ms;
}

/// What a broker said about itself when the connection was opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Offer {
    versions: HashMap<i16, (i16, i16)>,
    /// Cluster-wide finalized features with their level, empty if their epoch is unknown.
    features: HashMap<String, i16>,
}

impl Offer {
    pub(super) fn new(response: &ApiVersionsResponse) -> Self {
        let versions = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        let known = response.finalized_features_epoch >= 0;
        let features = response.finalized_features.iter().filter(|_| known);
        Offer {
            versions: versions.collect(),
            features: features.map(|feature| (feature.name.to_string(), feature.max_version_level)).collect(),
        }
    }

    /// The level of a finalized feature; nothing if it is not finalized.
    pub(super) fn feature(&self, name: &str) -> Option<i16> {
        self.features.get(name).copied()
    }

    /// The versions of a request that the broker has, oldest and newest.
    pub(super) fn versions(&self, key: ApiKey) -> Option<(i16, i16)> {
        self.versions.get(&(key as i16)).copied()
    }

    /// The highest version within `wanted` that the broker has.
    pub(super) fn choose(&self, address: &str, key: ApiKey, wanted: (i16, i16)) -> Result<i16, WireError> {
        let offered = self.versions(key);
        let common = offered.map(|(min, max)| (min.max(wanted.0), max.min(wanted.1)));
        match common {
            Some((min, max)) if min <= max => Ok(max),
            _ => Err(WireError::Unsupported {
                address: address.to_owned(),
                api: ApiName(key),
                offered: offered.map_or("none".to_owned(), |(min, max)| format!("versions {min} to {max}")),
                wanted: format!("{} to {}", wanted.0, wanted.1),
            }),
        }
    }
}

/// The caller's range within what the messages of `R` know.
pub(super) fn within<R: Request>(range: &impl RangeBounds<i16>) -> (i16, i16) {
    let known = R::VERSIONS.intersect(&R::Response::VERSIONS);
    let min = match range.start_bound() {
        Bound::Included(min) => *min,
        Bound::Excluded(below) => below.saturating_add(1),
        Bound::Unbounded => known.min,
    };
    let max = match range.end_bound() {
        Bound::Included(max) => *max,
        Bound::Excluded(above) => above.saturating_sub(1),
        Bound::Unbounded => known.max,
    };
    (min.max(known.min), max.min(known.max))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::MetadataRequest;
    use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn offer(min: i16, max: i16) -> Offer {
        let metadata = ApiVersion::default().with_api_key(3).with_min_version(min).with_max_version(max);
        Offer::new(&ApiVersionsResponse::default().with_api_keys(vec![metadata]))
    }

    #[test]
    fn takes_the_highest_version_that_both_sides_and_the_caller_have() {
        let wanted = within::<MetadataRequest>(&(4..=13));
        assert_eq!(offer(0, 12).choose("b:1", ApiKey::Metadata, wanted).unwrap(), 12);
        assert_eq!(offer(0, 99).choose("b:1", ApiKey::Metadata, wanted).unwrap(), 13);
        assert_eq!(within::<MetadataRequest>(&..), (0, 13));
        assert_eq!(within::<MetadataRequest>(&(2..5)), (2, 4));
    }

    #[test]
    fn no_common_version_names_both_ranges() {
        let error = offer(0, 3).choose("b:1", ApiKey::Metadata, (4, 13)).unwrap_err();
        assert_eq!(error.to_string(), "b:1: Metadata: the broker has versions 0 to 3, this needs 4 to 13");
        let error = offer(0, 3).choose("b:1", ApiKey::Produce, (12, 13)).unwrap_err();
        assert_eq!(error.to_string(), "b:1: Produce: the broker has none, this needs 12 to 13");
    }

    #[test]
    fn features_count_only_with_a_known_epoch() {
        let feature = FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str("transaction.version"))
            .with_max_version_level(2);
        let response = ApiVersionsResponse::default().with_finalized_features(vec![feature]);
        let known = response.clone().with_finalized_features_epoch(0);
        assert_eq!(Offer::new(&known).feature("transaction.version"), Some(2));
        assert_eq!(Offer::new(&response.with_finalized_features_epoch(-1)).feature("transaction.version"), None);
    }
}
