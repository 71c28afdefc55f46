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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::telemetry::{Health, Metrics};

    fn watchdog(calls: &Calls, limit: Duration) -> (Watchdog, Telemetry) {
        let telemetry = Telemetry::new(Metrics::new(true).unwrap(), Health::new(Duration::from_secs(60)));
        (Watchdog { calls: calls.clone(), limit, telemetry: telemetry.clone() }, telemetry)
    }

    #[tokio::test]
    async fn r12_a_call_that_does_not_return_ends_the_process_with_70_and_others_do_not() {
        let calls = Calls::default();
        drop(calls.enter("commit_transaction"));
        let (idle, _) = watchdog(&calls, Duration::ZERO);
        assert!(idle.watch().now_or_never().is_none(), "no call is under way");
        let _entered = calls.enter("send_offsets_to_transaction");
        let (patient, _) = watchdog(&calls, Duration::from_secs(3600));
        assert!(patient.watch().now_or_never().is_none(), "it has not taken long yet");
        let (strict, telemetry) = watchdog(&calls, Duration::ZERO);
        let stuck = strict.watch().await;
        assert!(matches!(stuck, FatalError::Stuck { call: "send_offsets_to_transaction", .. }), "{stuck}");
        assert_eq!(stuck.exit_code(), 70);
        assert!(telemetry.metrics.render().unwrap().contains("headrace_watchdog_fired_total 1"));
    }
}
