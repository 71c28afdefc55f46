//! `POST /v1/{namespace}/groups`: several mutations that are applied together or not at all; `GET` and `DELETE /v1/{namespace}/groups/{group}`
//! say how far one is, and take it back.
//!
//! | field | is | if it is not there |
//! |---|---|---|
//! | `operations` | an array of [forms](super::form), applied in this sequence; tokens and times are not theirs | it is refused |
//! | `group` | text | one is made up; whoever may have to send it again gives one |
//! | `not_before` | a [time](super::form#times) | at once |
//! | `delay`, or `delay_ms` | text such as `"30s"`; milliseconds | at once |
//!
//! Its operations are written first, and its end when all of them are durable: as long as that is not there nothing is applied. So a
//! group whose operations could not all be written has `failed` for certain, and one is `unknown` only if its end is.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::future::join_all;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::{Answer, response, status};
use super::refusal::Refusal;
use super::token::made_up;
use super::{Intake, form, now};
use crate::group::{self, End, GroupRecord, Phase, Staged};
use crate::mutation::is_name;

/// The store that is looked into.
const GROUPS: &str = "groups";

/// What is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    group: Option<String>,
    operations: Vec<Box<RawValue>>,
    not_before: form::Field,
    delay: form::Field,
    delay_ms: form::Field,
}

/// A group as it is written.
#[derive(Debug)]
struct Whole {
    namespace: String,
    group: String,
    operations: Vec<Staged>,
    end: End,
}

/// A group as its store shows it, without what the caller knows.
#[derive(Debug, Deserialize)]
struct Known {
    phase: Phase,
    end: Option<End>,
    staged: i64,
    next: i64,
    pending: Vec<String>,
    given_up: i64,
    since: i64,
    reason: Option<String>,
}

pub(super) async fn write(
    State(intake): State<Arc<Intake>>,
    Path(namespace): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    intake.group(&namespace, &headers, body).await.unwrap_or_else(|refusal| refusal.into_response())
}

pub(super) async fn abort(
    State(intake): State<Arc<Intake>>,
    Path((namespace, group)): Path<(String, String)>,
) -> Response {
    intake.abort(namespace, group).await.unwrap_or_else(|refusal| refusal.into_response())
}

pub(super) async fn show(
    State(intake): State<Arc<Intake>>,
    Path((namespace, group)): Path<(String, String)>,
) -> Response {
    intake.show(&namespace, &group).await.unwrap_or_else(|refusal| refusal.into_response())
}

impl Intake {
    async fn group(&self, name: &str, headers: &HeaderMap, body: Body) -> Result<Response, Refusal> {
        let namespace = self.namespace(name).await?;
        let _place = self.room.enter(name)?;
        let (body, _memory) = self.body(headers, body).await?;
        let whole = read(name, &body, now(), self.bounds.max_mutations as usize)?;
        drop(body);
        for Staged { sequence, mutation, .. } in &whole.operations {
            let admitted = namespace.admit(mutation, now());
            admitted.map_err(|error| Refusal::Bad(format!("operation {sequence}: {}", error.reason)))?;
        }
        let operations = whole.operations.into_iter();
        let record = GroupRecord { namespace: whole.namespace, group: whole.group, ..GroupRecord::default() };
        let operations = operations.map(|operation| GroupRecord { operation: Some(operation), ..record.clone() });
        let answers = self.write_group(operations.collect()).await?;
        // What is not certain of an operation is certain of its group: without its end nothing of it is applied.
        let not_written = answers.into_iter().enumerate().find(|(_, answer)| !answer.has_succeeded());
        let answer = match not_written {
            Some((sequence, answer)) => {
                let reason = answer.at(sequence).reason().unwrap_or_default().to_owned();
                Answer::not_taken(record.group.clone(), format!("{reason}; nothing is applied: send it again"))
            }
            None => {
                let end = GroupRecord { end: Some(whole.end), ..record.clone() };
                self.write_group(vec![end]).await?.remove(0)
            }
        };
        Ok(told(&record.group, &answer, StatusCode::OK))
    }

    async fn abort(&self, namespace: String, group: String) -> Result<Response, Refusal> {
        self.namespace(&namespace).await?;
        let _place = self.room.enter(&namespace)?;
        group::is_group(&group).map_err(|reason| Refusal::Bad(format!("group: {reason}")))?;
        let wish = GroupRecord { namespace, group: group.clone(), abort: true, ..GroupRecord::default() };
        let answer = self.write_group(vec![wish]).await?.remove(0);
        Ok(told(&group, &answer, StatusCode::ACCEPTED))
    }

    async fn write_group(&self, records: Vec<GroupRecord>) -> Result<Vec<Answer>, Refusal> {
        let values = self.groups.values().await.map_err(|error| Refusal::Away(error.to_string()))?;
        let mut written = Vec::with_capacity(records.len());
        for record in records {
            let value = values.encode(&record).map_err(|error| Refusal::Failed(error.to_string()))?;
            let key = group::id(&record.namespace, &record.group);
            let answer = self.writer.write(self.groups.topic(), key.as_bytes(), &value);
            written.push(async move { Answer::of(record.group, answer.await) });
        }
        Ok(join_all(written).await)
    }

