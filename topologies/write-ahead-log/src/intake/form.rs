//! A mutation as people write it in JSON: the fields of the Avro schema by the same names, so that an error names what was typed.
//!
//! | field | is | if it is not there |
//! |---|---|---|
//! | `key` | text | it is refused |
//! | `operation` | `"put"` or `"delete"`, in whichever case | `put` |
//! | `value` | any JSON, kept byte for byte, numbers as they were written | exactly one of the three for a put, none for a delete |
//! | `text` | text, kept as its bytes in UTF-8 | |
//! | `base64` | bytes | |
//! | `token` | text | one is made up; whoever may have to send it again gives one |
//! | `created_at` | a [time](self#times) | now |
//! | `target` | text | all of the namespace |
//! | `order` | text | the key |
//! | `not_before` | a [time](self#times) | |
//! | `delay`, or `delay_ms` | text such as `"30s"`; milliseconds | the namespace's |
//! | `headers` | an object of texts | none |
//! | `namespace` | text: that of the path | that of the path |
//! | `version` | an object of `at` and `region`: for another region's log | none |
//!
//! # Times
//! RFC 3339 with an offset, such as `"2026-12-01T08:00:00Z"`, or milliseconds since 1970. A field that is `null` is as one that is not
//! there. Errors name fields and never quote what is in them (rule O5).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headrace::config::Span;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::token::made_up;
use crate::mutation::{LONGEST_DELAY_MS, Mutation, Operation};

/// A field, if it is there.
pub(super) type Field = Option<Box<RawValue>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    namespace: Field,
    token: Field,
    created_at: Field,
    target: Field,
    key: Field,
    order: Field,
    operation: Field,
    value: Field,
    text: Field,
    base64: Field,
    not_before: Field,
    delay: Field,
    delay_ms: Field,
    headers: Field,
    version: Field,
}

/// A mutation of a namespace, which may not be a valid one; or what is wrong with its form, and its token if that can be read.
pub(super) fn read(json: &str, namespace: &str, now: i64) -> Result<Mutation, (Option<String>, String)> {
    let form: Form = serde_json::from_str(json).map_err(|error| (None, unread(&error)))?;
    let token = text("token", &form.token).map_err(|reason| (None, reason))?;
    let token = token.unwrap_or_else(|| made_up(now));
    form.mutation(namespace, token.clone(), now).map_err(|reason| (Some(token), reason))
}

fn unread(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    if error.is_data() {
        return format!(
            "is none, at line {line}, column {column}; send an object with fields of write-ahead-log.mutations-value.avsc, \
             `text`, `base64` and `delay`, each at most once"
        );
    }
    format!("is no JSON, at line {line}, column {column}")
}

fn parsed<T: DeserializeOwned>(name: &str, field: &Field, what: &str) -> Result<Option<T>, String> {
    let Some(json) = field else { return Ok(None) };
    serde_json::from_str(json.get()).map(Some).map_err(|_| format!("{name}: is not {what}"))
}

fn text(name: &str, field: &Field) -> Result<Option<String>, String> {
    parsed(name, field, "a text")
}

fn time(name: &str, field: &Field) -> Result<Option<i64>, String> {
    let what = "a time: send 2026-12-01T08:00:00Z, say, or milliseconds since 1970";
    if let Ok(millis) = parsed::<i64>(name, field, what) {
        return Ok(millis);
    }
    let time = parsed::<String>(name, field, what)?.unwrap_or_default();
    let time: Result<jiff::Timestamp, _> = time.parse();
    time.map(|time| Some(time.as_millisecond())).map_err(|_| format!("{name}: is not {what}"))
}

impl Form {
    fn mutation(self, namespace: &str, token: String, now: i64) -> Result<Mutation, String> {
        if text("namespace", &self.namespace)?.is_some_and(|own| own != namespace) {
            return Err("namespace: is another one than the path says; leave it out".to_owned());
        }
        let headers = parsed::<BTreeMap<String, String>>("headers", &self.headers, "an object of texts")?;
        Ok(Mutation {
            namespace: namespace.to_owned(),
            token,
            created_at: time("created_at", &self.created_at)?.unwrap_or(now),
            target: text("target", &self.target)?,
            // Without one it is refused, as one that is empty.
            key: text("key", &self.key)?.unwrap_or_default(),
            order: text("order", &self.order)?,
            operation: self.operation()?,
            value: self.value()?,
            not_before: time("not_before", &self.not_before)?,
            delay_ms: delay(&self.delay, &self.delay_ms)?,
            headers: headers.unwrap_or_default(),
            group: None,
            version: parsed("version", &self.version, "an object of at, a number, and region, a text")?,
        })
    }

    fn operation(&self) -> Result<Operation, String> {
        let operation = text("operation", &self.operation)?;
        match operation.map(|operation| operation.to_ascii_lowercase()).as_deref() {
            None | Some("put") => Ok(Operation::Put),
            Some("delete") => Ok(Operation::Delete),
            Some(_) => Err("operation: is neither put nor delete".to_owned()),
        }
    }

    fn value(&self) -> Result<Option<Vec<u8>>, String> {
        let text = text("text", &self.text)?.map(String::into_bytes);
        let base64 = match self::text("base64", &self.base64)? {
            Some(base64) => Some(STANDARD.decode(base64).map_err(|_| "base64: is not base64, with its padding")?),
            None => None,
        };
        let json = self.value.as_ref().map(|json| json.get().as_bytes().to_vec());
        let mut given = [json, text, base64].into_iter().flatten();
        let value = given.next();
        match given.next() {
            None => Ok(value),
            Some(_) => Err("value: is given in more than one form; send one of value, text and base64".to_owned()),
        }
    }
}

