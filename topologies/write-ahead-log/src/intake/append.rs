//! `POST /v1/{namespace}/log`: mutations into the log.
//!
//! ```text
//!  namespace known? ─▶ room? ─▶ body ─▶ items ─▶ each: validated, encoded, on its way ─▶ all answers ─▶ one status
//! ```
//!
//! All mutations of a request are on their way before the first is waited for, in their order: so those of one ordering key are in the
//! log as the request has them. Those that can't be taken are left out, and the others are written.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::future::{Either, join_all, ready};
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{Answer, response, status};
use super::body::{Item, Kind, read};
use super::refusal::Refusal;
use super::{Intake, bytes, now};
use crate::mutation::Mutation;
use crate::namespace::Namespace;

pub(super) async fn append(
    State(intake): State<Arc<Intake>>,
    Path(namespace): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match intake.take(&namespace, &headers, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

impl Intake {
    async fn take(&self, name: &str, headers: &HeaderMap, body: Body) -> Result<Response, Refusal> {
        let namespace = self.namespace(name).await?;
        let kind = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        let kind = Kind::of(kind)?;
        let _place = self.room.enter(name)?;
        let (body, _memory) = self.body(headers, body).await?;
        let items = read(kind, &body, name, now(), self.bounds.max_mutations as usize)?;
        drop(body);
        let mut answers = self.write(&namespace, items.all).await;
        let status = status(&answers, StatusCode::OK);
        Ok(match answers.pop() {
            Some(answer) if items.is_one => response(status, answer),
            last => {
                answers.extend(last);
                let places = answers.into_iter().enumerate();
                response(status, places.map(|(index, answer)| answer.at(index)).collect::<Vec<_>>())
            }
        })
    }

    /// All of a body, and the room that it holds.
    pub(super) async fn body(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
        let most = bytes(self.bounds.max_body.bytes());
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let memory = self.room.hold(announced.unwrap_or(most))?;
        let too_large = |_| {
            let limit = &self.bounds.max_body;
            Refusal::TooLarge(format!(
                "the body has more than {limit}, as much as intake.max-body allows; send several"
            ))
        };
        let body = to_bytes(body, announced.unwrap_or(most).min(most)).await.map_err(too_large)?;
        Ok((body, memory))
    }

    /// Writes what is fit for it, and tells of each, in their order.
    async fn write(&self, namespace: &Namespace, items: Vec<Item>) -> Vec<Answer> {
        let values = self.mutations.values().await;
        let answers = items.into_iter().map(|item| {
            let fit = item.and_then(|mutation| has_target(namespace, mutation));
            let mutation = match fit {
                Ok(mutation) => mutation,
                Err((token, reason)) => return Either::Left(ready(Answer::bad(token, reason))),
            };
            let encoded = match &values {
                Ok(values) => values
                    .encode(&mutation)
                    .map_err(|error| Answer::bad(Some(mutation.token.clone()), error.to_string())),
                Err(error) => Err(Answer::not_taken(mutation.token.clone(), error.to_string())),
            };
            match encoded {
                Ok(value) => {
                    let written = self.writer.write(self.mutations.topic(), mutation.record_key().as_bytes(), &value);
                    Either::Right(async move { Answer::of(mutation.token, written.await) })
                }
                Err(answer) => Either::Left(ready(answer)),
            }
        });
        // Collected first: each is on its way before any is waited for.
        let answers: Vec<_> = answers.collect();
        join_all(answers).await
    }
}

/// A target that there is none of would be a dead letter, of which the caller hears nothing.
fn has_target(namespace: &Namespace, mutation: Mutation) -> Item {
    match &mutation.target {
        Some(target) if namespace.target(target).is_none() => {
            let reason = format!("target: is none of the namespace's, which are {}", namespace.target_names());
            Err((Some(mutation.token), reason))
        }
        _ => Ok(mutation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{TargetKind, TargetSpec};

    #[test]
    fn w4_what_orders_a_mutation_is_in_its_key_with_its_namespace() {
        let mutation = Mutation { namespace: "shop".to_owned(), key: "k".to_owned(), ..Mutation::default() };
        assert_eq!(mutation.record_key(), "shop/k");
        assert_eq!(Mutation { order: Some("o".to_owned()), ..mutation }.record_key(), "shop/o");
    }

    #[test]
    fn a_target_that_there_is_none_of_is_refused_before_it_is_a_dead_letter() {
        let target = TargetSpec::new("cache", TargetKind::Http, "http://localhost/");
        let namespace = Namespace { targets: vec![target], ..Namespace::default() };
        let to = |target: Option<&str>| {
            let mutation = Mutation { target: target.map(str::to_owned), ..Mutation::default() };
            has_target(&namespace, mutation).map_err(|(_, reason)| reason)
        };
        assert!(to(None).is_ok() && to(Some("cache")).is_ok());
        assert!(to(Some("other")).unwrap_err().contains("which are cache"));
    }
}
