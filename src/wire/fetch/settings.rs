//! What a fetcher is told when it starts.

use std::time::Duration;

/// Settings of one fetcher; how to reach the cluster is told apart.
#[derive(Debug, Clone)]
pub struct FetcherSettings {
    /// How long a broker may wait for news before it answers that there are none (`fetch.wait.max.ms`).
    pub max_wait: Duration,
    /// How much news a broker waits for, until `max_wait` is over (`fetch.min.bytes`).
    pub min_bytes: usize,
    /// Largest answer to one fetch, in bytes (`fetch.max.bytes`). A batch that is larger still comes, alone (KIP-74).
    pub max_bytes: usize,
    /// The same for one partition's part of it (`fetch.message.max.bytes`). A partition that has as much waiting is left
    /// out of the next fetch.
    pub partition_bytes: usize,
    /// All answers that are held together, in bytes (rule R-4): those on their way, those that wait, and those that the
    /// stream thread is reading. Exceeded by at most one batch per broker, where a single batch is larger than the room.
    pub buffer_bytes: usize,
    /// Largest size of one batch when it is decompressed, in bytes; one at a time is.
    pub max_plain_bytes: usize,
    /// How long brokers may take to answer, beyond `max_wait`.
    pub request_timeout: Duration,
    /// The group whose committed positions [`assign_committed`](super::Fetcher::assign_committed) begins at.
    pub group: Option<String>,
    /// How long a topic may be unknown before the owner is told: a new one takes a moment to be known everywhere.
    pub missing_patience: Duration,
}

impl Default for FetcherSettings {
    /// 100 ms; 16 MiB an answer, 1 MiB a partition, 64 MiB in all; 128 MiB a plain batch.
    fn default() -> Self {
        FetcherSettings {
            max_wait: Duration::from_millis(100),
            min_bytes: 1,
            max_bytes: 16 << 20,
            partition_bytes: 1 << 20,
            buffer_bytes: 64 << 20,
            max_plain_bytes: 128 << 20,
            request_timeout: Duration::from_secs(30),
            group: None,
            missing_patience: Duration::from_secs(5),
        }
    }
}
