//! What connections of the native client tell, as metrics and as lines of the log (target `headrace::wire`).
//!
//! A broker that is away is tried again for as long as it is; its log line comes once in a while, with how many were held
//! back. The counters are exact.

use tracing::{debug, error, info, warn};

use super::events::Telemetry;
use crate::wire::{Event, Observer, Peer, WireError};

impl Telemetry {
    /// To be told by the native client's connections.
    pub fn wire(&self) -> Observer {
        let telemetry = self.clone();
        Observer::new(move |peer, event| match event {
            Event::Opened { again } => telemetry.connection_opened(peer, again),
            Event::Failed(error) => telemetry.connection_failed(peer, error),
            Event::Ended(error) => telemetry.connection_ended(peer, error),
            Event::Throttled(span) => telemetry.connection_throttled(peer, span.as_secs_f64()),
        })
    }

    fn connection_opened(&self, peer: &Peer, again: bool) {
        let (broker, address) = (peer.broker.map(|broker| broker.0), &peer.address);
        if !again {
            self.metrics.wire_connections.with(["opened"]).inc();
            debug!(target: "headrace::wire", event = "connection-opened", broker, %address, "connected to {address}");
            return;
        }
        self.metrics.wire_connections.with(["reopened"]).inc();
        if let Some(held_back) = self.admit("connection-reopened", &address.to_string()) {
            info!(
                target: "headrace::wire",
                event = "connection-reopened", broker, %address, held_back, "connected to {address} again"
            );
        }
    }

    fn connection_failed(&self, peer: &Peer, reason: &WireError) {
        let (broker, address, kind) = (peer.broker.map(|broker| broker.0), &peer.address, reason.kind());
        self.metrics.wire_connections.with([kind]).inc();
        let Some(held_back) = self.admit("connection-failed", &format!("{address} {kind}")) else { return };
        if reason.is_retriable() {
            warn!(
                target: "headrace::wire",
                event = "connection-failed", broker, %address, kind, %reason, held_back, "no connection: {reason}"
            );
        } else {
            // It goes on being tried, but somebody has to change something.
            error!(
                target: "headrace::wire",
                event = "connection-failed", broker, %address, kind, %reason, held_back, "no connection: {reason}"
            );
        }
    }

    fn connection_ended(&self, peer: &Peer, reason: &WireError) {
        let (broker, address, kind) = (peer.broker.map(|broker| broker.0), &peer.address, reason.kind());
        self.metrics.wire_disconnects.with([kind]).inc();
        if let Some(held_back) = self.admit("connection-ended", &format!("{address} {kind}")) {
            warn!(
                target: "headrace::wire",
                event = "connection-ended", broker, %address, kind, %reason, held_back, "{reason}"
            );
        }
    }

    fn connection_throttled(&self, peer: &Peer, seconds: f64) {
        let (broker, address) = (peer.broker.map(|broker| broker.0), &peer.address);
        self.metrics.wire_throttled.with([]).inc_by(seconds);
        if let Some(held_back) = self.admit("connection-throttled", &address.to_string()) {
            info!(
                target: "headrace::wire",
                event = "connection-throttled", broker, %address, seconds, held_back,
                "{address} wants to be left alone for {seconds:.3} s: a quota of this client.id or user"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::{Health, Metrics};
    use crate::wire::{Address, BrokerId, Client, Settings};

    fn telemetry() -> Telemetry {
        Telemetry::new(Metrics::new(true).unwrap(), Health::new(Duration::from_secs(30)))
    }

    #[test]
    fn a_broker_that_is_away_floods_the_counters_and_not_the_log() {
        let telemetry = telemetry();
        let address = Address { host: "b".to_owned(), port: 1 };
        let peer = Peer { broker: Some(BrokerId(3)), address };
        let away = WireError::Connect { address: "b:1".to_owned(), reason: "refused".to_owned() };
        for _ in 0..1_000 {
            telemetry.connection_failed(&peer, &away);
        }
        telemetry.connection_opened(&peer, true);
        let text = telemetry.exposition().unwrap();
        assert!(text.contains("headrace_wire_connections_total{outcome=\"unreachable\"} 1000"), "{text}");
        assert!(text.contains("headrace_wire_connections_total{outcome=\"reopened\"} 1"), "{text}");
        assert!(text.contains("headrace_log_suppressed_total{event=\"connection-failed\"} 999"), "{text}");
    }

    #[test]
    fn a_client_without_a_broker_is_counted() {
        // Bound and not listened to: whoever connects is refused, and nobody else gets the port.
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let telemetry = telemetry();
        let mut settings = Settings::new(&taken.to_string(), []).unwrap();
        settings.observer = telemetry.wire();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Client::new(settings).transaction_version()).unwrap_err();
        assert_eq!(telemetry.metrics.wire_connections.with(["unreachable"]).get(), 1);
    }
}
