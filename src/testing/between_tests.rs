//! What goes through repartition topics, and what is looked up, in the driver.

use super::*;
use crate::codec::{nullable, text};
use crate::dead_letter::Policy;
use crate::partitioner::partition_of;
use crate::processor::{Context, Fault, Processor, Punctuator, Tick};
use crate::record::{Headers, Record, Timestamp};
use crate::store::{Bounds, GlobalTable, Store, StoreIndex, Stores, Table};
use crate::task::{Outcome, TaskFault};
use crate::topology::Topology;

/// The value becomes the key.
#[derive(Clone)]
struct Rekey;

impl Processor for Rekey {
    type KeyIn = Option<String>;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn process(
        &mut self,
        record: &Record<Option<String>, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        context.forward(&record.map(record.value.clone(), record.key.clone().unwrap_or_default()));
        Ok(())
    }
}

/// Counts by key, with the key's name in a table, and ticks each second of stream time.
#[derive(Clone)]
struct Count {
    counts: Store<String, String>,
    names: Table<String, String>,
}

impl Processor for Count {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.counts.index(), self.names.index()]
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        vec![Punctuator::stream_time("second", std::time::Duration::from_secs(1)).anchored_at(Timestamp(0))]
    }

    fn punctuate(&mut self, tick: &Tick<'_>, context: &mut Context<'_, String, String>) -> Result<(), Fault> {
        context.forward(&Record::new("tick".to_owned(), tick.at.0.to_string(), tick.at));
        Ok(())
    }

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let count = context.store(&self.counts).read(&record.key)?.map_or(0, |count| count.parse().unwrap_or(0)) + 1;
        context.store(&self.counts).write(&record.key, Some(&count.to_string()))?;
        let name = context.table(&self.names).read(&record.key)?.unwrap_or_else(|| "?".to_owned());
        let all = context.table(&self.names).prefix(b"")?.count();
        context.forward(&record.map(record.key.clone(), format!("{count} {name} of {all} at {}", context.partition())));
        Ok(())
    }
}

struct Shop {
    driver: TopologyDriver,
    counts: Store<String, String>,
    names: Table<String, String>,
}

fn shop(partitions: i32) -> Shop {
    let mut builder = Topology::builder("shop");
    let orders = builder.source("orders", "orders", (nullable(text()), text()));
    let rekeyed = builder.process("rekey", orders, Rekey);
    let by_colour = builder.repartition("by-colour", rekeyed, text(), text());
    let counts = builder.store("counts", Stores::memory(text(), text()));
    let names = builder.table("names", "names", text(), text());
    let counted = builder.process("count", by_colour, Count { counts: counts.clone(), names: names.clone() });
    builder.sink("out", counted, "out", text(), text());
    builder.dead_letters("dead", Policy::after_attempts(1));
    let mut driver = TopologyDriver::new(builder.build().unwrap()).unwrap();
    driver.partitions = partitions;
    Shop { driver, counts, names }
}

impl Shop {
    fn order(&mut self, partition: i32, key: &str, colour: &str, time: i64) {
        self.driver.record_time = Some(Timestamp(time));
        let mut headers = Headers::new();
        headers.push("from", key);
        let sent = self.driver.send("orders", partition, Some(key.as_bytes()), Some(colour.as_bytes()), &headers);
        assert!(matches!(sent, Ok(Outcome::Processed)), "{sent:?}");
    }

    fn name(&mut self, partition: i32, key: Option<&[u8]>, name: Option<&[u8]>, time: i64) -> Outcome {
        self.driver.record_time = Some(Timestamp(time));
        self.driver.send("names", partition, key, name, &Headers::new()).unwrap()
    }

    fn out(&mut self) -> Vec<(String, i64)> {
        self.driver.take("out").into_iter().map(|out| (out.value(&text()).unwrap(), out.timestamp.0)).collect()
    }
}

