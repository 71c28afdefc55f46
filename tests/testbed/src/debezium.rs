//! The configuration of a Debezium PostgreSQL connector.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::postgres::{DATABASE, Postgres, USER};
use crate::registry::Registry;

/// How the connector writes keys and values.
#[derive(Debug, Clone, Copy)]
pub enum Format<'a> {
    /// JSON objects.
    Json {
        /// Whether each record carries its schema: `{"schema": …, "payload": …}`.
        schemas: bool,
    },
    /// Avro, framed as Confluent does: a zero byte, the schema's id in four bytes, the datum.
    Avro(&'a Registry),
}

/// A connector that captures tables of one [`Postgres`].
///
/// Records go to the topics `<topic_prefix>.<schema>.<table>`, one partition each; a delete is followed by a tombstone.
#[derive(Debug, Clone)]
pub struct DebeziumPostgres<'a> {
    /// The database that it reads.
    pub postgres: &'a Postgres,
    /// First part of the topics' names; each connector of a worker needs its own, or the second waits a minute for the
    /// first one's JMX name.
    pub topic_prefix: String,
    /// Tables with their schema, as in `public.orders`.
    pub tables: Vec<String>,
    /// The replication slot; each connector needs its own. The publication gets the same name.
    pub slot: String,
    /// How it writes records.
    pub format: Format<'a>,
    /// Further settings; they win.
    pub extra: BTreeMap<String, String>,
}

impl DebeziumPostgres<'_> {
    /// What [`crate::Connect::create_connector`] takes.
    pub fn config(&self) -> Value {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        let mut set = |name: &str, value: &str| all.insert(name.to_owned(), value.to_owned());
        set("connector.class", "io.debezium.connector.postgresql.PostgresConnector");
        set("tasks.max", "1");
        set("plugin.name", "pgoutput");
        set("database.hostname", "127.0.0.1");
        set("database.port", &self.postgres.port().to_string());
        set("database.user", USER);
        set("database.password", "");
        set("database.dbname", DATABASE);
        set("topic.prefix", &self.topic_prefix);
        set("table.include.list", &self.tables.join(","));
        set("slot.name", &self.slot);
        set("publication.name", &self.slot);
        // Only the listed tables: a publication for all of them would need more rights and send more.
        set("publication.autocreate.mode", "filtered");
        set("topic.creation.default.replication.factor", "1");
        set("topic.creation.default.partitions", "1");
        // Both are half a second or more by default; a test waits for each of them.
        set("poll.interval.ms", "50");
        set("retriable.restart.connector.wait.ms", "500");
        for side in ["key", "value"] {
            for (name, value) in self.format.converter() {
                set(&format!("{side}.converter{name}"), &value);
            }
        }
        all.extend(self.extra.clone());
        Value::Object(all.into_iter().map(|(name, value)| (name, Value::String(value))).collect::<Map<_, _>>())
    }
}

impl Format<'_> {
    /// Settings after `key.converter` and `value.converter`.
    fn converter(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Json { schemas } => vec![
                ("", "org.apache.kafka.connect.json.JsonConverter".to_owned()),
                (".schemas.enable", schemas.to_string()),
            ],
            Self::Avro(registry) => vec![
                ("", "io.apicurio.registry.utils.converter.AvroConverter".to_owned()),
                // Apicurio's own API; the ids are the same in both.
                (".apicurio.registry.url", registry.native_url()),
                // The subject is `<topic>-key` or `<topic>-value`; by default an unknown schema is an error.
                (".apicurio.registry.auto-register", "true".to_owned()),
                (".apicurio.registry.auto-register.if-exists", "FIND_OR_CREATE_VERSION".to_owned()),
                // One schema in one piece: otherwise each nested record is a subject of its own, and clients have to
                // fetch them all.
                (".apicurio.registry.dereference-schema", "true".to_owned()),
                // The frame that Confluent's clients read: the id in the value and not in a header, in four bytes
                // and not eight; the content's id, which is what `/apis/ccompat/v7/schemas/ids` goes by.
                (".apicurio.registry.headers.enabled", "false".to_owned()),
                (".apicurio.registry.id-handler", "io.apicurio.registry.serde.Default4ByteIdHandler".to_owned()),
                (".apicurio.registry.use-id", "contentId".to_owned()),
            ],
        }
    }
}
