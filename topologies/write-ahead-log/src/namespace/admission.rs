//! Whether a namespace takes a mutation: its size, its age, its target (rule W3).
//!
//! The age is a matter of safety: a token is forgotten after a while, so whatever is older than that while could be applied twice,
//! and a clock that runs ahead would hold its key back for as long as it is ahead.

use headrace::config::Span;
use headrace::error::{RecordError, Stage};

use super::Namespace;
use crate::mutation::Mutation;

impl Namespace {
    /// Whether a valid mutation may go on to its targets; `now` in milliseconds since the epoch.
    ///
    /// # Errors
    /// The first thing that is against it, with the way out.
    pub fn admit(&self, mutation: &Mutation, now: i64) -> Result<(), RecordError> {
        let refuse = |class, reason| Err(RecordError::new(Stage::Process, class, reason));
        if let Some(target) = &mutation.target
            && self.target(target).is_none()
        {
            let known = self.target_names();
            return refuse("unknown-target", format!("target: {target} is none of the namespace's, which are {known}"));
        }
        let bytes = mutation.bytes();
        if i64::try_from(bytes).unwrap_or(i64::MAX) > self.max_bytes {
            let way_out = "write it elsewhere and send where, or raise max-bytes";
            return refuse("too-large", format!("{bytes} bytes, of at most {}; {way_out}", self.max_bytes));
        }
        let drift = now.saturating_sub(mutation.created_at);
        if drift.saturating_abs() > self.drift_limit_ms {
            let side = if drift > 0 { "behind" } else { "ahead of" };
            let way_out =
                "look after the caller's clock, make the mutation anew with a new token, or raise drift-limit";
            let (drift, limit) = (span(drift.saturating_abs()), span(self.drift_limit_ms));
            return refuse(
                "drift",
                format!("created_at: {drift} {side} the log's clock, of at most {limit}; {way_out}"),
            );
        }
        Ok(())
    }
}

/// Milliseconds as people read them.
pub(super) fn span(ms: i64) -> Span {
    Span::new(std::time::Duration::from_millis(ms.unsigned_abs()))
}
