//! A driver with this topology, and events as Debezium 3.4 writes them for PostgreSQL.

use cdc_invalidation::config::Config;
use cdc_invalidation::rows::{Invalidation, RowKey, RowVersion};
use cdc_invalidation::{DEFAULTS, topology};
use headrace::codec::{AvroSchema, Binding, Codec, avro};
use headrace::config::Layers;
use headrace::record::Headers;
use headrace::store::{Store, StoreIndex, Stores};
use headrace::task::Outcome;
use headrace::testing::{Driven, TopologyDriver};
use serde_json::{Value, json};

use crate::cache::{Cache, View};

/// The topic of the table that most tests change.
pub(crate) const TOPIC: &str = "shop.public.items";

/// A driver, and the cache that its requests went to.
pub(crate) struct Bench {
    pub(crate) driver: TopologyDriver,
    pub(crate) cache: Cache,
    store: Store<RowKey, RowVersion>,
    config: Config,
}

impl Bench {
    /// With these `section.key=value` above the defaults.
    pub(crate) fn new(flags: &[&str]) -> Self {
        Self::with(flags, |_| {})
    }

    pub(crate) fn write_through() -> Self {
        Self::new(&["cdc.mode=write-through"])
    }

    pub(crate) fn with(flags: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let mut config = Layers::new(DEFAULTS).flags(flags).load::<Config>().unwrap().topology;
        change(&mut config);
        let driver = TopologyDriver::new(topology(&config).unwrap()).unwrap();
        let stores = Stores::rocks(avro::<RowKey>(), avro::<RowVersion>());
        let (_, store) = stores.build("row-versions", StoreIndex(0));
        bind(&driver, store.key_codec().as_ref(), RowKey::SCHEMA);
        bind(&driver, store.value_codec().as_ref(), RowVersion::SCHEMA);
        Bench { driver, cache: Cache::default(), store, config }
    }

    /// Sends an event at the partition's next offset and carries out what follows.
    pub(crate) fn send(&mut self, event: &Event) -> Outcome {
        let outcome = self.driver.send(
            &event.topic,
            event.partition,
            event.key.as_deref().map(str::as_bytes),
            event.value.as_deref().map(str::as_bytes),
            &event.headers,
        );
        self.settle();
        outcome.unwrap()
    }

    pub(crate) fn send_all<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) {
        for event in events {
            assert!(matches!(self.send(event), Outcome::Processed), "{event:?}");
        }
    }

    /// Sends an event again at the offset that it had, as after a kill.
    pub(crate) fn send_at(&mut self, offset: i64, event: &Event) {
        let (key, value) = (event.key.as_deref().map(str::as_bytes), event.value.as_deref().map(str::as_bytes));
        self.driver.send_at(&event.topic, event.partition, offset, key, value, &event.headers).unwrap();
        self.settle();
    }

    fn settle(&mut self) {
        for request in self.driver.take_requests("redis") {
            self.cache.call(&request);
        }
    }

    /// What a reader sees of the row in the table of [`TOPIC`] with this id.
    pub(crate) fn view(&self, id: i64) -> View {
        self.cache.view(&format!("public.items:{id}"), "headrace:cdc:public.items")
    }

    /// The stored version of the row with this key in partition 0.
    pub(crate) fn stored(&mut self, table: &str, key: &str) -> Option<RowVersion> {
        let key = RowKey { table: table.to_owned(), key: key.to_owned() };
        self.driver.read(&self.store, 0, &key).unwrap()
    }

    pub(crate) fn invalidations(&mut self) -> Vec<Invalidation> {
        let codec = avro::<Invalidation>();
        bind(&self.driver, &codec, Invalidation::SCHEMA);
        let taken = self.driver.take(&self.config.topics.invalidations);
        taken.iter().map(|driven| driven.value(&codec).unwrap()).collect()
    }

    pub(crate) fn dead_letters(&mut self) -> Vec<Driven> {
        self.driver.take(&self.config.topics.dead_letters)
    }
}

fn bind<T>(driver: &TopologyDriver, codec: &(impl Codec<T> + ?Sized), schema: &str) {
    let writer = codec.writer_schema().unwrap_or_else(|| schema.to_owned());
    let writer = Some(driver.schemas().register_local(&writer).unwrap());
    codec.bind(&Binding { schemas: driver.schemas().clone(), writer });
}

