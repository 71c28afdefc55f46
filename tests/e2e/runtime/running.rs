//! An application under test, in this process.

use headrace::error::FatalError;
use headrace::telemetry::Telemetry;
use testbed::wait;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::support::{PATIENCE, tokio};

/// An application that runs in this process.
pub(crate) struct Running {
    pub(crate) telemetry: Telemetry,
    pub(crate) shutdown: CancellationToken,
    pub(crate) app: JoinHandle<Result<(), FatalError>>,
}

impl Running {
    /// Asks it to stop and waits for its end.
    pub(crate) fn stop(self) -> Result<(), FatalError> {
        self.shutdown.cancel();
        self.ended()
    }

    /// Waits for its end.
    pub(crate) fn ended(self) -> Result<(), FatalError> {
        let ended = tokio().block_on(async { tokio::time::timeout(PATIENCE, self.app).await });
        ended.expect("the application has not ended in time").expect("the application panicked")
    }

    pub(crate) fn wait_ready(&self) {
        wait::until("ready", PATIENCE, || match self.telemetry.health.not_ready() {
            reasons if reasons.is_empty() => Ok(()),
            _ if self.app.is_finished() => Err("the application has ended".to_owned()),
            reasons => Err(format!("{reasons:?}")),
        })
        .expect("ready");
    }

    /// The sum of a metric's series.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.telemetry.metrics.render().expect("metrics");
        let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}
