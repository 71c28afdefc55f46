//! The messages of share groups (KIP-932) that kafka-protocol has only in older versions, and the records in them.
//!
//! ```text
//!                     ShareFetch · ShareAcknowledge · ShareLagRequest
//!                          │ outgoing                      ▲
//!                          ▼                               │ part, flexible: the encoding
//!  Connection::send ── bytes ──▶ broker ── bytes ──▶ ShareFetched · ShareAcknowledged · ShareLag
//!                                                          │ records, acquired offsets
//!                                                          ▼
//!                                                   read ─▶ Found: record, gap, damaged
//! ```
//!
//! Why by hand: version 2 of ShareFetch and ShareAcknowledge renews locks (KIP-1222) and counts records exactly
//! (KIP-1206), version 1 of DescribeShareGroupOffsets has the lag (KIP-1226), and all three are small. No other version
//! is spoken: brokers of 4.2 and later have these, and [`offered`] says so of one that does not. Heartbeats, settings and
//! descriptions of groups are kafka-protocol's, by [`Connection::call`].
//!
//! This is what is said, not when: sessions, epochs and who owes which acknowledgement are the caller's (rules R3 to
//! R6). Nothing here holds a request against those rules; the broker does.

mod acknowledge;
mod describe;
mod fetch;
mod flexible;
#[cfg(test)]
mod golden;
mod heartbeat;
mod lag;
mod member;
mod part;
mod records;
mod settings;

use kafka_protocol::messages::ApiKey;

pub use acknowledge::{AcknowledgedPart, ShareAcknowledge, ShareAcknowledged};
pub use describe::{ShareGroup, ShareMember, describe_group};
pub use fetch::{AcquireMode, Acquired, FetchedPart, ShareFetch, ShareFetched};
pub use heartbeat::{Assigned, Beat, Beaten, heartbeat};
pub use lag::{PartLag, ShareLag, ShareLagRequest, share_lag};
pub use member::{member_prefix, random_member};
pub use part::{AcknowledgedBatch, Acknowledgement, Endpoint, SharePart};
pub use records::{Found, Tools, read};
pub use settings::{GroupSetting, group_setting, group_settings, set_group_setting};

use super::{Connection, WireError};
use part::SPOKEN;

/// Whether the broker at the other end knows the requests of this module, in the versions that are spoken.
///
/// # Errors
/// [`WireError::Unsupported`], for the first that it lacks.
pub fn offered(connection: &Connection) -> Result<(), WireError> {
    all_spoken(|key, version| connection.choose(key, (version, version)))
}

fn all_spoken(choose: impl Fn(ApiKey, i16) -> Result<i16, WireError>) -> Result<(), WireError> {
    SPOKEN.into_iter().try_for_each(|(key, version)| choose(key, version).map(drop))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiVersionsResponse;
    use kafka_protocol::messages::api_versions_response::ApiVersion;

    use super::*;
    use crate::wire::api::Offer;

    fn broker(newest: [i16; 3]) -> Result<(), WireError> {
        let api = |((key, _), newest): ((ApiKey, i16), i16)| {
            ApiVersion::default().with_api_key(key as i16).with_min_version(0).with_max_version(newest)
        };
        let apis = SPOKEN.into_iter().zip(newest).map(api).collect();
        let offer = Offer::new(&ApiVersionsResponse::default().with_api_keys(apis));
        all_spoken(|key, version| offer.choose("b:1", key, (version, version)))
    }

    #[test]
    fn a_broker_before_4_2_is_told_apart_by_the_request_that_it_lacks() {
        broker([2, 2, 1]).unwrap();
        broker([3, 3, 3]).unwrap();
        let lacks = |newest| broker(newest).unwrap_err().to_string();
        assert_eq!(lacks([1, 1, 0]), "b:1: ShareFetch: the broker has versions 0 to 1, this needs 2 to 2");
        assert_eq!(lacks([2, 1, 0]), "b:1: ShareAcknowledge: the broker has versions 0 to 1, this needs 2 to 2");
        let lag = lacks([2, 2, 0]);
        assert_eq!(lag, "b:1: DescribeShareGroupOffsets: the broker has versions 0 to 0, this needs 1 to 1");
    }
}
