//! Records of a command: written now and then by a client of its own, and acknowledged by all replicas before anybody is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::consumer::KafkaFailure;
use super::settings::Settings;

/// Beyond the time that a record may take, until its end is known.
const OVERTIME: Duration = Duration::from_secs(1);

/// Writes records outside of any transaction, each once (KIP-98), placed by its key as Java places it.
pub struct Submitter {
    client: BaseProducer<Outcomes>,
    patience: Duration,
}

/// What has become of each record of a submission; nothing yet of those that are not in it.
#[derive(Default)]
struct Outcomes(Mutex<BTreeMap<usize, Result<(), KafkaError>>>);

impl Outcomes {
    fn note(&self, number: usize, outcome: Result<(), KafkaError>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, outcome);
    }
}

impl ClientContext for Outcomes {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "headrace::kafka", %error, reason, "submitter");
    }
}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        self.note(number, result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone()));
    }
}

impl Submitter {
    /// Connects lazily. `patience`: how long a record may take from its submission to its acknowledgement.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(settings: &Settings, patience: Duration) -> Result<Self, KafkaFailure> {
        let client = BaseProducer::from_config_and_context(&settings.submitter(patience), Outcomes::default())?;
        Ok(Submitter { client, patience })
    }

    /// Writes keys and values to a topic, waits for the brokers, and gives what has become of each, in their order. What has
    /// failed may be there all the same, if it is the acknowledgement that was lost. Blocks.
    pub fn submit(&mut self, topic: &str, records: &[(Vec<u8>, Vec<u8>)]) -> Vec<Result<(), KafkaFailure>> {
        let outcomes = || self.client.context().0.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes().clear();
        for (number, (key, value)) in records.iter().enumerate() {
            let record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, number).key(key).payload(value);
            if let Err((error, _)) = self.client.send(record) {
                self.client.context().note(number, Err(error));
            }
        }
        let flushed = self.client.flush(self.patience + OVERTIME);
        let unknown = || match &flushed {
            Err(error) => KafkaFailure(error.to_string()),
            Ok(()) => KafkaFailure("no word of it from the brokers".to_owned()),
        };
        let known = std::mem::take(&mut *outcomes());
        let outcome = |number| match known.get(&number) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(error.clone().into()),
            None => Err(unknown()),
        };
        (0..records.len()).map(outcome).collect()
    }
}
