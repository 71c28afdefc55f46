//! Whether regions agree: of each key the last version, compared (rule W14).
//!
//! ```text
//!  eu /state/versions ─┐
//!                      ├─▶ by target and key ─▶ the same version everywhere? ─▶ divergent keys; how far the regions are apart
//!  us /state/versions ─┘
//! ```
//!
//! What is compared is what the logs have let pass, not what is in the targets. A key that is being written differs for as long as the
//! write is on its way. A version that is about to be forgotten is compared no more: regions forget at times of their own.

use std::collections::BTreeMap;

use crate::version::Kept;

/// Versions that are remembered for so many milliseconds only may be gone in another region.
const ABOUT_TO_GO_MS: i64 = 60_000;

/// What regions have of each target and key; one of each region.
pub type Seen = Vec<BTreeMap<String, Kept>>;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Keys that were compared.
    pub keys: usize,
    /// Those that differ, with what each region has.
    pub divergent: Vec<(String, Vec<Option<Kept>>)>,
    /// The time of the oldest write that not all regions have, in milliseconds since the epoch.
    pub since: Option<i64>,
}

impl Audit {
    /// Of the versions of all regions, at a time in milliseconds since the epoch.
    pub fn of(regions: &Seen, now: i64) -> Self {
        let mut audit = Audit::default();
        let keys: std::collections::BTreeSet<&String> = regions.iter().flat_map(BTreeMap::keys).collect();
        for key in keys {
            let of_key: Vec<Option<&Kept>> = regions.iter().map(|region| region.get(key)).collect();
            let there = of_key.iter().flatten();
            if there.clone().any(|kept| kept.until <= now.saturating_add(ABOUT_TO_GO_MS)) {
                continue;
            }
            audit.keys += 1;
            let last = there.map(|kept| &kept.version).max();
            if of_key.iter().any(|kept| kept.map(|kept| &kept.version) != last) {
                audit.since = audit.since.into_iter().chain(last.map(crate::version::Version::millis)).min();
                audit.divergent.push((key.clone(), of_key.into_iter().map(Option::<&Kept>::cloned).collect()));
            }
        }
        audit
    }

    /// A line of numbers: the recovery point, should the region that is behind be all that is left.
    pub fn line(&self, now: i64) -> String {
        let apart = self.since.map_or(0, |since| now.saturating_sub(since).max(0));
        let count = self.divergent.len();
        format!("keys={} divergent_keys={count} rpo_records={count} rpo_ms={apart}", self.keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Version, at_millis};

    const NOW: i64 = 1_700_000_000_000;

    fn kept(at: i64, region: &str) -> Kept {
        Kept { version: Version { at: at_millis(at), region: region.to_owned() }, until: NOW + 1_000_000 }
    }

    fn region(entries: &[(&str, Kept)]) -> BTreeMap<String, Kept> {
        entries.iter().map(|(key, kept)| ((*key).to_owned(), kept.clone())).collect()
    }

    #[test]
    fn w14_what_differs_and_what_is_missing_is_divergent_and_what_is_about_to_be_forgotten_is_not() {
        let going = Kept { until: NOW + 1_000, ..kept(NOW - 9_000, "eu") };
        let eu = region(&[
            ("c/a", kept(1, "eu")),
            ("c/b", kept(NOW - 5_000, "eu")),
            ("c/c", kept(NOW, "eu")),
            ("c/d", going),
        ]);
        let us = region(&[("c/a", kept(1, "eu")), ("c/b", kept(NOW - 7_000, "us"))]);
        let audit = Audit::of(&vec![eu.clone(), us], NOW);
        assert_eq!(audit.keys, 3);
        assert_eq!(audit.divergent.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["c/b", "c/c"]);
        assert_eq!(audit.line(NOW), "keys=3 divergent_keys=2 rpo_records=2 rpo_ms=5000");
        let same = Audit::of(&vec![eu.clone(), eu], NOW);
        assert_eq!(same.line(NOW), "keys=3 divergent_keys=0 rpo_records=0 rpo_ms=0");
    }
}
