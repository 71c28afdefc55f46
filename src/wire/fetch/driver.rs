//! The I/O thread: carries the engine's calls to brokers, and their answers back.
//!
//! Fetches have connections of their own: a broker answers in order, so one that waits for news would hold up whatever is
//! asked behind it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kafka_protocol::messages::{ApiKey, FetchResponse};

use super::engine::{Call, Engine, Flight};
use super::handle::Fetcher;
use super::placing::Committed;
use super::requests;
use super::settings::FetcherSettings;
use super::shared::{Shared, Weight};
use crate::position::Partition;
use crate::wire::channel::{decode, encode};
use crate::wire::{BrokerId, Client, Connection, Leader, Outgoing, Settings, WireError, io_thread};

/// How long the I/O thread sleeps at most when nothing is to be done.
const IDLE: Duration = Duration::from_secs(60);

type Found = Vec<(usize, u64, Result<Leader, WireError>)>;

enum Event {
    Leaders(Found),
    Fetched(Flight, Option<Connection>, Result<(FetchResponse, Arc<Weight>), WireError>),
    Committed(Vec<Committed>),
    Bounds(usize, u64, Result<(i64, i64), WireError>),
}

type Pending = Pin<Box<dyn Future<Output = Event>>>;

struct Driver {
    shared: Arc<Shared>,
    engine: Engine,
    client: Client,
    connections: HashMap<BrokerId, Connection>,
    pending: FuturesUnordered<Pending>,
}

impl Fetcher {
    /// Starts a fetcher and its I/O thread. Nothing is sent before the first [`assign`](Fetcher::assign).
    ///
    /// # Errors
    /// The system gives no thread or no runtime.
    pub fn start(cluster: &Settings, settings: FetcherSettings) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (cluster, inner, own) = (cluster.clone(), Arc::clone(&shared), settings.clone());
        let leaving = Arc::clone(&shared);
        io_thread::start("headrace-fetch", move || Driver::new(inner, cluster, own).run(), move || leaving.leave())?;
        Ok(Fetcher::new(shared, settings))
    }
}

impl Driver {
    fn new(shared: Arc<Shared>, cluster: Settings, settings: FetcherSettings) -> Self {
        Driver {
            engine: Engine::new(settings, Arc::clone(&shared.held)),
            shared,
            client: Client::new(cluster),
            connections: HashMap::new(),
            pending: FuturesUnordered::new(),
        }
    }

    async fn run(mut self) {
        let mut commands = Vec::new();
        loop {
            self.shared.take_commands(&mut commands);
            for command in commands.drain(..) {
                self.engine.command(command);
            }
            if self.engine.closed {
                return;
            }
            let now = Instant::now();
            self.call(now);
            if self.engine.is_starved() {
                let evicted = self.shared.evict();
                if !evicted.is_empty() {
                    self.engine.evicted(evicted);
                    self.call(now);
                }
            }
            let Engine { deliveries, news, hungry, .. } = &mut self.engine;
            if self.shared.deliver(deliveries, news, *hungry) {
                // What was commanded meanwhile has woken nobody, maybe.
                continue;
            }
            let wake = self.engine.wakes(now).unwrap_or(now + IDLE);
            let event = tokio::select! {
                biased;
                Some(event) = self.pending.next(), if !self.pending.is_empty() => Some(event),
                () = self.shared.wake.notified() => None,
                () = tokio::time::sleep_until(wake.into()) => None,
            };
            if let Some(event) = event {
                self.event(event, Instant::now());
            }
        }
    }

    fn call(&mut self, now: Instant) {
        while let Some(call) = self.engine.next(now) {
            self.dispatch(call);
        }
    }

    fn dispatch(&mut self, call: Call) {
        let client = self.client.clone();
        let pending: Pending = match call {
            Call::Leaders { topic, wanted } => {
                Box::pin(async move { Event::Leaders(leaders(&client, &topic, wanted).await) })
            }
            Call::Fetch(flight) => {
                let open = self.connections.remove(&flight.broker).filter(Connection::is_open);
                let (settings, held) = (self.engine.settings.clone(), Arc::clone(&self.shared.held));
                Box::pin(async move {
                    let connection = match open {
                        Some(connection) => Ok(connection),
                        None => client.open(flight.broker).await,
                    };
                    match connection {
                        Ok(connection) => {
                            let answer = fetch(&connection, &flight, &settings).await;
                            let answer = answer.map(|(response, bytes)| (response, Weight::new(bytes, &held)));
                            Event::Fetched(flight, Some(connection), answer)
                        }
                        Err(error) => Event::Fetched(flight, None, Err(error)),
                    }
                })
            }
            Call::Committed(partitions) => {
                let group = self.engine.settings.group.clone().unwrap_or_default();
                Box::pin(async move { Event::Committed(requests::committed(&client, &group, partitions).await) })
            }
            Call::Bounds(wanted, broker) => Box::pin(async move {
                let found = requests::bounds_at(&client, broker, &wanted.topic, wanted.partition).await;
                Event::Bounds(wanted.slot, wanted.ticket, found)
            }),
        };
        self.pending.push(pending);
    }

    fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Leaders(found) => self.engine.leaders(found, now),
            Event::Committed(found) => self.engine.committed(found, now),
            Event::Bounds(slot, ticket, found) => self.engine.bounds(slot, ticket, found, now),
            Event::Fetched(flight, connection, answer) => {
                if let Some(connection) = connection.filter(Connection::is_open) {
                    self.connections.insert(flight.broker, connection);
                }
                match answer {
                    Ok((response, weight)) => self.engine.fetched(&flight, response, &weight, now),
                    Err(error) => self.engine.failed(&flight, error, now),
                }
            }
        }
    }
}

/// Leaders of a topic's partitions. What is doubted is not answered from what is known.
async fn leaders(client: &Client, topic: &str, wanted: Vec<(usize, u64, Partition, bool)>) -> Found {
    for (_, _, partition, _) in wanted.iter().filter(|(.., doubted)| *doubted) {
        client.forget_leader(topic, *partition);
    }
    let mut found = Vec::with_capacity(wanted.len());
    let mut refused: Option<WireError> = None;
    for (slot, ticket, partition, _) in wanted {
        let leader = match &refused {
            Some(error) => Err(error.clone()),
            None => client.leader(topic, partition).await,
        };
        // What is wrong with all of the topic is not asked for each of its partitions.
        refused = leader.as_ref().err().filter(|error| !concerns_one(error)).cloned();
        found.push((slot, ticket, leader));
    }
    found
}

fn concerns_one(error: &WireError) -> bool {
    matches!(error, WireError::NoLeader { .. } | WireError::UnknownPartition { .. })
}

/// One fetch, and how many bytes the answer had.
async fn fetch(
    connection: &Connection,
    flight: &Flight,
    settings: &FetcherSettings,
) -> Result<(FetchResponse, usize), WireError> {
    let version = requests::version(connection, flight)?;
    let name = connection.address().to_string();
    let body = vec![encode(&name, &requests::fetch(flight, settings, version), version)?];
    let timeout = Some(requests::patience(flight, settings));
    let mut body = connection.send(Outgoing { key: ApiKey::Fetch, version, body, timeout }).await?.await?;
    let bytes = body.len();
    let response: FetchResponse = decode(&name, ApiKey::Fetch, &mut body, version)?;
    let throttle = u64::try_from(response.throttle_time_ms).unwrap_or(0);
    connection.hold_back(Duration::from_millis(throttle));
    Ok((response, bytes))
}
