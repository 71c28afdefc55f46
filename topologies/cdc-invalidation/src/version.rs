//! The order of a row's changes: (epoch, streamed, position, rank, read).
//!
//! Never a clock (rule C2). Per key the log position is monotone, per partition it is not (fact F2), so a version orders
//! the changes of one row and nothing else. As text it is of fixed width, so that Redis, or anybody who reads the
//! invalidations, compares it as a string: a 64-bit LSN does not fit a Lua number.

use std::fmt;
use std::str::FromStr;

use headrace::codec::debezium::Source;

/// A version of one row. Ordered by its fields from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Raised by configuration when positions start anew: a new slot, a failover. The higher epoch wins.
    pub epoch: u32,
    /// Snapshot reads never beat a streamed change of the same epoch (rule C7): a transaction that was open while the
    /// snapshot was taken commits later with a lower position.
    pub streamed: bool,
    /// Position in the database's log; see [`position`].
    pub position: u128,
    /// False for deletes: a primary-key update gives `d` and `c` one position, and the create wins.
    pub create: bool,
    /// Offset + 1 of an incremental-snapshot read, which has no position of its own (fact F1): it stands just above the
    /// version that it found, and below any later change.
    pub read: u64,
}

/// A place in the log that can be compared across the rows of a table, as text: epoch and position.
pub fn fence(epoch: u32, position: u128) -> String {
    format!("{epoch:08x}{position:032x}")
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (streamed, create) = (u8::from(self.streamed), u8::from(self.create));
        write!(f, "{:08x}{streamed}{:032x}{create}{:016x}", self.epoch, self.position, self.read)
    }
}

/// The text is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version: 58 hexadecimal digits are expected")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        if text.len() != 58 || !text.is_ascii() {
            return Err(NotAVersion);
        }
        let flag = |text: &str| match text {
            "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(NotAVersion),
        };
        Ok(Version {
            epoch: u32::from_str_radix(&text[..8], 16).map_err(|_| NotAVersion)?,
            streamed: flag(&text[8..9])?,
            position: u128::from_str_radix(&text[9..41], 16).map_err(|_| NotAVersion)?,
            create: flag(&text[41..42])?,
            read: u64::from_str_radix(&text[42..], 16).map_err(|_| NotAVersion)?,
        })
    }
}

/// The position of a change: PostgreSQL's LSN, or MySQL's (file number, position, row).
///
/// `source.sequence` is not used: its first entry is the end of an *earlier* transaction (fact F4), and per row the LSN
/// alone is monotone, because a row's lock orders the transactions that change it.
pub fn position(source: &Source) -> Option<u128> {
    if let Some(lsn) = source.lsn {
        return Some(u128::from(lsn));
    }
    let binlog = source.binlog.as_deref()?;
    let (file, pos) = (binlog.file.as_deref()?, binlog.pos?);
    let number: u32 = file.rsplit('.').next()?.parse().ok()?;
    let row = u32::try_from(binlog.row.unwrap_or(0)).ok()?;
    Some(u128::from(number) << 96 | u128::from(pos) << 32 | u128::from(row))
}

/// The log position up to which a change surely knows the table's schema: its own, or for an incremental-snapshot read,
/// which has none, the last commit before it (`source.sequence`).
pub fn schema_position(source: &Source) -> u128 {
    position(source).unwrap_or_else(|| u128::from(source.sequence.0.max(source.sequence.1).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version() -> impl Strategy<Value = Version> {
        (any::<u32>(), any::<bool>(), any::<u128>(), any::<bool>(), any::<u64>())
            .prop_map(|(epoch, streamed, position, create, read)| Version { epoch, streamed, position, create, read })
    }

    proptest! {
        #[test]
        fn c2_text_orders_as_the_version_does(a in version(), b in version()) {
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
            prop_assert_eq!(a.to_string().parse::<Version>(), Ok(a));
        }

        #[test]
        fn any_text_is_a_version_or_an_error(text in ".{0,80}") {
            _ = text.parse::<Version>();
        }
    }

    #[test]
    fn f4_a_position_that_gains_a_digit_or_passes_32_bits_stays_greater() {
        let at = |position| Version { epoch: 1, streamed: true, position, create: true, read: 0 }.to_string();
        assert!(at(99_999_999) < at(100_000_000));
        assert!(at(u128::from(u32::MAX)) < at(u128::from(u32::MAX) + 1));
    }
}
