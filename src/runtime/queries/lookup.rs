//! One key: asked of the partition that the request names, or of all, because a store's key need not be the record's.

use axum::http::HeaderValue;
use futures::StreamExt;

use super::Queries;
use super::answer::{Entry, Refusal};
use super::places::{Place, nobody_has};
use super::request::Request;
use super::token::Token;
use crate::position::Partition;
use crate::topology::StoreDeclaration;

/// Partitions that are asked at a time.
const AT_A_TIME: usize = 8;

impl Queries {
    /// The entry of a key.
    pub(super) async fn look_up(
        &self,
        store: &StoreDeclaration,
        key: &[u8],
        request: &Request,
        token: Option<&HeaderValue>,
    ) -> Result<Entry, Refusal> {
        let places = self.places(store, request)?;
        if let Some(refusal) = self.redirected(&places, request, &store.spec.name) {
            return Err(refusal);
        }
        let ask = |(partition, place)| self.look_into(store, partition, place, key, request, token);
        let partitions: Vec<Partition> = places.iter().map(|(partition, _)| *partition).collect();
        let asked: Vec<_> = places.into_iter().map(ask).collect();
        let answers: Vec<_> = futures::stream::iter(asked).buffered(AT_A_TIME).collect().await;
        summed_up(partitions.into_iter().zip(answers).collect())
    }

    async fn look_into(
        &self,
        store: &StoreDeclaration,
        partition: Partition,
        place: Place,
        key: &[u8],
        request: &Request,
        token: Option<&HeaderValue>,
    ) -> Result<Entry, Refusal> {
        match place {
            Place::There(address) => {
                let path = request.for_peer(&store.spec.name, partition, 1, None);
                self.0.peers.ask(&address, &path, request, token).await
            }
            Place::Nowhere => Err(nobody_has(store, partition)),
            Place::Here => {
                let (name, wanted) = (store.spec.name.clone(), key.to_vec());
                let read = move |view: &crate::store::View| {
                    let found = view.read(&name, &wanted)?;
                    Ok((found.value, found.positions))
                };
                let (value, reached) = self.read_here(store, partition, request, read).await?;
                let Some(value) = value else { return Err(Refusal::Absent(reached)) };
                Ok(Entry {
                    store: store.spec.name.clone(),
                    key: self.show(&store.key, key).await?,
                    value: self.show(&store.value, &value).await?,
                    part: self.part(store, partition, &reached),
                    unanswered: Vec::new(),
                })
            }
        }
    }
}

/// One answer of those of all partitions. A key that is in none of them is absent only if all have said so.
fn summed_up(answers: Vec<(Partition, Result<Entry, Refusal>)>) -> Result<Entry, Refusal> {
    let (mut found, mut absent, mut unanswered) = (Vec::new(), Token::default(), Vec::new());
    for (partition, answer) in answers {
        match answer {
            Ok(entry) => found.push(entry),
            Err(Refusal::Absent(reached)) => absent.merge(&reached),
            // It is wrong wherever it is asked.
            Err(refusal @ Refusal::Bad(_)) => return Err(refusal),
            Err(refusal) => unanswered.push((partition.0, refusal)),
        }
    }
    match (found.len(), unanswered.is_empty()) {
        (0, true) => Err(Refusal::Absent(absent)),
        (0, false) => Err(unanswered.remove(0).1),
        (1, _) => {
            let mut entry = found.remove(0);
            entry.unanswered = unanswered.into_iter().map(|(partition, _)| partition).collect();
            Ok(entry)
        }
        _ => Err(Refusal::Ambiguous(found.iter().map(|entry| entry.part.partition).collect())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::answer::Part;
    use super::*;

    fn entry(partition: i32) -> Result<Entry, Refusal> {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let (task, token) = (format!("0_{partition}"), "in:0:1".to_owned());
        let position = Token::parse("in:3:1").unwrap().to_json();
        let part = Part { partition, task, instance: "one".into(), position, token };
        Ok(Entry { store: "s".into(), key: raw("1"), value: raw("2"), part, unanswered: Vec::new() })
    }

    fn absent(token: &str) -> Result<Entry, Refusal> {
        Err(Refusal::Absent(Token::parse(token).unwrap()))
    }

    fn away() -> Result<Entry, Refusal> {
        Err(Refusal::Unavailable("moving".into()))
    }

    fn sum(answers: Vec<Result<Entry, Refusal>>) -> String {
        let numbered = answers.into_iter().enumerate().map(|(at, answer)| (Partition(at as i32), answer));
        match summed_up(numbered.collect()) {
            Ok(entry) => format!("partition {}, unanswered {:?}", entry.part.partition, entry.unanswered),
            Err(Refusal::Absent(token)) => format!("absent at {token}"),
            Err(refusal) => refusal.outcome().to_owned(),
        }
    }

    #[test]
    fn a_key_is_absent_only_if_every_partition_says_so() {
        assert_eq!(sum(vec![absent("in:0:5"), absent("in:1:7")]), "absent at in:0:5,in:1:7");
        assert_eq!(sum(vec![absent("in:0:5"), away()]), "unavailable");
        assert_eq!(sum(vec![absent("in:0:5"), entry(1), away()]), "partition 1, unanswered [2]");
        assert_eq!(sum(vec![entry(0), entry(1)]), "bad-request", "two partitions have it");
    }

    #[test]
    fn an_answer_reads_back_with_its_values_untouched() {
        let text = serde_json::to_string(&entry(3).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"store":"s","key":1,"value":2,"partition":3,"task":"0_3","instance":"one","position":{"in":{"3":1}},"token":"in:0:1"}"#
        );
        let text = text.replace("\"value\":2", "\"value\":12345678901234567890123");
        let read: Entry = serde_json::from_str(&text).unwrap();
        assert_eq!((read.value.get(), read.part.partition), ("12345678901234567890123", 3));
        assert_eq!(read.part.position["in"]["3"], 1);
    }
}
