//! `DELETE /v1/{namespace}/log/{token}?key=…[&order=…][&target=…]`: a mutation is taken back, where that is not too late (rule W6).
//!
//! The token alone does not say which task has the mutation: its key does, and its ordering key if it was given one. What is answered is
//! whether the *wish* is durable. It is obeyed if it comes to the log before the mutation's time, and after the mutation itself;
//! whether it was, the status says: `cancelled`, or what it was instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Intake;
use super::answer::{Answer, response, status};
use super::refusal::Refusal;
use crate::entry::{Action, Command, lane};
use crate::mutation::Mutation;
use crate::namespace::Namespace;

/// Which mutation it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    key: String,
    order: Option<String>,
    target: Option<String>,
}

pub(super) async fn cancel(
    State(intake): State<Arc<Intake>>,
    Path((namespace, token)): Path<(String, String)>,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    match intake.cancel(&namespace, &token, parameters).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

impl Intake {
    async fn cancel(&self, name: &str, token: &str, parameters: BTreeMap<String, String>) -> Result<Response, Refusal> {
        let namespace = self.namespace(name).await?;
        let _place = self.room.enter(name)?;
        let wishes = wishes(&namespace, name, token, which(parameters)?)?;
        let values = self.commands.values().await.map_err(|error| Refusal::Away(error.to_string()))?;
        let mut written = Vec::with_capacity(wishes.len());
        for (lane, command) in wishes {
            let value = values.encode(&command).map_err(|error| Refusal::Failed(error.to_string()))?;
            let answer = self.writer.write(self.commands.topic(), lane.as_bytes(), &value);
            written.push(async move { (command.target, Answer::of(command.token, answer.await)) });
        }
        let (targets, answers): (Vec<String>, Vec<Answer>) = join_all(written).await.into_iter().unzip();
        let told = targets.into_iter().zip(&answers).map(|(target, answer)| with_target(target, answer));
        let told: Vec<Value> = told.collect();
        Ok(response(status(&answers, StatusCode::ACCEPTED), json!({ "token": token, "targets": told })))
    }
}

fn which(parameters: BTreeMap<String, String>) -> Result<Which, Refusal> {
    let parameters: Map<String, Value> = parameters.into_iter().map(|(name, value)| (name, value.into())).collect();
    let which = Which::deserialize(Value::Object(parameters));
    which.map_err(|_| {
        let reason =
            "say which mutation it is: key, as it was written with, order if it had one, and target for one of several";
        Refusal::Bad(reason.to_owned())
    })
}

/// A wish for each target, by its lane.
fn wishes(namespace: &Namespace, name: &str, token: &str, which: Which) -> Result<Vec<(String, Command)>, Refusal> {
    let all = namespace.targets.iter().map(|target| target.name.clone());
    let targets: Vec<String> = all.filter(|name| which.target.as_ref().is_none_or(|target| target == name)).collect();
    if targets.is_empty() {
        return Err(Refusal::Absent("target: is none of the namespace's".to_owned()));
    }
    let Which { key, order, .. } = which;
    let mut mutation = Mutation {
        namespace: name.to_owned(),
        token: token.to_owned(),
        created_at: 1,
        key,
        order,
        value: Some(Vec::new()),
        ..Mutation::default()
    };
    // A wish for what can't be there is a mistake.
    mutation.validate().map_err(|error| Refusal::Bad(error.reason))?;
    let wish = |target: String| {
        mutation.target = Some(target.clone());
        let (namespace, token) = (name.to_owned(), token.to_owned());
        (lane(&mutation), Command { namespace, token, target, action: Action::Cancel })
    };
    Ok(targets.into_iter().map(wish).collect())
}

fn with_target(target: String, answer: &Answer) -> Value {
    let mut told = json!(answer);
    told["target"] = target.into();
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{TargetKind, TargetSpec};

    fn asked(parameters: &[(&str, &str)]) -> Result<Vec<(String, Command)>, Refusal> {
        let target = |name: &str| TargetSpec::new(name, TargetKind::Http, "http://localhost/");
        let namespace = Namespace { targets: vec![target("api"), target("cache")], ..Namespace::default() };
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        wishes(&namespace, "shop", "t", which(parameters)?)
    }

    #[test]
    fn w6_a_wish_goes_to_the_lane_of_each_target() {
        let lanes = |parameters: &[(&str, &str)]| -> Vec<String> {
            asked(parameters).unwrap().into_iter().map(|(lane, _)| lane).collect()
        };
        assert_eq!(lanes(&[("key", "k")]), ["shop/api/k", "shop/cache/k"]);
        assert_eq!(lanes(&[("key", "k"), ("order", "o"), ("target", "cache")]), ["shop/cache/o"]);
        let (_, command) = asked(&[("key", "k"), ("target", "api")]).unwrap().remove(0);
        let expected = ("shop", "t", "api", Action::Cancel);
        assert_eq!((&*command.namespace, &*command.token, &*command.target, command.action), expected);
    }

    #[test]
    fn a_wish_that_nobody_can_obey_is_refused() {
        assert!(matches!(asked(&[]), Err(Refusal::Bad(reason)) if reason.contains("key")));
        assert!(matches!(asked(&[("key", "k"), ("keys", "k")]), Err(Refusal::Bad(_))));
        assert!(matches!(asked(&[("key", "")]), Err(Refusal::Bad(reason)) if reason.starts_with("key: is empty")));
        assert!(matches!(asked(&[("key", "k"), ("target", "x")]), Err(Refusal::Absent(_))));
    }
}
