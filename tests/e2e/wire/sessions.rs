//! Logins that have an end, on connections that have none (KIP-368).

use std::time::{Duration, Instant};

use headrace::wire::{Connection, Settings};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use testbed::Secured;

use super::secure::{listeners, sasl};
use super::{PAUSE, metadata_of, run, settings};
use crate::support::{Topics, secured};

/// Longer than several sessions.
const SESSIONS: Duration = Duration::from_secs(5);

#[test]
fn kip_368_a_session_that_ends_is_renewed_on_the_same_connection() {
    // Of this mechanism and listener the broker ends a connection whose login is older than two seconds.
    let server = listeners().sasl_plaintext;
    run(async move {
        let properties = sasl("sasl_plaintext", "PLAIN", Secured::USER, Secured::PASSWORD);
        let renewed = open(&settings(&server, &properties)).await;
        // The control arm logs in by hand, which its driver does not know of, and never again.
        let control = open(&settings(&server, &[])).await;
        let handshake = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
        assert_eq!(control.call(&handshake, 1..=1).await.unwrap().error_code, 0);
        let login = format!("\0{}\0{}", Secured::USER, Secured::PASSWORD);
        let login = SaslAuthenticateRequest::default().with_auth_bytes(login.into_bytes().into());
        assert_eq!(control.call(&login, ..).await.unwrap().error_code, 0);
        control.call(&metadata_of(&[]), ..).await.unwrap();

        let start = Instant::now();
        let mut tick = tokio::time::interval(PAUSE);
        let mut control_failed = false;
        while start.elapsed() < SESSIONS {
            tick.tick().await;
            renewed.call(&metadata_of(&[]), ..).await.unwrap();
            control_failed |= control.call(&metadata_of(&[]), ..).await.is_err();
        }
        assert!(control_failed, "the broker ends no session, so this test shows nothing");
        assert!(renewed.is_open() && !control.is_open());
    });
}

/// The sessions are of one and a half and one second, the shortest after which a broker lets a client log in again; requests
/// that wait half a second at the broker are on their way all the time, and others wait behind them.
#[test]
fn kip_368_no_request_fails_while_short_sessions_are_renewed() {
    let bed = secured();
    Topics::new(bed.kafka().unwrap().bootstrap_servers()).create("wire-sessions", 1);
    let server = listeners().sasl_plaintext;
    run(async move {
        let mut all = tokio::task::JoinSet::new();
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let properties = sasl("sasl_plaintext", mechanism, Secured::USER, Secured::PASSWORD);
            let connection = open(&settings(&server, &properties)).await;
            for slow in [true, false, false] {
                let connection = connection.clone();
                all.spawn(async move { busy(&connection, mechanism, slow).await });
            }
        }
        while let Some(done) = all.join_next().await {
            assert!(done.unwrap() > 3);
        }
    });
}

/// Asks for as long as several sessions; gives how often.
async fn busy(connection: &Connection, mechanism: &str, slow: bool) -> usize {
    let start = Instant::now();
    let mut tick = tokio::time::interval(PAUSE);
    let mut asked = 0;
    while start.elapsed() < SESSIONS {
        tick.tick().await;
        let failed = if slow {
            connection.call(&waiting_fetch(), 12..=12).await.err()
        } else {
            connection.call(&metadata_of(&[]), ..).await.err()
        };
        assert!(failed.is_none(), "{mechanism} after {:?}: {failed:?}", start.elapsed());
        asked += 1;
    }
    asked
}

/// Of an empty topic, so that it waits as long as it may.
fn waiting_fetch() -> FetchRequest {
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1024);
    let topic = FetchTopic::default().with_topic(super::topic_name("wire-sessions")).with_partitions(vec![partition]);
    FetchRequest::default().with_max_wait_ms(500).with_min_bytes(1).with_max_bytes(1024).with_topics(vec![topic])
}

async fn open(settings: &Settings) -> Connection {
    Connection::open(&settings.bootstrap_servers[0], settings).await.unwrap()
}
