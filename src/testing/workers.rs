//! Workers without a share group: one record, one attempt.

use crate::error::{RecordError, Stage};
use crate::position::{Offset, Partition, Position};
use crate::processor::{Attempt, Failed};
use crate::record::{Headers, RawRecord};

use super::driver::TopologyDriver;

impl TopologyDriver {
    /// Has workers work on a record of one of their topics; what they give can be [taken](Self::take). The future is run to its
    /// end on a runtime of its own.
    ///
    /// # Errors
    /// What the worker says, or why the record can't be decoded or the result not be encoded.
    ///
    /// # Panics
    /// There are no workers of this name, or the system gives no runtime.
    pub fn work(
        &mut self,
        workers: &str,
        attempt: u16,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &Headers,
    ) -> Result<(), Failed> {
        let specs = self.topology.workers();
        let spec = specs.iter().find(|spec| spec.name == workers);
        let spec = spec.unwrap_or_else(|| panic!("no workers {workers}; there are: {specs:?}"));
        let topic = spec.topics.first().map_or("", |(topic, _)| topic);
        let timestamp = self.record_time.unwrap_or(self.clock.now());
        let (partition, offset) = (Partition(0), Offset(0));
        let raw = RawRecord { topic, partition, offset, timestamp, key, value, headers };
        let attempt = Attempt { number: attempt, at: Position { topic: topic.into(), partition, offset } };
        let work = spec
            .instantiate()
            .begin(&raw, attempt)
            .map_err(|error| Failed::ForGood(RecordError::new(Stage::Deserialize, error.class(), error.to_string())))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let effects = runtime.unwrap_or_else(|error| panic!("no runtime: {error}")).block_on(work)?;
        self.keep(&effects);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::text;
    use crate::processor::{Given, Worker};
    use crate::record::Record;
    use crate::topology::Topology;

    struct Doubling;

    impl Worker for Doubling {
        type KeyIn = String;
        type ValueIn = String;
        type KeyOut = String;
        type ValueOut = String;

        async fn run(&self, job: &Record<String, String>, attempt: &Attempt) -> Given<String, String> {
            tokio::task::yield_now().await;
            let number: u32 =
                job.value.parse().map_err(|_| RecordError::new(Stage::Process, "no-number", "no number"))?;
            if attempt.number < 2 {
                return Err(Failed::Again("not at once".to_owned()));
            }
            Ok(vec![job.map(job.key.clone(), (number * 2).to_string())])
        }
    }

    fn driver() -> TopologyDriver {
        let mut builder = Topology::builder("doubling");
        let doubled = builder.workers("double", "numbers", (text(), text()), 2, Doubling);
        builder.sink("doubled", doubled, "doubles", text(), text());
        TopologyDriver::new(builder.build().unwrap()).unwrap()
    }

    #[test]
    fn what_a_worker_gives_comes_out_of_its_sinks_and_what_it_refuses_does_not() {
        let (mut driver, none) = (driver(), Headers::new());
        assert!(matches!(driver.work("double", 1, Some(b"k"), Some(b"21"), &none), Err(Failed::Again(_))));
        assert!(driver.take("doubles").is_empty());
        driver.work("double", 2, Some(b"k"), Some(b"21"), &none).unwrap();
        let given = driver.take("doubles");
        assert_eq!(
            (given.len(), given[0].key.as_deref(), given[0].value.as_deref()),
            (1, Some(&b"k"[..]), Some(&b"42"[..]))
        );
        let refused = driver.work("double", 2, Some(b"k"), Some(b"x"), &none);
        assert!(matches!(refused, Err(Failed::ForGood(error)) if error.class == "no-number"));
        let refused = driver.work("double", 2, Some(b"k"), None, &none);
        assert!(matches!(refused, Err(Failed::ForGood(error)) if error.stage == Stage::Deserialize));
    }
}
