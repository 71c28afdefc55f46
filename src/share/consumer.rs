//! The handle of a share consumer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::delivery::{Delivery, Desk};
use super::driver::{Driver, Told, Wish};
use super::engine::Engine;
use super::error::ShareError;
use super::settings::ShareSettings;
use crate::wire::share::{member_prefix, random_member};
use crate::wire::{Client, Settings};

/// A member of a share group that fetches for as long as its window has room, whatever else is still being worked on.
///
/// ```no_run
/// # async fn run(cluster: headrace::wire::Settings) -> Result<(), Box<dyn std::error::Error>> {
/// use headrace::share::{ShareConsumer, ShareSettings};
///
/// let mut consumer = ShareConsumer::join(cluster, ShareSettings::new("resizers", ["images"]))?;
/// while let Some(delivery) = consumer.next().await? {
///     tokio::spawn(async move {
///         let lease = delivery.lease();
///         tokio::select! {
///             _lost = lease.lost() => {} // somebody else has it by now
///             () = resize(&delivery) => { _ = delivery.accept(); }
///         }
///     });
/// }
/// # async fn resize(_: &headrace::share::Delivery) {}
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ShareConsumer {
    member: String,
    window: usize,
    desk: Arc<Desk>,
    come: VecDeque<Delivery>,
    told: mpsc::UnboundedReceiver<Told>,
    wish: watch::Sender<Wish>,
    task: JoinHandle<()>,
}

impl ShareConsumer {
    /// Joins a group. Returns at once; the first [`next`](Self::next) waits until there is something. Needs a tokio runtime,
    /// which runs the member from then on.
    ///
    /// # Errors
    /// [`ShareError::Setting`].
    pub fn join(cluster: Settings, settings: ShareSettings) -> Result<Self, ShareError> {
        check(&settings)?;
        let prefix = settings.name.as_deref().map(member_prefix).unwrap_or_default();
        let member = random_member(&prefix);
        let (desk, now) = (Arc::new(Desk::new(settings.window)), Instant::now());
        let window = settings.window;
        let engine = Engine::new(settings, member.clone(), Arc::clone(&desk), now);
        let (out, told) = mpsc::unbounded_channel();
        let (wish, wishes) = watch::channel(Wish::Run);
        let task = tokio::spawn(Driver::new(engine, Client::new(cluster), out, wishes).run());
        Ok(ShareConsumer { member, window, desk, come: VecDeque::new(), told, wish, task })
    }

    /// The member's id, as the broker's tools show it.
    pub fn member(&self) -> &str {
        &self.member
    }

    /// The most that its window can be.
    pub fn window(&self) -> usize {
        self.window
    }

    /// From now on so many records are held at most, no more than [`window`](Self::window); with 0 nothing is fetched. What is
    /// held beyond that stays.
    pub fn set_window(&self, records: usize) {
        self.desk.set_window(records.min(self.window));
    }

    /// The next record; waits for it. None after a [`drain`](Self::drain), once nothing more comes.
    ///
    /// # Errors
    /// The member can't go on; what it held is released.
    pub async fn next(&mut self) -> Result<Option<Delivery>, ShareError> {
        while self.come.is_empty() {
            match self.told.recv().await {
                Some(told) => self.come.extend(told?),
                None => return Ok(None),
            }
        }
        Ok(self.come.pop_front())
    }

    /// Takes what has come by now, without waiting: all of it, in order.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn ready(&mut self) -> Result<impl Iterator<Item = Delivery> + '_, ShareError> {
        while let Ok(told) = self.told.try_recv() {
            self.come.extend(told?);
        }
        Ok(self.come.drain(..))
    }

    /// From now on nothing is fetched. What has been comes by [`next`](Self::next), and locks are renewed, until it is settled: a
    /// delivery that is given back at the end would count as one all the same, and a record has five of them.
    pub fn drain(&self) {
        self.want(Wish::Drain);
    }

    /// Gives back what is held, tells brokers what they were not told yet, closes the sessions and leaves the group. What
    /// can't be told within `patience` is left to the locks' end.
    pub async fn close(mut self, patience: Duration) {
        self.want(Wish::Close);
        self.come.clear();
        self.told.close();
        if tokio::time::timeout(patience, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }

    fn want(&self, wish: Wish) {
        self.wish.send_if_modified(|now| {
            let further = wish > *now;
            *now = (*now).max(wish);
            further
        });
    }
}

fn check(settings: &ShareSettings) -> Result<(), ShareError> {
    let refuse = |setting, reason: &str| Err(ShareError::Setting { setting, reason: reason.to_owned() });
    if settings.group.is_empty() {
        return refuse("group", "is empty; name the share group");
    }
    if settings.topics.is_empty() {
        return refuse("topics", "names none; a share group reads at least one topic");
    }
    if settings.window == 0 {
        return refuse("window", "is 0; it takes at least one record to work on");
    }
    Ok(())
}
