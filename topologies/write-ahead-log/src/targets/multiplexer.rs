//! One connection for all targets: takes a batch apart by address, has the parts sent at the same time, and puts the replies in order.
//!
//! It never fails as a whole, since then the lane would send everything again for the sake of one. Links are kept by address and
//! login, and bounded: the one that was used longest ago is closed for a new one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::join_all;
use headrace::processor::{BoxFuture, Connect, Failure, OwnTopics, Reply, Target};

use super::settings::LONGEST_TIMEOUT;
use super::{Link, all_failed, in_order, kind, timeout};
use crate::call::Call;
use crate::namespace::{TargetKind, TargetSpec};

/// Longer than a link's own patience, which it should have kept.
const GRACE: Duration = Duration::from_millis(500);

/// How calls are sent.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Addresses that a connection may be open to, per lane.
    pub most_links: usize,
}

impl Options {
    /// No batch takes longer: a lane's own patience (`external.timeout`) has to be longer.
    pub const LONGEST: Duration = LONGEST_TIMEOUT.saturating_add(GRACE);
}

impl Default for Options {
    fn default() -> Self {
        Options { most_links: 64 }
    }
}

/// All targets of all namespaces. Opens nothing before it is needed.
#[derive(Debug, Default)]
pub struct Targets {
    options: Options,
    /// Where the log runs on brokers.
    topics: OnceLock<Arc<dyn OwnTopics>>,
}

impl Targets {
    /// With these bounds.
    pub fn new(options: Options) -> Self {
        Targets { options, topics: OnceLock::new() }
    }
}

impl Connect for Targets {
    fn bind(&self, topics: &Arc<dyn OwnTopics>) {
        // Once: whoever came first is of the same cluster.
        _ = self.topics.set(Arc::clone(topics));
    }

    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Target>, Failure>> {
        let topics = self.topics.get().cloned();
        let multiplexer = Multiplexer { options: self.options, topics, links: HashMap::new(), clock: 0 };
        Box::pin(async move { Ok(Box::new(multiplexer) as Box<dyn Target>) })
    }
}

/// What a link goes by; not printed, because of the address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Door {
    kind: TargetKind,
    address: String,
    settings: Vec<Option<String>>,
}

impl Door {
    fn of(target: &TargetSpec) -> Self {
        let settings = kind(target.kind).connection_settings();
        Door {
            kind: target.kind,
            address: target.address.reveal().to_owned(),
            settings: settings.iter().map(|name| target.settings.get(*name).cloned()).collect(),
        }
    }
}

struct Kept {
    link: Box<dyn Link>,
    used: u64,
}

struct Multiplexer {
    options: Options,
    topics: Option<Arc<dyn OwnTopics>>,
    links: HashMap<Door, Kept>,
    /// Counts batches, to know what was used longest ago.
    clock: u64,
}

/// The calls of one address, with their places in the batch.
#[derive(Default)]
struct Group {
    places: Vec<usize>,
    calls: Vec<Call>,
}

impl Target for Multiplexer {
    fn send<'a>(&'a mut self, bodies: &'a [&'a [u8]]) -> BoxFuture<'a, Result<Vec<Reply>, Failure>> {
        Box::pin(async move {
            self.clock += 1;
            let mut replies = BTreeMap::new();
            let groups = grouped(bodies, &mut replies);
            let mut open = Vec::new();
            for (door, group) in groups {
                match self.take(&door, &group) {
                    Ok(kept) => open.push((door, kept, group)),
                    Err(reason) => {
                        let failures = all_failed(&group.calls, &reason);
                        replies.extend(group.places.into_iter().zip(failures));
                    }
                }
            }
            let sent = open.into_iter().map(|(door, mut kept, group)| async move {
                let answers = deliver(kept.link.as_mut(), &group.calls).await;
                (door, kept, group.places, answers)
            });
            for (door, kept, places, answers) in join_all(sent).await {
                // One that has overrun its patience is not asked again: its connection is closed with it.
                let Some(answers) = answers else { continue };
                self.links.insert(door, kept);
                replies.extend(places.into_iter().zip(answers));
            }
            self.close_oldest();
            Ok(in_order(replies, bodies.len()))
        })
    }
}

impl Multiplexer {
    fn take(&mut self, door: &Door, group: &Group) -> Result<Kept, String> {
        let used = self.clock;
        if let Some(kept) = self.links.remove(door) {
            return Ok(Kept { used, ..kept });
        }
        let Some(first) = group.calls.first() else { return Err("no call".to_owned()) };
        let name = &first.target.name;
        let link = kind(door.kind).link_on(&first.target, self.topics.as_ref());
        Ok(Kept { link: link.map_err(|reason| format!("{name}: {reason}"))?, used })
    }

    fn close_oldest(&mut self) {
        while self.links.len() > self.options.most_links.max(1) {
            let oldest = self.links.iter().min_by_key(|(_, kept)| kept.used).map(|(door, _)| door.clone());
            oldest.map(|door| self.links.remove(&door));
        }
    }
}

/// What is no call is refused at once.
fn grouped(bodies: &[&[u8]], replies: &mut BTreeMap<usize, Reply>) -> BTreeMap<Door, Group> {
    let mut groups: BTreeMap<Door, Group> = BTreeMap::new();
    for (place, body) in bodies.iter().enumerate() {
        match Call::decode(body) {
            Ok(call) => {
                let group = groups.entry(Door::of(&call.target)).or_default();
                group.places.push(place);
                group.calls.push(call);
            }
            Err(reason) => _ = replies.insert(place, Reply::Refused(reason)),
        }
    }
    groups
}

/// None if the link does not come back.
async fn deliver(link: &mut dyn Link, calls: &[Call]) -> Option<Vec<Reply>> {
    // Of targets at one address that differ in it, the most patient one.
    let patience = calls.iter().filter_map(|call| timeout(&call.target).ok()).max().unwrap_or(LONGEST_TIMEOUT);
    let replies = tokio::time::timeout(patience + GRACE, link.send(calls, patience)).await.ok()?;
    debug_assert_eq!(replies.len(), calls.len(), "each call has a reply");
    Some(replies)
}
