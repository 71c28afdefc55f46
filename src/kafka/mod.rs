//! Kafka as the runtime sees it: group membership, fetching, changelogs, administration, and the transactional producers.
//!
//! Membership and administration are librdkafka's; fetching, restores and transactions are native ([`crate::wire`]), with
//! librdkafka's behind the same types. This is the only place that names rdkafka. What it hands up is in Headrace's own
//! terms: events of a [`GroupConsumer`], a [`TransactionalProducer`] behind a trait, changelogs read to their end. All of it
//! runs on the stream thread that owns it (rule R-1), or beside it on the I/O threads of the native clients.

mod admin;
mod anew;
mod asking;
mod avoided;
mod bulletin;
mod calls;
mod changelog;
mod cluster;
mod consumer;
mod ends;
mod event;
mod fetching;
mod follower;
mod group_context;
mod intake;
mod librdkafka_changelogs;
mod log;
mod membership;
mod native;
mod one_by_one;
mod ownership;
mod producer;
mod purging;
mod restoring;
mod settings;
mod submitter;
mod takeover;
mod transaction;
mod writer;

pub use admin::{Admin, TopicState, TopicWanted};
pub use avoided::Avoided;
pub use bulletin::{Bulletin, Posting};
pub use calls::Calls;
pub use changelog::{Bounds, ChangelogReader, Changelogs, Seen, Show, open_transaction};
pub use cluster::Cluster;
pub use consumer::{GroupConsumer, KafkaFailure};
pub use ends::EndOffsets;
pub use event::{ConsumerError, Event, Fetched, Rebalance};
pub use fetching::{Fetching, NativeFetching, corrupt};
pub use follower::{Followed, FollowedRecord, TopicFollower};
pub use intake::{Intake, Positions};
pub use membership::Membership;
pub use native::{NativeProducer, Offered, offered};
pub use ownership::{leave_group, unowned};
pub use producer::LibrdkafkaProducer;
pub use purging::Purger;
pub use restoring::{ChangelogFetcher, Found, Records};
pub use settings::Settings;
pub use submitter::Submitter;
pub use takeover::end_transactions_of_others;
pub use transaction::{Committed, Member, Outgoing, ProduceError, Slot, TooLarge, TransactionalProducer};
pub use writer::{NotWritten, Writer, Written};
