//! `GET /v1/{namespace}/status/{token}`: what has become of a mutation at each of its targets.
//!
//! The log's own entries say it, of whichever instance has them. A mutation that is durable is not there until the log has come to it,
//! and not any more when it need not be known again: both is a 404. That another partition can't be asked is a 503, never a 404: it may
//! have the mutation.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Intake;
use super::answer::response;
use super::refusal::Refusal;
use crate::entry::State as Fate;
use crate::mutation::is_name;

/// The store that is looked into.
const ENTRIES: &str = "entries";

/// An entry without what the caller knows.
#[derive(Debug, Deserialize)]
struct Known {
    state: Fate,
    number: Option<i64>,
    attempts: i32,
    due: Option<i64>,
    since: i64,
    how: Option<String>,
    reason: Option<String>,
}

/// The same for the caller. Times are milliseconds since 1970.
#[derive(Debug, Serialize)]
struct Shown {
    target: String,
    state: &'static str,
    attempts: i32,
    number: Option<i64>,
    how: Option<String>,
    reason: Option<String>,
    since: i64,
    due: Option<i64>,
}

pub(super) async fn status(
    State(intake): State<Arc<Intake>>,
    Path((namespace, token)): Path<(String, String)>,
) -> Response {
    match intake.status(&namespace, &token).await {
        Ok(shown) => response(StatusCode::OK, json!({ "token": token, "targets": shown })),
        Err(refusal) => refusal.into_response(),
    }
}

impl Intake {
    async fn status(&self, namespace: &str, token: &str) -> Result<Vec<Shown>, Refusal> {
        is_name(namespace).map_err(|_| Refusal::NoNamespace)?;
        let prefix = format!("{namespace}/{token}/");
        let seen = self.looks.beginning_with::<Known>(ENTRIES, &prefix).await?;
        let shown = of_token(&prefix, seen.entries);
        match shown.is_empty() {
            false => Ok(shown),
            true if seen.is_all => Err(Refusal::Absent(
                "nothing is known of this token: the log has not come to it yet, or need not know it any more, or it was never \
                 written; who does not know sends it again with the same token"
                    .to_owned(),
            )),
            // Nobody makes such tokens by chance.
            true => Err(Refusal::Failed("too many tokens begin with this one and a slash".to_owned())),
        }
    }
}

/// Those of this token: names of targets hold no slash, but tokens may, and others begin as this one does.
fn of_token(prefix: &str, entries: Vec<(String, Known)>) -> Vec<Shown> {
    let of_token = entries.into_iter().filter_map(|(id, known)| {
        let target = id.strip_prefix(prefix).filter(|target| !target.contains('/'))?;
        Some(Shown {
            target: target.to_owned(),
            state: known.state.name(),
            attempts: known.attempts,
            number: known.number,
            how: known.how,
            reason: known.reason,
            since: known.since,
            due: known.due,
        })
    });
    let mut shown: Vec<Shown> = of_token.collect();
    shown.sort_by(|one, other| one.target.cmp(&other.target));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::mutation::Mutation;

    /// As a store shows it.
    fn known(token: &str, target: &str) -> (String, Known) {
        let mutation = Mutation {
            namespace: "shop".to_owned(),
            token: token.to_owned(),
            target: Some(target.to_owned()),
            value: Some(vec![0, 255]),
            ..Mutation::default()
        };
        let entry = Entry { due: Some(5), state: Fate::Delayed, ..Entry::new(mutation, 3) };
        (entry.id(), serde_json::from_str(&serde_json::to_string(&entry).unwrap()).unwrap())
    }

    #[test]
    fn what_is_shown_is_of_this_token_alone() {
        let entries = vec![known("a", "redis"), known("a", "api"), known("a/b", "redis"), known("a/b", "x")];
        let shown = of_token("shop/a/", entries);
        let targets: Vec<&str> = shown.iter().map(|shown| shown.target.as_str()).collect();
        assert_eq!(targets, ["api", "redis"]);
        let json = serde_json::to_value(&shown[0]).unwrap();
        assert_eq!(
            json,
            json!({ "target": "api", "state": "delayed", "attempts": 0, "number": null, "how": null, "reason": null, "since": 3, "due": 5 })
        );
    }
}