/// Milliseconds, in either form.
fn delay(delay: &Field, delay_ms: &Field) -> Result<Option<i64>, String> {
    let what = "a text such as 30s, 5m or 2d";
    let span = text("delay", delay)?.map(|delay| delay.parse::<Span>()).transpose();
    let span = span.map_err(|_| format!("delay: is not {what}"))?;
    let span = span.map(|span| i64::try_from(span.millis()).unwrap_or(i64::MAX));
    let millis = parsed::<i64>("delay_ms", delay_ms, "a number of milliseconds")?;
    match (span, millis) {
        (Some(_), Some(_)) => Err("delay: is given twice; send one of delay and delay_ms".to_owned()),
        (span, millis) => Ok(span.or(millis)),
    }
}

/// When something begins that says it either way: at most ten years from now.
pub(super) fn begins(not_before: &Field, delay: &Field, delay_ms: &Field, now: i64) -> Result<Option<i64>, String> {
    let at = time("not_before", not_before)?;
    let at = match (at, self::delay(delay, delay_ms)?) {
        (Some(_), Some(_)) => return Err("not_before: is given with a delay; send one of them".to_owned()),
        (at, delay) => at.or(delay.map(|delay| now.saturating_add(delay))),
    };
    match at {
        Some(at) if !(0..=now.saturating_add(LONGEST_DELAY_MS)).contains(&at) => {
            Err("not_before: is none of the next ten years".to_owned())
        }
        at => Ok(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn wrong(json: &str) -> String {
        let (_, reason) = read(json, "shop", NOW).unwrap_err();
        assert!(!reason.contains("canary"), "{reason}");
        reason
    }

    #[test]
    fn all_fields_of_a_form_are_in_the_mutation() {
        let json = r#"{"namespace":"shop","token":"t","created_at":"2026-09-21T14:13:20+02:00","target":"cache","key":"k",
            "order":"o","operation":"Put","value":{"price": 12.50},"not_before":1790000001000,"delay":"30s",
            "headers":{"traceparent":"00-a-b-01"}}"#;
        let expected = Mutation {
            namespace: "shop".to_owned(),
            token: "t".to_owned(),
            created_at: 1_789_992_800_000,
            target: Some("cache".to_owned()),
            key: "k".to_owned(),
            order: Some("o".to_owned()),
            operation: Operation::Put,
            value: Some(br#"{"price": 12.50}"#.to_vec()),
            not_before: Some(1_790_000_001_000),
            delay_ms: Some(30_000),
            headers: [("traceparent".to_owned(), "00-a-b-01".to_owned())].into(),
            group: None,
            version: None,
        };
        assert_eq!(read(json, "shop", NOW), Ok(expected));
    }

    #[test]
    fn what_is_not_there_is_as_its_field_says() {
        let mutation = read(r#"{"key":"k","text":"","order":null}"#, "shop", NOW).unwrap();
        assert_eq!((mutation.created_at, mutation.token.len(), mutation.order), (NOW, 36, None));
        assert_eq!((mutation.operation, mutation.value.as_deref()), (Operation::Put, Some(&b""[..])));
        let delete = read(r#"{"key":"k","operation":"DELETE","delay_ms":5}"#, "shop", NOW).unwrap();
        assert_eq!((delete.operation, delete.value, delete.delay_ms), (Operation::Delete, None, Some(5)));
        assert_eq!(read(r#"{"text":"x"}"#, "shop", NOW).unwrap().key, "", "validation refuses it");
    }

    #[test]
    fn a_value_is_kept_as_it_was_written() {
        let value = |field: &str| read(&format!(r#"{{"key":"k",{field}}}"#), "shop", NOW).unwrap().value.unwrap();
        assert_eq!(value(r#""value":[1.0, 12345678901234567890123]"#), b"[1.0, 12345678901234567890123]");
        assert_eq!(value(r#""value":"a\u00e9""#), br#""a\u00e9""#, "a JSON text, with its quotes");
        assert_eq!(value(r#""text":"a\u00e9""#), "a\u{e9}".as_bytes());
        assert_eq!(value(r#""base64":"AP8=""#), [0, 255]);
    }

    #[test]
    fn o5_what_is_wrong_is_named_and_never_quoted() {
        for (json, reason) in [
            ("canary", "is no JSON, at line 1"),
            (r#""canary""#, "is none"),
            (r#"{"key":"k","canary":1}"#, "is none"),
            (r#"{"key":"canary","key":"b"}"#, "each at most once"),
            (r#"{"namespace":"canary"}"#, "namespace: is another"),
            (r#"{"token":7}"#, "token: is not a text"),
            (r#"{"key":["canary"]}"#, "key: is not a text"),
            (r#"{"operation":"canary"}"#, "operation: is neither"),
            (r#"{"created_at":"canary"}"#, "created_at: is not a time"),
            (r#"{"not_before":1.5}"#, "not_before: is not a time"),
            (r#"{"delay":"canary"}"#, "delay: is not a text such as 30s"),
            (r#"{"delay":30}"#, "delay: is not a text"),
            (r#"{"delay":"1s","delay_ms":1000}"#, "delay: is given twice"),
            (r#"{"base64":"canary!"}"#, "base64: is not base64"),
            (r#"{"value":1,"text":"canary"}"#, "value: is given in more than one form"),
            (r#"{"headers":{"a":1}}"#, "headers: is not an object of texts"),
        ] {
            let found = wrong(json);
            assert!(found.contains(reason), "{json}: {found}");
        }
    }

    #[test]
    fn w2_a_mutation_that_is_refused_keeps_its_token() {
        assert_eq!(read(r#"{"token":"t","delay":7}"#, "shop", NOW).unwrap_err().0.as_deref(), Some("t"));
    }
}
