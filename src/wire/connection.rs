//! One connection to one broker: calls go out and answers come back in the order of the calls.
//!
//! ```text
//!  call() ─┐  queue, bounded    ┌────────── driver task ───────────┐
//!  send() ─┼─▶ ▢▢▢▢ ──────────▶ │ in flight, bounded: oldest first │ ══▶ broker
//!  send() ─┘                    │ it has the clock                 │ ◀══
//!   Reply ◀──────────────────── └──────────────────────────────────┘
//! ```
//!
//! A connection fails as a whole: after a time-out, a broken frame or the broker's hanging up, every call that waits has the
//! error, and [`Connection::is_open`] says no. Nothing is sent again here; who calls knows what may be repeated.

use std::future::Future;
use std::ops::RangeBounds;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::api::{Offer, Request, within};
use super::channel::{Channel, decode, encode};
use super::driver::Driver;
use super::error::WireError;
use super::handshake;
use super::observer::{Event, Observer, Peer};
use super::settings::{Address, Settings};
use super::transport;

/// Requests that wait for their turn on one connection; more wait in their callers.
pub const MAX_QUEUED: usize = 16;
/// The longest that a broker's wish to be left alone is honoured.
const MAX_THROTTLE: Duration = Duration::from_secs(60);

/// A connection to a broker. Clones share it; it is closed when the last one is gone and nothing is under way.
#[derive(Clone)]
pub struct Connection {
    queue: mpsc::Sender<Queued>,
    shared: Arc<Shared>,
}

/// What handles and the driver both look at.
pub(super) struct Shared {
    pub(super) peer: Peer,
    pub(super) name: String,
    pub(super) offer: Offer,
    pub(super) request_timeout: Duration,
    /// Why it has ended, once it has.
    pub(super) ended: OnceLock<WireError>,
    /// No request before (KIP-219).
    pub(super) throttled_until: Mutex<Option<Instant>>,
    pub(super) observer: Observer,
}

/// A request on its way to the driver.
pub(super) struct Queued {
    pub(super) key: ApiKey,
    pub(super) version: i16,
    pub(super) body: Vec<Bytes>,
    pub(super) timeout: Duration,
    pub(super) reply: oneshot::Sender<Result<Bytes, WireError>>,
}

/// An encoded request.
#[derive(Clone)]
pub struct Outgoing {
    /// Which request it is.
    pub key: ApiKey,
    /// The version that it is encoded in; [`Connection::version`] chooses one.
    pub version: i16,
    /// The body without its header, in pieces that are written one after the other and never copied together.
    pub body: Vec<Bytes>,
    /// Instead of the settings' bound, for requests that wait at the broker.
    pub timeout: Option<Duration>,
}

impl std::fmt::Debug for Outgoing {
    /// Without the body (rule O5).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: usize = self.body.iter().map(Bytes::len).sum();
        f.debug_struct("Outgoing")
            .field("key", &self.key)
            .field("version", &self.version)
            .field("bytes", &bytes)
            .finish()
    }
}

impl Connection {
    /// Connects, encrypts, asks for versions and logs in, all within [`Settings::connect_timeout`]. Needs a tokio runtime,
    /// which also runs the connection from then on.
    ///
    /// # Errors
    /// [`WireError::Connect`], [`WireError::Tls`], [`WireError::Authentication`], [`WireError::Protocol`] or
    /// [`WireError::Closed`].
    pub async fn open(address: &Address, settings: &Settings) -> Result<Self, WireError> {
        Self::open_to(Peer { broker: None, address: address.clone() }, settings, false).await
    }

    /// [`open`](Self::open) to a broker whose id is known, maybe; `again` if it replaces a connection that has ended.
    pub(super) async fn open_to(peer: Peer, settings: &Settings, again: bool) -> Result<Self, WireError> {
        let opened = match timeout(settings.connect_timeout, Self::open_unbounded(&peer, settings)).await {
            Ok(opened) => opened,
            Err(_) => Err(WireError::Connect {
                address: peer.address.to_string(),
                reason: format!("not ready within {:?} (socket.connection.setup.timeout.ms)", settings.connect_timeout),
            }),
        };
        let event = opened.as_ref().map_or_else(Event::Failed, |_| Event::Opened { again });
        settings.observer.tell(&peer, event);
        opened
    }

