//! Logins by token (OAUTHBEARER): Kafka's own validator with a signing key of the testbed's, and an endpoint that gives tokens.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use headrace::wire::{Connection, WireError};
use serde_json::{Value, json};
use testbed::{Secured, TokenEndpoint, TokenSigner};

use super::secure::{Properties, ask, listeners, refused};
use super::{PAUSE, metadata_of, run, settings};

const CLIENT: &str = "ada-client";
const SECRET: &str = "hunter2-canary";
/// `ada-client:hunter2-canary`.
const BASIC: &str = "Basic YWRhLWNsaWVudDpodW50ZXIyLWNhbmFyeQ==";
const URL: &str = "sasl.oauthbearer.token.endpoint.url";

fn seconds(later: u64) -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + later
}

/// What a token of somebody who may do everything has to say.
fn claims(audience: &str, life: u64) -> Value {
    json!({"sub": Secured::USER, "aud": audience, "iat": seconds(0), "exp": seconds(life), "scope": "kafka"})
}

fn granted(token: &str) -> (u16, String) {
    (200, json!({"access_token": token, "token_type": "Bearer"}).to_string())
}

/// Gives tokens that live so many seconds to who has the secret.
fn endpoint(signer: &TokenSigner, life: u64) -> TokenEndpoint {
    let signer = signer.clone();
    let answer = move |question: &testbed::TokenQuestion| {
        if question.authorization != BASIC {
            return (401, json!({"error": "invalid_client", "error_description": "who?"}).to_string());
        }
        assert_eq!(question.form, "grant_type=client_credentials&scope=kafka+read");
        granted(&signer.token(&claims(Secured::AUDIENCE, life)).unwrap())
    };
    TokenEndpoint::start(answer).unwrap()
}

fn bearer<'a>(more: &[(&'a str, &'a str)]) -> Properties<'a> {
    let mut all = vec![("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "OAUTHBEARER")];
    all.extend(more);
    all
}

fn oidc(url: &str) -> Properties<'_> {
    bearer(&[
        ("sasl.oauthbearer.method", "oidc"),
        ("sasl.oauthbearer.client.id", CLIENT),
        ("sasl.oauthbearer.client.secret", SECRET),
        ("sasl.oauthbearer.scope", "kafka read"),
        (URL, url),
    ])
}

fn file_of(token: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, token).unwrap();
    let url = format!("file://{}", file.path().display());
    (file, url)
}

#[test]
fn kip_768_an_identity_providers_token_logs_in_and_is_kept() {
    let listeners = listeners();
    let endpoint = endpoint(&listeners.signer, 600);
    let url = endpoint.url();
    let mut properties = oidc(&url);
    properties.push(("sasl.oauthbearer.extensions", "traceId=1"));
    let (server, settings) = (listeners.oauth.clone(), settings(&listeners.oauth, &properties));
    run(async move {
        for _ in 0..3 {
            let connection = Connection::open(&settings.bootstrap_servers[0], &settings).await;
            connection.unwrap_or_else(|error| panic!("{server}: {error}")).call(&metadata_of(&[]), ..).await.unwrap();
        }
    });
    assert_eq!(endpoint.asked(), 1);
}

#[test]
fn kip_768_a_token_in_a_file_logs_in() {
    let listeners = listeners();
    let (_file, url) = file_of(&listeners.signer.token(&claims(Secured::AUDIENCE, 600)).unwrap());
    ask(&listeners.oauth, &bearer(&[(URL, &url)])).unwrap();
}

#[test]
fn kip_255_an_unsecured_token_logs_in_where_a_broker_takes_them() {
    let listeners = listeners();
    let config = format!("principal={} lifeSeconds=60 scope=a,b", Secured::USER);
    let way = [("enable.sasl.oauthbearer.unsecure.jwt", "true"), ("sasl.oauthbearer.config", config.as_str())];
    ask(&listeners.oauth_unsecured, &bearer(&way)).unwrap();
    let error = refused(&listeners.oauth, &bearer(&way));
    assert!(matches!(error, WireError::Authentication { .. }), "{error}");
}

#[test]
fn rfc_7628_a_refused_token_tells_the_brokers_reason_and_never_the_token() {
    let listeners = listeners();
    // For somebody else, and over.
    let wrong = claims("others", 600);
    let mut over = claims(Secured::AUDIENCE, 600);
    over["exp"] = json!(seconds(1));
    for (claims, is_over) in [(wrong, false), (over, true)] {
        let token = listeners.signer.token(&claims).unwrap();
        let (_file, url) = file_of(&token);
        let properties = bearer(&[(URL, &url)]);
        let error =
            if is_over { until_over(&listeners.oauth, &properties) } else { refused(&listeners.oauth, &properties) };
        let text = format!("{error} {error:?}");
        assert!(!text.contains(&token), "{text}");
        if is_over {
            assert!(matches!(error, WireError::Token { .. }) && error.is_retriable(), "{text}");
            assert!(text.contains("expired"), "{text}");
        } else {
            assert!(matches!(error, WireError::Authentication { .. }) && !error.is_retriable(), "{text}");
            assert!(text.contains("OAUTHBEARER") && text.contains("invalid_token"), "{text}");
        }
    }
}

