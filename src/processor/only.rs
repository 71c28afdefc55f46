//! One kind of what an edge carries, for who listens to no other.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Processor;
use super::context::{Context, Fault};
use crate::record::Record;

type Pick<V, T> = dyn Fn(&V) -> Option<&T> + Send + Sync;

/// Lets pass the records of whose values there is something to pick, as that.
///
/// A processor that has several things to say says them on one edge, as an enum; each sink picks its own.
pub struct Only<K, V, T> {
    pick: Arc<Pick<V, T>>,
    keys: PhantomData<fn(K)>,
}

impl<K, V, T> Only<K, V, T> {
    /// `pick` gives what is wanted of a value; nothing of those that are not.
    pub fn new(pick: impl Fn(&V) -> Option<&T> + Send + Sync + 'static) -> Self {
        Only { pick: Arc::new(pick), keys: PhantomData }
    }
}

impl<K, V, T> Clone for Only<K, V, T> {
    fn clone(&self) -> Self {
        Only { pick: Arc::clone(&self.pick), keys: PhantomData }
    }
}

impl<K: Clone + 'static, V: 'static, T: Clone + 'static> Processor for Only<K, V, T> {
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = T;

    fn process(&mut self, record: &Record<K, V>, context: &mut Context<'_, K, T>) -> Result<(), Fault> {
        if let Some(picked) = (self.pick)(&record.value) {
            context.forward(&record.map(record.key.clone(), picked.clone()));
        }
        Ok(())
    }
}
