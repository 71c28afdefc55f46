//! Parts of a world that its successors share with it, until one of them changes.
//!
//! Most of what happens concerns one member, or one wire: copying all of them for each step takes a third more time.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// What is copied by hand, because it is not [`Clone`] outside the model.
pub(super) trait Fork {
    fn fork(&self) -> Self;
}

/// A part, copied when it is first changed in a world of its own.
#[derive(Debug)]
pub(super) struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    pub(super) fn new(part: T) -> Self {
        Shared(Arc::new(part))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Fork> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        if Arc::get_mut(&mut self.0).is_none() {
            self.0 = Arc::new(self.0.fork());
        }
        Arc::get_mut(&mut self.0).expect("nobody else has it")
    }
}
