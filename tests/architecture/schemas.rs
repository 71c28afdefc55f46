//! Schemas: they parse, say what each field means, and read what their older versions wrote.

use std::fs;
use std::path::Path;

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde_json::Value;

use super::tree::{root, walk};

/// The checks, and that each can fail.
pub(crate) fn check() {
    can_fail();
    let folder = root().join("schemas");
    let current: Vec<_> = walk(&folder, "avsc").into_iter().filter(|path| path.parent() == Some(&folder)).collect();
    assert!(!current.is_empty());
    let complaints: Vec<String> = current.iter().flat_map(|path| complaints(path)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    for folder in fs::read_dir(folder.join("fixtures")).unwrap().map(|entry| entry.unwrap().file_name()) {
        let subject = folder.to_string_lossy();
        let known = current.iter().any(|path| path.file_stem().unwrap().to_string_lossy() == subject);
        assert!(known, "schemas/fixtures/{subject} has no schema; a subject in use is not taken away");
    }
}

fn complaints(path: &Path) -> Vec<String> {
    let subject = path.file_stem().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap();
    let mut found = documented(&subject, &text);
    let mut versions = walk(&path.parent().unwrap().join("fixtures").join(&subject), "avsc");
    versions.sort_by_key(|path| path.file_stem().unwrap().to_string_lossy()[1..].parse::<u32>().unwrap());
    let old: Vec<String> = versions.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    found.extend(evolved(&subject, &text, &old));
    found
}

/// The schema parses, and each record and field has a doc.
fn documented(subject: &str, text: &str) -> Vec<String> {
    if let Err(error) = Schema::parse_str(text) {
        return vec![format!("{subject}: {error}")];
    }
    let mut found = Vec::new();
    undocumented(subject, &serde_json::from_str(text).unwrap(), &mut found);
    found
}

fn undocumented(place: &str, schema: &Value, found: &mut Vec<String>) {
    if let Some(alternatives) = schema.as_array() {
        return alternatives.iter().for_each(|schema| undocumented(place, schema, found));
    }
    let Some(fields) = schema["fields"].as_array() else {
        return ["type", "items", "values"].iter().filter(|_| schema.is_object()).for_each(|key| {
            if schema[key].is_object() || schema[key].is_array() {
                undocumented(place, &schema[key], found);
            }
        });
    };
    let documented = |node: &Value| node["doc"].as_str().is_some_and(|doc| doc.len() > 10);
    if !documented(schema) {
        found.push(format!("{place}: the record has no doc"));
    }
    for field in fields {
        let place = format!("{place}.{}", field["name"].as_str().unwrap_or("?"));
        if !documented(field) {
            found.push(format!("{place}: no doc"));
        }
        undocumented(&place, &field["type"], found);
    }
}

/// The newest fixture is the schema itself, and the schema reads what every older one wrote (BACKWARD).
fn evolved(subject: &str, text: &str, versions: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    if versions.last().map(String::as_str) != Some(text) {
        let next = versions.len() + 1;
        found.push(format!("{subject}: has changed; add it as schemas/fixtures/{subject}/v{next}.avsc"));
    }
    let reader = Schema::parse_str(text).unwrap();
    for (number, old) in versions.iter().enumerate() {
        if let Err(error) = SchemaCompatibility::can_read(&Schema::parse_str(old).unwrap(), &reader) {
            found.push(format!("{subject}: does not read v{}: {error}", number + 1));
        }
    }
    found
}

fn can_fail() {
    let record =
        |fields: &str| format!(r#"{{"type":"record","name":"R","doc":"A record of tests.","fields":[{fields}]}}"#);
    let field =
        |name: &str, rest: &str| format!(r#"{{"name":"{name}","type":"string","doc":"Some text of it."{rest}}}"#);
    assert_eq!(documented("s", "{").len(), 1);
    assert_eq!(documented("s", &record(r#"{"name":"a","type":"string"}"#)).len(), 1);
    let nested = format!(
        r#"{{"name":"a","doc":"Some text of it.","type":["null",{}]}}"#,
        record(r#"{"name":"b","type":"int"}"#).replace("\"R\"", "\"S\"")
    );
    assert_eq!(documented("s", &record(&nested)).len(), 1);
    let (one, two) = (record(&field("a", "")), record(&format!("{},{}", field("a", ""), field("b", ""))));
    let fine = record(&format!("{},{}", field("a", ""), field("b", r#","default":"""#)));
    assert_eq!(evolved("s", &one, &[]).len(), 1, "no fixture of the current version");
    assert_eq!(evolved("s", &two, &[one.clone(), two.clone()]).len(), 1, "a new field without a default");
    assert_eq!(evolved("s", &fine, &[one, fine.clone()]), Vec::<String>::new());
}
