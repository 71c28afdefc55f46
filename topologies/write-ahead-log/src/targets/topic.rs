//! A topic of the log's own cluster: the mutation is a record there, written in the transaction that says that it is done (rule W7).
//!
//! ```text
//!  call ─▶ has the topic room for it? ─▶ done ─▶ settle ─▶ transaction { record, entries, results, positions }
//! ```
//!
//! So there is no fence, and none is needed: what is done again was aborted, and whoever reads committed records has never seen it. The
//! call writes nothing. It finds out whether the record can be written, since a transaction with one that can't be takes all others
//! with it: the topic is there, has its leaders, may be written to, and takes records of this size. What changes after that look costs
//! a transaction, and then the topic is left alone for a while.
//!
//! | record | is |
//! |---|---|
//! | key | the mutation's key, as text: one key has one partition |
//! | value | its value; null, which compacts the key away, for a DELETE |
//! | timestamp | when it was applied. When it was made may be long ago, and retention goes by timestamps |
//! | headers | the mutation's, then `headrace-namespace`, `-token`, `-sequence`, `-created-at`, and `-order` where it has one |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headrace::codec::{Codec, DecodeError, EncodeError};
use headrace::position::is_topic_name;
use headrace::processor::{BoxFuture, OwnTopics, Reply, Unfit};
use headrace::record::Headers;
use tokio::time::timeout;

use super::settings::Settings;
use super::{Kind, Link, all_failed, failed};
use crate::call::Call;
use crate::entry::Entry;
use crate::namespace::{Problem, TargetSpec, field};

/// So the names of topics begin that are Kafka's own.
const OF_KAFKA: &str = "__";

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Topic;

impl Kind for Topic {
    fn check(&self, target: &TargetSpec, problems: &mut Vec<Problem>) {
        let name = target.address.reveal();
        let mut problem = |reason: String, way_out| {
            problems.push(Problem::new(field(target, "address"), reason, way_out));
        };
        match is_topic_name(name) {
            Err(reason) => problem(reason, "write the name of a topic of the log's own cluster"),
            Ok(()) if name.starts_with(OF_KAFKA) => {
                problem(format!("is one of Kafka's own topics, which begin with {OF_KAFKA}"), "choose another topic");
            }
            Ok(()) => {}
        }
        Settings(&target.settings).check(target, &[], problems);
    }

    fn place(&self, target: &TargetSpec) -> String {
        format!("topic {}", target.address.reveal())
    }

    fn promise(&self, _: &TargetSpec) -> String {
        "exactly once for read_committed consumers, in order by key: a record is written in the transaction that says that it is done. \
         Whoever reads uncommitted records sees those of aborted transactions, too"
            .to_owned()
    }

    fn connection_settings(&self) -> &'static [&'static str] {
        &[]
    }

    fn link(&self, _: &TargetSpec) -> Result<Box<dyn Link>, String> {
        Err("no cluster to write to".to_owned())
    }

    fn link_on(&self, target: &TargetSpec, topics: Option<&Arc<dyn OwnTopics>>) -> Result<Box<dyn Link>, String> {
        match topics {
            Some(topics) => Ok(Box::new(TopicLink { topics: Arc::clone(topics) })),
            None => self.link(target),
        }
    }
}

struct TopicLink {
    topics: Arc<dyn OwnTopics>,
}

impl Link for TopicLink {
    fn send<'a>(&'a mut self, calls: &'a [Call], patience: Duration) -> BoxFuture<'a, Vec<Reply>> {
        Box::pin(async move {
            // All calls of a link are of one address.
            let Some(topic) = calls.first().map(|call| call.target.address.reveal()) else { return Vec::new() };
            match timeout(patience, self.topics.room(topic)).await {
                Err(_) => all_failed(calls, &format!("topic {topic}: no answer of the brokers in time")),
                Ok(room) => calls.iter().map(|call| reply(topic, call, &room)).collect(),
            }
        })
    }
}

fn reply(topic: &str, call: &Call, room: &Result<usize, Unfit>) -> Reply {
    match (room, bytes(call)) {
        (Err(Unfit::Now(reason)), _) => failed(reason.as_str()),
        (Err(Unfit::Ever(reason)), _) => Reply::Refused(format!("{reason}; write to another one")),
        (Ok(room), bytes) if bytes > *room => {
            let way_out = "raise max.message.bytes of the topic, or write it elsewhere and send where";
            Reply::Refused(format!("topic {topic}: a record of {bytes} bytes, of at most {room}; {way_out}"))
        }
        (Ok(_), _) => Reply::Done("applied"),
    }
}

/// What the record has in its headers beside the mutation's own.
struct Told<'a> {
    namespace: &'a str,
    token: &'a str,
    number: i64,
    created_at: i64,
    order: Option<&'a str>,
}

impl Told<'_> {
    fn headers(&self, of_mutation: &BTreeMap<String, String>) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in of_mutation {
            headers.push(name.as_str(), value.as_str());
        }
        // After the mutation's, which can't replace them: the last one of a name counts.
        headers.push("headrace-namespace", self.namespace);
        headers.push("headrace-token", self.token);
        headers.push("headrace-sequence", self.number.to_string());
        headers.push("headrace-created-at", self.created_at.to_string());
        if let Some(order) = self.order {
            headers.push("headrace-order", order);
        }
        headers
    }
}

