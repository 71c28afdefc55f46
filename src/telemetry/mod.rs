//! Telemetry: what the people who run it see, that is metrics, log, health and the HTTP pages with them.
//!
//! The log line and the metric of one event come from one function, so that they can't disagree, and no other module
//! writes a metric's name.
//!
//! ```text
//! runtime ── event ──▶ Telemetry ─┬─▶ log (stderr)
//!                                 ├─▶ Metrics ──▶ /metrics
//!                                 └─▶ Health  ──▶ /healthz /readyz /startupz and the status page
//! ```

mod catalogue;
mod events;
mod family;
mod health;
mod http;
mod jobs;
mod log;
mod metrics;
mod page;
mod process;
mod restore;
mod throttle;
mod wire;

pub use catalogue::Families;
pub use events::{AbortReason, RecycleReason, Telemetry};
pub use family::{
    Age, Ages, Counter, Counters, Gauge, Gauges, Histogram, Histograms, IntCounter, IntGauge, Kind, Metric,
    SecondsCounters, SecondsGauges,
};
pub use health::{DependencyView, Health, Heartbeat, Reason, TaskState, TaskView};
pub use http::{Bearer, HttpServer, Routes, Site, TopologyDescription};
pub use jobs::{JobEnd, Running};
pub use log::{LogLines, init_log, log_filter};
pub use metrics::{Lag, Metrics, ThreadMetrics};
/// A histogram's part that belongs to one thread: `record_latency.local()`; flush it at each commit.
pub use prometheus::local::LocalHistogram;
pub use restore::RestoreProgress;
