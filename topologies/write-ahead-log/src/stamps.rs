//! Gives each mutation its version when it comes into the log: once, and for all of its targets and regions alike.

use headrace::error::{RecordError, Stage};
use headrace::processor::{Context, Fault};
use headrace::store::Store;

use crate::input::Input;
use crate::mutation::Mutation;
use crate::namespace::Namespace;
use crate::version::{Clock, Version, at_millis, later};

/// Under this key is the last time that was given or heard.
const LAST: &str = "last";

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Stamps {
    /// This region's name; empty where there is no other one.
    pub region: String,
    /// The process's clock.
    pub clock: Clock,
    /// The last time of a partition: whoever has it next is never before it, however late its clock is.
    pub last: Store<String, String>,
}

impl Stamps {
    /// Its version, if it has one or is to have one.
    pub(crate) fn version(
        &self,
        mutation: &Mutation,
        namespace: &Namespace,
        context: &mut Context<'_, String, Input>,
    ) -> Result<Option<Version>, Fault> {
        if mutation.version.is_none() && !namespace.is_replicated() {
            return Ok(None);
        }
        if self.region.is_empty() {
            let reason = "several regions write this namespace, and this one has no name; set region.name";
            return Err(RecordError::new(Stage::Process, "no-region", reason.to_owned()).into());
        }
        let now = context.now().0;
        let last = context.store(&self.last).read(&LAST.to_owned())?.and_then(|last| last.parse().ok());
        if let Some(last) = last {
            self.clock.hear(last, now);
        }
        let (version, seen) = match &mutation.version {
            Some(version) => {
                admit(version, namespace, now)?;
                self.clock.hear(version.at, now);
                (version.clone(), version.at)
            }
            None => {
                let stamp = self.clock.stamp(now);
                // As late as its time comes; what was put off does not set the clock.
                let due = at_millis(mutation.due(namespace.delay_ms));
                (Version { at: later(stamp, due), region: self.region.clone() }, stamp)
            }
        };
        let seen = last.map_or(seen, |last| later(last, seen));
        context.store(&self.last).write(&LAST.to_owned(), Some(&seen.to_string()))?;
        Ok(Some(version))
    }
}

/// A region whose clock runs ahead would win against all others for as long as it is ahead (rule W3).
fn admit(version: &Version, namespace: &Namespace, now: i64) -> Result<(), Fault> {
    let ahead = version.millis().saturating_sub(now);
    if ahead <= namespace.drift_limit_ms {
        return Ok(());
    }
    let reason = format!(
        "version: {ahead} ms ahead of the log's clock, of at most {}; look after the clocks of region {}, or raise drift-limit",
        namespace.drift_limit_ms, version.region
    );
    Err(RecordError::new(Stage::Process, "version-drift", reason).into())
}
