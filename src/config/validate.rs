//! Rules between keys: values that are fine alone and wrong together.
//!
//! Each would otherwise show itself as an abort loop, a lost member or an out-of-memory kill, hours after the start.

use std::time::Duration;

use super::document::Document;
use super::kafka::SaslMechanism;
use super::problem::Problem;
use super::runtime::{ClientKind, Guarantee, PROCESS_BYTES, PRODUCER_BYTES, RuntimeConfig};
use crate::telemetry::log_filter;

/// Collects broken rules, each at its key's place.
struct Rules<'a> {
    document: &'a Document,
    problems: &'a mut Vec<Problem>,
}

impl Rules<'_> {
    fn check(&mut self, holds: bool, key: &str, reason: impl FnOnce() -> String, way_out: &str) {
        if !holds {
            self.problems.push(self.document.problem_at(key, reason(), way_out));
        }
    }
}

impl RuntimeConfig {
    pub(super) fn validate(&self, document: &Document, problems: &mut Vec<Problem>) {
        let mut rules = Rules { document, problems };
        self.validate_names(&mut rules);
        self.validate_times(&mut rules);
        self.validate_memory(&mut rules);
        self.validate_sizes(&mut rules);
        self.validate_kafka(&mut rules);
        self.validate_http(&mut rules);
        self.validate_registry(&mut rules);
        rules.check(
            log_filter(&self.log.filter).is_ok(),
            "log.filter",
            || format!("`{}` is not a filter", self.log.filter),
            "write a level, or directives such as \"info,headrace::store=debug\"",
        );
    }

    fn validate_names(&self, rules: &mut Rules<'_>) {
        // Kafka's rule for topic names, which are made of both: changelogs, repartition topics.
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        rules.check(
            !self.application_id.is_empty()
                && self.application_id.len() <= 100
                && self.application_id.chars().all(legal),
            "application-id",
            || format!("`{}` can't be part of a topic's name", self.application_id),
            "use 1 to 100 of letters, digits, `.`, `_` and `-`",
        );
        rules.check(
            self.instance().len() <= 100 && self.instance().chars().all(|c| !c.is_control() && !c.is_whitespace()),
            "instance-id",
            || "has to be up to 100 characters without spaces".to_owned(),
            "choose a short stable name, such as the pod's",
        );
    }

    fn validate_times(&self, rules: &mut Rules<'_>) {
        let processing = &self.processing;
        let (commit, timeout) = (processing.commit_interval.duration(), processing.transaction_timeout.duration());
        rules.check(
            commit > Duration::ZERO,
            "processing.commit-interval",
            || "is zero: every record would be a transaction".to_owned(),
            "set at least \"1ms\"",
        );
        rules.check(
            processing.guarantee == Guarantee::AtLeastOnce || commit.saturating_mul(2) <= timeout,
            "processing.commit-interval",
            || {
                let (commit, timeout) = (processing.commit_interval, processing.transaction_timeout);
                format!(
                    "{commit} is more than half of processing.transaction-timeout ({timeout}): a commit that is \
                         late by as much would find its transaction aborted by the broker"
                )
            },
            "commit more often, or give transactions more time",
        );
        rules.check(
            timeout <= Duration::from_secs(15 * 60) && timeout >= Duration::from_secs(1),
            "processing.transaction-timeout",
            || format!("{} is not between 1s and 15m, the brokers' limit", processing.transaction_timeout),
            "10s to 60s suit most",
        );
        rules.check(
            self.health.stalled_after.duration() > timeout + Duration::from_secs(5),
            "health.stalled-after",
            || {
                let timeout = processing.transaction_timeout;
                format!(
                    "{} is not above processing.transaction-timeout ({timeout}) plus 5s: a thread that waits for a \
                         slow commit would be killed as stalled",
                    self.health.stalled_after
                )
            },
            "raise it",
        );
        rules.check(
            self.kafka.max_poll_interval > self.kafka.session_timeout,
            "kafka.max-poll-interval",
            || {
                let (poll, session) = (self.kafka.max_poll_interval, self.kafka.session_timeout);
                format!("{poll} is not above kafka.session-timeout ({session}), as the brokers demand")
            },
            "raise it, or lower the session's",
        );
        rules.check(
            self.kafka.max_poll_interval.duration() > timeout,
            "kafka.max-poll-interval",
            || {
                let (poll, timeout) = (self.kafka.max_poll_interval, processing.transaction_timeout);
                format!(
                    "{poll} is not above processing.transaction-timeout ({timeout}): a slow commit would cost the \
                         membership"
                )
            },
            "raise it",
        );
        for (key, span) in [
            ("kafka.request-timeout", self.kafka.request_timeout),
            ("schema-registry.timeout", self.schema_registry.timeout),
            ("shutdown.deadline", self.shutdown.deadline),
            ("kafka.session-timeout", self.kafka.session_timeout),
        ] {
            rules.check(span.duration() > Duration::ZERO, key, || "is zero".to_owned(), "give it some time");
        }
    }