    async fn open_unbounded(peer: &Peer, settings: &Settings) -> Result<Self, WireError> {
        let address = &peer.address;
        let stream = transport::connect(address, &settings.security).await?;
        let mut channel = Channel::new(address.to_string(), &settings.client_id, stream);
        let offer = handshake::negotiate(&mut channel).await?;
        let login = settings.security.login();
        let lifetime = match login {
            Some(login) => handshake::authenticate(&mut channel, &offer, login).await?,
            None => None,
        };
        channel.raise_limit(settings.max_response_bytes);
        let (queue, requests) = mpsc::channel(MAX_QUEUED);
        let shared = Arc::new(Shared {
            peer: peer.clone(),
            name: address.to_string(),
            offer,
            request_timeout: settings.request_timeout,
            ended: OnceLock::new(),
            throttled_until: Mutex::new(None),
            observer: settings.observer.clone(),
        });
        tokio::spawn(Driver::new(channel, requests, Arc::clone(&shared), login.cloned(), lifetime).run());
        Ok(Connection { queue, shared })
    }

    /// Sends a request in the highest version that the broker, this client and `versions` have in common, and waits for its
    /// answer. The broker's wish to be left alone (`throttle_time_ms`, KIP-219) holds back what is sent after it.
    ///
    /// # Errors
    /// [`WireError::Unsupported`] without a common version, else an error of the connection. Error codes within the answer
    /// are the caller's to look at.
    pub async fn call<R: Request>(
        &self,
        request: &R,
        versions: impl RangeBounds<i16> + Send,
    ) -> Result<R::Response, WireError> {
        self.call_within(request, versions, self.shared.request_timeout).await
    }

    /// [`call`](Self::call) with a time limit of its own, for requests that wait at the broker.
    ///
    /// # Errors
    /// As `call`.
    pub async fn call_within<R: Request>(
        &self,
        request: &R,
        versions: impl RangeBounds<i16> + Send,
        timeout: Duration,
    ) -> Result<R::Response, WireError> {
        let version = self.version::<R>(&versions)?;
        let body = vec![encode(&self.shared.name, request, version)?];
        let reply = self.send(Outgoing { key: R::KEY, version, body, timeout: Some(timeout) }).await?;
        let mut body = reply.await?;
        let response = decode(&self.shared.name, R::KEY, &mut body, version)?;
        self.hold_back(Duration::from_millis(u64::try_from(R::throttle_millis(&response)).unwrap_or(0)));
        Ok(response)
    }

    /// Hands over an encoded request. It is on its way when this returns; the [`Reply`] is the answer's body, without
    /// header. Requests go out in the order in which the calls return. Waits while [`MAX_QUEUED`] others wait.
    ///
    /// Of an answer that has `throttle_time_ms` the caller tells [`hold_back`](Self::hold_back).
    ///
    /// # Errors
    /// The error with which the connection has ended.
    pub async fn send(&self, request: Outgoing) -> Result<Reply, WireError> {
        let (queued, reply) = self.queued(request);
        match self.queue.send(queued).await {
            Ok(()) => Ok(reply),
            Err(_) => Err(self.shared.end()),
        }
    }

    /// [`send`](Self::send) for who can't wait.
    ///
    /// # Errors
    /// Gives the request back if too many others wait; else the error with which the connection has ended.
    pub fn try_send(&self, request: Outgoing) -> Result<Reply, TrySendError> {
        match self.queue.try_reserve() {
            Ok(place) => {
                let (queued, reply) = self.queued(request);
                place.send(queued);
                Ok(reply)
            }
            Err(mpsc::error::TrySendError::Full(())) => Err(TrySendError::Full(request)),
            Err(mpsc::error::TrySendError::Closed(())) => Err(TrySendError::Ended(self.shared.end())),
        }
    }