/// Logs in until the token's time is over.
fn until_over(server: &str, properties: &Properties<'_>) -> WireError {
    let found = Mutex::new(None);
    testbed::wait::until("the token to be over", Duration::from_secs(10), || {
        match ask(server, properties) {
            Ok(()) => Err("still good".to_owned()),
            // As it ends while it is looked at.
            Err(error) if matches!(error, WireError::Authentication { .. }) => Err(error.to_string()),
            Err(error) => {
                *found.lock().unwrap() = Some(error);
                Ok(())
            }
        }
    })
    .unwrap();
    found.into_inner().unwrap().unwrap()
}

#[test]
fn rfc_6749_a_provider_that_refuses_is_told_apart_from_one_that_is_away() {
    let listeners = listeners();
    let status = Arc::new(AtomicU16::new(503));
    let shared = Arc::clone(&status);
    let endpoint = TokenEndpoint::start(move |_| match shared.load(Ordering::Acquire) {
        200 => granted("not a token"),
        status => (status, json!({"error": "invalid_client", "error_description": SECRET}).to_string()),
    });
    let endpoint = endpoint.unwrap();
    let url = endpoint.url();
    for (answer, retriable) in [(503, true), (429, true), (401, false), (400, false), (404, false), (200, false)] {
        status.store(answer, Ordering::Release);
        let error = refused(&listeners.oauth, &oidc(&url));
        let text = format!("{error} {error:?}");
        assert_eq!(error.is_retriable(), retriable, "{text}");
        assert!(text.contains(&url) && text.contains(URL) && !text.contains(SECRET), "{text}");
    }
    drop(endpoint);
    let error = refused(&listeners.oauth, &oidc(&url));
    assert!(matches!(error, WireError::Token { .. }) && error.is_retriable(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn kip_368_a_connection_outlives_its_tokens() {
    const TOKENS: Duration = Duration::from_secs(9);
    let listeners = listeners();
    let endpoint = Arc::new(endpoint(&listeners.signer, 3));
    let url = endpoint.url();
    let settings = settings(&listeners.oauth, &oidc(&url));
    run(async move {
        let connection = Connection::open(&settings.bootstrap_servers[0], &settings).await.unwrap();
        let start = Instant::now();
        let mut tick = tokio::time::interval(PAUSE);
        while start.elapsed() < TOKENS {
            tick.tick().await;
            connection.call(&metadata_of(&[]), ..).await.unwrap();
        }
        assert!(connection.is_open());
        assert!(endpoint.asked() >= 3, "{}: the tokens did not end, so this test shows nothing", endpoint.asked());
    });
}

#[test]
fn kip_255_a_provider_that_is_away_for_a_while_does_not_end_a_session() {
    const AWAY: Duration = Duration::from_secs(6);
    let listeners = listeners();
    let signer = listeners.signer.clone();
    // The first token is good for longer than the time for which nobody gives another.
    let start = Instant::now();
    let endpoint = TokenEndpoint::start(move |question| match question.number {
        0 => granted(&signer.token(&claims(Secured::AUDIENCE, 12)).unwrap()),
        _ if start.elapsed() < AWAY + Duration::from_secs(4) => (503, "{}".to_owned()),
        _ => granted(&signer.token(&claims(Secured::AUDIENCE, 600)).unwrap()),
    });
    let endpoint = endpoint.unwrap();
    let url = endpoint.url();
    let settings = settings(&listeners.oauth, &oidc(&url));
    run(async move {
        let mut tick = tokio::time::interval(PAUSE);
        let end = Duration::from_secs(14);
        let mut opened = 0;
        let lasting = Connection::open(&settings.bootstrap_servers[0], &settings).await.unwrap();
        while start.elapsed() < end {
            tick.tick().await;
            lasting.call(&metadata_of(&[]), ..).await.unwrap();
            if start.elapsed() > AWAY && opened < 5 {
                // With the old token, as long as it lives.
                Connection::open(&settings.bootstrap_servers[0], &settings).await.unwrap();
                opened += 1;
            }
        }
        assert!(lasting.is_open() && opened == 5);
    });
    assert!(endpoint.asked() >= 2, "nobody was asked again");
}