#[test]
fn equal_keys_of_all_partitions_meet_in_one_task() {
    let mut shop = shop(4);
    for (at, partition) in [0, 3, 1, 0].into_iter().enumerate() {
        shop.order(partition, "k", "red", 100 + at as i64);
    }
    let home = partition_of(b"red", 4);
    let expected: Vec<_> = (1..=4).map(|count| (format!("{count} ? of 0 at {home}"), 99 + count)).collect();
    assert_eq!(shop.out(), expected, "timestamps are carried over");
    assert_eq!(shop.driver.read(&shop.counts, home.0, &"red".to_owned()).unwrap(), Some("4".to_owned()));
    let between = shop.driver.take("shop-by-colour-repartition");
    assert_eq!(between.len(), 4);
    assert_eq!((between[0].key.as_deref(), between[0].headers.last("from")), (Some(&b"red"[..]), Some(&b"k"[..])));
}

#[test]
fn a_table_is_what_its_topic_says_when_the_record_is_processed() {
    let mut shop = shop(1);
    shop.order(0, "k", "red", 1);
    shop.name(0, Some(b"red"), Some(b"rouge"), 2);
    shop.name(0, Some(b"blue"), Some(b"bleu"), 2);
    shop.order(0, "k", "red", 3);
    shop.name(0, Some(b"red"), Some(b"rosso"), 4);
    shop.order(0, "k", "red", 5);
    assert_eq!(shop.driver.read_table(&shop.names, 0, &"red".to_owned()).unwrap(), Some("rosso".to_owned()));
    shop.name(0, Some(b"red"), None, 6);
    shop.order(0, "k", "red", 7);
    let values: Vec<_> = shop.out().into_iter().map(|(value, _)| value).collect();
    assert_eq!(values, ["1 ? of 0 at 0", "2 rouge of 2 at 0", "3 rosso of 2 at 0", "4 ? of 1 at 0"]);
    assert_eq!(shop.driver.take("shop-names-changelog"), [], "its topic is its changelog");
}

#[test]
fn a_table_moves_no_stream_time() {
    let mut shop = shop(1);
    shop.order(0, "k", "red", 500);
    shop.name(0, Some(b"red"), Some(b"rouge"), 5_000);
    assert_eq!(shop.out().len(), 1, "no tick");
    shop.order(0, "k", "red", 1_000);
    assert_eq!(shop.out(), [("1000".to_owned(), 1_000), ("2 rouge of 1 at 0".to_owned(), 1_000)]);
}

#[test]
fn what_can_not_be_decoded_is_set_aside_and_never_an_older_value() {
    let mut shop = shop(1);
    shop.name(0, Some(b"red"), Some(b"rouge"), 1);
    let outcome = shop.name(0, Some(b"red"), Some(b"\xff"), 2);
    assert!(matches!(outcome, Outcome::SetAside { .. }), "{outcome:?}");
    assert_eq!(shop.driver.take("dead").len(), 1);
    shop.order(0, "k", "red", 3);
    assert_eq!(shop.out(), [], "the record that looks it up is set aside as well");
    assert_eq!(shop.driver.take("dead").len(), 1);
    let outcome = shop.name(0, None, Some(b"nobody's"), 4);
    assert!(matches!(outcome, Outcome::SetAside { .. }), "a record without a key is of no table: {outcome:?}");
    shop.name(0, Some(b"red"), Some(b"rot"), 5);
    shop.order(0, "k", "red", 6);
    assert_eq!(shop.out(), [("1 rot of 1 at 0".to_owned(), 6)]);
}

#[test]
fn what_a_restore_has_brought_is_not_applied_again() {
    let mut shop = shop(1);
    shop.name(0, Some(b"red"), Some(b"rouge"), 1);
    shop.name(0, Some(b"red"), Some(b"rosso"), 2);
    let late = shop.driver.send_at("names", 0, 0, Some(b"red"), Some(b"rouge"), &Headers::new()).unwrap();
    assert!(matches!(late, Outcome::Processed));
    assert_eq!(shop.driver.read_table(&shop.names, 0, &"red".to_owned()).unwrap(), Some("rosso".to_owned()));
}