/// What the record will have, in bytes of key, value and headers.
fn bytes(call: &Call) -> usize {
    let told = Told {
        namespace: &call.namespace,
        token: &call.token,
        number: call.number,
        created_at: call.created_at,
        order: call.order.as_deref(),
    };
    call.key.len() + call.value.as_ref().map_or(0, Vec::len) + told.headers(&call.headers).bytes()
}

/// The headers of an applied mutation's record.
pub(crate) fn headers(entry: &Entry) -> Headers {
    let mutation = &entry.mutation;
    let told = Told {
        namespace: &mutation.namespace,
        token: &mutation.token,
        number: entry.number.unwrap_or_default(),
        created_at: mutation.created_at,
        order: mutation.order.as_deref(),
    };
    told.headers(&mutation.headers)
}

/// What a target's topic gets of a mutation, under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRecord {
    /// The topic.
    pub topic: String,
    /// The mutation's value; nothing of a DELETE.
    pub value: Option<Vec<u8>>,
}

/// The bytes of the value, whatever they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TopicValue;

impl Codec<TopicRecord> for TopicValue {
    fn name(&self) -> String {
        "nullable(raw)".to_owned()
    }

    fn is_null(&self, record: &TopicRecord) -> bool {
        record.value.is_none()
    }

    fn encode(&self, record: &TopicRecord, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(record.value.as_deref().unwrap_or_default());
        Ok(())
    }

    fn decode(&self, _: Option<&[u8]>) -> Result<TopicRecord, DecodeError> {
        Err(DecodeError::Malformed("a value does not say of which topic it is".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::{Mutation, Operation};
    use crate::namespace::TargetKind;

    /// Topics that are what their names say.
    #[derive(Debug)]
    struct Cluster;

    impl OwnTopics for Cluster {
        fn room<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<usize, Unfit>> {
            Box::pin(async move {
                match topic {
                    "missing" => Err(Unfit::Now("topic missing does not exist".to_owned())),
                    "own" => Err(Unfit::Ever("topic own is the application's own".to_owned())),
                    "hanging" => std::future::pending().await,
                    small => Ok(small.parse().unwrap()),
                }
            })
        }
    }

    fn call(topic: &str) -> Call {
        Call {
            target: TargetSpec::new("feed", TargetKind::Topic, topic),
            namespace: "shop".to_owned(),
            token: "t".to_owned(),
            number: 7,
            attempt: 1,
            key: "k".to_owned(),
            order: Some("o".to_owned()),
            operation: Operation::Put,
            value: Some(b"12345".to_vec()),
            headers: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            created_at: 1_700_000_000_000,
            version: None,
        }
    }

    fn ask(topic: &str) -> Reply {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let topics: Arc<dyn OwnTopics> = Arc::new(Cluster);
        let call = call(topic);
        let mut link = Topic.link_on(&call.target, Some(&topics)).unwrap();
        runtime.block_on(link.send(&[call], Duration::from_millis(10))).remove(0)
    }

    fn entry() -> Entry {
        let Call { namespace, token, key, order, value, headers, created_at, .. } = call("100");
        let mutation = Mutation { namespace, token, key, order, value, headers, created_at, ..Mutation::default() };
        Entry { number: Some(7), ..Entry::new(mutation, 0) }
    }

    #[test]
    fn w7_what_a_topic_has_no_room_for_is_refused_and_what_may_pass_is_a_failure() {
        let bytes = bytes(&call("100"));
        assert_eq!(ask(&bytes.to_string()), Reply::Done("applied"));
        let Reply::Refused(reason) = ask(&(bytes - 1).to_string()) else { panic!("it has no room") };
        assert!(reason.contains(&format!("{bytes} bytes, of at most {}", bytes - 1)), "{reason}");
        assert!(matches!(ask("own"), Reply::Refused(reason) if reason.contains("application's own")));
        for (topic, why) in [("missing", "does not exist"), ("hanging", "no answer of the brokers in time")] {
            assert!(matches!(ask(topic), Reply::Failed { reason, .. } if reason.contains(why)), "{topic}");
        }
        assert!(Topic.link(&call("missing").target).is_err(), "without a cluster");
    }

    #[test]
    fn w7_a_record_is_as_large_as_was_asked_for() {
        let entry = entry();
        let written = entry.mutation.key.len() + 5 + headers(&entry).bytes();
        assert_eq!(written, bytes(&call("100")));
        let headers = headers(&entry);
        for (name, value) in [
            ("a", "b"),
            ("headrace-namespace", "shop"),
            ("headrace-token", "t"),
            ("headrace-sequence", "7"),
            ("headrace-order", "o"),
        ] {
            assert_eq!(headers.last(name), Some(value.as_bytes()), "{name}");
        }
    }

    #[test]
    fn w7_only_what_can_be_a_topic_is_an_address() {
        for (address, reason) in [
            ("orders", None),
            ("kafka://h/orders", Some("holds other characters")),
            ("", Some("is empty")),
            ("__consumer_offsets", Some("Kafka's own")),
        ] {
            let mut problems = Vec::new();
            Topic.check(&TargetSpec::new("feed", TargetKind::Topic, address), &mut problems);
            let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            assert_eq!(problems.is_empty(), reason.is_none(), "{told}");
            assert!(told.contains(reason.unwrap_or_default()), "{told}");
        }
        let mut target = TargetSpec::new("feed", TargetKind::Topic, "orders");
        target.settings.insert("ttl".to_owned(), "1d".to_owned());
        let mut problems = Vec::new();
        Topic.check(&target, &mut problems);
        assert!(problems[0].to_string().ends_with("topic has no such setting; it has timeout"), "{problems:?}");
    }
}