/// One record of a change topic.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Headers,
}

/// The default replica identity's `before` of a delete: invented values outside the key (fact F8).
fn invented(id: i64) -> Value {
    json!({"id": id, "name": "", "body": null})
}

/// A row of the table: id, name, body.
pub(crate) fn row(id: i64, name: &str) -> Value {
    json!({"id": id, "name": name, "body": format!("body of {name}")})
}

/// The row as the cache holds it.
pub(crate) fn content(id: i64, name: &str) -> View {
    View::Content(row(id, name).to_string())
}

impl Event {
    pub(crate) fn new(op: &str, id: i64, lsn: Option<u64>, before: &Value, after: &Value) -> Self {
        let source = json!({
            "version": "3.4.0.Final", "connector": "postgresql", "name": "shop", "ts_ms": 1_760_000_000_123_i64,
            "snapshot": if op == "r" { "true" } else { "false" }, "db": "shop",
            "sequence": format!("[\"{}\",\"{}\"]", lsn.unwrap_or(4000).saturating_sub(64), lsn.unwrap_or(4000)),
            "schema": "public", "table": "items", "txId": 771, "lsn": lsn, "xmin": null
        });
        let value = json!({"before": before, "after": after, "source": source, "transaction": null, "op": op,
            "ts_ms": 1_760_000_000_456_i64});
        Event {
            topic: TOPIC.to_owned(),
            partition: 0,
            key: Some(json!({"id": id}).to_string()),
            value: Some(value.to_string()),
            headers: Headers::new(),
        }
    }

    pub(crate) fn create(id: i64, lsn: u64, name: &str) -> Self {
        Self::new("c", id, Some(lsn), &Value::Null, &row(id, name))
    }

    pub(crate) fn update(id: i64, lsn: u64, name: &str) -> Self {
        Self::new("u", id, Some(lsn), &Value::Null, &row(id, name))
    }

    pub(crate) fn delete(id: i64, lsn: u64) -> Self {
        Self::new("d", id, Some(lsn), &invented(id), &Value::Null)
    }

    pub(crate) fn tombstone(id: i64) -> Self {
        Event { value: None, ..Self::delete(id, 0) }
    }

    /// Read by the initial snapshot, at the position of its slot.
    pub(crate) fn read(id: i64, lsn: u64, name: &str) -> Self {
        Self::new("r", id, Some(lsn), &Value::Null, &row(id, name))
    }

    /// Read by an incremental snapshot: without a position (fact F1).
    pub(crate) fn incremental(id: i64, name: &str) -> Self {
        Self::new("r", id, None, &Value::Null, &row(id, name)).source(|source| {
            source["snapshot"] = json!("incremental");
            source["txId"] = Value::Null;
        })
    }

    /// An update that leaves an unchanged TOAST column out.
    pub(crate) fn toasted(id: i64, lsn: u64, name: &str) -> Self {
        let after = json!({"id": id, "name": name, "body": "__debezium_unavailable_value"});
        Self::new("u", id, Some(lsn), &Value::Null, &after)
    }

    pub(crate) fn truncate(lsn: u64) -> Self {
        Event { key: None, ..Self::new("t", 0, Some(lsn), &Value::Null, &Value::Null) }
    }

    /// The event with another value.
    pub(crate) fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut value: Value = serde_json::from_str(self.value.as_deref().unwrap()).unwrap();
        edit(&mut value);
        self.value = Some(value.to_string());
        self
    }

    pub(crate) fn source(self, edit: impl FnOnce(&mut Value)) -> Self {
        self.edit(|value| edit(&mut value["source"]))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }
}

/// A primary-key update as Debezium sends it: delete and tombstone of the old key, create of the new, at one position.
pub(crate) fn moved(from: i64, to: i64, lsn: u64, after: &Value) -> [Event; 3] {
    let (old, new) = (json!({"id": from}).to_string(), json!({"id": to}).to_string());
    [
        Event::delete(from, lsn).header("__debezium.newkey", &new),
        Event::tombstone(from),
        Event::new("c", to, Some(lsn), &Value::Null, after).header("__debezium.oldkey", &old),
    ]
}
