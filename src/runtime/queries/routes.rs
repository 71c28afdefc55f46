//! The routes below `/state`, and what is counted of them.
//!
//! | route | what |
//! |---|---|
//! | `/state` | the stores, their formats, and who has their tasks |
//! | `/state/{store}/{key}` | one entry, the key as text |
//! | `/state/{store}?key-base64=…` | one entry, the key as bytes |
//! | `/state/{store}?from=…&to=…`, `?prefix=…` | a page of entries |

use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Queries;
use super::answer::Refusal;
use super::peers::ROUTED;
use super::places::task_of;
use super::request::{Request, Route};
use crate::position::Partition;
use crate::topology::StoreDeclaration;

impl Queries {
    /// The longest that one of them takes: the wait for a position, and the way to another instance.
    pub const LONGEST: Duration = Duration::from_secs(45);

    /// The routes. They only read.
    pub fn routes(&self) -> Router {
        let key = |queries: State<Queries>,
                   Path((store, key)): Path<(String, String)>,
                   uri: Uri,
                   headers: HeaderMap| { answer(queries.0, store, Some(key), uri, headers) };
        let store = |queries: State<Queries>, Path(store): Path<String>, uri: Uri, headers: HeaderMap| {
            answer(queries.0, store, None, uri, headers)
        };
        Router::new()
            .route("/state", get(|State(queries): State<Queries>| async move { Json(queries.list()) }))
            .route("/state/{store}", get(store))
            .route("/state/{store}/{key}", get(key))
            .with_state(self.clone())
    }

    fn list(&self) -> Value {
        let stores: Vec<Value> = self.0.topology.stores().iter().map(|store| self.describe(store)).collect();
        json!({ "application": self.0.application, "instance": self.0.instance, "address": self.0.address, "stores": stores })
    }

    fn describe(&self, store: &StoreDeclaration) -> Value {
        let here = self.partitions_here(store).into_iter();
        let here: Vec<String> = here.map(|partition| task_of(store, partition).to_string()).collect();
        let directory = self.directory();
        let partitions = directory.partitions(store.sub_topology);
        let owner = |partition: i32| {
            let task = task_of(store, Partition(partition));
            (partition.to_string(), directory.owner(task).map_or(Value::Null, Value::from))
        };
        let owners: serde_json::Map<String, Value> = (0..partitions.unwrap_or(0)).map(owner).collect();
        json!({
            "name": store.spec.name,
            "kind": store.spec.kind.name(),
            "key": store.key.format,
            "value": store.value.format,
            "partitions": partitions,
            "tasks": here,
            "owners": owners,
        })
    }

    async fn answered(
        &self,
        store: &str,
        key: Option<&str>,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<(Response, &'static str), Refusal> {
        let routed = headers.contains_key(ROUTED);
        let room = if routed { &self.0.routed } else { &self.0.clients };
        let _permit = room.try_acquire().map_err(|_| Refusal::Busy)?;
        let store = self.store(store)?;
        let mut request = Request::parse(query, key, &store.key)?;
        if routed {
            request.route = Route::Stay;
        }
        let token = headers.get(header::AUTHORIZATION);
        match request.key.clone() {
            Some(key) => Ok((Json(self.look_up(store, &key, &request, token).await?).into_response(), "found")),
            None => Ok((Json(self.page(store, &request, token).await?).into_response(), "scanned")),
        }
    }
}

async fn answer(queries: Queries, store: String, key: Option<String>, uri: Uri, headers: HeaderMap) -> Response {
    let started = Instant::now();
    let answered = queries.answered(&store, key.as_deref(), uri.query().unwrap_or_default(), &headers).await;
    let (response, outcome) = answered.unwrap_or_else(|refusal| {
        let outcome = refusal.outcome();
        (refusal.into_response(), outcome)
    });
    let metrics = &queries.0.telemetry.metrics;
    metrics.queries.with([outcome]).inc();
    metrics.query.with([]).observe(started.elapsed().as_secs_f64());
    response
}
