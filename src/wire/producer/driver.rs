//! The I/O thread: carries the engine's calls to brokers, and their answers back.
//!
//! One connection per broker carries Produce, TxnOffsetCommit and EndTxn, in the order in which the engine wanted them
//! (rule N-3): on two connections to one broker a Produce can overtake the one that enlists its partition. While a
//! connection is being opened, what is for that broker waits in line.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kafka_protocol::messages::{
    ApiKey, DescribeTransactionsRequest, DescribeTransactionsResponse, EndTxnRequest, EndTxnResponse,
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};

use super::engine::{Call, Engine, Part};
use super::error::ProduceError;
use super::handle::Producer;
use super::leaders::Leaders;
use super::reach::{leaders, whoever};
use super::request::produce_request;
use super::settings::ProducerSettings;
use super::shared::Shared;
use super::sides::Side;
use crate::wire::{
    ApiName, BrokerId, Client, Connection, CoordinatorKind, Outgoing, Settings, TopicId, TrySendError, WireError,
    io_thread,
};

/// Transactions v2 by version: they enlist by themselves, and EndTxn answers with the next identity.
const PRODUCE_V2: i16 = 12;
const OFFSETS_V2: i16 = 5;
const END_V2: i16 = 5;
/// The first Produce that names topics by id, so that nothing is written to one that was made anew under the name.
const PRODUCE_BY_ID: i16 = 13;
/// The oldest Produce of the encoding that is written here.
const PRODUCE_OLDEST: i16 = 9;
const INIT_OLDEST: i16 = 2;
const INIT_NEWEST: i16 = 5;
/// The level of the cluster's feature `transaction.version` that has them.
const TRANSACTION_VERSION: i16 = 2;
/// How long the I/O thread sleeps at most when nothing is to be done.
const IDLE: Duration = Duration::from_secs(60);

/// A request for one broker.
enum Job {
    Produce { flight: u64, side: Side, parts: Vec<Part> },
    Initialise(InitProducerIdRequest),
    Offsets(TxnOffsetCommitRequest),
    End(Side, EndTxnRequest),
    Describe(Side, DescribeTransactionsRequest),
}

enum Event {
    Opened(BrokerId, Result<Connection, WireError>),
    Metadata(Vec<(Arc<str>, Leaders)>),
    /// Who coordinates, for the job of this session.
    Found(u64, Job, Result<BrokerId, WireError>),
    Produced(u64, Result<ProduceResponse, WireError>),
    Initialised(u64, Result<InitProducerIdResponse, WireError>),
    Offsets(u64, Result<TxnOffsetCommitResponse, WireError>),
    /// Of which side, and whether it was a commit.
    Ended(u64, (Side, bool), Result<EndTxnResponse, WireError>),
    Described(u64, Side, Result<DescribeTransactionsResponse, WireError>),
}

type Pending = Pin<Box<dyn Future<Output = Event>>>;

/// The line to one broker.
#[derive(Default)]
struct Link {
    connection: Option<Connection>,
    opening: bool,
    waiting: VecDeque<(u64, Job)>,
}

struct Driver {
    shared: Arc<Shared>,
    engine: Engine,
    client: Client,
    links: HashMap<BrokerId, Link>,
    pending: FuturesUnordered<Pending>,
}

impl Producer {
    /// Starts a producer and its I/O thread. Nothing is sent before [`initialise`](Producer::initialise).
    ///
    /// # Errors
    /// [`ProduceError::Fatal`] if the system gives no thread or no runtime.
    pub fn start(cluster: &Settings, settings: ProducerSettings) -> Result<Self, ProduceError> {
        let refused = |error: std::io::Error| ProduceError::Fatal(format!("producer: no I/O thread: {error}"));
        let shared = Arc::new(Shared::default());
        let (cluster, inner, own) = (cluster.clone(), Arc::clone(&shared), settings.clone());
        let leaving = Arc::clone(&shared);
        let started = io_thread::start(
            "headrace-produce",
            move || Driver::new(inner, cluster, own).run(),
            move || leaving.leave(),
        );
        started.map_err(refused)?;
        Ok(Producer::new(shared, settings))
    }
}

impl Driver {
    fn new(shared: Arc<Shared>, cluster: Settings, settings: ProducerSettings) -> Self {
        Driver {
            shared,
            engine: Engine::new(settings, cluster.metadata_max_age, Instant::now()),
            client: Client::new(cluster),
            links: HashMap::new(),
            pending: FuturesUnordered::new(),
        }
    }

