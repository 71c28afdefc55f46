//! Where the partitions of a store are, and when they are as fresh as a request wants them.

use std::time::Duration;

use super::Queries;
use super::answer::{Part, Refusal};
use super::request::{Request, Route};
use super::token::Token;
use super::views::Shown;
use crate::partitioner::partition_of;
use crate::position::{Partition, TaskId};
use crate::store::{Positions, View, ViewError};
use crate::telemetry::TaskState;
use crate::topology::StoreDeclaration;

/// Between two looks at a position that is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// Where a partition's task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On this instance; it may still be restoring.
    Here,
    /// At this address.
    There(String),
    /// Nobody has announced it.
    Nowhere,
}

impl Queries {
    /// The partitions that a request is about, in order, each with its place.
    pub(super) fn places(
        &self,
        store: &StoreDeclaration,
        request: &Request,
    ) -> Result<Vec<(Partition, Place)>, Refusal> {
        self.check_topics(store, &request.min_position)?;
        let count = self.directory().partitions(store.sub_topology);
        let wanted = match (request.partition, &request.record_key, count) {
            (Some(partition), ..) if count.is_some_and(|count| partition.0 >= count) => {
                let count = count.unwrap_or_default();
                return Err(Refusal::Bad(format!("partition: the store has {count}, counted from 0")));
            }
            (Some(partition), ..) => vec![partition],
            // The routing of a request that names no partition needs to know how many there are.
            (None, _, None) if request.route != Route::Stay => {
                return Err(Refusal::Unavailable("the partitions are not known yet".to_owned()));
            }
            (None, Some(key), Some(count)) => vec![partition_of(key, count)],
            (None, _, None) => self.partitions_here(store),
            (None, None, Some(count)) => (0..count).map(Partition).collect(),
        };
        let place = |partition: Partition| (partition, self.place(task_of(store, partition)));
        let mut places: Vec<_> = wanted.into_iter().map(place).collect();
        if request.route == Route::Stay && request.partition.is_none() && request.record_key.is_none() {
            places.retain(|(_, place)| *place == Place::Here);
            if places.is_empty() {
                return Err(Refusal::Unavailable("no partition of the store is on this instance".to_owned()));
            }
        }
        Ok(places)
    }

    /// The partitions of a store that are open here.
    pub(super) fn partitions_here(&self, store: &StoreDeclaration) -> Vec<Partition> {
        let own = self.views().tasks().into_iter().filter(|task| task.sub_topology == store.sub_topology);
        own.map(|task| task.partition).collect()
    }

    /// What a token speaks of must be an input of the store.
    fn check_topics(&self, store: &StoreDeclaration, token: &Token) -> Result<(), Refusal> {
        let own = || self.0.topology.sources().iter().filter(|source| source.sub_topology == store.sub_topology);
        let is_foreign = |topic: &&str| !own().any(|source| source.topics.matches(topic));
        match token.topics().find(is_foreign) {
            Some(topic) => Err(Refusal::Bad(format!("min-position: {topic} is no input of the store"))),
            None => Ok(()),
        }
    }

    fn place(&self, task: TaskId) -> Place {
        if self.views().of(task).is_some() || self.state(task).is_some() {
            return Place::Here;
        }
        match self.directory().owner(task) {
            // Ours of a moment ago.
            Some(address) if address == self.address() => Place::Nowhere,
            Some(address) => Place::There(address.to_owned()),
            None => Place::Nowhere,
        }
    }

    fn state(&self, task: TaskId) -> Option<TaskState> {
        self.0.telemetry.health.tasks().into_iter().find(|view| view.task == task).map(|view| view.state)
    }

    /// A task of this instance, once it has come to where the request wants it.
    async fn at_position(&self, task: TaskId, request: &Request) -> Result<Shown, Refusal> {
        loop {
            let Some(shown) = self.views().of(task) else {
                return Err(Refusal::Unavailable(match self.state(task) {
                    Some(TaskState::Created | TaskState::Restoring) => format!("task {task} is being restored"),
                    Some(_) => format!("task {task} is being reconciled"),
                    None => format!("task {task} has just left this instance"),
                }));
            };
            if request.min_position.is_empty() {
                return Ok(shown);
            }
            let view = shown.view.clone();
            let reached = shown.token(&blocking(move || view.positions()).await?);
            if request.min_position.is_reached(&reached, task.partition) {
                return Ok(shown);
            }
            let left = request.patience();
            if left.is_zero() {
                return Err(Refusal::Late(reached));
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// Reads a partition that is here. What is read is at least as new as the request wants.
    pub(super) async fn read_here<R: Send + 'static>(
        &self,
        store: &StoreDeclaration,
        partition: Partition,
        request: &Request,
        read: impl FnOnce(&View) -> Result<(R, Positions), ViewError> + Send + 'static,
    ) -> Result<(R, Token), Refusal> {
        let shown = self.at_position(task_of(store, partition), request).await?;
        let view = shown.view.clone();
        let (found, positions) = blocking(move || read(&view)).await?;
        Ok((found, shown.token(&positions)))
    }

    /// This instance, as the one that answers for a partition.
    pub(super) fn part(&self, store: &StoreDeclaration, partition: Partition, reached: &Token) -> Part {
        Part {
            partition: partition.0,
            task: task_of(store, partition).to_string(),
            instance: self.0.instance.clone(),
            position: reached.to_json(),
            token: reached.to_string(),
        }
    }

    /// The refusal of what is elsewhere, if the client is to go there itself: to one address, since it can't go to several.
    pub(super) fn redirected(&self, places: &[(Partition, Place)], request: &Request, store: &str) -> Option<Refusal> {
        let (first, place) = places.first()?;
        match (request.route, place) {
            (Route::Redirect, Place::There(address)) if places.iter().all(|(_, other)| other == place) => {
                let path = match places {
                    [(partition, _)] => {
                        let after = request.next.as_ref().and_then(|next| next.after.as_deref());
                        request.for_peer(store, *partition, request.limit, after)
                    }
                    _ => request.for_client(store),
                };
                Some(Refusal::Redirect(format!("http://{address}{path}")))
            }
            (Route::Redirect, _) if places.iter().all(|(_, place)| *place == Place::Here) => None,
            (Route::Redirect, _) if places.len() > 1 => Some(Refusal::Bad(
                "route: the partitions are on several instances, name one by partition or record-key to be redirected"
                    .into(),
            )),
            (Route::Stay, Place::There(address)) => Some(Refusal::Elsewhere(*first, Some(address.clone()))),
            (Route::Stay, Place::Nowhere) => Some(Refusal::Elsewhere(*first, None)),
            _ => None,
        }
    }
}

pub(super) fn task_of(store: &StoreDeclaration, partition: Partition) -> TaskId {
    TaskId { sub_topology: store.sub_topology, partition }
}

pub(super) fn nobody_has(store: &StoreDeclaration, partition: Partition) -> Refusal {
    let task = task_of(store, partition);
    Refusal::Unavailable(format!("no instance has announced task {task}: it is moving, or being restored"))
}

/// Reads off the threads that serve connections.
async fn blocking<R: Send + 'static>(
    read: impl FnOnce() -> Result<R, ViewError> + Send + 'static,
) -> Result<R, Refusal> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(Refusal::Failed("the read has ended unexpectedly".to_owned())),
    }
}
