//! A log without brokers and targets: what is asked of targets is seen, and answered as a test has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headrace::codec::{Avro, AvroSchema, Binding, Codec, avro};
use headrace::config::{Layers, Loaded};
use headrace::processor::Reply;
use headrace::record::{Headers, Timestamp};
use headrace::task::Outcome;
use headrace::testing::{Driven, ManualClock, TopologyDriver};
use serde::Serialize;
use serde::de::DeserializeOwned;
use write_ahead_log::call::Call;
use write_ahead_log::config::Config;
use write_ahead_log::conflict::Conflict;
use write_ahead_log::entry::{Action, Command, MutationResult, State, lane};
use write_ahead_log::group::{GroupRecord, GroupResult};
use write_ahead_log::mutation::{Mutation, Operation};
use write_ahead_log::namespace::{Namespace, TargetKind, TargetSpec};
use write_ahead_log::{DEFAULTS, topology};

/// When the clock of each test begins.
pub(crate) const BEGIN: i64 = 1_700_000_000_000;
/// The only partition.
pub(crate) const HERE: i32 = 0;

const LANES: &str = "write-ahead-log-lanes-repartition";

/// What the targets have, and what they don't do.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Keys whose calls fail, with the target's hint.
    pub(crate) failing: BTreeMap<String, Option<Duration>>,
    /// Keys whose calls are refused.
    pub(crate) refusing: BTreeSet<String>,
    /// What was applied, in its order: target, key, token.
    pub(crate) applied: Vec<(String, String, String)>,
    /// What was asked: key and attempt.
    pub(crate) asked: Vec<(String, i32)>,
    /// What other regions were told.
    pub(crate) told: Vec<Call>,
    /// Whether they can't be.
    pub(crate) apart: bool,
    /// Whether their answers are lost.
    pub(crate) unheard: bool,
    /// The highest number that was applied, by target and key.
    numbers: BTreeMap<(String, String), i64>,
}

impl World {
    fn answer(&mut self, call: &Call) -> Reply {
        if call.target.kind == TargetKind::Region {
            return self.tell(call);
        }
        self.asked.push((call.key.clone(), call.attempt));
        if let Some(after) = self.failing.get(&call.key) {
            return Reply::Failed { reason: "not now".to_owned(), after: *after };
        }
        if self.refusing.contains(&call.key) {
            return Reply::Refused("never".to_owned());
        }
        let place = (call.target.name.clone(), call.key.clone());
        let before = self.numbers.insert(place.clone(), call.number);
        assert!(before.is_none_or(|before| before < call.number), "a fence would refuse {call:?} after {before:?}");
        self.applied.push((place.0, place.1, call.token.clone()));
        Reply::Done("applied")
    }

    fn tell(&mut self, call: &Call) -> Reply {
        if !self.apart {
            self.told.push(call.clone());
        }
        match self.apart || self.unheard {
            true => Reply::Failed { reason: "no answer".to_owned(), after: None },
            false => Reply::Done("durable"),
        }
    }
}

pub(crate) struct Bench {
    pub(crate) driver: TopologyDriver,
    pub(crate) world: Arc<Mutex<World>>,
    sent: u64,
    /// Why mutations became dead letters.
    pub(crate) refused: Vec<String>,
    /// What the topology has written to topics that it reads.
    carried: VecDeque<Driven>,
    region: String,
    /// Keys of stores, by the stores' names.
    alive: BTreeMap<String, BTreeSet<Vec<u8>>>,
}

fn config(region: &str) -> Config {
    let Loaded { topology: mut config, .. } =
        Layers::new(DEFAULTS).load::<Config>().expect("the defaults are a configuration");
    config.region.name = region.to_owned();
    config
}

/// A namespace of one target, which tries thrice, a second after a failure, two after the next.
pub(crate) fn namespace() -> Namespace {
    let mut namespace = Namespace { targets: vec![target("cache")], ..Namespace::default() };
    namespace.retry.max_attempts = 3;
    namespace.retry.backoff_ms = 1_000;
    namespace.retry.longest_backoff_ms = 60_000;
    namespace.breaker.failures = 0;
    namespace
}

