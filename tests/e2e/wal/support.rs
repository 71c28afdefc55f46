//! A log with its topics and namespaces, and whoever asks it over HTTP.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use headrace::codec::registry::Registry;
use headrace::codec::{Avro, AvroSchema, Binding, Codec as _, DecodeError, Schemas, avro};
use reqwest::{Client, Method};
use serde_json::Value;
use testbed::Testbed;
use write_ahead_log::mutation::Mutation;
use write_ahead_log::namespace::{Namespace, TargetKind, TargetSpec};

use crate::support::app::PEERS_TOKEN;
use crate::support::records::Stored;
use crate::support::{App, DEADLINE, Spec, Topics, eventually};

const PARTITIONS: u32 = 3;

/// What whoever changes something has to show.
pub(super) const TOKEN: &str = PEERS_TOKEN;

/// The topics of a log, by the names that the configuration has for them.
pub(super) const TOPICS: [&str; 9] = [
    "mutations",
    "commands",
    "groups",
    "group-results",
    "namespaces",
    "results",
    "exhausted",
    "conflicts",
    "dead-letters",
];

/// A log under test.
pub(super) struct Log {
    pub(super) bed: Arc<Testbed>,
    id: String,
    /// More of its configuration, as TOML.
    more: String,
    topics: Topics,
    namespaces: Avro<Namespace>,
    mutations: Avro<Mutation>,
    schemas: Arc<Schemas>,
    registry: Registry,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

/// What is sent; `application/json` with the right token if nothing else is said.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) kind: &'a str,
    pub(super) body: Vec<u8>,
}

impl<'a> Asked<'a> {
    pub(super) fn post(path: &'a str, body: impl Into<Vec<u8>>) -> Self {
        Asked { method: Method::POST, path, token: Some(TOKEN), kind: "application/json", body: body.into() }
    }

    pub(super) fn get(path: &'a str) -> Self {
        Asked { method: Method::GET, token: None, ..Asked::post(path, "") }
    }

    pub(super) fn delete(path: &'a str) -> Self {
        Asked { method: Method::DELETE, ..Asked::post(path, "") }
    }
}

/// What comes back.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) retry_after: bool,
    /// Null if it is no JSON.
    pub(super) body: Value,
}

impl Log {
    /// With namespaces `shop` and `other`, of one target each, `api`.
    pub(super) fn new(bed: Arc<Testbed>, id: &str, more: &str) -> Self {
        let topics = Topics::new(bed.kafka().unwrap().bootstrap_servers());
        let registry = Registry::new(bed.registry().unwrap().url(), None, Duration::from_secs(10)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (id, more, schemas) = (id.to_owned(), more.to_owned(), Arc::default());
        // A connection that is kept would be that of a process that was killed.
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let (namespaces, mutations) = (avro(), avro());
        let log = Log { bed, id, more, topics, namespaces, mutations, schemas, registry, runtime, client };
        log.app().apply();
        log.namespaces.bind(&log.writes::<Namespace>("namespaces"));
        log.mutations.bind(&Binding { schemas: Arc::clone(&log.schemas), writer: None });
        let target = TargetSpec::new("api", TargetKind::Http, "http://127.0.0.1:9/");
        for name in ["shop", "other"] {
            log.set(name, &Namespace { targets: vec![target.clone()], ..Namespace::default() });
        }
        log
    }

    fn writes<T: AvroSchema>(&self, topic: &str) -> Binding {
        let subject = format!("{}-value", self.topic(topic));
        let id = self.runtime.block_on(self.registry.register(&subject, T::SCHEMA)).unwrap();
        self.schemas.insert(id, T::SCHEMA).unwrap();
        Binding { schemas: Arc::clone(&self.schemas), writer: Some(id) }
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.id)
    }

    /// Sets a namespace.
    pub(super) fn set(&self, name: &str, namespace: &Namespace) {
        let mut value = Vec::new();
        self.namespaces.encode(namespace, &mut value).unwrap();
        let key = Some(name.as_bytes().to_vec());
        let record = Stored { partition: 0, offset: 0, key, value: Some(value), headers: Vec::new() };
        self.topics.produce(&self.topic("namespaces"), &record);
    }

    /// Its process, which is not started.
    pub(super) fn app(&self) -> App {
        let topics: String = TOPICS.iter().map(|name| format!("{name} = \"{}\"\n", self.topic(name))).collect();
        let token = self.bed.dirs().unwrap().root().join(format!("{}-token", self.id));
        std::fs::write(&token, TOKEN).unwrap();
        let more = &self.more;
        let sections = format!("[topics]\n{topics}[internal-topics]\npartitions = {PARTITIONS}\n{more}\n");
        let set = vec![format!("application-id={}", self.id), format!("http.token-file={}", token.display())];
        App::prepare(&self.bed, Spec { binary: "write-ahead-log", id: self.id.clone(), sections, set })
    }

    /// Sends all of them together, and waits for all answers.
    pub(super) fn ask_all(&self, app: &App, asked: Vec<Asked<'_>>) -> Vec<Answered> {
        let answers = asked.into_iter().map(|asked| {
            let url = format!("{}{}", app.url(), asked.path);
            let request = self.client.request(asked.method, url).timeout(DEADLINE).header("content-type", asked.kind);
            let request = asked.token.into_iter().fold(request, |request, token| request.bearer_auth(token));
            let request = request.body(asked.body);
            // Its timer needs the runtime as soon as it is made.
            async {
                let answer = request.send().await.unwrap();
                let (status, retry_after) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
                Answered { status, retry_after, body: answer.json().await.unwrap_or_default() }
            }
        });
        let answers: Vec<_> = answers.collect();
        self.runtime.block_on(join_all(answers))
    }

    pub(super) fn ask(&self, app: &App, asked: Asked<'_>) -> Answered {
        self.ask_all(app, vec![asked]).remove(0)
    }

    /// Records of a topic of the log.
    pub(super) fn count(&self, name: &str) -> usize {
        self.topics.read(&self.topic(name)).len()
    }

    /// What lies on the topic of mutations, with the records' keys, partition by partition.
    pub(super) fn mutations(&self) -> Vec<(String, Mutation)> {
        let records = self.topics.read(&self.topic("mutations")).into_iter();
        records
            .map(|record| (String::from_utf8(record.key.clone().unwrap()).unwrap(), self.mutation(&record)))
            .collect()
    }

    fn mutation(&self, record: &Stored) -> Mutation {
        match self.mutations.decode(record.value.as_deref()) {
            Err(DecodeError::SchemaNotLoaded(id)) => {
                self.runtime.block_on(self.registry.load(id, &self.schemas)).unwrap();
                self.mutations.decode(record.value.as_deref()).unwrap()
            }
            mutation => mutation.unwrap(),
        }
    }

    /// Waits until the one target of a mutation of `shop` is in this state.
    #[track_caller]
    pub(super) fn wait_state(&self, app: &App, token: &str, state: &str) -> Value {
        eventually(&format!("{token} to be {state}"), || {
            let answered = self.ask(app, Asked::get(&format!("/v1/shop/status/{token}")));
            match answered.body["targets"][0]["state"] == state {
                true => Ok(answered.body),
                false => Err(format!("{answered:?}")),
            }
        })
    }
}
