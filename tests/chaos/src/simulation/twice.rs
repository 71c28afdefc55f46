//! Whether a run is a function of its seed: the same one twice, side by side with others, line by line.

use std::fmt;

use super::{Arm, run};
use crate::Result;

/// Lines of a trace that are shown before those that differ.
const BEFORE: usize = 5;

/// Where two runs of one seed part.
#[derive(Debug)]
pub struct Difference {
    /// Of both.
    pub seed: u64,
    /// The last lines that both have.
    pub common: Vec<String>,
    /// What either has next.
    pub next: [Option<String>; 2],
}

/// Runs a seed two times, and compares all that has happened in them.
///
/// # Errors
/// As [`run`].
pub fn twice(seed: u64, arm: Arm) -> Result<Option<Difference>> {
    let (one, other) = (run(seed, arm)?, run(seed, arm)?);
    Ok(compare(seed, &one.trace, &other.trace))
}

fn compare(seed: u64, one: &[String], other: &[String]) -> Option<Difference> {
    let at = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at))?;
    let common = one[at.saturating_sub(BEFORE)..at].to_vec();
    Some(Difference { seed, common, next: [one.get(at).cloned(), other.get(at).cloned()] })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} is not the same run each time, after", self.seed)?;
        self.common.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        let [one, other] = self.next.each_ref().map(|next| next.as_deref().unwrap_or("the end"));
        write!(f, "one has   {one}\nother has {other}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_found_where_it_begins() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let one = lines("a b c d");
        assert!(compare(1, &one, &one.clone()).is_none());
        let next = |other: &str| compare(1, &one, &lines(other)).map(|found| (found.common.len(), found.next));
        assert_eq!(next("a b x d"), Some((2, [Some("c".to_owned()), Some("x".to_owned())])));
        assert_eq!(next("a b c"), Some((3, [Some("d".to_owned()), None])));
    }

    #[test]
    fn another_seed_is_another_run() {
        let [one, other] = [1, 2].map(|seed| run(seed, Arm::Ours).expect("it ends"));
        assert!(compare(1, &one.trace, &other.trace).is_some(), "a comparison that finds nothing proves nothing");
    }
}
