//! Times as they are typed and shown: RFC 3339 in UTC, or so long from now.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headrace::config::Span;

/// A point in time, as it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// `2026-12-01T08:00:00Z`, in milliseconds since the epoch.
    At(i64),
    /// `5m`: so long from now.
    In(Span),
}

impl Moment {
    /// In milliseconds since the epoch.
    pub(super) fn millis(self, now: i64) -> i64 {
        match self {
            Moment::At(millis) => millis,
            Moment::In(span) => now.saturating_add(i64::try_from(span.millis()).unwrap_or(i64::MAX)),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse() {
            return Ok(Moment::In(span));
        }
        let way_out = "write a time in UTC, like 2026-12-01T08:00:00Z, or so long from now, like 5m";
        instant(text)
            .map(Moment::At)
            .map_err(|reason| format!("`{text}` is neither a time nor a duration ({reason}); {way_out}"))
    }
}

/// A time in UTC, in milliseconds since the epoch.
pub(super) fn time(text: &str) -> Result<i64, String> {
    let way_out = "write it in UTC, like 2026-12-01T08:00:00Z";
    instant(text).map_err(|reason| format!("`{text}` is not a time ({reason}); {way_out}"))
}

fn instant(text: &str) -> Result<i64, String> {
    let found = humantime::parse_rfc3339(text.trim()).map_err(|error| error.to_string())?;
    found.duration_since(UNIX_EPOCH).map(millis).map_err(|error| error.to_string())
}

/// Now, in milliseconds since the epoch.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(since: Duration) -> i64 {
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since the epoch for people.
pub(super) fn shown(millis: i64) -> String {
    let since = u64::try_from(millis).ok().map(Duration::from_millis);
    match since.filter(|since| *since < LONGEST).and_then(|since| UNIX_EPOCH.checked_add(since)) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => format!("{millis} ms since 1970"),
    }
}

/// The year 9999: no text has more digits.
const LONGEST: Duration = Duration::from_secs(253_402_300_800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_so_long_from_now() {
        let millis = |text: &str| text.parse::<Moment>().map(|moment| moment.millis(1_000));
        assert_eq!(millis("1970-01-02T00:00:00Z"), Ok(86_400_000));
        assert_eq!(millis("1970-01-02T00:00:00.250Z"), Ok(86_400_250));
        assert_eq!(millis("5m"), Ok(301_000));
        for wrong in ["tomorrow", "5", "", "2026-12-01", "2026-12-01T08:00:00"] {
            let error = millis(wrong).unwrap_err();
            assert!(error.contains("2026-12-01T08:00:00Z"), "{wrong}: {error}");
        }
        assert_eq!(Moment::In(Span::new(Duration::MAX)).millis(1), i64::MAX);
    }

    #[test]
    fn what_is_shown_is_read_again_and_no_time_is_a_number() {
        assert_eq!(shown(86_400_250), "1970-01-02T00:00:00.250Z");
        assert_eq!(time(&shown(1_790_000_000_123)), Ok(1_790_000_000_123));
        assert_eq!(shown(-1), "-1 ms since 1970");
        assert_eq!(shown(i64::MAX), format!("{} ms since 1970", i64::MAX));
    }
}
