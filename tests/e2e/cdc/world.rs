//! What one test works with: a database schema, its topics, the binary, and the cache as a reader sees it.
//!
//! One connector, which captures every schema that begins with `e2e_`, serves all tests that need no settings of their
//! own: a connector takes seconds to start.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use testbed::{DebeziumPostgres, Format, Testbed};

use crate::support::records::Stored;
use crate::support::{App, DEADLINE, Session, Spec, Topics, bed, eventually, expect};

/// Topic prefix and slot of the connector that most tests share.
pub(crate) const SHARED: &str = "shared";
/// Table by which snapshots are asked for.
pub(crate) const SIGNALS: &str = "e2e_signals.signals";

/// What a reader sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum View {
    Hit(String),
    Absent,
    /// With the token for a fill.
    Miss(String),
}

impl View {
    /// The columns of a hit.
    pub(crate) fn row(&self) -> Option<Value> {
        match self {
            View::Hit(content) => Some(serde_json::from_str(content).unwrap()),
            View::Absent | View::Miss(_) => None,
        }
    }
}

/// A connector of a test's own.
pub(crate) struct Connector {
    pub(crate) schemas: bool,
    pub(crate) avro: bool,
    pub(crate) extra: BTreeMap<String, String>,
}

impl Connector {
    pub(crate) fn json() -> Self {
        Connector { schemas: false, avro: false, extra: BTreeMap::new() }
    }

    /// With a property of Debezium's.
    pub(crate) fn with(mut self, property: &str, value: &str) -> Self {
        self.extra.insert(property.to_owned(), value.to_owned());
        self
    }
}

/// What a test asks for.
pub(crate) struct Setup {
    name: String,
    tables: Vec<(String, String)>,
    rows: String,
    partitions: i32,
    write_through: bool,
    cdc: String,
    redis_url: Option<String>,
    set: Vec<String>,
    further_topics: Vec<String>,
    connector: Option<Connector>,
    captured: bool,
}

impl Setup {
    /// `name` must be unique among all tests.
    pub(crate) fn new(name: &str) -> Self {
        Setup {
            name: name.to_owned(),
            tables: Vec::new(),
            rows: String::new(),
            partitions: 1,
            write_through: true,
            cdc: String::new(),
            redis_url: None,
            set: Vec::new(),
            further_topics: Vec::new(),
            connector: None,
            captured: true,
        }
    }

    /// A table and its columns.
    pub(crate) fn table(mut self, name: &str, columns: &str) -> Self {
        self.tables.push((name.to_owned(), columns.to_owned()));
        self
    }

    /// The table of most tests.
    pub(crate) fn items(self) -> Self {
        self.table("items", "id int PRIMARY KEY, name text NOT NULL")
    }

    /// Statements that run before anything captures or consumes. Not with the shared connector: it may be there already.
    pub(crate) fn rows(mut self, statements: &str) -> Self {
        statements.clone_into(&mut self.rows);
        self
    }