pub(crate) fn target(name: &str) -> TargetSpec {
    TargetSpec::new(name, TargetKind::Http, "http://localhost:1/{key}")
}

impl Bench {
    /// With the namespace `shop`.
    pub(crate) fn new(namespace: &Namespace) -> Self {
        Bench::in_region("", namespace)
    }

    /// The same as one region of several.
    pub(crate) fn in_region(region: &str, namespace: &Namespace) -> Self {
        let mut driver = TopologyDriver::new(topology(&config(region)).unwrap()).unwrap();
        driver.clock = ManualClock::at(Timestamp(BEGIN));
        let world = Arc::new(Mutex::new(World::default()));
        let own = Arc::clone(&world);
        driver.answer("targets", move |body| own.lock().unwrap().answer(&Call::decode(body).unwrap()));
        let (refused, carried, alive) = (Vec::new(), VecDeque::new(), BTreeMap::new());
        let mut bench = Bench { driver, world, sent: 0, refused, carried, region: region.to_owned(), alive };
        bench.set("shop", namespace);
        bench.driver.assign(HERE).unwrap();
        bench
    }

    /// Sets a namespace.
    pub(crate) fn set(&mut self, name: &str, namespace: &Namespace) {
        let value = self.encoded(namespace);
        let topic = "write-ahead-log.namespaces";
        self.driver.send(topic, HERE, Some(name.as_bytes()), Some(&value), &Headers::new()).unwrap();
    }

    /// As whoever starts it again, over the same stores.
    pub(crate) fn restart(&mut self) {
        self.driver.restart(topology(&config(&self.region)).unwrap()).unwrap();
    }

