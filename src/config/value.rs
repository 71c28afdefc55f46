//! Value types: durations, sizes and secrets, which carry their unit or their discretion in the type.
//!
//! A bare integer would leave milliseconds, seconds, kB and KiB to guessing, and a plain string would end up in a log.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A duration, written with its unit: `"100ms"`, `"30s"`, `"1m 30s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// From the standard library's type.
    pub const fn new(duration: Duration) -> Self {
        Span(duration)
    }

    /// As the standard library's type.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Whole milliseconds, as librdkafka's options want them.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text.trim()).map(Span).map_err(|reason| match text.trim().parse::<u64>() {
            Ok(number) => format!("`{number}` has no unit; write \"{number}s\" or \"{number}ms\""),
            Err(_) => format!("`{text}` is not a duration ({reason}); write it like \"30s\", \"100ms\" or \"1m 30s\""),
        })
    }
}

/// A number of bytes, written with its unit: `"64 MiB"` (binary) or `"1 MB"` (decimal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// From a number of bytes.
    pub const fn new(bytes: u64) -> Self {
        ByteSize(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (unit, factor) = exact.unwrap_or(&("B", 1));
        write!(f, "{} {unit}", self.0 / factor)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let (number, unit) = (text[..digits].replace('_', ""), text[digits..].trim());
        let number: u64 =
            number.parse().map_err(|_| format!("`{text}` is not a size; write it like \"64 MiB\" or \"1 MB\""))?;
        if unit.is_empty() {
            return Err(format!("`{number}` has no unit; write \"{number} MiB\", \"{number} KiB\" or \"{number} B\""));
        }
        let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let (_, factor) = known.ok_or_else(|| {
            format!("`{unit}` is not a unit of size; use B, kB, MB, GB, TB (decimal) or KiB, MiB, GiB, TiB (binary)")
        })?;
        number.checked_mul(*factor).map(ByteSize).ok_or_else(|| format!("`{text}` is more than 64 bits can hold"))
    }
}

/// Deserialises by `FromStr`; a number is refused with the reason that its unit is missing.
struct WithUnit<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for WithUnit<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a duration with its unit, such as \"30s\" or \"100ms\"";
        deserializer.deserialize_str(WithUnit(expected, std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a size with its unit, such as \"64 MiB\" or \"1 MB\"";
        deserializer.deserialize_str(WithUnit(expected, std::marker::PhantomData))
    }
}

/// A password, key or token. It comes only from the environment or from a file, is printed as `***`, and can't be
/// serialised; [`reveal`](Secret::reveal) is the one way to the text, so that each use can be found.
#[derive(Clone)]
pub struct Secret(String);

/// By this name the configuration's deserialiser recognises a secret.
pub(super) const SECRET: &str = "headrace::Secret";

/// What is printed in a secret's place.
pub(super) const MASK: &str = "***";

impl Secret {
    /// Wraps a text that must not be printed.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text, for the one call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret, as text")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Secret, D::Error> {
                // Not serde's own message for a wrong type: it would quote the value.
                String::deserialize(deserializer)
                    .map(Secret)
                    .map_err(|_| <D::Error as de::Error>::custom("is a secret, and has to be text"))
            }
        }
        deserializer.deserialize_newtype_struct(SECRET, Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_need_a_unit() {
        assert_eq!("1m 30s".parse::<Span>().unwrap().duration(), Duration::from_secs(90));
        assert_eq!("100ms".parse::<Span>().unwrap().to_string(), "100ms");
        assert_eq!("30".parse::<Span>().unwrap_err(), "`30` has no unit; write \"30s\" or \"30ms\"");
        assert!("soon".parse::<Span>().unwrap_err().contains("write it like"));
    }

    #[test]
    fn sizes_know_binary_from_decimal_and_need_a_unit() {
        assert_eq!("64 MiB".parse::<ByteSize>().unwrap().bytes(), 64 << 20);
        assert_eq!("1MB".parse::<ByteSize>().unwrap().bytes(), 1_000_000);
        assert_eq!("1_000 B".parse::<ByteSize>().unwrap().to_string(), "1 kB");
        assert!("64".parse::<ByteSize>().unwrap_err().contains("no unit"));
        assert!("64 parsecs".parse::<ByteSize>().unwrap_err().contains("not a unit"));
        assert!("99999999999 TiB".parse::<ByteSize>().unwrap_err().contains("64 bits"));
        assert_eq!(ByteSize::new(0).to_string(), "0 B");
    }

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.reveal(), "canary");
    }
}
