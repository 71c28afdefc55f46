//! Workers without a share group: one record, one attempt.

use std::future::ready;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{RecordError, Stage};
use crate::position::{Offset, Partition, Position};
use crate::processor::{Around, Attempt, BoxFuture, Effects, Failed, LoadSchema, Lookups};
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
        let told: Arc<Mutex<Vec<Effects>>> = Arc::default();
        let work = spec
            .instantiate()
            .begin(&raw, attempt, &self.around(&told))
            .map_err(|error| Failed::ForGood(RecordError::new(Stage::Deserialize, error.class(), error.to_string())))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let given = runtime.unwrap_or_else(|error| panic!("no runtime: {error}")).block_on(work);
        let told = mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
        told.iter().for_each(|effects| self.keep(effects));
        self.keep(&given?);
        Ok(())
    }

    /// A schema that the driver does not know is one that the registry does not know.
    fn around(&self, told: &Arc<Mutex<Vec<Effects>>>) -> Around {
        let (schemas, told) = (Arc::clone(&self.schemas), Arc::clone(told));
        let load: LoadSchema = Arc::new(move |id| {
            schemas.mark_unknown(id);
            Box::pin(ready(()))
        });
        let post = Arc::new(move |effects| -> BoxFuture<'static, Result<(), Failed>> {
            told.lock().unwrap_or_else(PoisonError::into_inner).push(effects);
            Box::pin(ready(Ok(())))
        });
        Around { lookups: Lookups::new(Arc::clone(&self.globals), load), post }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::text;
    use crate::processor::{Given, Job, Worker};
    use crate::record::Record;
    use crate::topology::Topology;

    struct Doubling;

    impl Worker for Doubling {
        type KeyIn = String;
        type ValueIn = String;
        type KeyOut = String;
        type ValueOut = String;

        async fn run(&self, record: &Record<String, String>, job: &Job<String, String>) -> Given<String, String> {
            tokio::task::yield_now().await;
            let number: u32 =
                record.value.parse().map_err(|_| RecordError::new(Stage::Process, "no-number", "no number"))?;
            job.tell(vec![record.map(record.key.clone(), format!("attempt {}", job.attempt.number))]).await?;
            if job.attempt.number < 2 {
                return Err(Failed::Again("not at once".to_owned()));
            }
            Ok(vec![record.map(record.key.clone(), (number * 2).to_string())])
        }
    }

    fn driver() -> TopologyDriver {
        let mut builder = Topology::builder("doubling");
        let doubled = builder.workers("double", "numbers", (text(), text()), 2, Doubling);
        builder.sink("doubled", doubled, "doubles", text(), text());
        TopologyDriver::new(builder.build().unwrap()).unwrap()
    }

    fn taken(driver: &mut TopologyDriver) -> Vec<String> {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).unwrap();
        driver.take("doubles").into_iter().map(|taken| format!("{}: {}", text(taken.key), text(taken.value))).collect()
    }

    #[test]
    fn what_a_worker_gives_comes_out_of_its_sinks_and_what_it_refuses_does_not() {
        let (mut driver, none) = (driver(), Headers::new());
        assert!(matches!(driver.work("double", 1, Some(b"k"), Some(b"21"), &none), Err(Failed::Again(_))));
        assert_eq!(taken(&mut driver), ["k: attempt 1"], "what is told is told");
        driver.work("double", 2, Some(b"k"), Some(b"21"), &none).unwrap();
        assert_eq!(taken(&mut driver), ["k: attempt 2", "k: 42"]);
        let refused = driver.work("double", 2, Some(b"k"), Some(b"x"), &none);
        assert!(matches!(refused, Err(Failed::ForGood(error)) if error.class == "no-number"));
        let refused = driver.work("double", 2, Some(b"k"), None, &none);
        assert!(matches!(refused, Err(Failed::ForGood(error)) if error.stage == Stage::Deserialize));
    }
}
