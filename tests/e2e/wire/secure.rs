//! TLS and SASL against a broker that has every listener.

use std::time::{Duration, Instant};

use headrace::position::Partition;
use headrace::wire::{Connection, Settings, WireError};
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use testbed::Secured;

use super::{PAUSE, client, metadata_of, run, settings};
use crate::support::{Topics, secured};

type Properties<'a> = Vec<(&'a str, &'a str)>;

fn listeners() -> Secured {
    secured().kafka().unwrap().secured().unwrap().clone()
}

fn sasl<'a>(protocol: &'a str, mechanism: &'a str, user: &'a str, password: &'a str) -> Properties<'a> {
    vec![
        ("security.protocol", protocol),
        ("sasl.mechanism", mechanism),
        ("sasl.username", user),
        ("sasl.password", password),
    ]
}

fn owned(properties: &Properties<'_>) -> Vec<(String, String)> {
    properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Opens a connection and asks for something that only a known client gets.
fn ask(server: &str, properties: &Properties<'_>) -> Result<(), WireError> {
    let settings = settings(server, properties);
    let (done, result) = std::sync::mpsc::channel();
    run(async move {
        let asked = async {
            let connection = Connection::open(&settings.bootstrap_servers[0], &settings).await?;
            connection.call(&metadata_of(&[]), ..).await.map(drop)
        };
        done.send(asked.await).unwrap();
    });
    result.recv().unwrap()
}

fn refused(server: &str, properties: &Properties<'_>) -> WireError {
    ask(server, properties).expect_err("it must be refused")
}

#[test]
fn tls_trusts_the_authority_that_is_named() {
    let listeners = listeners();
    let authority = listeners.authority.to_str().unwrap();
    ask(&listeners.ssl, &vec![("security.protocol", "ssl"), ("ssl.ca.location", authority)]).unwrap();
    // A client that goes on to the advertised address.
    let server = listeners.ssl.clone();
    let properties = owned(&vec![("security.protocol", "SSL"), ("ssl.ca.location", authority)]);
    run(async move {
        let properties: Properties<'_> =
            properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(client(&server, &properties).transaction_version().await.unwrap(), 2);
    });
}

#[test]
fn tls_refuses_an_unknown_authority_and_another_name() {
    let listeners = listeners();
    let (authority, stranger) = (listeners.authority.to_str().unwrap(), listeners.stranger.to_str().unwrap());
    let error = refused(&listeners.ssl, &vec![("security.protocol", "ssl"), ("ssl.ca.location", stranger)]);
    assert!(matches!(error, WireError::Tls { .. }) && !error.is_retriable(), "{error}");
    assert!(error.to_string().contains("ssl.ca.location"), "{error}");

    let mut properties = vec![("security.protocol", "ssl"), ("ssl.ca.location", authority)];
    let error = refused(&listeners.ssl_other_name, &properties);
    assert!(matches!(error, WireError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("another host") && error.to_string().contains("localhost"), "{error}");

    // Asked for, and then only the name is passed over.
    properties.push(("ssl.endpoint.identification.algorithm", "none"));
    ask(&listeners.ssl_other_name, &properties).unwrap();
    properties[1].1 = stranger;
    assert!(matches!(refused(&listeners.ssl_other_name, &properties), WireError::Tls { .. }));
}

#[test]
fn tls_shows_a_certificate_to_who_asks_for_one() {
    let listeners = listeners();
    let (certificate, key) = (listeners.client_certificate.to_str().unwrap(), listeners.client_key.to_str().unwrap());
    let mut properties = vec![("security.protocol", "ssl"), ("ssl.ca.location", listeners.authority.to_str().unwrap())];
    let error = refused(&listeners.mtls, &properties);
    assert!(error.to_string().contains("certificate"), "{error}");
    properties.extend([("ssl.certificate.location", certificate), ("ssl.key.location", key)]);
    ask(&listeners.mtls, &properties).unwrap();
}

#[test]
fn sasl_logs_in_by_every_mechanism_with_and_without_tls() {
    let listeners = listeners();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let properties = sasl("sasl_plaintext", mechanism, Secured::USER, Secured::PASSWORD);
        ask(&listeners.sasl_plaintext, &properties).unwrap_or_else(|error| panic!("{mechanism}: {error}"));
        let mut properties = sasl("sasl_ssl", mechanism, Secured::USER, Secured::PASSWORD);
        properties.push(("ssl.ca.location", listeners.authority.to_str().unwrap()));
        ask(&listeners.sasl_ssl, &properties).unwrap_or_else(|error| panic!("{mechanism}: {error}"));
    }
}

#[test]
fn a_wrong_password_names_mechanism_and_user_and_never_the_password() {
    const WRONG: &str = "hunter2-canary";
    let listeners = listeners();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for user in [Secured::USER, "nobody"] {
            let error = refused(&listeners.sasl_plaintext, &sasl("sasl_plaintext", mechanism, user, WRONG));
            assert!(matches!(error, WireError::Authentication { .. }) && !error.is_retriable(), "{error}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(mechanism) && text.contains(user) && !text.contains(WRONG), "{text}");
        }
    }
}

#[test]
fn a_listener_of_another_protocol_is_told_by_the_property_to_set() {
    let listeners = listeners();
    let bed = secured();
    let plain = bed.kafka().unwrap().bootstrap_servers();
    let authority = listeners.authority.to_str().unwrap();
    // No TLS where TLS is spoken, TLS where it is not, no login where one is wanted, a mechanism that nobody has.
    let without_tls = refused(&listeners.ssl, &vec![]);
    let needless_tls = refused(plain, &vec![("security.protocol", "ssl"), ("ssl.ca.location", authority)]);
    let without_login = refused(&listeners.sasl_plaintext, &vec![]);
    for error in [without_tls, needless_tls, without_login] {
        let text = error.to_string();
        assert!(text.contains("security.protocol") || text.contains("speak TLS"), "{text}");
    }
    let needless_login = refused(plain, &sasl("sasl_plaintext", "PLAIN", Secured::USER, Secured::PASSWORD));
    assert!(!needless_login.to_string().contains(Secured::PASSWORD), "{needless_login}");
}

#[test]
fn a_missing_right_is_named_and_is_not_an_unknown_topic() {
    let bed = secured();
    Topics::new(bed.kafka().unwrap().bootstrap_servers()).create("wire-forbidden", 1);
    let server = listeners().sasl_plaintext;
    run(async move {
        let powerless = sasl("sasl_plaintext", "SCRAM-SHA-256", Secured::POWERLESS, Secured::PASSWORD);
        let client = client(&server, &powerless);
        let error = client.leader("wire-forbidden", Partition(0)).await.unwrap_err();
        assert!(matches!(error, WireError::NotAuthorised { .. }) && !error.is_retriable(), "{error}");
        assert!(error.to_string().contains("wire-forbidden"), "{error}");
        let kind = headrace::wire::CoordinatorKind::Transaction;
        let error = client.coordinator(kind, "wire-forbidden-id").await.unwrap_err();
        assert!(matches!(error, WireError::NotAuthorised { .. }), "{error}");
    });
}

#[test]
fn a_session_that_ends_is_renewed_on_the_same_connection() {
    // Of this mechanism and listener the broker ends a connection whose login is older than two seconds.
    const SESSIONS: Duration = Duration::from_secs(5);
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

async fn open(settings: &Settings) -> Connection {
    Connection::open(&settings.bootstrap_servers[0], settings).await.unwrap()
}