    pub(crate) fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = partitions;
        self
    }

    pub(crate) fn invalidate(mut self) -> Self {
        self.write_through = false;
        self
    }

    /// Lines of the section `[cdc]`.
    pub(crate) fn cdc(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.cdc);
        self
    }

    /// Another Redis than the shared one.
    pub(crate) fn redis(mut self, url: &str) -> Self {
        self.redis_url = Some(url.to_owned());
        self
    }

    pub(crate) fn set(mut self, setting: &str) -> Self {
        self.set.push(setting.to_owned());
        self
    }

    /// A topic beside those of the tables.
    pub(crate) fn topic(mut self, topic: &str) -> Self {
        self.further_topics.push(topic.to_owned());
        self
    }

    pub(crate) fn connector(mut self, connector: Connector) -> Self {
        self.connector = Some(connector);
        self
    }

    /// No connector: the test produces the records.
    pub(crate) fn produced(mut self) -> Self {
        self.captured = false;
        self
    }

    /// Makes it all, and starts the binary.
    pub(crate) fn start(self) -> World {
        let mut world = self.prepare();
        world.app.apply();
        world.app.start_again();
        world
    }

    /// The same without the binary.
    pub(crate) fn prepare(self) -> World {
        let shared = self.connector.is_none() && self.captured;
        assert!(self.rows.is_empty() || !shared, "the shared connector may capture these rows, or not");
        let bed = bed();
        let schema = format!("e2e_{}", self.name);
        let prefix = if shared { SHARED } else { self.name.as_str() };
        let topics = Topics::new(bed.kafka().unwrap().bootstrap_servers());
        let sql = Session::new(bed.postgres().unwrap());
        sql.sql(&format!("CREATE SCHEMA {schema}; SET search_path TO {schema}"));
        let mut inputs = self.further_topics.clone();
        for (table, columns) in &self.tables {
            sql.sql(&format!("CREATE TABLE {table} ({columns})"));
            let topic = format!("{prefix}.{schema}.{table}");
            topics.create_with(&topic, self.partitions, &[("max.message.bytes", "4000000")]);
            inputs.push(topic);
        }
        if !self.rows.is_empty() {
            sql.sql(&self.rows);
        }
        match &self.connector {
            Some(connector) => start_connector(&bed, &self.name, &schema, connector),
            None if self.captured => share_connector(&bed),
            None => {}
        }
        let url = self.redis_url.clone().unwrap_or_else(|| bed.redis().unwrap().url().to_owned());
        let sections = format!(
            "[topics]\nrow-changes = {inputs:?}\ninvalidations = \"{name}.invalidations\"\n\
             dead-letters = \"{name}.dead-letters\"\n[redis]\nurl = \"{url}\"\nnamespace = \"{name}\"\n\
             [cdc]\nmode = \"{mode}\"\n{cdc}\n",
            name = self.name,
            mode = if self.write_through { "write-through" } else { "invalidate" },
            cdc = self.cdc,
        );
        let spec = Spec { binary: "cdc-invalidation", id: self.name.clone(), sections, set: self.set };
        let app = App::prepare(&bed, spec);
        World {
            app,
            url,
            connection: RefCell::new(None),
            prefix: prefix.to_owned(),
            schema,
            name: self.name,
            sql,
            topics,
            inputs,
            bed,
        }
    }
}

fn start_connector(bed: &Arc<Testbed>, name: &str, schema: &str, connector: &Connector) {
    let format = match connector.avro {
        true => Format::Avro(bed.registry().unwrap()),
        false => Format::Json { schemas: connector.schemas },
    };
    create_connector(bed, name, &format!("{schema}[.].*"), format, &connector.extra);
}

fn share_connector(bed: &Arc<Testbed>) {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if *started {
        return;
    }
    let columns = "id varchar(64) PRIMARY KEY, type varchar(32), data varchar(2048)";
    let sql = Session::new(bed.postgres().unwrap());
    sql.sql(&format!("CREATE SCHEMA e2e_signals; CREATE TABLE {SIGNALS} ({columns})"));
    let topics = Topics::new(bed.kafka().unwrap().bootstrap_servers());
    topics.create(&format!("{SHARED}.{SIGNALS}"), 1);
    topics.create(&format!("{SHARED}.message"), 1);
    let extra = [
        ("publication.autocreate.mode", "all_tables"),
        ("snapshot.mode", "no_data"),
        ("skipped.operations", "none"),
        ("signal.data.collection", SIGNALS),
    ];
    let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    create_connector(bed, SHARED, "e2e_.*[.].*", Format::Json { schemas: false }, &extra);
    *started = true;
}

/// Creates a connector and waits until it streams.
pub(crate) fn create_connector(
    bed: &Testbed,
    name: &str,
    tables: &str,
    format: Format<'_>,
    extra: &BTreeMap<String, String>,
) {
    let (postgres, connect) = (bed.postgres().unwrap(), bed.connect().unwrap());
    let (slot, tables) = (format!("slot_{name}"), vec![tables.to_owned()]);
    let topic_prefix = name.to_owned();
    let connector = DebeziumPostgres { postgres, topic_prefix, tables, slot, format, extra: extra.clone() };
    connect.create_connector(name, &connector.config()).unwrap();
    connect.wait_running(name, DEADLINE).unwrap();
    let sql = Session::new(postgres);
    let slot = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'slot_{name}' AND active");
    eventually("an active slot", || expect(&sql.sql(&slot).len(), &1));
}

pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) sql: Session,
    pub(crate) topics: Topics,
    pub(crate) name: String,
    pub(crate) schema: String,
    pub(crate) bed: Arc<Testbed>,
    prefix: String,
    url: String,
    connection: RefCell<Option<redis::Connection>>,
    inputs: Vec<String>,
}

impl World {
    pub(crate) fn sql(&self, statements: &str) -> Vec<Vec<String>> {
        self.sql.sql(statements)
    }

    /// A second session in the same schema.
    pub(crate) fn session(&self) -> Session {
        let session = Session::new(self.bed.postgres().unwrap());
        session.sql(&format!("SET search_path TO {}", self.schema));
        session
    }

    pub(crate) fn topic(&self, table: &str) -> String {
        format!("{}.{}.{table}", self.prefix, self.schema)
    }

    /// The records of a table's topic.
    pub(crate) fn records(&self, table: &str) -> Vec<Stored> {
        self.topics.read(&self.topic(table))
    }

    /// Waits until the table's topic has records that fulfil `enough`, and gives them.
    #[track_caller]
    pub(crate) fn wait_records(&self, table: &str, what: &str, enough: impl Fn(&[Stored]) -> bool) -> Vec<Stored> {
        eventually(what, || {
            let records = self.records(table);
            if enough(&records) { Ok(records) } else { Err(format!("{} records", records.len())) }
        })
    }

    /// Waits until all tables' topics together hold at least `records`, and all that they hold has been committed.
    #[track_caller]
    pub(crate) fn settled(&self, records: i64) {
        eventually(&format!("{records} records to be processed"), || {
            let mut all = 0;
            for topic in &self.inputs {
                for partition in 0..self.topics.partitions(topic) {
                    let end = self.topics.end(topic, partition);
                    let committed = self.topics.committed(&self.name, topic, partition).unwrap_or(0);
                    if committed < end {
                        return Err(format!("{topic}-{partition} is at {committed} of {end}"));
                    }
                    all += end;
                }
            }
            if all >= records { Ok(()) } else { Err(format!("there are {all}")) }
        });
    }

    /// Waits until all changes of the table `items` have gone all the way: rows that nobody has heard of yet, enough of
    /// them to be in each partition, are written and deleted.
    #[track_caller]
    pub(crate) fn settled_with_the_connector(&self) {
        self.sql("INSERT INTO items SELECT -id, 'last' FROM generate_series(1, 20) id; DELETE FROM items WHERE id < 0");
        for id in 1..=20 {
            self.wait_absent("items", &format!("-{id}"));
        }
        self.settled(1);
    }

    pub(crate) fn dead_letters(&self) -> Vec<Stored> {
        self.topics.read(&format!("{}.dead-letters", self.name))
    }

    /// How many invalidations were committed.
    pub(crate) fn invalidations(&self) -> usize {
        self.topics.read(&format!("{}.invalidations", self.name)).len()
    }

    /// Replies of Redis of one kind since the process started.
    pub(crate) fn replies(&self, outcome: &str) -> f64 {
        self.app.metric("headrace_external_requests_total", &format!("outcome=\"{outcome}\""))
    }

    /// Asks Redis; on a new connection if the old one is gone.
    #[track_caller]
    pub(crate) fn redis<T: redis::FromRedisValue>(&self, arguments: &[&str]) -> T {
        let mut command = redis::cmd(arguments[0]);
        arguments[1..].iter().for_each(|argument| {
            command.arg(*argument);
        });
        let mut kept = self.connection.borrow_mut();
        if let Some(answer) = kept.as_mut().and_then(|connection| command.query(connection).ok()) {
            return answer;
        }
        let mut connection = redis::Client::open(self.url.as_str()).unwrap().get_connection().unwrap();
        let answer = command.query(&mut connection).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        *kept = Some(connection);
        answer
    }

    /// Loads lines of tab-separated columns by one COPY.
    pub(crate) fn copy(&self, table: &str, lines: &str) {
        let path = self.bed.dirs().unwrap().root().join(format!("copy-{}", self.name));
        std::fs::write(&path, lines).unwrap();
        self.sql(&format!("COPY {table} FROM '{}'", path.display()));
    }

    /// The cache key of a row.
    pub(crate) fn key(&self, table: &str, pk: &str) -> String {
        format!("{}.{table}:{pk}", self.schema)
    }

