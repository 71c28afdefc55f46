//! The whole runtime over TLS and SASL with the least rights, and rights that are taken away while it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use headrace::error::FatalError;
use headrace::runtime::{Implementation, Options};
use testbed::{Kafka, Secured};

use super::support::{Bench, PATIENCE};
use crate::support::secured;

const KEYS: u64 = 50;
/// A group's shortest session on a broker that nobody has told otherwise.
const SESSION: &str = "6000";

/// An application of a user who may do what it needs and nothing else.
struct Guarded<'a> {
    kafka: &'a Kafka,
    bench: Bench,
}

/// A right of the application: operation, kind of resource, name.
type Right = (&'static str, &'static str, String);

impl<'a> Guarded<'a> {
    fn new(kafka: &'a Kafka, name: &str) -> Self {
        let guarded = Guarded { kafka, bench: Bench::new(kafka, name) };
        let bench = &guarded.bench;
        let reads = ["--topic", &bench.input(), "--topic", &bench.changelog(), "--group", &bench.application];
        let writes = ["--topic", &bench.output(), "--topic", &bench.dead(), "--topic", &bench.changelog()];
        guarded.change("--add", "Read", &reads);
        guarded.change("--add", "Write", &[&writes[..], &["--transactional-id", &guarded.transactional_id()]].concat());
        guarded
    }

    fn transactional_id(&self) -> String {
        format!("{}-one-0", self.bench.application)
    }

    fn second_transactional_id(&self) -> String {
        format!("{}.2", self.transactional_id())
    }

    fn allow_second(&self) {
        self.change("--add", "Write", &["--transactional-id", &self.second_transactional_id()]);
    }

    fn change(&self, change: &str, operation: &str, resources: &[&str]) {
        let user = format!("User:{}", Secured::POWERLESS);
        let server = ["--bootstrap-server", self.kafka.bootstrap_servers()];
        let who = [change, "--force", "--allow-principal", &user, "--operation", operation];
        self.kafka
            .java_tool("org.apache.kafka.tools.AclCommand", &[&server[..], &who[..], resources].concat())
            .expect("changed");
    }

    fn options(&self, directory: &Path, protocol: &str, mechanism: &str) -> Options {
        let secured = self.kafka.secured().expect("listeners");
        let mut options = self.bench.options("one", directory);
        options.kafka.bootstrap_servers = match protocol {
            "sasl_ssl" => secured.sasl_ssl.clone(),
            _ => secured.sasl_plaintext.clone(),
        };
        let authority = secured.authority.to_str().expect("text");
        let properties = [
            ("security.protocol", protocol),
            ("sasl.mechanism", mechanism),
            ("sasl.username", Secured::POWERLESS),
            ("sasl.password", Secured::PASSWORD),
            ("ssl.ca.location", authority),
        ];
        options.kafka.properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        options.kafka.member_properties = vec![("session.timeout.ms".into(), SESSION.into())];
        options
    }

    /// Takes a right away in mid-run, looks how the application ends under load, gives it back, and looks whether it goes on.
    fn lose(&self, producer: Implementation, (operation, kind, name): &Right) {
        let directory = tempfile::tempdir().expect("directory");
        let options = || {
            let mut options = self.options(directory.path(), "sasl_ssl", "SCRAM-SHA-512");
            options.clients.producer = producer;
            options
        };
        let running = self.bench.run(options());
        self.bench.produce(0..2_000, KEYS);
        self.bench.wait_drained();
        self.change("--remove", operation, &[kind, name]);
        // For as long as it takes: a transaction uses one of the two ids, and the next one the other.
        let (begun, mut produced) = (Instant::now(), 2_000);
        while !running.app.is_finished() {
            assert!(begun.elapsed() < PATIENCE, "{producer:?}, {operation} {name}: it has not ended");
            self.bench.produce(produced..produced + 500, KEYS);
            produced += 500;
        }
        let error = running.ended().expect_err("it was to end");
        let text = error.to_string();
        assert!(matches!(error, FatalError::Authorisation(_)), "{producer:?}, {operation} {name}: {error:?}");
        for part in [&**name, "allow", operation] {
            assert!(text.contains(part), "{producer:?}, {operation} {name}: {part} is not in {text}");
        }
        let (committed, end) = self.bench.progress();
        // What may not be read is refused also when all that was read before is done.
        assert!(
            committed < end || *operation == "Read",
            "{producer:?}, {operation} {name}: it went past what it may not do"
        );
        self.change("--add", operation, &[kind, name]);
        let second = self.bench.run(options());
        self.bench.wait_drained();
        second.stop().expect("stopped");
        assert_eq!(self.bench.violations(produced, KEYS), Vec::<String>::new(), "{producer:?}, {operation} {name}");
    }
}

