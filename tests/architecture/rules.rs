//! The rules for Rust files. Each gives its complaints, so that a bad sample can show that it is able to.

use std::collections::BTreeSet;

use super::lexer::{Kind, Token};
use super::tree::File;

/// Layers, top to bottom (DESIGN: arrows point down only).
pub(crate) const LAYERS: &[&[&str]] = &[
    &["cli", "testing", "runtime"],
    &["config"],
    &["kafka", "share", "telemetry", "external"],
    &["wire"],
    &["clock"],
    &["task"],
    &["topology"],
    &["processor", "partitioner", "dead_letter"],
    &["store"],
    &["codec"],
    &["record", "position", "error", "backoff"],
];

/// Crates that only some folders may name.
const OWNERS: &[(&str, &[&str])] = &[
    ("rdkafka", &["src/kafka/"]),
    ("rocksdb", &["src/store/"]),
    ("redis", &["src/external/", "topologies/"]),
    ("kafka_protocol", &["src/wire/"]),
    ("tokio_rustls", &["src/wire/"]),
    ("rustls_native_certs", &["src/wire/"]),
    ("hmac", &["src/wire/"]),
    ("pbkdf2", &["src/wire/"]),
    ("pkcs8", &["src/wire/"]),
    ("sha2_scram", &["src/wire/"]),
    ("crc32c", &["src/wire/"]),
    ("lz4_flex", &["src/wire/"]),
    ("snap", &["src/wire/"]),
    ("flate2", &["src/wire/"]),
    ("zstd_safe", &["src/wire/"]),
];

/// `task` and what lies below it are pure: no clock and none of these crates.
const IMPURE: &[&str] = &["tokio", "rdkafka", "reqwest", "axum", "Instant", "SystemTime"];

/// Files that may break the rule of purity, and why.
const IMPURE_ALLOWED: &[(&str, &str)] = &[("src/codec/registry.rs", "a client for the I/O plane; no codec calls it")];

/// Files that may sleep though they are for tests, and why.
const SLEEP_ALLOWED: &[(&str, &str)] = &[
    ("tests/testbed/src/wait.rs", "the one place that waits for a condition, with a deadline"),
    ("tests/demo/application.rs", "waits for the end of a process after Ctrl-C, which ends every other wait"),
    ("tests/testbed/src/process.rs", "waits for the end of a process, which has no event, with a deadline"),
];

/// Names that the rule for names would refuse, and why they may stay.
const NAMES_ALLOWED: &[(&str, &str)] = &[
    ("get_schema", "a method of a trait of apache-avro"),
    ("get_bytes", "a method of a trait of kafka-protocol"),
    ("get_mut", "std's name for it in every collection"),
];

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

/// Each crate is named in its own place only.
pub(crate) fn owners(file: &File) -> Vec<String> {
    let concerned = file.path.starts_with("src/") || file.path.starts_with("topologies/");
    let foreign = |name: &str| {
        let owner = OWNERS.iter().find(|(owned, _)| *owned == name);
        owner.is_some_and(|(_, places)| !places.iter().any(|place| file.path.starts_with(place)))
    };
    let names = crate_names(&file.production);
    let complaint = |(line, name): (usize, &str)| file.complain(line, &format!("{name} is not named here"));
    names.into_iter().filter(|(_, name)| concerned && foreign(name)).map(complaint).collect()
}

/// No I/O and no clock in `task` and below.
pub(crate) fn purity(file: &File) -> Vec<String> {
    let task = rank("task").unwrap_or_default();
    let pure = file.layer().and_then(rank).is_some_and(|rank| rank >= task);
    if !pure || IMPURE_ALLOWED.iter().any(|(path, _)| *path == file.path) {
        return Vec::new();
    }
    let names = crate_names(&file.production);
    let impure = names.into_iter().filter(|(_, name)| IMPURE.contains(name));
    impure.map(|(line, name)| file.complain(line, &format!("{name} in a pure layer"))).collect()
}

/// Names before `::` and after `use`, where a path starts.
fn crate_names(tokens: &[Token]) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(word) = token.word() else { continue };
        let before = |steps: usize| at.checked_sub(steps).map(|at| &tokens[at]);
        let inside = before(1).is_some_and(|t| t.is(":")) && before(2).is_some_and(|t| t.is(":"));
        let path = tokens.get(at + 1).is_some_and(|t| t.is(":")) && tokens.get(at + 2).is_some_and(|t| t.is(":"));
        // `pub use redis::X` of a module of that name is the module: it has no `::` before, so modules are told apart by
        // their owners' folders.
        if !inside && (path || before(1).is_some_and(|t| t.is("use"))) {
            names.push((token.line, word));
        }
    }
    names
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&layer))
}

/// Every layer is known, and uses only what is below it or beside it.
pub(crate) fn layers(file: &File) -> Vec<String> {
    let Some(layer) = file.layer() else { return Vec::new() };
    let Some(own) = rank(layer) else {
        return vec![file.complain(1, &format!("{layer} is in no layer; give it a place in DESIGN and here"))];
    };
    let upward = |(line, used): (usize, String)| match rank(&used) {
        Some(rank) if rank >= own => None,
        Some(_) => Some(file.complain(line, &format!("{layer} uses {used}, which is above it"))),
        None => None,
    };
    uses(file).into_iter().filter_map(upward).collect()
}

/// Two layers of one rank do not use each other.
pub(crate) fn beside(files: &[File]) -> Vec<String> {
    let edges: BTreeSet<(String, String)> = files
        .iter()
        .filter_map(|file| file.layer().map(|layer| (layer, uses(file))))
        .flat_map(|(layer, used)| used.into_iter().map(|(_, used)| (layer.to_owned(), used)))
        .collect();
    let mutual = edges.iter().filter(|(a, b)| a < b && edges.contains(&(b.clone(), a.clone())));
    mutual.map(|(a, b)| format!("{a} and {b} use each other")).collect()
}

