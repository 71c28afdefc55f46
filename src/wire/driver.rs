//! The task behind a [`Connection`](super::Connection): the only one that touches the socket, so nothing is locked.
//!
//! Each step does whatever is possible first: take an answer, write, take a request, or look at the time.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::channel::{Channel, Frame, strip_header};
use super::connection::{Queued, Shared};
use super::error::{ApiName, WireError};
use super::handshake;
use super::observer::Event;
use super::security::Login;
use super::session::Session;

/// Requests of one connection that are written and not answered. A broker works on one at a time; more keep it busy while
/// answers travel.
pub const MAX_IN_FLIGHT: usize = 16;
/// A connection that nobody uses is closed before the broker does it (`connections.max.idle.ms`, ten minutes by default):
/// a request that meets the broker's closing would be lost.
const MAX_IDLE: Duration = Duration::from_secs(9 * 60);
/// Time for saying goodbye.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs a connection until it ends.
pub(super) struct Driver {
    channel: Channel,
    requests: mpsc::Receiver<Queued>,
    /// No handle is left, so no request will come.
    last_request_taken: bool,
    /// Taken while the broker wanted to be left alone.
    held: Option<Queued>,
    in_flight: VecDeque<InFlight>,
    shared: Arc<Shared>,
    login: Option<Login>,
    /// Of a login that has an end.
    session: Option<Session>,
    /// The last answer, or the beginning.
    idle_since: Instant,
    answered: bool,
    /// Ended by this side because nobody needs it: no news.
    retired: bool,
}

/// A request that is written, or being written.
struct InFlight {
    correlation: i32,
    key: ApiKey,
    version: i16,
    written: Instant,
    timeout: Duration,
    reply: oneshot::Sender<Result<Bytes, WireError>>,
}

impl Driver {
    pub(super) fn new(
        channel: Channel,
        requests: mpsc::Receiver<Queued>,
        shared: Arc<Shared>,
        login: Option<Login>,
        lifetime: Option<Duration>,
    ) -> Self {
        let now = Instant::now();
        Driver {
            channel,
            requests,
            last_request_taken: false,
            held: None,
            in_flight: VecDeque::with_capacity(MAX_IN_FLIGHT),
            shared,
            login,
            session: lifetime.map(|lifetime| Session::new(now, lifetime)),
            idle_since: now,
            answered: false,
            retired: false,
        }
    }