    async fn show(&self, namespace: &str, group: &str) -> Result<Response, Refusal> {
        is_name(namespace).map_err(|_| Refusal::NoNamespace)?;
        let id = group::id(namespace, group);
        let seen = self.looks.beginning_with::<Known>(GROUPS, &id).await?;
        let Some((_, known)) = seen.entries.into_iter().find(|(key, _)| *key == id) else {
            let reason = "nothing is known of this group: the log has not come to it yet, or need not know it any more, or it was \
                          never written; who does not know sends it again under the same id";
            return Err(Refusal::Absent(reason.to_owned()));
        };
        let Known { phase, end, staged, next, pending, given_up, since, reason } = known;
        let (operations, not_before) = end.map_or((None, None), |end| (Some(end.operations), end.not_before));
        let body = json!({
            "group": group, "phase": phase.name(), "operations": operations, "staged": staged, "next": next, "pending": pending,
            "given_up": given_up, "not_before": not_before, "since": since, "reason": reason,
        });
        Ok(response(StatusCode::OK, body))
    }
}

/// What is said of a group, by its own name.
fn told(group: &str, answer: &Answer, well: StatusCode) -> Response {
    let status = status(std::slice::from_ref(answer), well);
    let mut told = json!({ "durable": answer.durable(), "group": group });
    if let Some(reason) = answer.reason() {
        told["reason"] = Value::from(reason);
    }
    response(status, told)
}

/// The group that a body holds; all of it is valid.
fn read(namespace: &str, body: &[u8], now: i64, most: usize) -> Result<Whole, Refusal> {
    let sent: Sent = serde_json::from_slice(body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Refusal::Bad(format!("is no group, at {place}; send an object with operations, group, and not_before or delay"))
    })?;
    let count = sent.operations.len();
    if count == 0 {
        return Err(Refusal::Bad("operations: there are none".to_owned()));
    }
    if count > most {
        return Err(Refusal::TooLarge(format!(
            "the group has {count} operations, of {most} that intake.max-mutations allows; write it to the topic"
        )));
    }
    let group = sent.group.unwrap_or_else(|| made_up(now));
    group::is_group(&group).map_err(|reason| Refusal::Bad(format!("group: {reason}")))?;
    let not_before = form::begins(&sent.not_before, &sent.delay, &sent.delay_ms, now).map_err(Refusal::Bad)?;
    let forms = sent.operations.into_iter().zip(0_i64..);
    let operations: Result<Vec<Staged>, Refusal> = forms
        .map(|(form, sequence)| {
            let of = |reason: String| Refusal::Bad(format!("operation {sequence}: {reason}"));
            operation(form.get(), namespace, &group, sequence, now).map_err(of)
        })
        .collect();
    let operations = operations?;
    let checksum = group::whole(operations.iter().map(|operation| operation.checksum));
    let end = End { operations: i64::try_from(count).unwrap_or(i64::MAX), checksum, not_before };
    Ok(Whole { namespace: namespace.to_owned(), group, operations, end })
}

fn operation(form: &str, namespace: &str, group: &str, sequence: i64, now: i64) -> Result<Staged, String> {
    let mut mutation = form::read(form, namespace, now).map_err(|(_, reason)| reason)?;
    if mutation.not_before.is_some() || mutation.delay_ms.is_some() {
        return Err("not_before, delay: are the group's to say; leave them out here".to_owned());
    }
    mutation.token = group::token(group, sequence);
    mutation.validate().map_err(|error| error.reason)?;
    Ok(Staged { sequence, checksum: group::checksum(&mutation), mutation })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn wrong(body: &str) -> String {
        let refusal = read("shop", body.as_bytes(), NOW, 3).unwrap_err();
        format!("{refusal:?}")
    }

    #[test]
    fn w12_a_group_is_its_operations_in_their_sequence_with_an_end_that_fits() {
        let body = r#"{"group":"g","delay":"5s","operations":[{"key":"a","value":1,"target":"cache"},{"key":"b","operation":"delete"}]}"#;
        let whole = read("shop", body.as_bytes(), NOW, 3).unwrap();
        let tokens: Vec<&str> = whole.operations.iter().map(|operation| operation.mutation.token.as_str()).collect();
        assert_eq!((tokens.as_slice(), whole.end.operations), (["g#0", "g#1"].as_slice(), 2));
        assert_eq!(whole.end.not_before, Some(NOW + 5_000));
        assert!(whole.operations.iter().all(|operation| group::checksum(&operation.mutation) == operation.checksum));
        let again = read("shop", body.as_bytes(), NOW + 9, 3).unwrap();
        assert_eq!(again.end.checksum, whole.end.checksum, "sent again it is the same");
    }

    #[test]
    fn what_is_wrong_with_a_group_is_said_with_its_operation() {
        let with = |operations: &str| format!(r#"{{"group":"g","operations":[{operations}]}}"#);
        let good = r#"{"key":"k","value":1}"#;
        assert!(wrong("[]").contains("send an object"));
        assert!(wrong(&with("")).contains("there are none"));
        assert!(wrong(&with(&[good; 4].join(","))).contains("TooLarge"));
        assert!(wrong(&with(&format!("{good},{{\"key\":\"\",\"value\":1}}"))).contains("operation 1: key: is empty"));
        let delayed = r#"{"key":"k","value":1,"delay":"1s"}"#;
        assert!(wrong(&with(delayed)).contains("operation 0: not_before, delay: are the group's"));
        assert!(wrong(r#"{"group":"","operations":[{"key":"k","value":1}]}"#).contains("group: is empty"));
        let twice = r#"{"delay":"1s","not_before":1790000001000,"operations":[{"key":"k","value":1}]}"#;
        assert!(wrong(twice).contains("send one of"));
    }
}