    fn bound<T: AvroSchema + Serialize + DeserializeOwned + Send + Sync + 'static>(&self) -> Avro<T> {
        let (codec, schemas) = (avro::<T>(), Arc::clone(self.driver.schemas()));
        let writer = Some(schemas.register_local(T::SCHEMA).unwrap());
        codec.bind(&Binding { schemas, writer });
        codec
    }

    fn encoded<T: AvroSchema + Serialize + DeserializeOwned + Send + Sync + 'static>(&self, value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.bound::<T>().encode(value, &mut bytes).unwrap();
        bytes
    }

    /// A put of a key, under a token of its own; gives the token.
    pub(crate) fn put(&mut self, key: &str) -> String {
        self.send(self.mutation(key))
    }

    pub(crate) fn mutation(&self, key: &str) -> Mutation {
        Mutation {
            namespace: "shop".to_owned(),
            token: format!("{key}-{}", self.sent),
            created_at: self.driver.clock.now().0,
            key: key.to_owned(),
            operation: Operation::Put,
            value: Some(b"{}".to_vec()),
            ..Mutation::default()
        }
    }

    pub(crate) fn send(&mut self, mutation: Mutation) -> String {
        self.sent += 1;
        let value = self.encoded(&mutation);
        let outcome = self.driver.send("write-ahead-log.mutations", HERE, None, Some(&value), &Headers::new()).unwrap();
        self.refused.extend(if let Outcome::SetAside { error, .. } = outcome { Some(error.reason) } else { None });
        mutation.token
    }

    pub(crate) fn command(&mut self, mutation: &Mutation, action: Action) {
        let mutation = Mutation { target: Some("cache".to_owned()), ..mutation.clone() };
        let (namespace, token, target) = (mutation.namespace.clone(), mutation.token.clone(), "cache".to_owned());
        let value = self.encoded(&Command { namespace, token, target, action });
        let key = lane(&mutation);
        let topic = "write-ahead-log.commands";
        self.driver.send(topic, HERE, Some(key.as_bytes()), Some(&value), &Headers::new()).unwrap();
    }

    /// Writes something about the group `g`.
    pub(crate) fn group(&mut self, record: GroupRecord) {
        let record = GroupRecord { namespace: "shop".to_owned(), group: "g".to_owned(), ..record };
        let value = self.encoded(&record);
        self.carry("write-ahead-log.groups", Some(b"shop/g"), &value);
    }

    /// One of what the topology has written to a topic that it reads comes back to it, as brokers have it; false if there is none.
    pub(crate) fn carry_one(&mut self) -> bool {
        for topic in ["write-ahead-log.mutations", "write-ahead-log.groups"] {
            self.carried.extend(self.driver.take(topic));
        }
        let Some(Driven { topic, key, value, .. }) = self.carried.pop_front() else { return false };
        self.carry(&topic, key.as_deref(), &value.unwrap());
        true
    }

    /// All of it comes back.
    pub(crate) fn carry_on(&mut self) {
        while self.carry_one() {}
    }

    fn carry(&mut self, topic: &str, key: Option<&[u8]>, value: &[u8]) {
        let outcome = self.driver.send(topic, HERE, key, Some(value), &Headers::new()).unwrap();
        self.refused.extend(if let Outcome::SetAside { error, .. } = outcome { Some(error.reason) } else { None });
    }

    /// What the log has written to wake itself comes back.
    pub(crate) fn carry_wakes(&mut self) {
        let topic = "write-ahead-log.commands";
        for Driven { key, value, .. } in self.driver.take(topic) {
            self.carry(topic, key.as_deref(), &value.unwrap());
        }
    }

    /// What has come to the log so far, as it lies on the topic that it reads.
    pub(crate) fn came(&mut self) -> Vec<Driven> {
        self.driver.take(LANES)
    }

    /// The same comes again.
    pub(crate) fn comes(&mut self, record: &Driven) {
        self.carry(LANES, record.key.as_deref(), record.value.as_deref().unwrap());
    }

    /// Lets time pass, tick by tick.
    pub(crate) fn pass(&mut self, by: Duration) {
        let step = Duration::from_millis(10);
        for _ in 0..by.as_millis() / step.as_millis() {
            self.driver.advance_wall_clock(step).unwrap();
            self.carry_wakes();
        }
    }

    pub(crate) fn fail(&self, key: &str) {
        self.world.lock().unwrap().failing.insert(key.to_owned(), None);
    }

    pub(crate) fn mend(&self, key: &str) {
        self.world.lock().unwrap().failing.remove(key);
    }

    /// Tokens of what was applied since the last look, in its order.
    pub(crate) fn applied(&self) -> Vec<String> {
        let applied = std::mem::take(&mut self.world.lock().unwrap().applied);
        applied.into_iter().map(|(_, _, token)| token).collect()
    }

    /// What was asked since the last look.
    pub(crate) fn asked(&self) -> Vec<(String, i32)> {
        std::mem::take(&mut self.world.lock().unwrap().asked)
    }

    /// What has ended since the last look.
    pub(crate) fn results(&mut self) -> Vec<MutationResult> {
        self.values("write-ahead-log.results")
    }

    /// How they have ended: token and state.
    pub(crate) fn ends(&mut self) -> Vec<(String, State)> {
        self.results().into_iter().map(|result| (result.token, result.state)).collect()
    }

    /// Groups that have ended since the last look.
    pub(crate) fn group_results(&mut self) -> Vec<GroupResult> {
        self.values("write-ahead-log.group-results")
    }

    /// What was given up since the last look.
    pub(crate) fn exhausted(&mut self) -> Vec<Driven> {
        self.driver.take("write-ahead-log.exhausted")
    }

    fn values<T: AvroSchema + Serialize + DeserializeOwned + Send + Sync + 'static>(&mut self, topic: &str) -> Vec<T> {
        let codec = self.bound::<T>();
        self.driver.take(topic).iter().map(|record| record.value(&codec).unwrap()).collect()
    }

    /// What lost against another region's since the last look.
    pub(crate) fn conflicts(&mut self) -> Vec<Conflict> {
        self.values("write-ahead-log.conflicts")
    }

    /// The keys that a store has: as its changelog says.
    pub(crate) fn keys(&mut self, store: &str) -> BTreeSet<Vec<u8>> {
        let written = self.driver.take(&format!("write-ahead-log-{store}-changelog"));
        let alive = self.alive.entry(store.to_owned()).or_default();
        for Driven { key, value, .. } in written {
            let key = key.unwrap_or_default();
            if value.is_some() {
                alive.insert(key)
            } else {
                alive.remove(&key)
            };
        }
        alive.clone()
    }
}
