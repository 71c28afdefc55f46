//! How far a workers' share group is behind, asked of the brokers again and again, for whoever scales by it (KIP-1226).
//!
//! ```text
//!  group's coordinator ── lag by partition ──┐
//!                                            ├─▶ sum by topic ─▶ gauge
//!  leaders ── bounds of those without one ───┘
//! ```
//!
//! The brokers give no lag for a partition with which the group has not begun, and it never begins with an empty one. Where the
//! group begins at the start, all that is there waits for it, as a consumer group's lag is reckoned before its first commit: so
//! there is a figure before anybody works, in offsets, so that transactions' markers count in it. Else where it will begin is not known,
//! and neither is the sum.
//!
//! A sum that lacks a part is not told, and what is not known any more is taken away: who scales by a stale or too small figure
//! does the wrong thing, and sees none of it. Workers go on whatever becomes of this.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::position::Partition;
use crate::telemetry::Telemetry;
use crate::topology::WorkersSpec;
use crate::wire::fetch::bounds;
use crate::wire::share::{PartLag, ShareLagRequest, share_lag};
use crate::wire::{Client, CoordinatorKind, Settings, WireError};

use super::super::options::Options;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long one round may take; the figure of the one before stands for as long.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the coordinator answers for a group that is not there.
const GROUP_ID_NOT_FOUND: i16 = 69;

/// Tells the lag of one node's group. See the module's documentation.
pub(super) struct LagWatch {
    workers: String,
    group: String,
    topics: Vec<String>,
    from_beginning: bool,
    client: Client,
    telemetry: Telemetry,
}

impl LagWatch {
    pub(super) fn new(spec: &WorkersSpec, options: &Options, cluster: Settings) -> Self {
        LagWatch {
            workers: spec.name.clone(),
            group: spec.group(&options.kafka.application_id),
            topics: spec.topics.iter().map(|(topic, _)| topic.clone()).collect(),
            from_beginning: options.kafka.from_beginning,
            client: Client::new(cluster),
            telemetry: options.telemetry.clone(),
        }
    }

    /// Tells it until it is stopped.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        let mut failing = false;
        while let Some(round) = stop.run_until_cancelled(self.round()).await {
            // Only the first of a row: all that fail after it would say the same.
            if let Err(reason) = &round
                && !failing
            {
                self.telemetry.share_lag_unknown(&self.workers, reason);
            }
            failing = round.is_err();
            if stop.run_until_cancelled(sleep(INTERVAL)).await.is_none() {
                break;
            }
        }
        self.forget();
    }

    /// Asks and tells once.
    async fn round(&self) -> Result<(), String> {
        let round = timeout(PATIENCE, self.ask()).await;
        let Ok(asked) = round else {
            self.lose_coordinator();
            return Err(format!("no answer within {PATIENCE:?}"));
        };
        asked.map_err(|error| error.to_string())
    }

    /// # Errors
    /// Why some topic has no figure, or all have none.
    async fn ask(&self) -> Result<(), WireError> {
        let parts = self.parts().await.inspect_err(|_| self.lose_coordinator())?;
        let mut all = Ok(());
        for topic in &self.topics {
            let lag = self.lag(topic, &parts).await;
            self.telemetry.share_lag(&self.workers, topic, lag.as_ref().ok().copied().flatten());
            all = all.and(lag.map(|_| ()));
        }
        all
    }

    /// What the coordinator says of the group's partitions; nothing of a group that is not there yet.
    async fn parts(&self) -> Result<Vec<PartLag>, WireError> {
        let connection = self.client.coordinating(CoordinatorKind::Group, &self.group).await?;
        let request = ShareLagRequest { group: self.group.as_str().into(), topics: None };
        let answer = share_lag(&connection, &request, PATIENCE).await?;
        match answer.error {
            None => Ok(answer.parts),
            Some(code) if code.number() == GROUP_ID_NOT_FOUND => Ok(Vec::new()),
            Some(code) => Err(WireError::from_code(format!("lag of share group {}", self.group), code)),
        }
    }

    /// Records of a topic that the group has not done; none while that is not known.
    async fn lag(&self, topic: &str, parts: &[PartLag]) -> Result<Option<i64>, WireError> {
        // What the coordinator knows of partitions may be newer than what this client does.
        let told = parts.iter().filter(|part| *part.topic == *topic).map(|part| part.partition + 1).max();
        let known = self.client.partitions(topic).await?;
        let count = known.max(usize::try_from(told.unwrap_or(0)).unwrap_or(0));
        let mut lags = Vec::with_capacity(count);
        for partition in (0..).map(Partition).take(count) {
            let (start, lag) = reported(parts, topic, partition)?;
            lags.push(match lag {
                Some(lag) => Some(lag),
                None => left(start, bounds(&self.client, topic, partition).await?, self.from_beginning),
            });
        }
        Ok(lags.into_iter().sum())
    }

    /// Nothing is known of any topic, and whoever does not answer, or refuses, may not be the coordinator any more.
    fn lose_coordinator(&self) {
        self.client.forget_coordinator(CoordinatorKind::Group, &self.group);
        self.forget();
    }

    fn forget(&self) {
        self.topics.iter().for_each(|topic| self.telemetry.share_lag(&self.workers, topic, None));
    }
}

