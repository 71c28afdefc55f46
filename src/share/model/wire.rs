//! What is between a member and a broker: a connection, requests on their way, and what is known of the session at both ends.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::shared::Fork;
use super::shares::Range;
use crate::share::engine::Flight;
use crate::share::session::Delta;
use crate::wire::share::{Acknowledgement, ShareAcknowledge, ShareFetch, SharePart};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    Fetch(ShareFetch),
    Acknowledge(ShareAcknowledge),
}

impl Sent {
    pub(super) fn epoch(&self) -> i32 {
        match self {
            Sent::Fetch(request) => request.epoch,
            Sent::Acknowledge(request) => request.epoch,
        }
    }

    pub(super) fn epoch_mut(&mut self) -> &mut i32 {
        match self {
            Sent::Fetch(request) => &mut request.epoch,
            Sent::Acknowledge(request) => &mut request.epoch,
        }
    }

    pub(super) fn parts(&self) -> &[SharePart] {
        match self {
            Sent::Fetch(request) => &request.parts,
            Sent::Acknowledge(request) => &request.parts,
        }
    }

    pub(super) fn parts_mut(&mut self) -> &mut Vec<SharePart> {
        match self {
            Sent::Fetch(request) => &mut request.parts,
            Sent::Acknowledge(request) => &mut request.parts,
        }
    }

    pub(super) fn renews(&self) -> bool {
        match self {
            Sent::Fetch(request) => request.renews,
            Sent::Acknowledge(request) => request.renews,
        }
    }

    /// Whether any of what it tells is a renewal.
    pub(super) fn has_renewal(&self) -> bool {
        let kinds = self.parts().iter().flat_map(|part| &part.acknowledged).flat_map(|batch| &batch.kinds);
        kinds.into_iter().any(|kind| *kind == Acknowledgement::Renew)
    }

    /// Whether it tells anything.
    pub(super) fn tells(&self) -> bool {
        self.parts().iter().any(|part| !part.acknowledged.is_empty())
    }
}

/// What an answer says of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Said {
    pub(super) partition: usize,
    pub(super) error: i16,
    /// Who leads instead.
    pub(super) leader: Option<usize>,
    /// What became of what was told; none if nothing was.
    pub(super) told: Option<i16>,
    pub(super) acquired: Vec<Range>,
    /// The number of the first acquisition; the others follow.
    pub(super) id: u32,
}

impl Said {
    /// Each offset that was acquired, with how often it was delivered.
    pub(super) fn offsets(&self) -> impl Iterator<Item = (usize, u8)> + '_ {
        self.acquired.iter().flat_map(|(first, last, count)| (*first..=*last).map(|offset| (offset, *count)))
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    /// What is wrong with all of it (0 is nothing), and its partitions.
    Said(i16, Vec<Said>),
    /// There is none: the connection has ended.
    Cut,
}

impl Answer {
    /// Whether the session is over by it.
    pub(super) fn ends(&self) -> bool {
        !matches!(self, Answer::Said(0, _))
    }
}

/// How far a request is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Travelling,
    /// The broker waits for news of these partitions; what was told has been carried out.
    Parked(Vec<(usize, i16)>, BTreeSet<usize>),
    Answered(Answer),
}

/// A request on its way, as both ends know it.
#[derive(Debug)]
pub(super) struct Under {
    pub(super) sent: Sent,
    /// What the engine wants back with the answer; none of what it has not sent itself.
    pub(super) flight: Option<Flight>,
    pub(super) stage: Stage,
    /// In steps of time.
    pub(super) at: u32,
}

/// The way between a member and a broker.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) under: VecDeque<Under>,
    /// Whether the member has a connection.
    pub(super) open: bool,
    /// A connection has ended, of which the broker does not know yet.
    pub(super) ended: bool,
    /// What the next request's epoch has to be; 0 if there is no session, as far as the member can know.
    pub(super) epoch: i32,
    /// Partitions that the broker reads, as far as it was told.
    pub(super) told: BTreeSet<usize>,
    /// The epoch that the broker expects, and its partitions; none if it has no session.
    pub(super) session: Option<(i32, BTreeSet<usize>)>,
}

impl Wire {
    pub(super) fn new() -> Self {
        let (under, told) = (VecDeque::new(), BTreeSet::new());
        Wire { under, open: false, ended: false, epoch: 0, told, session: None }
    }

    /// The next epoch.
    pub(super) fn next(epoch: i32) -> i32 {
        if epoch == i32::MAX { 1 } else { epoch + 1 }
    }
}

impl Fork for Wire {
    fn fork(&self) -> Self {
        let under = |under: &Under| Under {
            sent: under.sent.clone(),
            flight: under.flight.as_ref().map(fork),
            stage: under.stage.clone(),
            ..*under
        };
        let under = self.under.iter().map(under).collect();
        Wire { under, told: self.told.clone(), session: self.session.clone(), ..*self }
    }
}

fn fork(flight: &Flight) -> Flight {
    let delta =
        |delta: &Delta| Delta { epoch: delta.epoch, added: delta.added.clone(), forgotten: delta.forgotten.clone() };
    let sent: Instant = flight.sent;
    Flight { sent, load: flight.load.fork(), delta: flight.delta.as_ref().map(delta), ..*flight }
}