    fn validate_memory(&self, rules: &mut Rules<'_>) {
        let (memory, processing, state) = (&self.memory, &self.processing, &self.state);
        rules.check(
            (1..=256).contains(&processing.stream_threads),
            "processing.stream-threads",
            || format!("{} is not between 1 and 256", processing.stream_threads),
            "one for each core is plenty",
        );
        rules.check(
            processing.standbys == 0 || processing.fetcher != ClientKind::Rdkafka,
            "processing.standbys",
            || format!("is {}, but librdkafka, as processing.fetcher says, follows no changelogs", processing.standbys),
            "set processing.fetcher to \"auto\", or no standbys",
        );
        rules.check(
            self.planned_memory() <= memory.budget.bytes(),
            "memory.budget",
            || {
                format!(
                    "{} is too little: block-cache {} + write-buffers {} + 1½ × read-cache {} + restore {} + {} stream threads × \
                     (consumer-queue {} + 2 × max-staged {} + producer {} MiB) + the process itself {} MiB = {} bytes",
                    memory.budget,
                    state.block_cache,
                    state.write_buffers,
                    state.read_cache,
                    memory.restore,
                    processing.stream_threads,
                    memory.consumer_queue,
                    processing.max_staged,
                    PRODUCER_BYTES >> 20,
                    PROCESS_BYTES >> 20,
                    self.planned_memory(),
                )
            },
            "raise the budget, or lower one of the parts",
        );
    }

    fn validate_sizes(&self, rules: &mut Rules<'_>) {
        let (memory, processing, state) = (&self.memory, &self.processing, &self.state);
        let mebibyte = 1 << 20;
        for (key, size) in [
            ("memory.consumer-queue", memory.consumer_queue),
            ("memory.restore", memory.restore),
            ("processing.max-staged", processing.max_staged),
            ("state.write-buffers", state.write_buffers),
            ("state.read-cache", state.read_cache),
        ] {
            let reason = || format!("{size} is below 1 MiB, where each record would wait for the one before");
            rules.check(size.bytes() >= mebibyte, key, reason, "raise it");
        }
        rules.check(
            processing.max_staged.bytes() <= 1 << 30,
            "processing.max-staged",
            || format!("{} is above 1 GiB, which no transaction should have", processing.max_staged),
            "64 MiB suits most",
        );
        for (key, size) in [("memory.fetch-max", memory.fetch_max), ("memory.partition-fetch", memory.partition_fetch)]
        {
            let reason = || format!("{size} is not between 1 kB and 1 GB, librdkafka's limits");
            rules.check((1_000..=1_000_000_000).contains(&size.bytes()), key, reason, "16 MiB and 256 KiB suit most");
        }
        rules.check(
            memory.partition_fetch <= memory.fetch_max,
            "memory.partition-fetch",
            || format!("{} is above memory.fetch-max ({})", memory.partition_fetch, memory.fetch_max),
            "lower it, or raise the other",
        );
        rules.check(
            memory.fetch_max <= memory.consumer_queue,
            "memory.fetch-max",
            || {
                format!(
                    "{} is above memory.consumer-queue ({}), which it has to fit into",
                    memory.fetch_max, memory.consumer_queue
                )
            },
            "lower it, or raise the other",
        );
    }

