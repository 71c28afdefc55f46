//! How far the two stages are, as their groups have committed it.

use std::cell::RefCell;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use testbed::wait;

use crate::Result;
use crate::ground::Ground;

/// For one question to the broker.
const LOOK: Duration = Duration::from_secs(5);
/// For all input to be committed once no more comes, restarts of brokers and time-outs of transactions included.
const DRAIN: Duration = Duration::from_secs(120);

/// One number for each stage and partition.
pub type Offsets = [Vec<i64>; 2];

fn readers(ground: &Ground) -> Result<[BaseConsumer; 2]> {
    let reader = |group: &str| -> Result<BaseConsumer> {
        let mut config = ground.client();
        // Committed readers would wait for open transactions before they get an answer.
        config.set("group.id", group).set("isolation.level", "read_uncommitted");
        Ok(config.create()?)
    };
    let [first, second] = ground.stages();
    Ok([reader(&first.application)?, reader(&second.application)?])
}

/// Asks the groups of a ground for their positions.
pub struct Positions {
    ground: Ground,
    /// Members of nothing; made anew after a failure, since librdkafka asks a leader that is gone until it forgets it.
    readers: RefCell<[BaseConsumer; 2]>,
}

impl Positions {
    /// Connects lazily.
    ///
    /// # Errors
    /// librdkafka refuses the configuration, which does not happen.
    pub fn new(ground: &Ground) -> Result<Positions> {
        Ok(Positions { ground: ground.clone(), readers: RefCell::new(readers(ground)?) })
    }

    fn each(&self, look: impl Fn(&BaseConsumer, &str) -> Result<Vec<i64>>) -> Result<Offsets> {
        let [first, second] = self.ground.stages();
        self.ask(|readers| Ok([look(&readers[0], &first.input)?, look(&readers[1], &second.input)?]))
    }

    fn ask<T>(&self, question: impl Fn(&[BaseConsumer; 2]) -> Result<T>) -> Result<T> {
        let answer = question(&self.readers.borrow());
        if answer.is_err() {
            *self.readers.borrow_mut() = readers(&self.ground)?;
        }
        answer
    }

    /// The next offset of each input partition that its group has committed; 0 if nothing.
    ///
    /// # Errors
    /// The broker is away.
    pub fn committed(&self) -> Result<Offsets> {
        self.each(|reader, input| {
            let mut list = TopicPartitionList::new();
            list.add_partition_range(input, 0, self.ground.partitions - 1);
            let committed = reader.committed_offsets(list, LOOK)?;
            let next = |offset| if let Offset::Offset(next) = offset { next } else { 0 };
            Ok(committed.elements().iter().map(|element| next(element.offset())).collect())
        })
    }

    /// The end of each input partition, transaction markers and open transactions included.
    ///
    /// # Errors
    /// The broker is away.
    pub fn ends(&self) -> Result<Offsets> {
        self.each(|reader, input| {
            let end = |partition| Ok(reader.fetch_watermarks(input, partition, LOOK)?.1);
            (0..self.ground.partitions).map(end).collect()
        })
    }

    /// How many records the first stage's output has, transaction markers included.
    ///
    /// # Errors
    /// The broker is away.
    pub fn output_end(&self) -> Result<u64> {
        let [first, _] = self.ground.stages();
        self.ask(|[reader, _]| {
            let end = |partition| Ok(reader.fetch_watermarks(&first.output, partition, LOOK)?.1.unsigned_abs());
            (0..self.ground.partitions).map(end).sum()
        })
    }

    /// Waits until both have committed all there is; `meanwhile` is called before each look.
    ///
    /// # Errors
    /// They have not, in time; or what `meanwhile` says.
    pub fn wait_drained(&self, meanwhile: impl FnMut() -> Result<()>) -> Result<()> {
        // The second stage's input grows until the first is done: both are looked at together.
        self.wait_committed(meanwhile, |committed, ends| committed == ends)
    }

    /// The same of the first stage alone, for a control arm that has no other.
    ///
    /// # Errors
    /// As [`wait_drained`](Self::wait_drained).
    pub fn wait_first_drained(&self, meanwhile: impl FnMut() -> Result<()>) -> Result<()> {
        self.wait_committed(meanwhile, |committed, ends| committed[0] == ends[0])
    }

    /// Waits until so many events of the first stage are committed.
    ///
    /// # Errors
    /// As [`wait_drained`](Self::wait_drained).
    pub fn wait_events(&self, events: u64) -> Result<()> {
        let wanted = i64::try_from(events)?;
        self.wait_committed(|| Ok(()), |committed, _| committed[0].iter().sum::<i64>() >= wanted)
    }

    fn wait_committed(
        &self,
        mut meanwhile: impl FnMut() -> Result<()>,
        enough: impl Fn(&Offsets, &Offsets) -> bool,
    ) -> Result<()> {
        wait::until("input to be committed", DRAIN, || {
            meanwhile().map_err(|error| error.to_string())?;
            let (committed, ends) = self.look().map_err(|error| error.to_string())?;
            if enough(&committed, &ends) { Ok(()) } else { Err(format!("{committed:?} of {ends:?}")) }
        })?;
        Ok(())
    }

    fn look(&self) -> Result<(Offsets, Offsets)> {
        Ok((self.committed()?, self.ends()?))
    }
}
