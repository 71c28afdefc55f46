//! How a restore thread's memory is split among the changelogs that are read at a time (rule R-25).
//!
//! ```text
//!  of what is to be processed   │ large │ large │ all small ones together │
//!  of copies (rule R-24)        │ large │ large │ all small ones together │     promoted or not, they were begun beside those
//! ```

/// Changelogs with more than a few records that are read at a time, of either role.
const LARGE_AT_ONCE: usize = 2;
/// The same for those with a few.
const SMALL_AT_ONCE: usize = 64;
/// What a few are.
const SMALL_RECORDS: u64 = 2_000;
/// What a large one should write at once (rule R-23). With less memory fewer are read at a time; with still less they write
/// less at once.
const GOOD_BATCH_BYTES: usize = 4 << 20;

/// How many at a time, and what each of them may collect before it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    large_at_once: usize,
    large_bytes: usize,
}

impl Parts {
    /// `bytes`: what all collect together.
    pub(super) fn of(bytes: usize, has_standbys: bool) -> Self {
        let roles = if has_standbys { 2 } else { 1 };
        let good = (bytes / roles / GOOD_BATCH_BYTES).saturating_sub(1);
        let large_at_once = good.clamp(1, LARGE_AT_ONCE);
        Parts { large_at_once, large_bytes: bytes / (roles * (large_at_once + 1)) }
    }

    /// Whether a changelog with so much to read goes with the small ones, as long as it is read.
    pub(super) fn is_small(remaining: u64) -> bool {
        remaining <= SMALL_RECORDS
    }

    /// How many of one kind and role are read at a time.
    pub(super) fn at_once(self, is_small: bool) -> usize {
        if is_small { SMALL_AT_ONCE } else { self.large_at_once }
    }

    /// What one of them collects before it writes.
    pub(super) fn batch_bytes(self, is_small: bool) -> usize {
        if is_small { self.large_bytes / SMALL_AT_ONCE } else { self.large_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r25_what_all_restores_collect_together_stays_within_their_memory_however_little_it_is() {
        for has_standbys in [false, true] {
            let roles = if has_standbys { 2 } else { 1 };
            for bytes in [256 << 10, 4 << 20, 8 << 20, 13 << 20, 32 << 20, 1 << 30] {
                let parts = Parts::of(bytes, has_standbys);
                let of = |is_small| parts.at_once(is_small) * parts.batch_bytes(is_small);
                let all = roles * (of(true) + of(false));
                assert!(all <= bytes, "{all} of {bytes}: {parts:?}");
                assert!(all > bytes / 4 * 3, "{all} of {bytes} are not made use of: {parts:?}");
            }
        }
    }

    #[test]
    fn r23_where_there_is_memory_a_large_one_writes_four_mebibytes_at_once() {
        for (bytes, has_standbys) in [(8 << 20, false), (12 << 20, false), (16 << 20, true), (32 << 20, true)] {
            let parts = Parts::of(bytes, has_standbys);
            assert!(parts.batch_bytes(false) >= GOOD_BATCH_BYTES, "{bytes}: {parts:?}");
        }
        assert_eq!(Parts::of(32 << 20, false).at_once(false), LARGE_AT_ONCE);
        assert_eq!(Parts::of(8 << 20, false).at_once(false), 1);
    }
}