/// Where the group has begun with a partition, and its lag there, as far as the coordinator knows.
fn reported(parts: &[PartLag], topic: &str, partition: Partition) -> Result<(Option<i64>, Option<i64>), WireError> {
    let part = parts.iter().find(|part| *part.topic == *topic && part.partition == partition.0);
    match part {
        None => Ok((None, None)),
        Some(PartLag { error: Some(code), .. }) => {
            Err(WireError::from_code(format!("lag of {topic}-{}", partition.0), *code))
        }
        Some(part) => Ok((part.start, part.lag)),
    }
}

/// What is left of a partition of which the coordinator gives no lag.
fn left(start: Option<i64>, bounds: (i64, i64), from_beginning: bool) -> Option<i64> {
    let all = bounds.1 - bounds.0;
    // Of one that it has begun with, how much is done beyond the start is the broker's to know.
    (all == 0 || (start.is_none() && from_beginning)).then_some(all)
}

#[cfg(test)]
mod tests {
    use crate::wire::{Code, TopicId};

    use super::*;

    fn part(topic: &str, partition: i32, start: Option<i64>, lag: Option<i64>) -> PartLag {
        PartLag { topic: topic.into(), id: TopicId::default(), partition, leader_epoch: None, start, lag, error: None }
    }

    #[test]
    fn a_partition_is_found_by_its_topic_and_number_and_its_error_is_told() {
        let mut parts =
            vec![part("low", 0, Some(4), Some(1)), part("high", 0, Some(9), Some(7)), part("low", 1, None, None)];
        let found = |parts: &[PartLag], topic: &str, number| reported(parts, topic, Partition(number)).unwrap();
        assert_eq!(found(&parts, "low", 0), (Some(4), Some(1)));
        assert_eq!(found(&parts, "high", 0), (Some(9), Some(7)));
        assert_eq!(found(&parts, "low", 1), (None, None));
        assert_eq!(found(&parts, "high", 1), (None, None), "the group has never heard of it");
        parts[0].error = Code::new(3);
        let error = reported(&parts, "low", Partition(0)).unwrap_err();
        assert!(error.to_string().starts_with("lag of low-0: "), "{error}");
    }

    #[test]
    fn what_a_group_has_not_begun_with_is_all_there_or_not_known() {
        assert_eq!(left(None, (3, 10), true), Some(7), "it will be handed all of it");
        assert_eq!(left(None, (3, 10), false), None, "nobody knows where it will begin");
        assert_eq!(left(Some(5), (3, 10), true), None, "nobody knows what is done beyond the start");
        for (start, from_beginning) in [(None, true), (None, false), (Some(10), false)] {
            assert_eq!(left(start, (10, 10), from_beginning), Some(0), "there is nothing");
        }
    }

    #[test]
    fn a_topic_with_a_partition_that_is_not_known_has_no_figure() {
        let sum = |lags: [Option<i64>; 3]| lags.into_iter().sum::<Option<i64>>();
        assert_eq!(sum([Some(2), left(None, (0, 0), true), left(None, (0, 5), true)]), Some(7));
        assert_eq!(sum([Some(2), left(None, (0, 0), false), left(None, (0, 5), false)]), None);
    }
}
