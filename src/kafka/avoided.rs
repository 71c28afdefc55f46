//! Topics to which nothing could be produced, of those that records have named: left alone for a while, so that a transaction does not
//! fail at them again and again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Instant;

/// How long one is left alone. A transaction that fails at it costs all that is in it, and some seconds.
const AVOIDED_FOR: Duration = Duration::from_secs(30);
/// How many are remembered; of more, the one that was avoided for longest is forgotten.
const MOST: usize = 1_000;

/// Since when, and why.
type Reasons = BTreeMap<String, (Instant, String)>;

/// The topics of one process that are left alone; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Avoided(Arc<Mutex<Reasons>>);

impl Avoided {
    fn lock(&self) -> MutexGuard<'_, Reasons> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing could be produced to it just now.
    pub fn add(&self, topic: &str, reason: &str) {
        let mut reasons = self.lock();
        reasons.retain(|_, (since, _)| since.elapsed() < AVOIDED_FOR);
        if reasons.len() >= MOST {
            let oldest = reasons.iter().min_by_key(|(_, (since, _))| *since).map(|(topic, _)| topic.clone());
            oldest.map(|oldest| reasons.remove(&oldest));
        }
        reasons.insert(topic.to_owned(), (Instant::now(), reason.to_owned()));
    }

    /// Why nothing should be produced to it now.
    pub fn reason(&self, topic: &str) -> Option<String> {
        let reasons = self.lock();
        let (_, reason) = reasons.get(topic).filter(|(since, _)| since.elapsed() < AVOIDED_FOR)?;
        Some(reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_avoided_has_a_reason_and_there_is_an_end_to_how_much() {
        let avoided = Avoided::default();
        avoided.add("gone", "it was deleted");
        assert_eq!(avoided.clone().reason("gone").as_deref(), Some("it was deleted"));
        assert_eq!(avoided.reason("there"), None);
        (0..=MOST).for_each(|number| avoided.add(&format!("t{number}"), "full"));
        assert_eq!(avoided.lock().len(), MOST);
        assert_eq!(avoided.reason("gone"), None, "the oldest goes first");
    }
}
