//! Whose turn it is, where some have more turns than others.
//!
//! Smooth weighted round-robin: at each turn whoever takes part is credited with its weight; the one with most credit has the
//! turn, and pays what all were credited with. So with weights 5, 2 and 1 the turns are a b a a c a b a, and not five of one in a
//! row; and whoever takes part waits for no more turns than the sum of the weights divided by its own, rounded up.

/// The parties and their credit.
#[derive(Debug, Clone)]
pub struct Turns(Vec<(i64, i64)>);

impl Turns {
    /// One of weight 0 has 1.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        Turns(weights.into_iter().map(|weight| (i64::from(weight.max(1)), 0)).collect())
    }

    /// Goes on with what the parties had left.
    #[must_use]
    pub fn with_credit(mut self, credit: &[i64]) -> Self {
        self.0.iter_mut().zip(credit).for_each(|((_, own), credit)| *own = *credit);
        self
    }

    /// What the parties have left.
    pub fn credit(&self) -> Vec<i64> {
        self.0.iter().map(|(_, credit)| *credit).collect()
    }

    /// The next one among those that take part; none if nobody does.
    pub fn next(&mut self, takes_part: impl Fn(usize) -> bool) -> Option<usize> {
        let (mut all, mut first): (i64, Option<usize>) = (0, None);
        for at in 0..self.0.len() {
            if !takes_part(at) {
                // What it did not take it does not save: it would have all turns when it comes back.
                self.0[at].1 = 0;
                continue;
            }
            let (weight, credit) = &mut self.0[at];
            *credit += *weight;
            all += *weight;
            if first.is_none_or(|first| self.0[at].1 > self.0[first].1) {
                first = Some(at);
            }
        }
        let first = first?;
        self.0[first].1 -= all;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(turns: &mut Turns, count: usize, takes_part: impl Fn(usize) -> bool) -> String {
        (0..count).map(|_| turns.next(&takes_part).map_or('-', |at| char::from(b'a' + at as u8))).collect()
    }

    #[test]
    fn each_has_turns_by_its_weight_and_they_are_spread() {
        let mut all = Turns::new([5, 2, 1]);
        assert_eq!(turns(&mut all, 16, |_| true), "abaacabaabaacaba");
        assert_eq!(turns(&mut all, 3, |_| true), "aba");
        let mut again = Turns::new([5, 2, 1]).with_credit(&all.credit());
        assert_eq!(turns(&mut again, 5, |_| true), "acaba", "as if nothing had been between");
    }

    #[test]
    fn what_one_leaves_goes_to_the_others_and_is_not_made_up_for() {
        let mut all = Turns::new([5, 2, 1]);
        assert_eq!(turns(&mut all, 6, |at| at > 0), "bcbbcb");
        assert_eq!(turns(&mut all, 8, |_| true), "abaacaba");
        assert_eq!(turns(&mut all, 2, |_| false), "--");
        assert_eq!(turns(&mut Turns::new([0]), 2, |_| true), "aa");
    }
}
