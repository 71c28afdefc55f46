//! The same properties given to librdkafka: it does the same with them, where it has them.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use testbed::Secured;

use super::secure::{Properties, ask, listeners, sasl};

/// Time for librdkafka's first answer. It tells a refused login by running into this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether librdkafka gets an answer.
fn asked_by_librdkafka(server: &str, properties: &Properties<'_>, patience: Duration) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server);
    for (name, value) in properties {
        config.set(*name, *value);
    }
    let client: BaseConsumer = config.create().map_err(|error| error.to_string())?;
    client.fetch_metadata(None, patience).map(drop).map_err(|error| error.to_string())
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
        asked_by_librdkafka(&listeners.mtls, &properties, PATIENCE).unwrap();
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
    asked_by_librdkafka(&listeners.mtls, &without, PATIENCE).unwrap_err();
}

#[test]
fn kip_368_librdkafka_logs_in_where_sessions_are_short() {
    let server = listeners().sasl_plaintext;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let properties = sasl("sasl_plaintext", mechanism, Secured::USER, Secured::PASSWORD);
        asked_by_librdkafka(&server, &properties, PATIENCE).unwrap();
    }
}

/// What docs/security.md says of librdkafka and tokens, and why an application that sets them is refused. Should this fail, a newer
/// librdkafka or rust-rdkafka can do more, and the refusal can go.
#[test]
fn kip_255_librdkafka_as_built_here_gets_no_token() {
    let listeners = listeners();
    let common = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "OAUTHBEARER")];
    let mut oidc = common.to_vec();
    oidc.extend([
        ("sasl.oauthbearer.method", "oidc"),
        ("sasl.oauthbearer.client.id", "ada"),
        ("sasl.oauthbearer.client.secret", "x"),
        ("sasl.oauthbearer.token.endpoint.url", "http://127.0.0.1:1/token"),
    ]);
    let error = asked_by_librdkafka(&listeners.oauth, &oidc, PATIENCE).unwrap_err();
    assert!(error.to_ascii_lowercase().contains("oidc"), "{error}");
    // Even the tokens that it makes by itself are asked for by an event that nobody serves here.
    let mut unsecured = common.to_vec();
    unsecured.extend([
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
        ("sasl.oauthbearer.config", "principal=ada lifeSeconds=60"),
    ]);
    ask(&listeners.oauth_unsecured, &unsecured).unwrap();
    asked_by_librdkafka(&listeners.oauth_unsecured, &unsecured, Duration::from_secs(3)).unwrap_err();
}
