//! The watchdog: ends the application when a call of the Kafka client does not return (rule R-12).
//!
//! The stream thread that made the call can do nothing any more, and its partitions stay with it for as long as the process
//! lives. So the process ends, and whoever supervises it starts it again; what was open is aborted by that start.

use std::time::Duration;

use crate::error::FatalError;
use crate::kafka::Calls;
use crate::telemetry::Telemetry;

/// How long a call may take beyond the transaction's time-out, by which the broker has ended what it waits for.
const BEYOND_TRANSACTION: Duration = Duration::from_secs(5);
/// How often it looks.
const PERIOD: Duration = Duration::from_millis(500);

pub(super) struct Watchdog {
    calls: Calls,
    limit: Duration,
    telemetry: Telemetry,
}

impl Watchdog {
    pub(super) fn new(calls: Calls, transaction_timeout: Duration, telemetry: Telemetry) -> Self {
        Watchdog { calls, limit: transaction_timeout + BEYOND_TRANSACTION, telemetry }
    }

    /// Returns when a call has been under way for too long, and not before.
    pub(super) async fn watch(self) -> FatalError {
        loop {
            if let Some((call, after)) = self.calls.longest().filter(|(_, after)| *after > self.limit) {
                self.telemetry.watchdog_fired(call, after);
                return FatalError::Stuck { call, after };
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}