    fn keys(&self, table: &str, pk: &str) -> [String; 3] {
        [self.key(table, pk), self.table_key(table), self.name.clone()]
    }

    fn table_key(&self, table: &str) -> String {
        format!("{}:{}.{table}", self.name, self.schema)
    }

    /// What a reader sees of a row.
    pub(crate) fn read(&self, table: &str, pk: &str) -> View {
        self.read_at(&self.key(table, pk), table)
    }

    /// What a reader sees under a cache key.
    pub(crate) fn read_at(&self, entry: &str, table: &str) -> View {
        let (table, realm) = (self.table_key(table), &self.name);
        let reply: Vec<String> = self.redis(&["FCALL", "headrace_read", "3", entry, &table, realm, "30000"]);
        match (reply[0].as_str(), reply.get(1)) {
            ("hit", Some(content)) => View::Hit(content.clone()),
            ("absent", None) => View::Absent,
            ("miss", Some(token)) => View::Miss(token.clone()),
            other => panic!("headrace_read gave {other:?}"),
        }
    }

    /// The token of a miss.
    #[track_caller]
    pub(crate) fn token(&self, table: &str, pk: &str) -> String {
        match self.read(table, pk) {
            View::Miss(token) => token,
            other => panic!("no miss: {other:?}"),
        }
    }

    /// What becomes of a reader's fill. It lives longer than any test waits: expiry must not look like invalidation.
    pub(crate) fn fill(&self, table: &str, pk: &str, token: &str, content: &str) -> String {
        let [entry, table, realm] = self.keys(table, pk);
        self.redis(&["FCALL", "headrace_fill", "3", &entry, &table, &realm, token, "600000", content])
    }

    /// Waits until a reader sees this row.
    #[track_caller]
    pub(crate) fn wait_row(&self, table: &str, pk: &str, row: &Value) {
        eventually(&format!("{table} {pk} to be {row}"), || expect(&self.read(table, pk).row().as_ref(), &Some(row)));
    }

    #[track_caller]
    pub(crate) fn wait_absent(&self, table: &str, pk: &str) {
        eventually(&format!("{table} {pk} to be known as gone"), || expect(&self.read(table, pk), &View::Absent));
    }

    #[track_caller]
    pub(crate) fn wait_miss(&self, table: &str, pk: &str) {
        eventually(&format!("{table} {pk} to be a miss"), || match self.read(table, pk) {
            View::Miss(_) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Produces a record to a table's topic.
    pub(crate) fn produce(&self, table: &str, record: &Stored) {
        self.topics.produce(&self.topic(table), record);
    }

    /// Asks the shared connector for an incremental snapshot of a table.
    pub(crate) fn snapshot(&self, table: &str) {
        let data = format!(r#"{{"data-collections": ["{}.{table}"], "type": "incremental"}}"#, self.schema);
        self.sql(&format!("INSERT INTO {SIGNALS} VALUES ('{}-{table}', 'execute-snapshot', '{data}')", self.name));
    }
}

/// A record as Debezium writes it, for what it can't be made to send: in table `items` of the test `name`.
pub(crate) fn event(name: &str, op: &str, id: i64, lsn: u64, after: &Value) -> Stored {
    let source = serde_json::json!({"version": "3.4.0.Final", "connector": "postgresql", "name": name,
        "ts_ms": 1_760_000_000_123_i64, "snapshot": "false", "db": "postgres", "schema": format!("e2e_{name}"),
        "sequence": format!("[\"{lsn}\",\"{lsn}\"]"), "table": "items", "txId": 771, "lsn": lsn, "xmin": null});
    let before = if op == "d" { serde_json::json!({"id": id, "name": ""}) } else { Value::Null };
    let value = serde_json::json!({"before": before, "after": after, "source": source, "transaction": null, "op": op});
    Stored {
        partition: 0,
        offset: 0,
        key: Some(serde_json::json!({"id": id}).to_string().into_bytes()),
        value: Some(value.to_string().into_bytes()),
        headers: Vec::new(),
    }
}

/// A row of the table `items`.
pub(crate) fn item(id: i64, name: &str) -> Value {
    serde_json::json!({"id": id, "name": name})
}
