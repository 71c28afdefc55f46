//! The checkout as the rules see it: each Rust file with its tokens, those of its tests told apart.

use std::fs;
use std::path::{Path, PathBuf};

use super::lexer::{Kind, Token, lex};

/// A Rust file.
#[derive(Debug)]
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// All of it.
    pub(crate) tokens: Vec<Token>,
    /// Without `#[cfg(test)]` items; empty if the whole file is a test.
    pub(crate) production: Vec<Token>,
}

impl File {
    /// A file by its text; `test` says that all of it is.
    pub(crate) fn new(path: &str, text: &str, test: bool) -> Self {
        let tokens = lex(text);
        let production = if test { Vec::new() } else { without_tests(&tokens).0 };
        File { path: path.to_owned(), text: text.to_owned(), tokens, production }
    }

    /// The first folder or file below `src/`, which is the layer's name.
    pub(crate) fn layer(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        let name = rest.split('/').next()?.trim_end_matches(".rs");
        (name != "lib").then_some(name)
    }

    /// A complaint about a line of this file.
    pub(crate) fn complain(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// The root of the checkout: what cargo runs now, not where it was compiled, which a shared target folder may have from
/// another checkout, with nothing there any more to complain about.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo"))
}

/// Every Rust file of the workspace.
pub(crate) fn rust_files() -> Vec<File> {
    let root = root();
    let paths = ["src", "topologies", "tests", "bench"].map(|folder| walk(&root.join(folder), "rs")).concat();
    let sources: Vec<(String, String)> =
        paths.iter().map(|path| (relative(&root, path), fs::read_to_string(path).unwrap())).collect();
    let tests: Vec<String> = sources.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    let is_test = |path: &str| {
        let own = path.starts_with("tests/") && !path.starts_with("tests/testbed/src/");
        let below = tests.iter().any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")));
        own || below || path.contains("/tests/") || path.starts_with("bench/")
    };
    assert!(!sources.is_empty(), "no Rust files below {}", root.display());
    sources.iter().map(|(path, text)| File::new(path, text, is_test(path))).collect()
}

/// The files below a folder with this extension, in order; none if there is no such folder.
pub(crate) fn walk(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/")
}

/// Modules in files of their own that are only there for tests, as paths without `.rs`.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let stem = path.trim_end_matches(".rs");
    let below = if stem.ends_with("/mod") || stem.ends_with("/lib") { folder } else { stem };
    let named = without_tests(&lex(text)).1;
    named
        .into_iter()
        .map(|(module, file)| match file {
            Some(file) => format!("{folder}/{}", file.trim_end_matches(".rs")),
            None => format!("{below}/{module}"),
        })
        .collect()
}

/// Tokens without the items under `#[cfg(test)]`, and the modules among these that are files: name and `#[path]`.
fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<(String, Option<String>)>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let marked =
            tokens.len() - at >= MARK.len() && MARK.iter().zip(&tokens[at..]).all(|(word, token)| token.is(word));
        if !marked {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = item_end(tokens, at + MARK.len());
        let item = &tokens[at + MARK.len()..end];
        if let [.., word, name, last] = item
            && word.is("mod")
            && last.is(";")
        {
            let file = item.iter().find_map(|token| match &token.kind {
                Kind::Literal(text) if !text.is_empty() => Some(text.clone()),
                _ => None,
            });
            modules.push((name.word().unwrap_or_default().to_owned(), file));
        }
        at = end;
    }
    (kept, modules)
}

/// One past the item that starts here: after its `;` or its block.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        let Kind::Sign(sign) = token.kind else { continue };
        match sign {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}
