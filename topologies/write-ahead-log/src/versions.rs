//! When each key was written last, by whichever region: what comes later than something that is older is not applied (rule W14).
//!
//! A version is remembered for the namespace's `version-window`, that of a deletion, too: without it, a put that was on its way
//! all the time would bring the key back. What is older than the window can't be judged, and is not applied either.

use headrace::processor::Fault;
use headrace::record::Timestamp;
use headrace::store::Store;

use crate::conflict::Conflict;
use crate::due::{Due, Timers};
use crate::entry::Entry;
use crate::ledger::Out;
use crate::namespace::Namespace;
use crate::version::Kept;

/// The last version of each key at each target.
#[derive(Debug, Clone)]
pub struct Versions {
    /// By namespace, target and key.
    pub last: Store<String, String>,
}

impl Versions {
    /// Remembers its version, unless it lost against one that is known already. What has no version is never older.
    pub(crate) fn judge(
        &self,
        entry: &Entry,
        namespace: &Namespace,
        timers: &Timers,
        out: &mut Out<'_>,
    ) -> Result<Option<Conflict>, Fault> {
        let Some(version) = &entry.mutation.version else { return Ok(None) };
        let (place, Timestamp(now)) = (place(entry), out.now());
        let known = self.read(&place, out)?;
        let lost =
            |kept: Option<&Kept>| Conflict::new(entry, version.clone(), kept.map(|kept| kept.version.clone()), now);
        if let Some(kept) = known.as_ref().filter(|kept| *version < kept.version) {
            return Ok(Some(lost(Some(kept))));
        }
        if known.is_none() && version.millis() < now.saturating_sub(namespace.version_window_ms) {
            return Ok(Some(lost(None)));
        }
        let until = now.saturating_add(namespace.version_window_ms);
        if known.is_none() {
            timers.set(until, &Due::Version(place.clone()), out)?;
        }
        let kept = Kept { version: version.clone(), until };
        out.store(&self.last).write(&place, Some(&kept.encode()))?;
        Ok(None)
    }

    /// The time of the oldest writing of a key is over: it is forgotten, unless it was written again.
    pub(crate) fn forget(&self, place: &str, timers: &Timers, out: &mut Out<'_>) -> Result<(), Fault> {
        let (place, Timestamp(now)) = (place.to_owned(), out.now());
        match self.read(&place, out)? {
            Some(kept) if kept.until > now => timers.set(kept.until, &Due::Version(place), out),
            _ => out.store(&self.last).write(&place, None),
        }
    }

    fn read(&self, place: &String, out: &mut Out<'_>) -> Result<Option<Kept>, Fault> {
        Ok(out.store(&self.last).read(place)?.as_deref().and_then(Kept::decode))
    }
}

/// Names of namespaces and targets hold no slash, whatever the key holds.
fn place(entry: &Entry) -> String {
    format!("{}/{}/{}", entry.mutation.namespace, entry.target(), entry.mutation.key)
}
