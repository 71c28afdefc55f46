//! Topics that were deleted and made anew while they were read, or produced to.
//!
//! librdkafka fetches by topic id, so after the id has changed nothing of the new topic comes before it has asked for
//! metadata. There it takes the new id and goes on at the old position (2.12.1 has a FIXME about it): what stands before
//! that in the new topic would never be read. It tells of the change in its log only, before it fetches again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The part of librdkafka's log that has to be on.
pub(super) const DEBUG: &str = "metadata";
const FACILITY: &str = "METADATA";
const CHANGED: &str = " changed id from ";

/// What the log has told and nobody has asked for yet.
#[derive(Default)]
pub(super) struct Anew {
    topics: Mutex<BTreeSet<String>>,
    /// Whether any is waiting: looked at with each record, so without the lock.
    waiting: AtomicBool,
}

impl Anew {
    /// Looks at a line of the log.
    pub(super) fn look(&self, facility: &str, message: &str) {
        if facility == FACILITY
            && let Some(topic) = changed(message)
        {
            self.topics.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned());
            self.waiting.store(true, Ordering::Release);
        }
    }

    /// The next such topic.
    pub(super) fn take(&self) -> Option<String> {
        if !self.waiting.load(Ordering::Acquire) {
            return None;
        }
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = topics.pop_first();
        self.waiting.store(!topics.is_empty(), Ordering::Release);
        topic
    }
}

/// The topic that has got another id. The first one that it gets is no change: before it there were zeros, which are
/// written as `A`s.
fn changed(message: &str) -> Option<&str> {
    let (before, after) = message.split_once(CHANGED)?;
    let old = after.split_whitespace().next()?;
    let is_first = old.bytes().all(|byte| byte == b'A' || byte == b'=');
    before.split_whitespace().next_back().filter(|_| !is_first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_a_first_id_is_none() {
        let anew = Anew::default();
        anew.look(FACILITY, "[thrd:main]: Topic t.in changed id from AAAAAAAAAAAAAAAAAAAAAA to x7xs4FfsRkGrD4Q7lWdYaw");
        anew.look("OTHER", "[thrd:main]: Topic t.in changed id from x7xs4FfsRkGrD4Q7lWdYaw to y7xs4FfsRkGrD4Q7lWdYaw");
        anew.look(FACILITY, "[thrd:main]: Topic t.in [0] Leader 1 Epoch 0");
        assert_eq!(anew.take(), None);
        anew.look(FACILITY, "[thrd:main]: Topic t.in changed id from x7xs4FfsRkGrD4Q7lWdYaw to y7xs4FfsRkGrD4Q7lWdYaw");
        assert_eq!((anew.take().as_deref(), anew.take()), (Some("t.in"), None));
    }
}
