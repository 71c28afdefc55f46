//! One kind of the events that the schedule gives, for who listens to no other.

use std::sync::Arc;

use headrace::processor::{Context, Fault, Processor};
use headrace::record::Record;

use crate::board::Event;

type Pick<T> = dyn Fn(&Event) -> Option<&T> + Send + Sync;

/// Lets pass the events of which there is something to pick, as that.
#[derive(Clone)]
pub(crate) struct Only<T>(Arc<Pick<T>>);

impl<T> Only<T> {
    /// `pick` gives what is wanted of an event; nothing of those that are not.
    pub(crate) fn new(pick: impl Fn(&Event) -> Option<&T> + Send + Sync + 'static) -> Self {
        Only(Arc::new(pick))
    }
}

impl<T: Clone + 'static> Processor for Only<T> {
    type KeyIn = String;
    type ValueIn = Event;
    type KeyOut = String;
    type ValueOut = T;

    fn process(&mut self, record: &Record<String, Event>, context: &mut Context<'_, String, T>) -> Result<(), Fault> {
        if let Some(picked) = (self.0)(&record.value) {
            context.forward(&record.map(record.key.clone(), picked.clone()));
        }
        Ok(())
    }
}