    fn validate_kafka(&self, rules: &mut Rules<'_>) {
        let kafka = &self.kafka;
        rules.check(
            kafka.bootstrap_servers.split(',').all(|server| {
                server
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.trim().is_empty() && port.trim().parse::<u16>().is_ok())
            }),
            "kafka.bootstrap-servers",
            || format!("`{}` is not a list of host:port", kafka.bootstrap_servers),
            "write it like \"broker-1:9092,broker-2:9092\"",
        );
        let protocol = kafka.security_protocol.name().replace('_', "-");
        // One mistake, one complaint: such a login has neither user nor password.
        if kafka.sasl_mechanism == Some(SaslMechanism::Oauthbearer) {
            rules.check(
                false,
                "kafka.sasl-mechanism",
                || "is oauthbearer, which librdkafka, the group's member, can't be given tokens for here".to_owned(),
                "use scram-sha-512, or a client certificate; by token log in programs that use the native clients alone",
            );
            return;
        }
        let login = [
            ("kafka.sasl-mechanism", kafka.sasl_mechanism.is_some()),
            ("kafka.sasl-username", kafka.sasl_username.is_some()),
            ("kafka.sasl-password", kafka.sasl_password.is_some()),
        ];
        for (key, is_set) in login {
            let sasl = kafka.security_protocol.has_sasl();
            let way_out = if sasl { "set it, or change the protocol" } else { "use sasl-ssl, or take it out" };
            let reason = || match sasl {
                true => format!("is needed for kafka.security-protocol = \"{protocol}\""),
                false => format!("is set, but kafka.security-protocol is \"{protocol}\": nobody would log in"),
            };
            rules.check(is_set == sasl, key, reason, way_out);
        }
        let has_tls = kafka.security_protocol.has_tls();
        for (key, is_set) in [
            ("kafka.ssl-ca-location", kafka.ssl_ca_location.is_some()),
            ("kafka.ssl-certificate-location", kafka.ssl_certificate_location.is_some()),
        ] {
            let reason =
                || format!("is set, but kafka.security-protocol is \"{protocol}\": nothing would be encrypted");
            rules.check(has_tls || !is_set, key, reason, "use ssl or sasl-ssl, or take it out");
        }
        rules.check(
            kafka.ssl_certificate_location.is_some() == kafka.ssl_key_location.is_some(),
            "kafka.ssl-key-location",
            || "certificate and key come as a pair".to_owned(),
            "set both of ssl-certificate-location and ssl-key-location, or neither",
        );
    }

    fn validate_http(&self, rules: &mut Rules<'_>) {
        let advertised = self.http.advertised.as_deref();
        rules.check(
            advertised.is_none_or(is_address),
            "http.advertised",
            || format!("`{}` is no host:port", advertised.unwrap_or_default()),
            "write it like \"host-1:9464\", without http://",
        );
    }

    fn validate_registry(&self, rules: &mut Rules<'_>) {
        let registry = &self.schema_registry;
        rules.check(
            registry
                .url
                .split(',')
                .all(|url| ["http://", "https://"].iter().any(|scheme| url.trim().starts_with(scheme))),
            "schema-registry.url",
            || "is not an http or https URL".to_owned(),
            "write it like \"http://registry:8081\"",
        );
        rules.check(
            !registry.url.contains('@'),
            "schema-registry.url",
            || "holds a user or a password, which the log would show".to_owned(),
            "use schema-registry.username and schema-registry.password-file",
        );
        rules.check(
            registry.token.is_none() || registry.password.is_none(),
            "schema-registry.token",
            || "is set beside schema-registry.password".to_owned(),
            "choose basic or bearer authentication",
        );
        rules.check(
            registry.username.is_some() == registry.password.is_some(),
            "schema-registry.password",
            || "user and password come as a pair".to_owned(),
            "set both of username and password, or neither",
        );
    }
}

/// Whether a text is `host:port` and nothing more: what comes before and after it in a URL is ours.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    plain && port.parse::<u16>().is_ok()
}
