//! Mutations over HTTP, for callers that have no Kafka client, or want to know what has become of one.
//!
//! ```text
//!  POST   /v1/{namespace}/log             one mutation, or many  ─▶ mutations topic   durable: succeeded, failed or unknown
//!  DELETE /v1/{namespace}/log/{token}     take it back           ─▶ commands topic    202: it is asked for
//!  GET    /v1/{namespace}/status/{token}  what became of it      ◀─ entries, of whichever instance has them
//!  POST   /v1/{namespace}/groups          several, or none       ─▶ groups topic
//!  DELETE, GET  …/groups/{group}          take it back; how far it is
//! ```
//!
//! **What is promised** (rule W1): a mutation that has `succeeded` is on all in-sync replicas, and will be applied or given up with a
//! word. One that has `failed` was certainly not written. Everything else is `unknown`: so is a request that got no answer, or another
//! one than is told of here. Send it again **with the same token**: the log knows it again, and does nothing twice (rule W2).
//!
//! The two that change something need `http.token`, the other what `/state` needs. A mutation that a topic's own rules, a lifetime or a
//! drift limit refuse is durable all the same: that is seen in its status, since the log, which knows what came before, decides it.

mod answer;
mod append;
mod body;
mod cancel;
mod form;
mod groups;
mod refusal;
mod room;
mod status;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::{delete, get, post};
use headrace::cli::{Built, Host, OwnRoutes, Writes};
use headrace::error::FatalError;
use headrace::kafka::Writer;
use headrace::runtime::Looks;
use headrace::store::GlobalTable;
use headrace::telemetry::Routes;

use crate::config::{Config, IntakeConfig};
use crate::entry::Command;
use crate::group::GroupRecord;
use crate::mutation::{Mutation, is_name};
use crate::namespace::Namespace;

use refusal::Refusal;
use room::Room;

/// Beyond the time that a mutation may take: a body that comes slowly, and the way to the registry and back.
const BESIDE: Duration = Duration::from_secs(15);

/// Its mutations would be dead letters.
const NO_REGION: &str =
    "other regions write this namespace, and this log has no name among them; set region.name and start it again";

/// What the routes share.
struct Intake {
    bounds: IntakeConfig,
    namespaces: GlobalTable<String, Namespace>,
    looks: Looks,
    writer: Writer,
    mutations: Writes<Mutation>,
    commands: Writes<Command>,
    groups: Writes<GroupRecord>,
    room: Room,
    /// Whether this region has a name.
    has_region: bool,
}

/// The routes; `namespaces` says which there are.
pub fn routes(config: &Config, namespaces: GlobalTable<String, Namespace>) -> OwnRoutes {
    let config = config.clone();
    OwnRoutes::built(move |host| built(&config, namespaces, host))
}

fn built(config: &Config, namespaces: GlobalTable<String, Namespace>, host: &Host) -> Result<Built, FatalError> {
    let (bounds, topics) = (config.intake.clone(), &config.topics);
    let (longest, body_bytes) = (bounds.timeout.duration() + BESIDE, bytes(bounds.max_body.bytes()));
    let intake = Arc::new(Intake {
        room: Room::new(bounds.requests as usize, bytes(bounds.memory.bytes())),
        bounds,
        has_region: !config.region.name.is_empty(),
        namespaces,
        looks: host.looks(),
        writer: host.writer(config.intake.timeout.duration())?,
        mutations: host.writes(&topics.mutations)?,
        commands: host.writes(&topics.commands)?,
        groups: host.writes(&topics.groups)?,
    });
    let changing = Router::new()
        .route("/v1/{namespace}/log", post(append::append))
        .route("/v1/{namespace}/log/{token}", delete(cancel::cancel))
        .route("/v1/{namespace}/groups", post(groups::write))
        .route("/v1/{namespace}/groups/{group}", delete(groups::abort))
        .with_state(Arc::clone(&intake));
    let reading = Router::new()
        .route("/v1/{namespace}/status/{token}", get(status::status))
        .route("/v1/{namespace}/groups/{group}", get(groups::show))
        .with_state(intake);
    Ok(Built {
        changing: Some(Routes { router: changing, longest, body_bytes }),
        reading: Some((reading, longest).into()),
    })
}

impl Intake {
    /// A namespace as this instance knows it.
    async fn namespace(&self, name: &str) -> Result<Namespace, Refusal> {
        // What can't be a name is none, and is not looked for.
        let known = match is_name(name) {
            Ok(()) => self.looks.table(&self.namespaces, &name.to_owned()).await?,
            Err(_) => None,
        };
        let known = known.ok_or(Refusal::NoNamespace)?;
        if known.is_replicated() && !self.has_region {
            return Err(Refusal::Failed(NO_REGION.to_owned()));
        }
        Ok(known)
    }
}

fn bytes(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Now, in milliseconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
