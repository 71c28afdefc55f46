//! The consumer's place in its group, as a commit has to prove it (KIP-447).

use std::ffi::{CStr, c_char};

use rdkafka::bindings;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata};

use crate::wire::producer::Member;

/// The place in the group, taken anew for each commit (rule R-6): it is what fences a zombie.
pub struct Membership {
    /// librdkafka's form of it; none if the member is not librdkafka's.
    pub(super) metadata: Option<ConsumerGroupMetadata>,
    member: Member,
}

impl From<Member> for Membership {
    /// Of a member that is not librdkafka's, for a producer that is not either.
    fn from(member: Member) -> Self {
        Membership { metadata: None, member }
    }
}

impl Membership {
    /// `None` while there is no place: generation −1 and an empty member id would pass for anybody's (rule N-4).
    pub(super) fn of<C: ConsumerContext>(client: &BaseConsumer<C>) -> Option<Self> {
        let metadata = client.group_metadata()?;
        let member = member(client)?;
        (member.generation >= 0 && !member.member_id.is_empty())
            .then_some(Membership { metadata: Some(metadata), member })
    }

    /// What the broker compares.
    pub fn member(&self) -> &Member {
        &self.member
    }
}

/// rust-rdkafka shows nothing of the metadata; librdkafka's C interface does.
#[allow(unsafe_code)]
fn member<C: ConsumerContext>(client: &BaseConsumer<C>) -> Option<Member> {
    // SAFETY: the handle is valid as long as `client` is borrowed.
    let metadata = unsafe { bindings::rd_kafka_consumer_group_metadata(client.client().native_ptr()) };
    if metadata.is_null() {
        return None;
    }
    // SAFETY: the metadata is ours until it is destroyed, and its texts are copied before that.
    unsafe {
        let member = Member {
            group: text(bindings::rd_kafka_consumer_group_metadata_group_id(metadata)).unwrap_or_default(),
            generation: bindings::rd_kafka_consumer_group_metadata_generation_id(metadata),
            member_id: text(bindings::rd_kafka_consumer_group_metadata_member_id(metadata)).unwrap_or_default(),
            instance_id: text(bindings::rd_kafka_consumer_group_metadata_group_instance_id(metadata)),
        };
        bindings::rd_kafka_consumer_group_metadata_destroy(metadata);
        Some(member)
    }
}

/// # Safety
/// `pointer` is null or a text that ends with zero.
#[allow(unsafe_code)]
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