    async fn run(mut self) {
        loop {
            let now = Instant::now();
            for command in self.shared.take_commands() {
                self.engine.command(command, now);
            }
            if self.engine.is_closed(now) {
                return;
            }
            self.engine.expire(now);
            while let Some(call) = self.engine.next(now) {
                self.dispatch(call);
            }
            self.shared.tell(&mut self.engine.notices);
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

    fn dispatch(&mut self, call: Call) {
        let session = self.engine.session;
        match call {
            Call::Metadata { topics, doubted } => {
                let client = self.client.clone();
                self.pending.push(Box::pin(async move { Event::Metadata(leaders(&client, topics, doubted).await) }));
            }
            Call::Produce { flight, side, broker, parts } => {
                self.send(broker, session, Job::Produce { flight, side, parts });
            }
            Call::Initialise(side) => {
                let request = self.engine.init_request(side);
                match self.engine.settings.transactional_id(side) {
                    Some(id) => self.coordinated(CoordinatorKind::Transaction, id, Job::Initialise(request), true),
                    None => self.anywhere(Job::Initialise(request)),
                }
            }
            Call::Offsets { elsewhere } => {
                if let (Some(request), Some(group)) = (self.engine.offsets_request(), self.engine.group()) {
                    self.coordinated(CoordinatorKind::Group, group, Job::Offsets(request), elsewhere);
                }
            }
            Call::End { elsewhere } => self.end(self.engine.end_request(), elsewhere),
            Call::Abort { elsewhere } => self.end(self.engine.abort_request(), elsewhere),
            Call::Describe(side) => {
                let id = self.engine.settings.transactional_id(side).unwrap_or_default();
                let request = self.engine.describe_request(side);
                self.coordinated(CoordinatorKind::Transaction, id, Job::Describe(side, request), false);
            }
        }
    }

    fn end(&mut self, request: Option<EndTxnRequest>, elsewhere: bool) {
        if let Some(request) = request {
            let (id, side) = (request.transactional_id.0.to_string(), self.engine.transaction.turn.side);
            self.coordinated(CoordinatorKind::Transaction, id, Job::End(side, request), elsewhere);
        }
    }

    /// Sends to the coordinator, which is looked up if it is not known or has moved.
    fn coordinated(&mut self, kind: CoordinatorKind, key: String, job: Job, anew: bool) {
        let (session, client) = (self.engine.session, self.client.clone());
        self.pending.push(Box::pin(async move {
            if anew {
                client.forget_coordinator(kind, &key);
            }
            let found = client.coordinator(kind, &key).await;
            Event::Found(session, job, found)
        }));
    }

    /// Sends to whichever broker there is.
    fn anywhere(&mut self, job: Job) {
        let (session, client) = (self.engine.session, self.client.clone());
        self.pending.push(Box::pin(async move { Event::Found(session, job, whoever(&client).await) }));
    }

    fn send(&mut self, broker: BrokerId, session: u64, job: Job) {
        let link = self.links.entry(broker).or_default();
        if let Some(connection) = link.connection.clone().filter(Connection::is_open) {
            return self.transmit(&connection, session, job);
        }
        link.connection = None;
        link.waiting.push_back((session, job));
        if !link.opening {
            link.opening = true;
            let client = self.client.clone();
            self.pending.push(Box::pin(async move { Event::Opened(broker, client.connection(broker).await) }));
        }
    }

    fn transmit(&mut self, connection: &Connection, session: u64, job: Job) {
        let connection = connection.clone();
        let pending: Pending =
            match job {
                Job::Produce { flight, side, parts } => match self.produce(&connection, side, parts) {
                    Ok(answer) => Box::pin(async move { Event::Produced(flight, answer.await) }),
                    Err(error) => Box::pin(std::future::ready(Event::Produced(flight, Err(error)))),
                },
                Job::Initialise(request) => Box::pin(async move {
                    let answer = match check_feature(&connection, &request) {
                        Ok(()) => connection.call(&request, INIT_OLDEST..=INIT_NEWEST).await,
                        Err(error) => Err(error),
                    };
                    Event::Initialised(session, answer)
                }),
                Job::Offsets(request) => Box::pin(async move {
                    Event::Offsets(session, connection.call(&request, OFFSETS_V2..=OFFSETS_V2).await)
                }),
                Job::Describe(side, request) => {
                    Box::pin(async move { Event::Described(session, side, connection.call(&request, ..).await) })
                }
                Job::End(side, request) => Box::pin(async move {
                    let of = (side, request.committed);
                    Event::Ended(session, of, connection.call(&request, END_V2..=END_V2).await)
                }),
            };
        self.pending.push(pending);
    }

    /// Puts a Produce request in line on its connection, now; the future is its answer.
    fn produce(
        &self,
        connection: &Connection,
        side: Side,
        parts: Vec<Part>,
    ) -> Result<impl Future<Output = Result<ProduceResponse, WireError>> + use<>, WireError> {
        let settings = &self.engine.settings;
        let id = settings.transactional_id(side);
        let oldest = if id.is_some() { PRODUCE_V2 } else { PRODUCE_OLDEST };
        let known = parts.iter().all(|part| part.id != TopicId::default());
        let newest = if known { PRODUCE_BY_ID } else { PRODUCE_V2 };
        let version = connection.version::<ProduceRequest>(&(oldest..=newest))?;
        // The broker gives up on its replicas before the client gives up on the broker.
        let body =
            produce_request(id.as_deref(), settings.request_timeout.mul_f64(0.75), version >= PRODUCE_BY_ID, parts);
        let timeout = Some(settings.request_timeout);
        let request = Outgoing { key: ApiKey::Produce, version, body, timeout };
        let reply = connection.try_send(request).map_err(|error| match error {
            TrySendError::Ended(error) => error,
            TrySendError::Full(_) => WireError::Connect {
                address: connection.address().to_string(),
                reason: "too many requests wait".to_owned(),
            },
        })?;
        let connection = connection.clone();
        Ok(async move {
            let response = reply.decoded::<ProduceRequest>(version).await?;
            let throttle = u64::try_from(response.throttle_time_ms).unwrap_or(0);
            connection.hold_back(Duration::from_millis(throttle));
            Ok(response)
        })
    }

    fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Metadata(leaders) => self.engine.metadata(leaders, now),
            Event::Opened(broker, opened) => self.opened(broker, opened, now),
            Event::Found(session, job, Ok(broker)) => self.send(broker, session, job),
            Event::Found(session, job, Err(error)) => self.failed(session, job, error, now),
            Event::Produced(flight, answer) => self.engine.produced(flight, answer, now),
            Event::Initialised(session, answer) if session == self.engine.session => {
                let hindrance = self.engine.initialised(answer, now);
                self.shared.hinder(hindrance);
            }
            Event::Offsets(session, answer) if session == self.engine.session => {
                self.engine.offsets_answered(answer, now);
            }
            Event::Ended(session, of, answer) if session == self.engine.session => self.engine.ended(of, answer, now),
            Event::Described(session, side, answer) if session == self.engine.session => {
                self.engine.described(side, answer, now);
            }
            Event::Initialised(..) | Event::Offsets(..) | Event::Ended(..) | Event::Described(..) => {}
        }
    }