/// Layers that a file's production code names by `crate::x` or `crate::{x, y}`.
fn uses(file: &File) -> Vec<(usize, String)> {
    let tokens = &file.production;
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.is("crate")) {
        let Some([_, _, next, ..]) = tokens.get(at + 1..) else { continue };
        match &next.kind {
            Kind::Word(word) => found.push((token.line, word.clone())),
            Kind::Sign('{') => found.extend(group(&tokens[at + 4..])),
            _ => {}
        }
    }
    found
}

/// First words of the paths in a `{…}`.
fn group(tokens: &[Token]) -> Vec<(usize, String)> {
    let (mut depth, mut first, mut found) = (0_usize, true, Vec::new());
    for token in tokens {
        match &token.kind {
            Kind::Sign('{') => depth += 1,
            Kind::Sign('}') if depth == 0 => break,
            Kind::Sign('}') => depth -= 1,
            Kind::Sign(',') if depth == 0 => first = true,
            Kind::Word(word) if first => {
                found.push((token.line, word.clone()));
                first = false;
            }
            _ => {}
        }
    }
    found
}

/// Every module says what it is.
pub(crate) fn module_docs(file: &File) -> Vec<String> {
    let first = file.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    let told = first.is_some_and(|line| line.strip_prefix("//!").is_some_and(|text| text.trim().len() > 10));
    if told { Vec::new() } else { vec![file.complain(1, "a module starts with //! and a sentence")] }
}

/// Files and functions have an end.
pub(crate) fn lengths(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = file.text.lines().count();
    if lines > MAX_FILE_LINES {
        complaints.push(file.complain(1, &format!("{lines} lines, at most {MAX_FILE_LINES}")));
    }
    for (name, first, last) in functions(&file.tokens) {
        let lines = last - first + 1;
        if lines > MAX_FUNCTION_LINES {
            complaints.push(file.complain(first, &format!("{name} has {lines} lines, at most {MAX_FUNCTION_LINES}")));
        }
    }
    complaints
}

/// Each function with a body: its name, first and last line.
fn functions(tokens: &[Token]) -> Vec<(&str, usize, usize)> {
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let Some(name) = pair[1].word().filter(|_| pair[0].is("fn")) else { continue };
        let mut depth = 0_i32;
        for token in &tokens[at..] {
            match token.kind {
                Kind::Sign('(' | '[' | '{') => depth += 1,
                Kind::Sign(')' | ']') => depth -= 1,
                Kind::Sign(';') if depth == 0 => break,
                Kind::Sign('}') => {
                    depth -= 1;
                    if depth == 0 {
                        found.push((name, pair[0].line, token.line));
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// Nothing outside tests panics by a short cut.
pub(crate) fn short_cuts(file: &File) -> Vec<String> {
    let tokens = &file.production;
    let mut complaints = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(word) = token.word() else { continue };
        let called = tokens.get(at + 1).is_some_and(|next| next.is("("));
        let method = called && at.checked_sub(1).is_some_and(|at| tokens[at].is("."));
        let macro_call = tokens.get(at + 1).is_some_and(|next| next.is("!"));
        let refused = match word {
            "unwrap" | "expect" => method,
            "todo" | "unimplemented" | "dbg" => macro_call,
            _ => false,
        };
        if refused {
            complaints.push(file.complain(token.line, &format!("{word} outside tests")));
        }
    }
    complaints
}

/// Tests wait for conditions; they don't sleep.
pub(crate) fn sleeps(file: &File) -> Vec<String> {
    if file.path.starts_with("bench/") {
        // A benchmark keeps its own time.
        return Vec::new();
    }
    let for_tests = file.path.starts_with("tests/");
    if SLEEP_ALLOWED.iter().any(|(path, _)| *path == file.path) {
        return Vec::new();
    }
    let production = if for_tests { &[] } else { file.production.as_slice() };
    let lines = |tokens: &[Token]| -> Vec<usize> {
        tokens.windows(2).filter(|pair| pair[0].is("sleep") && pair[1].is("(")).map(|pair| pair[0].line).collect()
    };
    let allowed = lines(production);
    let tests = lines(&file.tokens).into_iter().filter(|line| !allowed.contains(line));
    tests.map(|line| file.complain(line, "sleep in a test: wait for a condition with a deadline")).collect()
}

/// Names that say nothing.
pub(crate) fn names(file: &File) -> Vec<String> {
    let refused = |keyword: &str, name: &str| match keyword {
        "struct" | "enum" | "trait" | "type" => {
            camel_words(name).iter().any(|word| ["Manager", "Helper", "Util", "Utils", "Impl"].contains(&word.as_str()))
        }
        "fn" => name.starts_with("get_"),
        "mod" => ["utils", "util", "common", "types", "helpers"].contains(&name),
        _ => false,
    };
    let pairs = file.tokens.windows(2).filter_map(|pair| Some((pair[0].word()?, pair[1].word()?, pair[1].line)));
    pairs
        .filter(|(keyword, name, _)| {
            refused(keyword, name) && !NAMES_ALLOWED.iter().any(|(allowed, _)| allowed == name)
        })
        .map(|(keyword, name, line)| file.complain(line, &format!("{keyword} {name} is not called so")))
        .collect()
}

/// `RowKey` as `Row`, `Key`.
fn camel_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !c.is_uppercase() => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    words
}