#[test]
fn n8_the_whole_runtime_is_exact_over_tls_and_sasl_with_the_least_rights() {
    let bed = secured();
    // With one transactional id, and with the two that the native producer has where it may (rule N-5).
    for (producer, both) in
        [(Implementation::Native, false), (Implementation::Native, true), (Implementation::Librdkafka, false)]
    {
        let guarded = Guarded::new(bed.kafka().expect("kafka"), "over-tls");
        if both {
            guarded.allow_second();
        }
        let directory = tempfile::tempdir().expect("directory");
        let mut options = guarded.options(directory.path(), "sasl_ssl", "SCRAM-SHA-512");
        options.clients.producer = producer;
        let running = guarded.bench.run(options);
        guarded.bench.produce(0..20_000, KEYS);
        guarded.bench.wait_drained();
        running.stop().expect("stopped");
        assert_eq!(guarded.bench.violations(20_000, KEYS), Vec::<String>::new(), "{producer:?}");
    }
}

/// The broker ends a session of this mechanism on this listener after two seconds (`wire::secure` has the control).
#[test]
fn n8_sessions_are_renewed_under_load_without_an_abort() {
    const LONG: Duration = Duration::from_secs(6);
    let bed = secured();
    let guarded = Guarded::new(bed.kafka().expect("kafka"), "renewed");
    let directory = tempfile::tempdir().expect("directory");
    let running = guarded.bench.run(guarded.options(directory.path(), "sasl_plaintext", "PLAIN"));
    let (begun, mut produced) = (Instant::now(), 0);
    while begun.elapsed() < LONG {
        guarded.bench.produce(produced..produced + 500, KEYS);
        produced += 500;
    }
    guarded.bench.wait_drained();
    assert_eq!(running.metric("headrace_aborts_total"), 0.0, "R-9: a renewal is no failure");
    running.stop().expect("stopped");
    assert_eq!(guarded.bench.violations(produced, KEYS), Vec::<String>::new());
}

#[test]
fn n7_a_right_that_is_taken_away_ends_the_application_with_its_name_and_costs_nothing() {
    let bed = secured();
    let kafka = bed.kafka().expect("kafka");
    type Which = fn(&Guarded<'_>) -> Right;
    let rights: [Which; 5] = [
        |guarded| ("Write", "--topic", guarded.bench.output()),
        |guarded| ("Write", "--transactional-id", guarded.transactional_id()),
        |guarded| ("Write", "--transactional-id", guarded.second_transactional_id()),
        |guarded| ("Read", "--group", guarded.bench.application.clone()),
        |guarded| ("Read", "--topic", guarded.bench.input()),
    ];
    for right in rights {
        let guarded = Guarded::new(kafka, "denied");
        guarded.allow_second();
        guarded.lose(Implementation::Native, &right(&guarded));
    }
}

#[test]
fn r9_a_right_that_is_taken_away_ends_the_application_on_librdkafka_too() {
    let bed = secured();
    let guarded = Guarded::new(bed.kafka().expect("kafka"), "denied-v1");
    guarded.lose(Implementation::Librdkafka, &("Write", "--topic", guarded.bench.output()));
}
