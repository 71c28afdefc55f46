//! What a share consumer is told when it starts.

use std::time::Duration;

use crate::wire::share::AcquireMode;

/// Settings of one member; how to reach the cluster is told apart. What is the *group's* (the lock's length, how often a
/// record is delivered, where a new group begins) is set at the broker, with `kafka-configs --entity-type groups`.
#[derive(Debug, Clone)]
pub struct ShareSettings {
    /// The share group.
    pub group: String,
    /// Topics that are read.
    pub topics: Vec<String>,
    /// The member's name, the same after a restart. Who comes back after a kill shows out of the group who was there under its name:
    /// else the coordinator goes on dealing a share of the partitions to the dead one, until `share.session.timeout.ms` (45 s) is over.
    /// A name is no identity: if two that run have the same one, each is shown out once by the other, and joins again.
    pub name: Option<String>,
    /// The rack that the member is in (`client.rack`); brokers only show it.
    pub rack: Option<String>,
    /// Records that are held at most: fetched, and not yet acknowledged. More are fetched whenever it is not full.
    pub window: usize,
    /// Whether the window is kept to the record ([`AcquireMode::RecordLimit`]), or may be exceeded by the rest of a producer's
    /// batch, which costs the broker less ([`AcquireMode::BatchOptimized`]).
    pub mode: AcquireMode,
    /// Largest answer to one fetch, in bytes. A batch that is larger still comes, alone (KIP-74).
    pub max_bytes: usize,
    /// Largest size of one batch when it is decompressed, in bytes.
    pub max_plain_bytes: usize,
    /// How long a broker may wait for news while nothing of it is held.
    pub max_wait: Duration,
    /// The same while something is: what is acknowledged meanwhile waits behind it (one request at a time, rule R3).
    pub busy_wait: Duration,
    /// How long the first acknowledgement, or the first free place, waits for company.
    pub linger: Duration,
    /// Whether locks are renewed at half of their time for as long as a record is held (KIP-1222).
    pub renew: bool,
    /// How long brokers may take to answer, beyond the wait.
    pub request_timeout: Duration,
}

impl ShareSettings {
    /// 512 records, kept to the record; 16 MiB an answer; waits of 500 ms, or 20 ms while something is held; 2 ms of linger.
    pub fn new(group: impl Into<String>, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        ShareSettings {
            group: group.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            name: None,
            rack: None,
            window: 512,
            mode: AcquireMode::RecordLimit,
            max_bytes: 16 << 20,
            max_plain_bytes: 128 << 20,
            max_wait: Duration::from_millis(500),
            busy_wait: Duration::from_millis(20),
            linger: Duration::from_millis(2),
            renew: true,
            request_timeout: Duration::from_secs(30),
        }
    }
}
