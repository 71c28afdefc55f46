//! TLS and SASL against a broker that has every listener.

use std::path::{Path, PathBuf};

use headrace::position::Partition;
use headrace::wire::{Connection, WireError};
use testbed::Secured;

use super::{client, metadata_of, run, settings};
use crate::support::{Topics, secured};

pub(super) type Properties<'a> = Vec<(&'a str, &'a str)>;

pub(super) fn listeners() -> Secured {
    secured().kafka().unwrap().secured().unwrap().clone()
}

pub(super) fn sasl<'a>(protocol: &'a str, mechanism: &'a str, user: &'a str, password: &'a str) -> Properties<'a> {
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
pub(super) fn ask(server: &str, properties: &Properties<'_>) -> Result<(), WireError> {
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

pub(super) fn refused(server: &str, properties: &Properties<'_>) -> WireError {
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
fn mtls_shows_a_certificate_to_who_asks_for_one() {
    let listeners = listeners();
    let (certificate, key) = (listeners.client_certificate.to_str().unwrap(), listeners.client_key.to_str().unwrap());
    let authority = listeners.authority.to_str().unwrap();
    let properties = |more: &[(&'static str, &str)]| {
        let mut all = owned(&vec![("security.protocol", "ssl"), ("ssl.ca.location", authority)]);
        all.extend(owned(&more.to_vec()));
        all
    };
    let ask = |all: &[(String, String)]| {
        ask(&listeners.mtls, &all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
    };
    ask(&properties(&[("ssl.certificate.location", certificate), ("ssl.key.location", key)])).unwrap();
    // The same in the properties themselves, and a key under a password.
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (certificate_text, key_text) = (read(&listeners.client_certificate), read(&listeners.client_key));
    ask(&properties(&[("ssl.certificate.pem", &certificate_text), ("ssl.key.pem", &key_text)])).unwrap();
    let authority_text = read(&listeners.authority);
    let inline = vec![("security.protocol", "ssl"), ("ssl.ca.pem", authority_text.as_str())];
    super::secure::ask(&listeners.ssl, &inline).unwrap();
    let encrypted = listeners.encrypted_key.to_str().unwrap();
    let under_password = [("ssl.certificate.location", certificate), ("ssl.key.location", encrypted)];
    ask(&properties(&[&under_password[..], &[("ssl.key.password", Secured::PASSWORD)]].concat())).unwrap();
}

#[test]
fn mtls_a_broker_that_refuses_the_certificate_is_told_with_the_way_out() {
    let listeners = listeners();
    let authority = listeners.authority.to_str().unwrap();
    let with = |pair: Option<&(PathBuf, PathBuf)>| {
        let mut properties = vec![("security.protocol", "ssl"), ("ssl.ca.location", authority)];
        if let Some((certificate, key)) = pair {
            properties.push(("ssl.certificate.location", certificate.to_str().unwrap()));
            properties.push(("ssl.key.location", key.to_str().unwrap()));
        }
        refused(&listeners.mtls, &properties)
    };
    // None, one from another authority, and one whose time is over.
    for error in [with(None), with(Some(&listeners.foreign)), with(Some(&listeners.expired))] {
        let text = error.to_string();
        assert!(matches!(error, WireError::Tls { .. }) && !error.is_retriable(), "{text}");
        assert!(text.contains("the broker refused") && text.contains("ssl.certificate.location"), "{text}");
    }
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
