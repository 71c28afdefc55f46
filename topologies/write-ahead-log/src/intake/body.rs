//! What a request's body holds: one mutation or many, in the form that its content type says.
//!
//! | content type | body |
//! |---|---|
//! | `application/json`, or none | one [form](super::form), or an array of them |
//! | `application/x-ndjson` | a form on each line |
//! | `application/avro`, `avro/binary` | one datum by the schema of the mutations topic, without the registry's framing |

use std::sync::Arc;

use headrace::codec::{Avro, AvroSchema as _, Binding, Codec as _, SchemaId, Schemas, avro};
use serde_json::value::RawValue;

use super::form;
use super::refusal::Refusal;
use crate::mutation::Mutation;

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Lines,
    Avro,
}

/// A mutation that is fit to be written; or why not, with its token if it has one.
pub(super) type Item = Result<Mutation, (Option<String>, String)>;

/// What a body holds, in its order.
#[derive(Debug, PartialEq)]
pub(super) struct Items {
    pub(super) all: Vec<Item>,
    /// Whether it is one by its form: then the answer is one, and not a list of one.
    pub(super) is_one: bool,
}

impl Kind {
    /// By the header's value.
    pub(super) fn of(content_type: Option<&str>) -> Result<Self, Refusal> {
        let essence = content_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        match essence.as_deref() {
            None | Some("application/json") => Ok(Kind::Json),
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Ok(Kind::Lines),
            Some("application/avro" | "avro/binary") => Ok(Kind::Avro),
            Some(_) => Err(Refusal::Kind),
        }
    }
}

/// Reads a body; its mutations are valid, or say why not (see [`Mutation::validate`]).
pub(super) fn read(kind: Kind, body: &[u8], namespace: &str, now: i64, most: usize) -> Result<Items, Refusal> {
    let mut items = match kind {
        Kind::Json => of_json(body, namespace, now, most)?,
        Kind::Lines => of_lines(body, namespace, now, most)?,
        Kind::Avro => Items { all: vec![of_avro(body, namespace)], is_one: true },
    };
    for item in &mut items.all {
        if let Ok(mutation) = item
            && let Err(error) = mutation.validate()
        {
            *item = Err((Some(std::mem::take(&mut mutation.token)), error.reason));
        }
    }
    Ok(items)
}

fn utf8(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|_| Refusal::Bad("the body is not UTF-8, as JSON is".to_owned()))
}

fn too_many(most: usize) -> Refusal {
    Refusal::TooLarge(format!(
        "the body has more than {most} mutations, as many as intake.max-mutations allows; send several"
    ))
}

fn of_json(body: &[u8], namespace: &str, now: i64, most: usize) -> Result<Items, Refusal> {
    let text = utf8(body)?;
    if !text.trim_start().starts_with('[') {
        return Ok(Items { all: vec![form::read(text, namespace, now)], is_one: true });
    }
    let array: Result<Vec<&RawValue>, _> = serde_json::from_str(text);
    let array = array.map_err(|error| {
        Refusal::Bad(format!("the body is no array of JSON, at line {}, column {}", error.line(), error.column()))
    })?;
    if array.len() > most {
        return Err(too_many(most));
    }
    Ok(Items { all: array.into_iter().map(|item| form::read(item.get(), namespace, now)).collect(), is_one: false })
}

fn of_lines(body: &[u8], namespace: &str, now: i64, most: usize) -> Result<Items, Refusal> {
    let lines = || utf8(body).map(|text| text.lines().filter(|line| !line.trim().is_empty()));
    if lines()?.nth(most).is_some() {
        return Err(too_many(most));
    }
    Ok(Items { all: lines()?.map(|line| form::read(line, namespace, now)).collect(), is_one: false })
}

