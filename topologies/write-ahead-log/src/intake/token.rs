//! Tokens for mutations that came without one.
//!
//! Whoever wants to send a mutation again gives it a token of its own: one that is made up here is only known from the answer, and the
//! answer may be what is lost.

/// Of the form of a UUID of version 7 (RFC 9562): the time, then chance, so that tokens sort by the time of their making.
pub(super) fn made_up(now: i64) -> String {
    let (time, chance) = (now.max(0) & 0xffff_ffff_ffff, fastrand::u128(..));
    let (first, second) = ((chance >> 64) & 0xfff, chance & 0x3fff);
    let last = (chance >> 14) & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}-7{first:03x}-{:04x}-{last:012x}", time >> 16, time & 0xffff, 0x8000 | second)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn w2_tokens_that_are_made_up_differ_and_sort_by_time() {
        let tokens: BTreeSet<String> = (0..10_000).map(|_| made_up(1_790_000_000_000)).collect();
        assert_eq!(tokens.len(), 10_000);
        assert!(tokens.iter().all(|token| token.len() == 36 && token.as_bytes()[14] == b'7'));
        assert!(tokens.last() < Some(&made_up(1_790_000_000_001)));
    }
}