    fn opened(&mut self, broker: BrokerId, opened: Result<Connection, WireError>, now: Instant) {
        let link = self.links.entry(broker).or_default();
        link.opening = false;
        let waiting = std::mem::take(&mut link.waiting);
        match opened {
            Ok(connection) => {
                link.connection = Some(connection.clone());
                for (session, job) in waiting {
                    self.transmit(&connection, session, job);
                }
            }
            Err(error) => {
                for (session, job) in waiting {
                    self.failed(session, job, error.clone(), now);
                }
            }
        }
    }

    /// A job that was not sent.
    fn failed(&mut self, session: u64, job: Job, error: WireError, now: Instant) {
        match job {
            Job::Produce { flight, .. } => self.engine.produced(flight, Err(error), now),
            _ if session != self.engine.session => {}
            Job::Initialise(_) => {
                let hindrance = self.engine.initialised(Err(error), now);
                self.shared.hinder(hindrance);
            }
            Job::Offsets(_) => self.engine.offsets_answered(Err(error), now),
            Job::Describe(side, _) => self.engine.described(side, Err(error), now),
            // It was not sent, so its outcome is known.
            Job::End(side, request) => self.engine.not_ended((side, request.committed), &error, now),
        }
    }
}

/// A cluster without transactions v2 would not enlist what is produced: that must be seen before the first record.
fn check_feature(connection: &Connection, request: &InitProducerIdRequest) -> Result<(), WireError> {
    let level = connection.feature("transaction.version").unwrap_or(0);
    if request.transactional_id.is_none() || level >= TRANSACTION_VERSION {
        return Ok(());
    }
    Err(WireError::Unsupported {
        address: connection.address().to_string(),
        api: ApiName(ApiKey::EndTxn),
        offered: format!("transaction.version {level}"),
        wanted: format!("{TRANSACTION_VERSION} (KIP-890)"),
    })
}
