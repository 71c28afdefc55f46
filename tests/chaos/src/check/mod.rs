//! Compares what a run wrote with what its input makes due, record by record.
//!
//! ```text
//! produced ─▶ Due ─┬─▶ stream: each key's outputs are the folds after 1, 2, 3, … events      lost, duplicated, reordered,
//!                  │                                                                        misfolded
//!                  ├─▶ moved: each event once, in order per origin and group                 the same
//!                  ├─▶ both: an event is in both outputs or in none                           torn
//!                  └─▶ changelog: the four stores' logs go together, up to the last event     torn, lost
//! segments ─▶ visible: committed readers see no aborted record; a transaction ends in one way  aborted visible, torn
//! state on disk ─▶ copies: each store is the fold of its changelog, byte by byte               unequal
//! ```
//!
//! All but [`judge`] and [`copies::scan`] is pure, and shows in tests that it catches what it is there for.

pub mod changelog;
pub mod copies;
pub mod due;
pub mod judge;
pub mod stream;
pub mod visible;

#[cfg(test)]
mod samples;

/// Examples that are kept for the reader; the rest is only counted.
const EXAMPLES: usize = 20;

/// What is wrong; all zero if nothing is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Events that are missing from an output.
    pub lost: u64,
    /// Records that say what another one has said.
    pub duplicated: u64,
    /// Records that stand behind a later one of their key.
    pub reordered: u64,
    /// Records whose fold is not that of the events before them, or that nobody produced.
    pub misfolded: u64,
    /// Records of aborted transactions that a committed reader is shown.
    pub aborted_visible: u64,
    /// Events and transactions of which only a part is there.
    pub torn: u64,
    /// Stores that are not the fold of their changelog.
    pub unequal: u64,
    /// Some of them, in words.
    pub examples: Vec<String>,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.total() == 0
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        let Findings { lost, duplicated, reordered, misfolded, aborted_visible, torn, unequal, examples: _ } = self;
        lost + duplicated + reordered + misfolded + aborted_visible + torn + unequal
    }

    fn example(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(what());
        }
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: Findings) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.misfolded += other.misfolded;
        self.aborted_visible += other.aborted_visible;
        self.torn += other.torn;
        self.unequal += other.unequal;
        other.examples.into_iter().for_each(|example| self.example(|| example));
    }
}
