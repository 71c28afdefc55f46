//! Tests of the whole way: layers in, structs or messages out.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use serde::Deserialize;

use super::*;
use crate::error::FatalError;

const TOPOLOGY: &str = r#"
application-id = "cdc"

[redis]
url = "redis://localhost"
max-in-flight = 64
password = ""
password-file = ""
timeout = "1s"
max-value = ""
channels = ["a"]
mode = "fence"

[topics]
row-changes = "row-changes"
"#;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Topology {
    redis: Redis,
    topics: Topics,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Redis {
    url: String,
    max_in_flight: u32,
    password: Option<Secret>,
    timeout: Span,
    max_value: Option<ByteSize>,
    channels: Vec<String>,
    mode: Mode,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Fence,
    Delete,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Topics {
    row_changes: String,
}

struct Given {
    file: tempfile::NamedTempFile,
    layers: Layers,
}

fn given(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Given {
    let mut temporary = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    temporary.write_all(file.as_bytes()).unwrap();
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let layers = Layers::new(TOPOLOGY)
        .file(Some(temporary.path().to_path_buf()))
        .environment(variables.collect::<Vec<_>>())
        .flags(flags.iter().map(|flag| (*flag).to_owned()));
    Given { file: temporary, layers }
}

fn load(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Loaded<Topology> {
    given(file, variables, flags).layers.load().unwrap()
}

/// The message, with the file's path as `FILE`.
fn refused(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> String {
    let given = given(file, variables, flags);
    let path = given.file.path().display().to_string();
    let error = given.layers.load::<Topology>().unwrap_err();
    assert!(matches!(error, FatalError::Config(_)));
    assert_eq!(error.exit_code(), 64);
    error.to_string().replace(&path, "FILE")
}

#[test]
fn defaults_alone_are_valid() {
    let loaded: Loaded<Topology> = Layers::new(TOPOLOGY).load().unwrap();
    assert_eq!(loaded.runtime.application_id, "cdc");
    assert_eq!(loaded.runtime.processing.guarantee, Guarantee::ExactlyOnce);
    assert_eq!(loaded.runtime.processing.commit_interval.millis(), 20);
    assert_eq!(loaded.topology.topics.row_changes, "row-changes");
    assert!(loaded.topology.redis.max_value.is_none() && loaded.topology.redis.password.is_none());
    assert!(!loaded.runtime.instance().is_empty());
}

#[test]
fn each_layer_overrides_the_one_below() {
    let file = "[redis]\nurl = 'redis://file'\ntimeout = '2s'\nmax-in-flight = 1\nmode = 'delete'\n";
    let variables = [
        ("HEADRACE__REDIS__TIMEOUT", "3s"),
        ("HEADRACE__REDIS__MAX_IN_FLIGHT", "2"),
        ("HEADRACE__SCHEMA_REGISTRY__AUTO_REGISTER", "true"),
        ("OTHER__REDIS__URL", "ignored"),
    ];
    let flags = ["redis.max-in-flight=3", "redis.max-value=1 MiB", "redis.channels=[\"x\", \"y\"]"];
    let loaded = load(file, &variables, &flags);
    let redis = &loaded.topology.redis;
    assert_eq!((redis.url.as_str(), redis.timeout.millis(), redis.max_in_flight), ("redis://file", 3000, 3));
    assert_eq!(redis.max_value, Some(ByteSize::new(1 << 20)));
    assert_eq!(redis.channels, ["x", "y"]);
    assert_eq!(redis.mode, Mode::Delete);
    assert!(loaded.runtime.schema_registry.auto_register);
}

#[test]
fn text_of_digits_from_the_environment_stays_text_where_the_key_is_text() {
    let loaded = load("", &[("HEADRACE__TOPICS__ROW_CHANGES", "2024")], &["application-id=007"]);
    assert_eq!(loaded.topology.topics.row_changes, "2024");
    assert_eq!(loaded.runtime.application_id, "007");
}

#[test]
fn unknown_keys_are_refused_everywhere_with_the_nearest_known_one() {
    let text = refused("[redis]\n\nurll = 'x'\n", &[("HEADRACE__REDIS__TIMEOUTT", "1s")], &["log.filtre=debug"]);
    assert!(text.starts_with("configuration: 3 problems\n"), "{text}");
    assert!(text.contains("FILE:3: redis.urll: unknown key; did you mean `redis.url`?"), "{text}");
    assert!(
        text.contains("env HEADRACE__REDIS__TIMEOUTT: no key has this name; did you mean HEADRACE__REDIS__TIMEOUT?")
    );
    assert!(text.contains("--set log.filtre: log.filtre: unknown key; did you mean `log.filter`?"), "{text}");
}

#[test]
fn unknown_and_misplaced_sections_are_refused() {
    let text = refused("kafka = 5\n[bananas]\n[log.filter]\nx = 1\n", &[], &[]);
    assert!(text.contains("FILE:1: kafka: is a section, not a key"), "{text}");
    assert!(text.contains("FILE:2: bananas: unknown key"), "{text}");
    assert!(text.contains("FILE:4: log.filter.x: unknown key"), "{text}");
}

#[test]
fn all_wrong_types_and_units_are_reported_together_with_their_places() {
    let file = "[redis]\ntimeout = 5\nmax-in-flight = 'many'\nmode = 'explode'\n[state]\nblock-cache = '64'\n";
    let text = refused(file, &[("HEADRACE__HTTP__LISTEN", "nowhere")], &["redis.max-value=5"]);
    assert!(text.starts_with("configuration: 6 problems"), "{text}");
    assert!(
        text.contains("FILE:2: redis.timeout: invalid type: integer `5`, expected a duration with its unit"),
        "{text}"
    );
    assert!(text.contains("FILE:3: redis.max-in-flight: invalid type: string \"many\", expected u32"), "{text}");
    assert!(text.contains("FILE:4: redis.mode: unknown variant `explode`, expected `fence` or `delete`"), "{text}");
    assert!(text.contains("FILE:6: state.block-cache: `64` has no unit; write \"64 MiB\""), "{text}");
    assert!(text.contains("env HEADRACE__HTTP__LISTEN: http.listen: invalid socket address"), "{text}");
    assert!(text.contains("--set redis.max-value: redis.max-value: `5` has no unit"), "{text}");
}

#[test]
fn a_number_as_text_in_a_file_is_not_a_number() {
    let text = refused("[redis]\nmax-in-flight = '5'\n", &[], &[]);
    assert!(text.contains("FILE:2: redis.max-in-flight: invalid type: string \"5\", expected u32"), "{text}");
}

#[test]
fn invalid_toml_and_a_missing_file_name_the_place() {
    let text = refused("[redis]\nurl = = 2\n", &[], &[]);
    assert!(text.contains("FILE:2:7: not valid TOML"), "{text}");
    let missing = Layers::new(TOPOLOGY).file(Some(PathBuf::from("no-such.toml"))).load::<Topology>().unwrap_err();
    assert!(missing.to_string().contains("no-such.toml: can't be read"), "{missing}");
}

#[test]
fn secrets_come_from_the_environment_or_a_file_only() {
    let from_environment = load("", &[("HEADRACE__REDIS__PASSWORD", "canary")], &[]);
    assert_eq!(from_environment.topology.redis.password.unwrap().reveal(), "canary");

    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret.write_all(b"canary\n").unwrap();
    let file = format!("[redis]\npassword-file = '{}'\n", secret.path().display());
    let from_file = load(&file, &[], &[]);
    assert_eq!(from_file.topology.redis.password.as_ref().unwrap().reveal(), "canary");
    let shown = from_file.document.show(true);
    assert!(shown.contains("password = \"***\"") && !shown.contains("canary"), "{shown}");
    assert!(shown.contains("named by "), "{shown}");
    assert!(!format!("{from_file:?}").contains("canary"));
}

#[test]
fn a_literal_secret_is_refused_and_not_repeated() {
    let text = refused("[redis]\npassword = 'canary'\n", &[], &["kafka.sasl-password=canary"]);
    assert!(!text.contains("canary"), "{text}");
    assert!(text.contains("FILE:2: redis.password: secrets come only from a file or the environment"), "{text}");
    assert!(
        text.contains("set HEADRACE__REDIS__PASSWORD, or put it into a file and name that in `redis.password-file`")
    );
    assert!(text.contains("--set kafka.sasl-password: "), "{text}");
}

#[test]
fn a_secret_set_twice_or_in_an_absent_file_is_refused() {
    let twice = refused("[redis]\npassword-file = '/x'\n", &[("HEADRACE__REDIS__PASSWORD", "canary")], &[]);
    assert!(twice.contains("redis.password-file: `redis.password` is set as well, by env HEADRACE__REDIS__PASSWORD"));
    let absent = refused("[redis]\npassword-file = '/no/such'\n", &[], &[]);
    assert!(absent.contains("FILE:2: redis.password-file: /no/such can't be read"), "{absent}");
}

#[test]
fn a_secret_field_without_a_file_key_is_a_mistake_of_the_topology() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Careless {
        api: Api,
    }
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Api {
        token: Secret,
    }
    let error = Layers::new("[api]\ntoken = \"\"\n").load::<Careless>().unwrap_err().to_string();
    assert!(error.contains("api.token: is a secret, but the defaults have no `token-file`"), "{error}");
    let secret =
        Layers::new("[api]\ntoken = \"canary\"\ntoken-file = \"\"\n").load::<Careless>().unwrap_err().to_string();
    assert!(secret.contains("a secret has no default") && !secret.contains("canary"), "{secret}");
}

#[test]
fn properties_pass_through_as_text() {
    let file = "[kafka.properties]\n\"socket.keepalive.enable\" = true\n'topic.metadata.refresh.interval.ms' = 5000\n";
    let loaded = load(
        file,
        &[("HEADRACE__KAFKA__PROPERTIES__RECONNECT_BACKOFF_MS", "50")],
        &["kafka.properties.\"debug\"=broker"],
    );
    let properties = loaded.runtime.kafka.connection_properties();
    assert_eq!(properties["socket.keepalive.enable"], "true");
    assert_eq!(properties["topic.metadata.refresh.interval.ms"], "5000");
    assert_eq!(properties["reconnect.backoff.ms"], "50");
    assert_eq!(properties["debug"], "broker");
    assert_eq!(properties["bootstrap.servers"], "localhost:9092");
}

#[test]
fn properties_that_the_runtime_owns_are_refused_with_the_reason() {
    for owned in [
        "enable.auto.commit",
        "enable.auto.offset.store",
        "isolation.level",
        "enable.idempotence",
        "acks",
        "partitioner",
        "auto.offset.reset",
        "allow.auto.create.topics",
        "transactional.id",
        "transaction.timeout.ms",
        "group.id",
        "bootstrap.servers",
        "statistics.interval.ms",
        "queued.max.messages.kbytes",
        "queued.min.messages",
        "fetch.message.max.bytes",
    ] {
        let text = refused(&format!("[kafka.properties]\n\"{owned}\" = 'x'\n"), &[], &[]);
        let expected = format!("FILE:2: kafka.properties.\"{owned}\": belongs to the runtime: ");
        assert!(text.contains(&expected) || text.contains(&expected.replace('"', "")), "{text}");
    }
}

#[test]
fn a_secret_property_is_refused_in_a_file_and_masked() {
    let text = refused("[kafka.properties]\n'ssl.keystore.password' = 'canary'\n", &[], &[]);
    assert!(
        text.contains("set HEADRACE__KAFKA__PROPERTIES__SSL_KEYSTORE_PASSWORD") && !text.contains("canary"),
        "{text}"
    );
    let loaded = load("", &[("HEADRACE__KAFKA__PROPERTIES__SSL_KEYSTORE_PASSWORD", "canary")], &[]);
    assert!(!format!("{loaded:?}").contains("canary"));
    assert_eq!(loaded.runtime.kafka.properties.0["ssl.keystore.password"], "canary");
}

#[test]
fn show_names_value_and_origin_of_every_key_and_is_toml() {
    let loaded = load("[log]\nformat = 'json'\n", &[("HEADRACE__LOG__FILTER", "debug")], &["state.directory=/data"]);
    let shown = loaded.document.show(true);
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    assert!(line("format").contains("\"json\"") && line("format").ends_with(".toml:2"), "{shown}");
    assert!(line("filter").ends_with("# env HEADRACE__LOG__FILTER"), "{shown}");
    assert!(line("directory").ends_with("# --set state.directory"), "{shown}");
    assert!(line("commit-interval").ends_with("# default"), "{shown}");
    assert!(line("application-id").ends_with("# default of the topology"), "{shown}");
    let again: toml::Table = shown.parse().unwrap();
    assert_eq!(again["log"]["filter"].as_str(), Some("debug"));
    // What is shown can be used as a file.
    given(&loaded.document.show(false), &[], &[]).layers.load::<Topology>().unwrap();
}

#[test]
fn rules_between_keys_name_both_and_the_reason() {
    let text = refused("[processing]\ncommit-interval = '20s'\n[memory]\nbudget = '100 MiB'\n", &[], &[]);
    assert!(
        text.contains("FILE:2: processing.commit-interval: 20s is more than half of processing.transaction-timeout")
    );
    assert!(
        text.contains("FILE:4: memory.budget: 100 MiB is too little: block-cache 64 MiB + write-buffers"),
        "{text}"
    );

    let login = refused("[kafka]\nsecurity-protocol = 'sasl-ssl'\nsasl-username = 'u'\n", &[], &[]);
    assert!(login.contains("kafka.sasl-password: is needed for kafka.security-protocol = \"sasl-ssl\""), "{login}");
    let leak = refused("[schema-registry]\nurl = 'http://user:canary@host'\n", &[], &[]);
    assert!(leak.contains("holds a user or a password") && !leak.contains("canary"), "{leak}");
    let address = refused("[http]\nadvertised = 'http://host:1'\n", &[], &[]);
    assert!(address.contains("FILE:2: http.advertised: `http://host:1` is no host:port"), "{address}");
    let filter = refused("[log]\nfilter = 'info,=,='\n", &[], &[]);
    assert!(filter.contains("FILE:2: log.filter: `info,=,=` is not a filter"), "{filter}");
}

#[test]
fn the_advertised_address_is_the_configured_one_or_where_the_server_listens() {
    let http = |file: &str| load(file, &[("HEADRACE__HTTP__STATE_TOKEN", "canary")], &[]).runtime.http;
    let listens = "127.0.0.1:7".parse().unwrap();
    assert_eq!(http("").advertised(listens), "127.0.0.1:7");
    assert_eq!(http("[http]\nadvertised = 'host-1.local:9'\n").advertised(listens), "host-1.local:9");
    let everywhere = http("").advertised("0.0.0.0:7".parse().unwrap());
    assert!(everywhere.ends_with(":7") && !everywhere.starts_with("0.0.0.0"), "{everywhere}");
    assert!(http("").state_bearer().is_some() && http("").bearer().is_none(), "one token is not the other");
}

#[test]
fn login_properties_are_complete() {
    let file = "[kafka]\nsecurity-protocol = 'sasl-ssl'\nsasl-mechanism = 'scram-sha-512'\nsasl-username = 'u'\n";
    let loaded = load(file, &[("HEADRACE__KAFKA__SASL_PASSWORD", "canary")], &[]);
    let properties = loaded.runtime.kafka.connection_properties();
    assert_eq!(properties["security.protocol"], "sasl_ssl");
    assert_eq!(properties["sasl.mechanism"], "SCRAM-SHA-512");
    assert_eq!(properties["sasl.password"], "canary");
}

#[test]
fn kip_255_a_login_by_token_is_refused_with_the_reason_and_the_way_out() {
    let file = "[kafka]\nsecurity-protocol = 'sasl-ssl'\nsasl-mechanism = 'oauthbearer'\n";
    let text = refused(file, &[], &[]);
    assert!(text.contains("FILE:3: kafka.sasl-mechanism: is oauthbearer") && text.contains("librdkafka"), "{text}");
    assert!(text.contains("scram-sha-512") && !text.contains("sasl-username"), "{text}");
}

#[test]
fn a_problem_of_the_callers_own_has_the_place() {
    let loaded = load("[topics]\nrow-changes = 'x'\n", &[], &[]);
    let error = loaded.document.problem("topics.row-changes", "is not there", "create it").to_string();
    assert!(error.ends_with(".toml:2: topics.row-changes: is not there; create it"), "{error}");
}

#[test]
fn two_keys_with_one_variable_are_a_mistake_of_the_topology() {
    let layers = Layers::new("[api]\nmax-size = \"\"\nmax_size = \"\"\n");
    let error = layers.load::<serde::de::IgnoredAny>().unwrap_err().to_string();
    assert!(error.contains("has the same variable, HEADRACE__API__MAX_SIZE"), "{error}");
}