/// Refuses at first what it is given.
#[derive(Clone)]
struct Refuse(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Processor for Refuse {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        use crate::error::{RecordError, Stage};
        if self.0.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return Err(RecordError::new(Stage::Process, "refused", "as it asked").into());
        }
        context.forward(record);
        Ok(())
    }
}

#[test]
fn what_fails_behind_a_repartition_waits_in_it() {
    let mut builder = Topology::builder("shop");
    let orders = builder.source("orders", "orders", (text(), text()));
    let through = builder.repartition("through", orders, text(), text());
    let out = builder.process("refuse", through, Refuse(std::sync::Arc::new(true.into())));
    builder.sink("out", out, "out", text(), text());
    let mut driver = TopologyDriver::new(builder.build().unwrap()).unwrap();
    let mut send = |value: &str| {
        let sent = driver.send("orders", 0, Some(b"k"), Some(value.as_bytes()), &Headers::new());
        (sent.map(drop), driver.take("out").iter().map(|out| out.value(&text()).unwrap()).collect::<Vec<String>>())
    };
    let (failed, out) = send("first");
    assert!(matches!(failed, Err(TaskFault::Unhandled { .. })) && out.is_empty(), "{failed:?} {out:?}");
    let (sent, out) = send("second");
    assert!(sent.is_ok(), "{sent:?}");
    assert_eq!(out, ["first", "second"], "in the order of the topic");
}

/// Gives each record the rate of its key, which may be of any partition.
#[derive(Clone)]
struct Rate(GlobalTable<String, String>);

impl Processor for Rate {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let rate = context.global(&self.0).read(&record.key)?.unwrap_or_else(|| "none".to_owned());
        let all: Result<Vec<_>, _> = context.global(&self.0).range(Bounds::ALL)?.collect();
        context.forward(&record.map(record.key.clone(), format!("{rate} of {}", all?.len())));
        Ok(())
    }
}

#[test]
fn a_global_table_is_one_for_all_partitions_and_sub_topologies() {
    let mut builder = Topology::builder("shop");
    let rates = builder.global_table("rates", "rates", text(), text());
    let orders = builder.source("orders", "orders", (text(), text()));
    let rated = builder.process("before", orders, Rate(rates.clone()));
    builder.sink("first", rated, "first", text(), text());
    let through = builder.repartition("through", orders, text(), text());
    let rated = builder.process("after", through, Rate(rates));
    builder.sink("second", rated, "second", text(), text());
    builder.dead_letters("dead", Policy::after_attempts(1));
    let topology = builder.build().unwrap();
    assert_eq!(topology.sub_topologies(), 2, "it joins nothing");
    let drawn = topology.describe().render(crate::topology::Format::Text);
    assert!(
        drawn.contains("   Sub-topology: 2 for global store (will not generate tasks)\n    Source: rates-source"),
        "{drawn}"
    );
    let mut driver = TopologyDriver::new(topology).unwrap();
    let send = |driver: &mut TopologyDriver, topic: &str, partition, key: &str, value: Option<&str>| {
        driver.send(topic, partition, Some(key.as_bytes()), value.map(str::as_bytes), &Headers::new()).unwrap();
        let out = |driver: &mut TopologyDriver, topic| -> Option<String> {
            driver.take(topic).first().map(|out| out.value(&text()).unwrap())
        };
        [out(driver, "first"), out(driver, "second")]
    };
    let both = |text: &str| [Some(text.to_owned()), Some(text.to_owned())];
    assert_eq!(send(&mut driver, "orders", 2, "eur", Some("1")), both("none of 0"));
    assert_eq!(send(&mut driver, "rates", 0, "eur", Some("1.08")), [None, None]);
    assert_eq!(send(&mut driver, "rates", 5, "chf", Some("1.1")), [None, None]);
    assert_eq!(send(&mut driver, "orders", 3, "eur", Some("2")), both("1.08 of 2"));
    send(&mut driver, "rates", 5, "chf", None);
    assert_eq!(send(&mut driver, "orders", 1, "chf", Some("3")), both("none of 1"));
}
