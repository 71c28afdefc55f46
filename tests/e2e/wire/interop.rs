//! The same properties given to librdkafka: it does the same with them, where it has them.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use testbed::Secured;

use super::secure::{Properties, ask, listeners, sasl};

/// Time for librdkafka's first answer. It tells a refused login by running into this.
const PATIENCE: Duration = Duration::from_secs(10);

fn client(server: &str, properties: &Properties<'_>) -> Result<BaseConsumer, String> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server);
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config.create().map_err(|error| error.to_string())
}

/// Whether it gets an answer.
fn answers(client: &BaseConsumer, patience: Duration) -> Result<(), String> {
    client.fetch_metadata(None, patience).map(drop).map_err(|error| error.to_string())
}

/// Whether librdkafka can be made so, and gets an answer.
fn asked_by_librdkafka(server: &str, properties: &Properties<'_>) -> Result<(), String> {
    answers(&client(server, properties)?, PATIENCE)
}

#[test]
fn mtls_librdkafka_takes_the_same_properties() {
    let listeners = listeners();
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let [authority, certificate, key] =
        [&listeners.authority, &listeners.client_certificate, &listeners.client_key].map(|path| text(path));
    let inline = vec![
        ("security.protocol", "ssl"),
        ("ssl.ca.pem", authority.as_str()),
        ("ssl.certificate.pem", certificate.as_str()),
        ("ssl.key.pem", key.as_str()),
    ];
    let encrypted = vec![
        ("security.protocol", "ssl"),
        ("ssl.ca.location", listeners.authority.to_str().unwrap()),
        ("ssl.certificate.location", listeners.client_certificate.to_str().unwrap()),
        ("ssl.key.location", listeners.encrypted_key.to_str().unwrap()),
        ("ssl.key.password", Secured::PASSWORD),
    ];
    for properties in [inline, encrypted] {
        ask(&listeners.mtls, &properties).unwrap();
        asked_by_librdkafka(&listeners.mtls, &properties).unwrap();
    }
    // Neither takes a key without its password.
    let mut without = vec![
        ("security.protocol", "ssl"),
        ("ssl.ca.location", listeners.authority.to_str().unwrap()),
        ("ssl.certificate.location", listeners.client_certificate.to_str().unwrap()),
        ("ssl.key.location", listeners.encrypted_key.to_str().unwrap()),
    ];
    without.push(("ssl.key.password", "wrong"));
    assert!(headrace::wire::Settings::new(&listeners.mtls, without.iter().copied()).is_err());
    asked_by_librdkafka(&listeners.mtls, &without).unwrap_err();
}

#[test]
fn kip_368_librdkafka_logs_in_where_sessions_are_short() {
    let server = listeners().sasl_plaintext;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let properties = sasl("sasl_plaintext", mechanism, Secured::USER, Secured::PASSWORD);
        asked_by_librdkafka(&server, &properties).unwrap();
    }
}

/// What docs/security.md says of librdkafka and tokens, and why an application that sets them is refused. Should this fail, a newer
/// librdkafka or rust-rdkafka can do more, and the refusal can go.
#[test]
fn kip_255_librdkafka_as_built_here_gets_no_token_or_only_its_first() {
    let listeners = listeners();
    let common = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "OAUTHBEARER")];
    let mut oidc = common.to_vec();
    oidc.extend([
        ("sasl.oauthbearer.method", "oidc"),
        ("sasl.oauthbearer.client.id", "ada"),
        ("sasl.oauthbearer.client.secret", "x"),
        ("sasl.oauthbearer.token.endpoint.url", "http://127.0.0.1:1/token"),
    ]);
    let mut file = common.to_vec();
    file.push(("sasl.oauthbearer.token.endpoint.url", "file:///run/token"));
    for properties in [oidc, file] {
        let error = client(&listeners.oauth, &properties).map(drop).unwrap_err();
        assert!(error.contains("not supported in this build"), "{error}");
    }
    // Without them it asks for a token by an event that nobody serves here.
    answers(&client(&listeners.oauth, &common.to_vec()).unwrap(), Duration::from_secs(3)).unwrap_err();
    // The first of its own tokens is made as the client is, the next ones by that event.
    let mut unsecured = common.to_vec();
    unsecured.extend([
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
        ("sasl.oauthbearer.config", "principal=ada lifeSeconds=3"),
    ]);
    let client = client(&listeners.oauth_unsecured, &unsecured).unwrap();
    answers(&client, PATIENCE).unwrap();
    ask(&listeners.oauth_unsecured, &unsecured).unwrap();
    testbed::wait::until("librdkafka's token to be over", Duration::from_secs(20), || {
        match answers(&client, Duration::from_secs(1)) {
            Ok(()) => Err("it still gets answers".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .unwrap();
}
