//! The catalogue: every metric's name, once, with its unit, its labels and its help.
//!
//! Dashboards, alerts and documents are checked against it; a metric that isn't here can't be registered by the runtime.

use prometheus::Registry;

use super::family::{Ages, Counters, Family, Gauges, Histograms, Kind, Metric, SecondsCounters, SecondsGauges};

/// 100 µs to 30 s: one step of a commit, one request.
const STEPS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// 1 ms to 10 min: what a user waits for.
const WAITS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 600.0,
];
const NO_BUCKETS: &[f64] = &[];

macro_rules! kind {
    (Counters) => {
        Kind::Counter
    };
    (SecondsCounters) => {
        Kind::Counter
    };
    (Histograms) => {
        Kind::Histogram
    };
    ($gauge:ident) => {
        Kind::Gauge
    };
}

macro_rules! catalogue {
    ($($field:ident: $family:ident<$count:literal> = $name:literal ($unit:literal) [$($label:literal),*] $help:literal $buckets:ident;)*) => {
        pub(super) const CATALOGUE: &[Metric] = &[$(Metric {
            name: $name,
            kind: kind!($family),
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
            buckets: $buckets,
        }),*];

        /// Every family of the runtime.
        #[derive(Debug)]
        pub struct Families {
            $(#[doc = $help] pub $field: $family<$count>,)*
        }

        impl Families {
            pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
                let mut entries = CATALOGUE.iter();
                $(
                    let entry = entries.next().ok_or(prometheus::Error::AlreadyReg)?;
                    let $field = $family::register(registry, entry)?;
                )*
                Ok(Families { $($field),* })
            }
        }
    };
}

