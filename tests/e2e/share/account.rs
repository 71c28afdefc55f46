//! The books of a fault test: who was handed which record when, and what the broker said of it.
//!
//! What `accept` has answered Ok is never handed out again, to nobody (at-least-once beyond that: what was handed out and not
//! settled comes again).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headrace::share::{Delivery, ShareConsumer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::support::{number, wait};

/// Deliveries that a member works on at the same time.
const AT_WORK: usize = 20;
/// One in so many is released when it comes for the first time.
const RELEASED: u32 = 9;
/// Between two looks at what is done.
const TICK: Duration = Duration::from_millis(5);

type At = (i32, i64);

/// What a member believes of its acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belief {
    /// What the broker says.
    Told,
    /// The control arm: what is said is done.
    Naive,
}

/// The books.
#[derive(Default)]
pub(crate) struct Account(Mutex<Books>);

#[derive(Default)]
struct Books {
    /// How often the acceptance of an offset was answered Ok.
    accepted: BTreeMap<At, u32>,
    /// Numbers of tasks whose acceptance was said, whatever the answer was: one that got lost on its way back is done, and is
    /// told as lost.
    said: BTreeSet<u32>,
    /// How often each was handed out, and how often it came back unsettled.
    handed: BTreeMap<At, u32>,
    lost: BTreeMap<At, u32>,
    findings: Findings,
}

/// What must not be.
#[derive(Debug, Default, Clone)]
pub(crate) struct Findings {
    /// What was accepted, and came again.
    pub(crate) again: Vec<String>,
    /// What was accepted, and then once more.
    pub(crate) twice: Vec<String>,
}

impl Findings {
    pub(crate) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.twice.is_empty()
    }
}

impl Account {
    fn handed(&self, delivery: &Delivery) -> At {
        let at = (delivery.partition().0, delivery.offset().0);
        let mut books = self.0.lock().unwrap();
        *books.handed.entry(at).or_default() += 1;
        if books.accepted.contains_key(&at) {
            let finding = format!("{at:?} was accepted, and came again as delivery {}", delivery.delivery_count);
            books.findings.again.push(finding);
        }
        at
    }

    fn said(&self, number: u32) {
        self.0.lock().unwrap().said.insert(number);
    }

    fn accepted(&self, at: At) {
        let mut books = self.0.lock().unwrap();
        let times = books.accepted.entry(at).or_default();
        *times += 1;
        if *times > 1 {
            books.findings.twice.push(format!("{at:?} was accepted twice"));
        }
    }

    fn lost(&self, at: At) {
        *self.0.lock().unwrap().lost.entry(at).or_default() += 1;
    }

    /// What was found until now, each in the order in which it was.
    pub(crate) fn findings(&self) -> Findings {
        self.0.lock().unwrap().findings.clone()
    }

    /// Waits until each delivery is known to be accepted or lost; what came again was lost before, or is by now.
    pub(crate) async fn wait_settled(&self) {
        wait("the word on each delivery", || async move {
            let books = self.0.lock().unwrap();
            let open = |(at, handed): &(&At, &u32)| {
                let of = |times: &BTreeMap<At, u32>| times.get(at).copied().unwrap_or(0);
                **handed > of(&books.lost) + of(&books.accepted)
            };
            let open: Vec<_> = books.handed.iter().filter(open).collect();
            if open.is_empty() { Ok(()) } else { Err(format!("{open:?}")) }
        })
        .await;
    }

    /// How many records came more than once.
    pub(crate) fn again(&self) -> usize {
        self.0.lock().unwrap().handed.values().filter(|times| **times > 1).count()
    }

    /// Waits until each of these has come to somebody who has accepted it.
    pub(crate) async fn wait_said(&self, numbers: std::ops::Range<u32>) {
        let numbers = &numbers;
        wait("all to be worked on", || async move {
            let books = self.0.lock().unwrap();
            let missing: Vec<u32> = numbers.clone().filter(|number| !books.said.contains(number)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{} are missing: {missing:?}", missing.len())) }
        })
        .await;
    }
}

/// A member that works until it is told to stop.
pub(crate) fn work(
    mut member: ShareConsumer,
    account: &Arc<Account>,
    belief: Belief,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let (account, stop) = (Arc::clone(account), stop.clone());
    tokio::spawn(async move {
        let mut at_work: VecDeque<(At, Delivery)> = VecDeque::new();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = tick.tick() => at_work.drain(..).for_each(|(at, delivery)| settle(&account, at, delivery, belief)),
                next = member.next(), if at_work.len() < AT_WORK => {
                    let delivery = next.expect("the member goes on").expect("there is more");
                    at_work.push_back((account.handed(&delivery), delivery));
                }
            }
        }
        at_work.drain(..).for_each(|(at, delivery)| settle(&account, at, delivery, belief));
        member.close(crate::support::DEADLINE).await;
    })
}

fn settle(account: &Arc<Account>, at: At, delivery: Delivery, belief: Belief) {
    let (account, number) = (Arc::clone(account), number(&delivery));
    if delivery.delivery_count == 1 && number % RELEASED == 0 {
        account.lost(at);
        _ = delivery.release();
        return;
    }
    account.said(number);
    let settling = delivery.accept();
    if belief == Belief::Naive {
        account.accepted(at);
        return;
    }
    tokio::spawn(async move {
        match settling.await {
            Ok(()) => account.accepted(at),
            Err(_) => account.lost(at),
        }
    });
}
