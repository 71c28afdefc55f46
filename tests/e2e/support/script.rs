//! The plan of a test that wants one fault at a time: at the next request of a kind.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::proxy::{Action, Plan, Request};

/// What is done next, and to what kind of request; all others pass.
#[derive(Default)]
pub(crate) struct Script {
    next: Mutex<Option<(i16, Action)>>,
    done: AtomicUsize,
}

impl Script {
    /// Does this to the next request of this kind, once.
    pub(crate) fn next(&self, api: i16, action: Action) {
        *self.next.lock().expect("script") = Some((api, action));
    }

    /// How often something was done.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }
}

impl Plan for Script {
    fn action(&self, request: Request) -> Action {
        match self.next.lock().expect("script").take_if(|(api, _)| *api == request.api) {
            Some((_, action)) => {
                self.done.fetch_add(1, Ordering::SeqCst);
                action
            }
            None => Action::Pass,
        }
    }
}
