//! The processor that counts, and one that counts without care, as a control of what is measured.

use headrace::processor::{Context, Fault, Processor};
use headrace::record::Record;
use headrace::store::{Store, StoreIndex};

/// Counts the records of each key.
#[derive(Debug, Clone)]
pub struct Count {
    /// How often each key has come.
    pub counts: Store<Vec<u8>, u64>,
}

impl Processor for Count {
    type KeyIn = Vec<u8>;
    type ValueIn = Vec<u8>;
    type KeyOut = Vec<u8>;
    type ValueOut = u64;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.counts.index()]
    }

    fn process(
        &mut self,
        record: &Record<Vec<u8>, Vec<u8>>,
        context: &mut Context<'_, Vec<u8>, u64>,
    ) -> Result<(), Fault> {
        let count = context.store(&self.counts).read(&record.key)?.unwrap_or(0) + 1;
        context.store(&self.counts).write(&record.key, Some(&count))?;
        context.forward(&record.map(record.key.clone(), count));
        Ok(())
    }
}

/// The same result by needless work: text, copies, and the same read twice. A ceiling that does not catch it is too high.
#[derive(Debug, Clone)]
pub struct Careless {
    /// How often each key has come.
    pub counts: Store<Vec<u8>, u64>,
}

impl Processor for Careless {
    type KeyIn = Vec<u8>;
    type ValueIn = Vec<u8>;
    type KeyOut = Vec<u8>;
    type ValueOut = u64;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.counts.index()]
    }

    fn process(
        &mut self,
        record: &Record<Vec<u8>, Vec<u8>>,
        context: &mut Context<'_, Vec<u8>, u64>,
    ) -> Result<(), Fault> {
        let copy = record.clone();
        let known = context.store(&self.counts).read(&copy.key)?.is_some();
        let before = context.store(&self.counts).read(&copy.key)?.filter(|_| known).unwrap_or(0);
        let text = format!("{} {}", String::from_utf8_lossy(&copy.key), before);
        let count = text.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) + 1;
        context.store(&self.counts).write(&copy.key, Some(&count))?;
        context.forward(&copy.map(copy.key.clone(), count));
        Ok(())
    }
}