/// By the codec of the topic, which believes no length that a datum claims: under a schema id of its own, which is no registry's.
fn of_avro(datum: &[u8], namespace: &str) -> Item {
    const OWN: SchemaId = SchemaId(0);
    let schemas = Arc::new(Schemas::default());
    let known = schemas.insert(OWN, Mutation::SCHEMA);
    let codec: Avro<Mutation> = avro();
    codec.bind(&Binding { schemas, writer: None });
    let framed = [&[0_u8, 0, 0, 0, 0][..], datum].concat();
    let read = known.map_err(|error| error.to_string()).and_then(|()| {
        codec.decode(Some(&framed)).map_err(|error| {
            format!(
                "is no datum of write-ahead-log.mutations-value.avsc ({error}); send it without the registry's framing"
            )
        })
    });
    let mutation = read.map_err(|reason| (None, reason))?;
    if mutation.namespace != namespace {
        let reason = "namespace: is another one than the path says; send it to its own".to_owned();
        return Err((Some(mutation.token), reason));
    }
    Ok(mutation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(kind: Kind, body: &[u8]) -> Items {
        read(kind, body, "shop", 1_790_000_000_000, 3).unwrap()
    }

    fn tokens(items: &Items) -> Vec<&str> {
        items.all.iter().map(|item| item.as_ref().map_or("-", |mutation| &mutation.token)).collect()
    }

    fn form(token: &str) -> String {
        format!(r#"{{"token":"{token}","key":"k","value":1}}"#)
    }

    fn datum(mutation: &Mutation) -> Vec<u8> {
        let codec: Avro<Mutation> = avro();
        let schemas = Arc::new(Schemas::default());
        schemas.insert(SchemaId(7), Mutation::SCHEMA).unwrap();
        codec.bind(&Binding { schemas, writer: Some(SchemaId(7)) });
        let mut bytes = Vec::new();
        codec.encode(mutation, &mut bytes).unwrap();
        bytes.split_off(5)
    }

    #[test]
    fn a_content_type_says_what_the_body_is() {
        for (header, kind) in [
            (None, Kind::Json),
            (Some("application/json; charset=utf-8"), Kind::Json),
            (Some("Application/X-NDJSON"), Kind::Lines),
            (Some("application/avro"), Kind::Avro),
            (Some("avro/binary"), Kind::Avro),
        ] {
            assert_eq!(Kind::of(header), Ok(kind));
        }
        assert_eq!(Kind::of(Some("text/plain")), Err(Refusal::Kind));
        assert_eq!(Kind::of(Some("")), Err(Refusal::Kind));
    }

    #[test]
    fn one_is_answered_as_one_and_many_in_their_order() {
        let one = items(Kind::Json, form("a").as_bytes());
        assert!(one.is_one && tokens(&one) == ["a"]);
        let many = items(Kind::Json, format!(" [{},7,{}]", form("a"), form("b")).as_bytes());
        assert!(!many.is_one && tokens(&many) == ["a", "-", "b"], "{many:?}");
        let lines = items(Kind::Lines, format!("{}\r\n\n{{\n{}", form("a"), form("b")).as_bytes());
        assert!(!lines.is_one && tokens(&lines) == ["a", "-", "b"], "{lines:?}");
        assert!(items(Kind::Json, b"[]").all.is_empty());
    }

    #[test]
    fn too_many_are_refused_before_any_is_read() {
        let four = [form("a"), form("b"), form("c"), form("d")];
        for (kind, body) in [(Kind::Json, format!("[{}]", four.join(","))), (Kind::Lines, four.join("\n"))] {
            let refused = read(kind, body.as_bytes(), "shop", 1, 3).unwrap_err();
            assert!(matches!(refused, Refusal::TooLarge(_)), "{refused:?}");
        }
        assert!(matches!(read(Kind::Json, b"[1", "shop", 1, 3), Err(Refusal::Bad(_))));
        assert!(matches!(read(Kind::Lines, b"\xff", "shop", 1, 3), Err(Refusal::Bad(_))));
    }

    #[test]
    fn what_no_namespace_takes_is_said_with_its_token() {
        let items = items(Kind::Json, br#"{"token":"t","key":"k"}"#);
        let (token, reason) = items.all[0].clone().unwrap_err();
        assert_eq!(token.as_deref(), Some("t"));
        assert!(reason.starts_with("value: a PUT has none"), "{reason}");
    }

    #[test]
    fn a_datum_is_read_without_framing_and_is_of_the_paths_namespace() {
        let mutation = Mutation {
            namespace: "shop".to_owned(),
            token: "t".to_owned(),
            created_at: 1,
            key: "k".to_owned(),
            value: Some(vec![0, 255]),
            ..Mutation::default()
        };
        let read = items(Kind::Avro, &datum(&mutation));
        assert_eq!(read, Items { all: vec![Ok(mutation.clone())], is_one: true });
        let other = items(Kind::Avro, &datum(&Mutation { namespace: "other".to_owned(), ..mutation.clone() }));
        assert!(other.all[0].clone().unwrap_err().1.starts_with("namespace: is another"));
        let mut long = datum(&mutation);
        long.truncate(8);
        for wrong in [&b""[..], b"\x00\x00\x00\x00\x07canary", b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", &long] {
            let (_, reason) = items(Kind::Avro, wrong).all[0].clone().unwrap_err();
            assert!(reason.starts_with("is no datum") && !reason.contains("canary"), "{reason}");
        }
    }
}