    /// Until the connection ends, for whatever reason; all who wait are told.
    pub(super) async fn run(mut self) {
        let error = loop {
            match self.step().await {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        // Before anybody is told, so that who was told finds it ended.
        let error = self.shared.ended.get_or_init(|| error).clone();
        if !self.retired {
            self.shared.observer.tell(&self.shared.peer, Event::Ended(&error));
        }
        self.requests.close();
        let waiting = self.in_flight.drain(..).map(|request| request.reply);
        for reply in waiting.chain(self.held.take().map(|request| request.reply)) {
            // Whoever is gone does not want to know.
            let _ = reply.send(Err(error.clone()));
        }
        while let Some(request) = self.requests.recv().await {
            let _ = request.reply.send(Err(error.clone()));
        }
        let _ = timeout(SHUTDOWN_TIMEOUT, self.channel.writer.shutdown()).await;
    }

    async fn step(&mut self) -> Result<(), WireError> {
        let now = Instant::now();
        if self.session.is_some_and(|session| session.is_due(now)) && self.is_quiet() {
            return self.log_in().await;
        }
        if self.held.is_some() && self.throttled_until().is_none_or(|until| until <= now) {
            let held = self.held.take();
            return held.map_or(Ok(()), |request| self.submit(request));
        }
        if self.last_request_taken && self.held.is_none() && self.is_quiet() {
            return Err(self.retire("nobody uses it any more"));
        }
        let wake = self.wake(now);
        let may_take = self.may_take(now);
        tokio::select! {
            biased;
            frame = self.channel.reader.frame() => {
                let frame = frame.map_err(|error| self.explain(error))?;
                self.answer(frame)
            }
            written = self.channel.writer.progress(), if self.channel.writer.has_work() => {
                written.map_err(|error| self.explain(error))
            }
            request = self.requests.recv(), if may_take => self.take(request),
            () = at(wake) => self.check_time(),
        }
    }

    /// Nothing is under way.
    fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && !self.channel.writer.has_work()
    }

    fn may_take(&self, now: Instant) -> bool {
        let logging_in = self.session.is_some_and(|session| session.is_quiet(now));
        !self.last_request_taken && !logging_in && self.held.is_none() && self.in_flight.len() < MAX_IN_FLIGHT
    }

    fn take(&mut self, request: Option<Queued>) -> Result<(), WireError> {
        let Some(request) = request else {
            self.last_request_taken = true;
            return Ok(());
        };
        if self.throttled_until().is_some_and(|until| until > Instant::now()) {
            self.held = Some(request);
            return Ok(());
        }
        self.submit(request)
    }

    fn submit(&mut self, request: Queued) -> Result<(), WireError> {
        let Queued { key, version, body, timeout, reply } = request;
        match self.channel.queue(key, version, body) {
            Ok(correlation) => {
                let written = Instant::now();
                self.in_flight.push_back(InFlight { correlation, key, version, written, timeout, reply });
            }
            // Nothing was written: this call alone has failed.
            Err(error) => drop(reply.send(Err(error))),
        }
        Ok(())
    }

    fn answer(&mut self, frame: Frame) -> Result<(), WireError> {
        let expected = self.in_flight.front().map(|request| request.correlation);
        let request = match self.in_flight.pop_front() {
            Some(request) if frame.correlation() == expected => request,
            other => {
                let error = self.channel.reader.unknown_answer(&frame.0);
                self.in_flight.extend(other);
                return Err(error);
            }
        };
        self.answered = true;
        self.idle_since = Instant::now();
        let header_version = request.key.response_header_version(request.version);
        let body = strip_header(self.channel.address(), request.key, frame.0, header_version);
        // Whoever is gone does not want to know.
        let _ = request.reply.send(body);
        Ok(())
    }

    /// When the oldest request is given up. A broker works on one after the other, so its time begins with the answer to
    /// the one before: a request behind a slow one is not late, and a broker that hangs is noticed just as soon.
    fn deadline(&self, oldest: &InFlight) -> Instant {
        oldest.written.max(self.idle_since) + oldest.timeout
    }

    /// The next moment at which something is due.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let deadline = self.in_flight.front().map(|oldest| self.deadline(oldest));
        let idle = self.in_flight.is_empty().then_some(self.idle_since + MAX_IDLE);
        let held = self.held.as_ref().and_then(|_| self.throttled_until());
        // Once it is due, the last answer is what it waits for.
        let login = self.session.and_then(|session| session.next(now));
        [deadline, idle, held, login].into_iter().flatten().min()
    }

    fn check_time(&mut self) -> Result<(), WireError> {
        let now = Instant::now();
        if let Some(late) = self.in_flight.front().filter(|oldest| self.deadline(oldest) <= now) {
            let address = self.channel.address().to_owned();
            return Err(WireError::TimedOut { address, api: ApiName(late.key), after: late.timeout });
        }
        if self.in_flight.is_empty() && self.held.is_none() && self.idle_since + MAX_IDLE <= now {
            return Err(self.retire("nobody has used it for a while"));
        }
        Ok(())
    }

    fn throttled_until(&self) -> Option<Instant> {
        *self.shared.throttled_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the login on the same connection, so that the order of requests stays (KIP-368).
    async fn log_in(&mut self) -> Result<(), WireError> {
        let Some(login) = self.login.clone() else {
            self.session = None;
            return Ok(());
        };
        let again = handshake::authenticate(&mut self.channel, &self.shared.offer, &login);
        let lifetime = timeout(self.shared.request_timeout, again).await;
        let lifetime = lifetime.map_err(|_| WireError::TimedOut {
            address: self.shared.name.clone(),
            api: ApiName(ApiKey::SaslAuthenticate),
            after: self.shared.request_timeout,
        })??;
        self.session = lifetime.map(|lifetime| Session::new(Instant::now(), lifetime));
        Ok(())
    }

    /// A listener that wants a login lets us ask for versions, and hangs up at the first request.
    fn explain(&self, error: WireError) -> WireError {
        match error {
            WireError::Closed { address, reason } if !self.answered && self.login.is_none() => WireError::Closed {
                address,
                reason: format!(
                    "{reason} before the first answer; does this listener want a login (security.protocol)?"
                ),
            },
            other => other,
        }
    }

    fn retire(&mut self, reason: &str) -> WireError {
        self.retired = true;
        WireError::Closed { address: self.channel.address().to_owned(), reason: reason.to_owned() }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
