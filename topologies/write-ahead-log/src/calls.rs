//! From what is to be written to a call of its target.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use headrace::error::{RecordError, Stage};
use headrace::processor::{CallOrder, Connect, ExternalCall};
use headrace::record::Record;

use crate::call::Call;
use crate::entry::Entry;
use crate::ledger::Ask;
use crate::namespace::{TargetKind, TargetSpec};
use crate::targets::Targets;

/// Calls targets of all kinds, each by its own address.
#[derive(Debug)]
pub struct Calls {
    /// How they are reached.
    pub targets: Arc<Targets>,
}

impl ExternalCall<String, Ask> for Calls {
    fn kind(&self) -> &'static str {
        "redis, postgres, http, region, topic"
    }

    fn request(&self, record: &Record<String, Ask>, body: &mut Vec<u8>) -> Result<CallOrder, RecordError> {
        let (lane, Ask { entry, target, anew, .. }) = (&record.key, &record.value);
        let call = Call {
            target: target.clone(),
            namespace: entry.mutation.namespace.clone(),
            token: token(entry, target),
            number: entry.number.unwrap_or_default(),
            attempt: entry.attempts.saturating_add(1),
            key: entry.mutation.key.clone(),
            order: entry.mutation.order.clone(),
            operation: entry.mutation.operation,
            value: entry.mutation.value.clone(),
            headers: entry.mutation.headers.clone(),
            created_at: entry.mutation.created_at,
            version: entry.mutation.version.clone(),
        };
        let encoded = call.encode();
        body.extend(encoded.map_err(|reason| RecordError::new(Stage::Serialize, "call", reason))?);
        let mut hasher = DefaultHasher::new();
        lane.hash(&mut hasher);
        Ok(CallOrder { key: hasher.finish(), anew: *anew })
    }

    fn target(&self) -> Arc<dyn Connect> {
        Arc::clone(&self.targets) as Arc<dyn Connect>
    }
}

/// Its identity there. Two regions may have taken the same token, each for a write with a version of its own: known again by the token
/// alone, the later one would be left out in the region that has the earlier one.
fn token(entry: &Entry, target: &TargetSpec) -> String {
    match (&entry.mutation.version, target.kind) {
        (Some(version), TargetKind::Region) => format!("{}@{}", entry.mutation.token, version.region),
        _ => entry.mutation.token.clone(),
    }
}
