//! JSON values through serde, with limits, and errors that never quote the value.
//!
//! Why not serde's own error texts: they hold pieces of the payload, and no log line may.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, DecodeError, EncodeError, Limits, shown};

/// See [`json`].
pub struct Json<T> {
    limits: Limits,
    value: PhantomData<fn() -> T>,
}

/// A codec of any serde type as JSON, within [`Limits::DEFAULT`].
pub fn json<T>() -> Json<T> {
    Json { limits: Limits::DEFAULT, value: PhantomData }
}

impl<T> Json<T> {
    /// The same codec with other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Json { limits: self.limits, value: PhantomData }
    }
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "json({})", short_type_name::<T>())
    }
}

impl<T> Codec<T> for Json<T>
where
    T: Serialize + DeserializeOwned + 'static,
{
    fn name(&self) -> String {
        format!("json({})", short_type_name::<T>())
    }

    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        serde_json::to_writer(&mut *out, value).map_err(|_| {
            out.truncate(start);
            EncodeError::Malformed(format!("{} can't be written as JSON", short_type_name::<T>()))
        })
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<T, DecodeError> {
        let bytes = bytes.ok_or(DecodeError::Null)?;
        self.limits.check_len(bytes)?;
        self.limits.check_json_depth(bytes)?;
        serde_json::from_slice(bytes).map_err(|error| DecodeError::Malformed(describe(&error, short_type_name::<T>())))
    }

    fn to_json(&self, bytes: &[u8]) -> Result<String, DecodeError> {
        shown::render(&self.decode(Some(bytes))?)
    }

    fn encode_text(&self, text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encode(&shown::parse::<T>(text)?, out)
    }
}

/// What went wrong and where, without any piece of the value.
pub(super) fn describe(error: &serde_json::Error, expected: &str) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Data => format!("JSON that is not a {expected}"),
        Category::Eof => "JSON that ends too early".into(),
        Category::Syntax | Category::Io => "not JSON".into(),
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

/// The type's name without its path and parameters.
pub(super) fn short_type_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Job {
        id: u64,
        name: String,
    }

    #[test]
    fn json_round_trips_and_names_its_type() {
        let codec = json::<Job>();
        let job = Job { id: u64::MAX, name: "a\n😀".into() };
        let mut out = Vec::new();
        codec.encode(&job, &mut out).unwrap();
        assert_eq!(codec.decode(Some(&out)).unwrap(), job);
        assert_eq!(codec.name(), "json(Job)");
    }

    #[test]
    fn o5_an_error_quotes_no_value() {
        let error = json::<Job>().decode(Some(br#"{"id":"secret","name":"x"}"#)).unwrap_err().to_string();
        assert_eq!(error, "JSON that is not a Job, line 1 column 14");
        let error = json::<Job>().decode(Some(b"secret")).unwrap_err().to_string();
        assert!(error.starts_with("not JSON"), "{error}");
    }

    #[test]
    fn a_nesting_bomb_is_a_limit_and_not_a_crash() {
        let bomb = "[".repeat(100_000);
        assert!(matches!(json::<serde_json::Value>().decode(Some(bomb.as_bytes())), Err(DecodeError::Limit(_))));
        let small = json::<Job>().limits(Limits { max_bytes: 3, max_depth: 4 });
        assert!(matches!(small.decode(Some(b"{   }")), Err(DecodeError::Limit(_))));
    }
}