catalogue! {
    build_info: Gauges<2> = "headrace_build_info" ("") ["topology", "version"]
        "Always 1; what is running is in the labels." NO_BUCKETS;
    uptime: SecondsGauges<0> = "headrace_uptime_seconds" ("seconds") []
        "Seconds since the process started." NO_BUCKETS;
    ready: Gauges<0> = "headrace_ready" ("") []
        "1 if /readyz answers 200, else 0." NO_BUCKETS;
    live: Gauges<0> = "headrace_live" ("") []
        "1 if /healthz answers 200, else 0." NO_BUCKETS;
    process_resident: Gauges<0> = "headrace_process_resident_bytes" ("bytes") []
        "Resident memory of the process." NO_BUCKETS;
    process_cpu: SecondsCounters<0> = "headrace_process_cpu_seconds_total" ("seconds") []
        "CPU time of the process, user and system." NO_BUCKETS;
    process_open_files: Gauges<0> = "headrace_process_open_files" ("") []
        "Open file descriptors of the process." NO_BUCKETS;
    process_threads: Gauges<0> = "headrace_process_threads" ("") []
        "Threads of the process." NO_BUCKETS;

    task_state: Gauges<1> = "headrace_task_state" ("") ["task"]
        "State of a task: 0 created, 1 restoring, 2 running, 3 paused, 4 closing, 5 failed, 6 standby." NO_BUCKETS;
    transaction_open: Ages<1> = "headrace_transaction_open_seconds" ("seconds") ["thread"]
        "Age of a stream thread's open transaction; 0 if none is open." NO_BUCKETS;
    commit: Histograms<1> = "headrace_commit_seconds" ("seconds") ["phase"]
        "Time of a commit's phases: flush, offsets, end, apply (handing over to the stores' writer), external." STEPS;
    commits: Counters<0> = "headrace_commits_total" ("") []
        "Commits that succeeded." NO_BUCKETS;
    commit_renewals: Counters<0> = "headrace_commit_renewals_total" ("") []
        "Commits whose positions were sent again, because a rebalance had ended while they were on their way." NO_BUCKETS;
    aborts: Counters<1> = "headrace_aborts_total" ("") ["reason"]
        "Transactions that were aborted, by reason." NO_BUCKETS;
    producer_recycles: Counters<1> = "headrace_producer_recycles_total" ("") ["reason"]
        "Producers that were replaced by new ones, by reason." NO_BUCKETS;
    fenced: Counters<0> = "headrace_fenced_total" ("") []
        "Times that another producer or generation took over from this process." NO_BUCKETS;
    out_of_range: Counters<0> = "headrace_out_of_range_total" ("") []
        "Positions that were not in the log any more: what was between them and where it goes on was not read." NO_BUCKETS;
    watchdog_fired: Counters<0> = "headrace_watchdog_fired_total" ("") []
        "Calls of the Kafka client that did not return within their deadline." NO_BUCKETS;
    staged: Gauges<1> = "headrace_staged_bytes" ("bytes") ["thread"]
        "Store writes of a stream thread that wait for their transaction's commit, or for the stores' writer after it." NO_BUCKETS;
    poll_gap: Histograms<0> = "headrace_poll_gap_seconds" ("seconds") []
        "Time between two polls of a consumer; above max-poll-interval the member is thrown out." WAITS;

    restore_remaining: Gauges<2> = "headrace_restore_remaining_records" ("records") ["task", "store"]
        "Changelog records that are still to be restored." NO_BUCKETS;
    restore_progress: SecondsGauges<2> = "headrace_restore_progress_ratio" ("ratio") ["task", "store"]
        "How much of its changelog a store that is being restored has, from 0 to 1." NO_BUCKETS;
    restore_eta: SecondsGauges<2> = "headrace_restore_eta_seconds" ("seconds") ["task", "store"]
        "Time left until a store is restored, at the present rate; none while nothing moves." NO_BUCKETS;
    restore_rate_records: Gauges<2> = "headrace_restore_rate_records" ("records") ["task", "store"]
        "Changelog records per second that a store is being restored with." NO_BUCKETS;
    restore_rate_bytes: Gauges<2> = "headrace_restore_rate_bytes" ("bytes") ["task", "store"]
        "Keys and values per second that a store is being restored with." NO_BUCKETS;
    restore_records: Counters<0> = "headrace_restore_records_total" ("records") []
        "Changelog records that were restored." NO_BUCKETS;
    restore_bytes: Counters<0> = "headrace_restore_bytes_total" ("bytes") []
        "Keys and values of the changelog records that were restored." NO_BUCKETS;
    takeovers: Counters<0> = "headrace_takeovers_total" ("") []
        "Transactions of dead owners that were ended by taking over their ids, instead of by their time-outs." NO_BUCKETS;
    standby_behind: SecondsGauges<2> = "headrace_standby_behind_seconds" ("seconds") ["task", "store"]
        "How long a standby's store has been behind the end of its changelog; 0 while it keeps up." NO_BUCKETS;
    standby_records: Counters<0> = "headrace_standby_records_total" ("records") []
        "Changelog records that standbys have read." NO_BUCKETS;
    rebalances: Counters<0> = "headrace_rebalances_total" ("") []
        "Rebalances that this process took part in." NO_BUCKETS;
    rebalance: Histograms<1> = "headrace_rebalance_seconds" ("seconds") ["phase"]
        "Time of a rebalance's phases: revoke, assign, restore." WAITS;
    partition_gap: Histograms<0> = "headrace_partition_gap_seconds" ("seconds") []
        "Time that a partition with records to read was not processed, because of a rebalance or after an abort." WAITS;
    assigned_partitions: Gauges<0> = "headrace_assigned_partitions" ("") []
        "Input partitions that this process owns." NO_BUCKETS;

    rocksdb_block_cache: Gauges<0> = "headrace_rocksdb_block_cache_bytes" ("bytes") []
        "RocksDB's block cache in use." NO_BUCKETS;
    rocksdb_memtable: Gauges<0> = "headrace_rocksdb_memtable_bytes" ("bytes") []
        "RocksDB's memtables of all stores." NO_BUCKETS;
    rocksdb_pending_compaction: Gauges<0> = "headrace_rocksdb_pending_compaction_bytes" ("bytes") []
        "Bytes that RocksDB has yet to compact." NO_BUCKETS;

    lag_records: Gauges<2> = "headrace_lag_records" ("records") ["topic", "partition"]
        "End offset minus position of an input partition." NO_BUCKETS;
    lag_seconds: SecondsGauges<2> = "headrace_lag_seconds" ("seconds") ["topic", "partition"]
        "Age of the next record to be processed of an input partition; 0 if there is none." NO_BUCKETS;
    records_in: Counters<1> = "headrace_records_in_total" ("records") ["source"]
        "Records that were processed, by source." NO_BUCKETS;
    processor_events: Counters<3> = "headrace_processor_events_total" ("") ["processor", "event", "of"]
        "What processors have counted of their own, told when its transaction has committed." NO_BUCKETS;
    records_out: Counters<1> = "headrace_records_out_total" ("records") ["sink"]
        "Records that were produced, by sink." NO_BUCKETS;
    purged: Counters<0> = "headrace_repartition_purged_total" ("records") []
        "Offsets of repartition topics that were deleted after they were processed and committed." NO_BUCKETS;
    record_latency: Histograms<0> = "headrace_record_latency_seconds" ("seconds") []
        "From a record's timestamp to the commit of its effects." WAITS;
    dead_letters: Counters<2> = "headrace_dead_letters_total" ("records") ["stage", "class"]
        "Records that were set aside, by stage and class of error." NO_BUCKETS;
    punctuations: Counters<2> = "headrace_punctuations_total" ("") ["punctuator", "outcome"]
        "Calls of punctuators, by outcome: done, nothing (there was nothing to do), set-aside." NO_BUCKETS;
    punctuation: Histograms<1> = "headrace_punctuation_seconds" ("seconds") ["punctuator"]
        "Time of a punctuator's call, during which its stream thread does nothing else." STEPS;
    punctuation_delay: Histograms<1> = "headrace_punctuation_delay_seconds" ("seconds") ["punctuator"]
        "From a tick of wall-clock time to its call." WAITS;

    jobs: Counters<2> = "headrace_worker_jobs_total" ("") ["workers", "outcome"]
        "Records that workers were handed, by outcome: done, given-up, released (to be tried again), set-aside, lost (the lock ran out)." NO_BUCKETS;
    jobs_running: Gauges<1> = "headrace_worker_running" ("") ["workers"]
        "Records that workers work on now." NO_BUCKETS;
    job_deliveries: Counters<2> = "headrace_worker_deliveries_total" ("") ["workers", "delivery"]
        "Records that workers began with, by which delivery it was: 1, 2, 3, 4, 5+." NO_BUCKETS;
    job: Histograms<1> = "headrace_worker_job_seconds" ("seconds") ["workers"]
        "Time from the start of work on a record to its end, its results' way to the brokers included." WAITS;
    job_delay: Histograms<1> = "headrace_worker_start_delay_seconds" ("seconds") ["workers"]
        "Time from the fetching of a record to the start of work on it." WAITS;
    share_lag_records: Gauges<2> = "headrace_share_lag_records" ("records") ["workers", "topic"]
        "Records of a topic that the workers' share group has not done, those under way included, by the brokers' count; each instance tells the same, and none while it is not known." NO_BUCKETS;

    external_requests: Counters<2> = "headrace_external_requests_total" ("") ["sink", "outcome"]
        "Requests to external sinks, by outcome." NO_BUCKETS;
    external_in_flight: Gauges<1> = "headrace_external_in_flight" ("") ["sink"]
        "Requests to an external sink that have no answer yet." NO_BUCKETS;
    external: Histograms<1> = "headrace_external_seconds" ("seconds") ["sink"]
        "Time of a request to an external sink." STEPS;
    external_retries: Counters<1> = "headrace_external_retries_total" ("") ["sink"]
        "Requests to an external sink that were sent again." NO_BUCKETS;
    dependency_up: Gauges<1> = "headrace_dependency_up" ("") ["dependency"]
        "1 if the dependency answers, 0 if it is away." NO_BUCKETS;
    dependency_away: Ages<1> = "headrace_dependency_away_seconds" ("seconds") ["dependency"]
        "How long a dependency has been away; 0 if it is there." NO_BUCKETS;
    registry_requests: Counters<1> = "headrace_registry_requests_total" ("") ["outcome"]
        "Requests to the schema registry, by outcome; cached answers don't count." NO_BUCKETS;
    wire_connections: Counters<1> = "headrace_wire_connections_total" ("") ["outcome"]
        "Connections to brokers that the native client tried to open: opened, reopened, or why it could not." NO_BUCKETS;
    wire_disconnects: Counters<1> = "headrace_wire_disconnects_total" ("") ["reason"]
        "Connections of the native client that ended while they were needed: closed, timed-out, protocol, authentication." NO_BUCKETS;
    wire_throttled: SecondsCounters<0> = "headrace_wire_throttled_seconds_total" ("seconds") []
        "Time for which brokers told the native client to send nothing, because of quotas." NO_BUCKETS;
    queries: Counters<1> = "headrace_queries_total" ("") ["outcome"]
        "Queries of the stores over HTTP, by outcome: found, scanned, absent, or why there was no answer." NO_BUCKETS;
    query: Histograms<0> = "headrace_query_seconds" ("seconds") []
        "Time of a query of the stores, the wait for its min-position and other instances' answers included." STEPS;
    log_suppressed: Counters<1> = "headrace_log_suppressed_total" ("") ["event"]
        "Log lines that were held back because of their number." NO_BUCKETS;
}
