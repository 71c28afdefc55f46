//! One connection per broker, opened when it is asked for, and opened again with back-off.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Instant, sleep_until};

use super::BrokerId;
use super::connection::Connection;
use super::error::WireError;
use super::observer::Peer;
use super::settings::{Address, Settings};
use crate::backoff::Backoff;

/// When to try again after how many failures.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: u32,
    not_before: Option<Instant>,
}

impl Pace {
    /// Waits until the next try is due.
    pub(super) async fn wait(&self) {
        if let Some(time) = self.not_before {
            sleep_until(time).await;
        }
    }

    pub(super) fn failed(&mut self) {
        self.not_before = Some(Instant::now() + Backoff::BROKER.delay(self.failures, fastrand::f64()));
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn succeeded(&mut self) {
        *self = Pace::default();
    }

    /// The next try is not at once, although nothing went wrong yet: a broker that takes a connection and drops it is not
    /// hammered.
    fn spaced(&mut self) {
        *self = Pace { failures: 0, not_before: Some(Instant::now() + Backoff::BROKER.initial) };
    }
}

/// A broker's connection.
#[derive(Debug, Default)]
pub(super) struct Slot {
    open: Mutex<Option<Connection>>,
    /// Held while it is opened, so that only one tries.
    pace: tokio::sync::Mutex<Pace>,
}

impl Slot {
    /// The connection if there is one.
    pub(super) fn current(&self) -> Option<Connection> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().filter(|connection| connection.is_open()).cloned()
    }

    /// The connection; opened if there is none, or if it leads to another address.
    pub(super) async fn connection(
        &self,
        broker: BrokerId,
        address: &Address,
        settings: &Settings,
    ) -> Result<Connection, WireError> {
        if let Some(connection) = self.current().filter(|connection| connection.address() == address) {
            return Ok(connection);
        }
        let mut pace = self.pace.lock().await;
        // Somebody else may have opened it while we waited.
        if let Some(connection) = self.current().filter(|connection| connection.address() == address) {
            return Ok(connection);
        }
        pace.wait().await;
        let again = self.open.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let peer = Peer { broker: Some(broker), address: address.clone() };
        match Connection::open_to(peer, settings, again).await {
            Ok(connection) => {
                pace.spaced();
                *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                pace.failed();
                Err(error)
            }
        }
    }
}
