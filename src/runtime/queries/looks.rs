//! The stores and the global tables as routes of a topology look into them: from within the process, with the same answers that
//! `/state` gives.
//!
//! ```text
//!  a topology's route ─▶ Looks ─┬─ beginning_with ─▶ scan of all partitions, here and at the other instances
//!                               └─ table ──────────▶ the copy of the global table that each instance has
//! ```
//!
//! Values of stores come as JSON, as `/state` shows them, since another instance may have answered. The other instances are asked with
//! this one's `http.state-token`, which all of them share.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use serde::de::DeserializeOwned;

use super::Queries;
use super::answer::Refusal;
use super::request::{MAX_LIMIT, Request, Route};
use super::token::Token;
use crate::codec::DecodeError;
use crate::store::{GlobalState, GlobalTable, ReadError};
use crate::telemetry::Bearer;

/// How long other instances may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pages of one scan: with those of [`MAX_LIMIT`] entries, the most that a route is given.
const MAX_PAGES: usize = 4;

/// What routes of a topology may look at. Clones are the same.
#[derive(Debug, Clone)]
pub struct Looks {
    queries: Queries,
    token: Option<HeaderValue>,
}

/// What a scan has found.
#[derive(Debug)]
pub struct Seen<V> {
    /// Keys and values, partition by partition.
    pub entries: Vec<(String, V)>,
    /// Whether these are all; false if there are more than a route is given.
    pub is_all: bool,
}

/// Why a look has found out nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// Nobody can say at present: a task moves, or is restored; an instance, or the registry, is away; too many ask.
    #[error("{0}")]
    Away(String),
    /// Asking again won't help.
    #[error("{0}")]
    Failed(String),
}

impl From<Refusal> for LookError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable(_) | Refusal::Busy | Refusal::Late(_) | Refusal::Elsewhere(..) => {
                LookError::Away(refusal.to_string())
            }
            refusal => LookError::Failed(refusal.to_string()),
        }
    }
}

impl Queries {
    /// What routes of the topology may look at; other instances are asked with this token.
    pub fn looks(&self, token: Option<&Bearer>) -> Looks {
        Looks { queries: self.clone(), token: token.and_then(Bearer::header) }
    }

    /// The global tables are read to their ends. They end with the application, whoever still holds these queries.
    pub(in super::super) fn has_globals(&self, globals: &Arc<GlobalState>) {
        _ = self.0.globals.set(Arc::downgrade(globals));
    }
}

impl Looks {
    /// The entries of a store with text keys that begin with `prefix`, of all partitions, whoever has them.
    ///
    /// # Errors
    /// [`LookError::Away`] if any partition can't be looked at: what is not found is not there only if all were.
    pub async fn beginning_with<V: DeserializeOwned>(&self, store: &str, prefix: &str) -> Result<Seen<V>, LookError> {
        let started = Instant::now();
        let seen = self.scan(store, prefix).await;
        let metrics = &self.queries.0.telemetry.metrics;
        metrics.queries.with([seen.as_ref().map_or_else(Refusal::outcome, |_| "scanned")]).inc();
        metrics.query.with([]).observe(started.elapsed().as_secs_f64());
        Ok(seen?)
    }

    async fn scan<V: DeserializeOwned>(&self, store: &str, prefix: &str) -> Result<Seen<V>, Refusal> {
        let _permit = self.queries.0.clients.try_acquire().map_err(|_| Refusal::Busy)?;
        let store = self.queries.store(store)?;
        let mut request = beginning(prefix.as_bytes());
        let mut entries = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.queries.page(store, &request, self.token.as_ref()).await?;
            for row in page.entries {
                let unread = |error: serde_json::Error| {
                    // Without the value: its place is enough (rule O5).
                    let place = format!("{}, column {}", error.line(), error.column());
                    Refusal::Failed(format!("store {}: an entry is of another form, at line {place}", page.store))
                };
                let key = serde_json::from_str(row.key.get()).map_err(unread)?;
                entries.push((key, serde_json::from_str(row.value.get()).map_err(unread)?));
            }
            let Some(next) = page.next else { return Ok(Seen { entries, is_all: true }) };
            request = request.going_on(&next)?;
        }
        Ok(Seen { entries, is_all: false })
    }

    /// The value of a key in a global table, the newest that has come to this instance.
    ///
    /// # Errors
    /// The table is not read to its end yet, or the value can't be read.
    pub async fn table<K: 'static, V: 'static>(
        &self,
        table: &GlobalTable<K, V>,
        key: &K,
    ) -> Result<Option<V>, LookError> {
        let state = self.queries.0.globals.get().and_then(Weak::upgrade);
        let Some(state) = state else {
            return Err(LookError::Away("the tables of this instance are not read to their ends yet".to_owned()));
        };
        loop {
            match table.read(&state, key, &mut Vec::new()) {
                Err(ReadError::Decode(DecodeError::SchemaNotLoaded(id))) => self.queries.load(id).await?,
                read => return read.map_err(|error| LookError::Failed(error.to_string())),
            }
        }
    }
}

/// A scan of all partitions by any instance.
fn beginning(prefix: &[u8]) -> Request {
    Request {
        key: None,
        from: None,
        to: None,
        prefix: Some(prefix.to_vec()),
        limit: MAX_LIMIT,
        reverse: false,
        next: None,
        partition: None,
        record_key: None,
        min_position: Token::default(),
        deadline: Instant::now() + PATIENCE,
        route: Route::Proxy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Partition;

    #[test]
    fn who_may_ask_again_is_told_so() {
        let away = |refusal: Refusal| matches!(LookError::from(refusal), LookError::Away(_));
        assert!(away(Refusal::Unavailable("moving".into())) && away(Refusal::Busy));
        assert!(away(Refusal::Late(Token::default())) && away(Refusal::Elsewhere(Partition(0), None)));
        assert!(!away(Refusal::UnknownStore(Vec::new())) && !away(Refusal::Failed("x".into())));
    }

    #[test]
    fn a_scan_goes_on_where_its_page_ended_and_is_asked_of_others_as_bytes() {
        let request = beginning(b"shop/a/");
        assert!(request.for_peer("entries", Partition(2), 10, None).contains("partition=2&route=none&timeout="));
        let next = request.going_on("2.c2hvcC9hL2I").unwrap();
        let next = next.next.unwrap();
        assert_eq!((next.partition, next.after.as_deref()), (Partition(2), Some(&b"shop/a/b"[..])));
        assert!(beginning(b"").going_on("x").is_err());
    }
}