    fn queued(&self, request: Outgoing) -> (Queued, Reply) {
        let (reply, receiver) = oneshot::channel();
        let Outgoing { key, version, body, timeout } = request;
        let timeout = timeout.unwrap_or(self.shared.request_timeout);
        (Queued { key, version, body, timeout, reply }, Reply { receiver, shared: Arc::clone(&self.shared) })
    }

    /// The highest version of a request that the broker, this client and `versions` have in common.
    ///
    /// # Errors
    /// [`WireError::Unsupported`] if there is none.
    pub fn version<R: Request>(&self, versions: &impl RangeBounds<i16>) -> Result<i16, WireError> {
        self.shared.offer.choose(&self.shared.name, R::KEY, within::<R>(versions))
    }

    /// [`version`](Self::version) of a message that is written by hand, within `wanted`.
    pub(super) fn choose(&self, key: ApiKey, wanted: (i16, i16)) -> Result<i16, WireError> {
        self.shared.offer.choose(&self.shared.name, key, wanted)
    }

    /// The versions of a request that the broker has, oldest and newest; for messages that are written by hand.
    pub fn offered(&self, key: ApiKey) -> Option<(i16, i16)> {
        self.shared.offer.versions(key)
    }

    /// The level of a feature that the cluster has finalized, as it was when the connection was opened (KIP-584).
    pub fn feature(&self, name: &str) -> Option<i16> {
        self.shared.offer.feature(name)
    }

    /// Sends nothing for so long, a minute at most: what a broker asks for by `throttle_time_ms` (KIP-219).
    pub fn hold_back(&self, span: Duration) {
        if span.is_zero() {
            return;
        }
        self.shared.observer.tell(&self.shared.peer, Event::Throttled(span));
        let until = Instant::now() + span.min(MAX_THROTTLE);
        let mut throttled = self.shared.throttled_until.lock().unwrap_or_else(PoisonError::into_inner);
        *throttled = throttled.map_or(Some(until), |earlier| Some(earlier.max(until)));
    }

    /// Whether it can still be used, as far as is known.
    pub fn is_open(&self) -> bool {
        self.shared.ended.get().is_none() && !self.queue.is_closed()
    }

    /// Why it has ended, once it has.
    pub fn ended(&self) -> Option<WireError> {
        self.shared.ended.get().cloned()
    }

    /// The address that it was opened with.
    pub fn address(&self) -> &Address {
        &self.shared.peer.address
    }
}

impl Shared {
    /// Why it has ended.
    fn end(&self) -> WireError {
        self.ended.get().cloned().unwrap_or_else(|| WireError::Closed {
            address: self.name.clone(),
            reason: "its runtime has ended".to_owned(),
        })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.shared.name).field("ended", &self.shared.ended).finish()
    }
}

/// Why [`Connection::try_send`] did not.
#[derive(Debug)]
pub enum TrySendError {
    /// Too many others wait; the request comes back.
    Full(Outgoing),
    /// The connection has ended.
    Ended(WireError),
}

/// The body of an answer, once it has come. Dropping it forgets the answer, not the request.
#[derive(Debug)]
#[must_use = "an error of the connection is told here"]
pub struct Reply {
    receiver: oneshot::Receiver<Result<Bytes, WireError>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Future for Reply {
    type Output = Result<Bytes, WireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(cx).map(|answer| answer.unwrap_or_else(|_| Err(self.shared.end())))
    }
}

impl Reply {
    /// The answer as a message of this request, for who has sent it encoded.
    ///
    /// # Errors
    /// An error of the connection, or [`WireError::Protocol`] if it can't be read.
    pub async fn decoded<R: Request>(self, version: i16) -> Result<R::Response, WireError> {
        let shared = Arc::clone(&self.shared);
        let mut body = self.await?;
        decode(&shared.name, R::KEY, &mut body, version)
    }
}
