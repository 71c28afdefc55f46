//! A small Rust lexer: identifiers, punctuation and literals with their lines; comments are left out.
//!
//! Why not a parser crate: the rules ask for words in code, and must not be fooled by words in comments and strings.

/// What a piece of source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or keyword.
    Word(String),
    /// One character.
    Sign(char),
    /// A string's content; empty for characters and numbers.
    Literal(String),
}

/// A piece of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// From 1.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) kind: Kind,
}

impl Token {
    /// The word, if it is one.
    pub(crate) fn word(&self) -> Option<&str> {
        if let Kind::Word(word) = &self.kind { Some(word) } else { None }
    }

    /// Whether it is this word or this sign.
    pub(crate) fn is(&self, text: &str) -> bool {
        match &self.kind {
            Kind::Word(word) => word == text,
            Kind::Sign(sign) => text.chars().eq([*sign]),
            Kind::Literal(_) => false,
        }
    }
}

/// Splits source into tokens.
pub(crate) fn lex(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1, tokens: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if let Some(hashes) = raw_string(self.rest) {
            self.raw(hashes);
        } else if first == '"' {
            self.string();
        } else if first == '\'' {
            self.quote();
        } else if first.is_alphabetic() || first == '_' {
            let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            self.push(Kind::Word(self.rest[..end].to_owned()), end);
        } else if first.is_ascii_digit() {
            let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            self.push(Kind::Literal(String::new()), end);
        } else if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else {
            self.push(Kind::Sign(first), first.len_utf8());
        }
        true
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token { line: self.line, kind });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }

    fn block_comment(&mut self) {
        let (mut depth, mut at) = (0, 0);
        while at < self.rest.len() {
            let here = &self.rest[at..];
            if here.starts_with("/*") {
                (depth, at) = (depth + 1, at + 2);
            } else if here.starts_with("*/") {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    break;
                }
            } else {
                at += here.chars().next().map_or(1, char::len_utf8);
            }
        }
        self.skip(at);
    }

    fn raw(&mut self, hashes: usize) {
        let start = self.rest.find('"').map_or(0, |at| at + 1);
        let close = format!("\"{}", "#".repeat(hashes));
        let end = self.rest[start..].find(&close).map_or(self.rest.len(), |at| start + at);
        let content = self.rest[start..end].to_owned();
        self.push(Kind::Literal(content), (end + close.len()).min(self.rest.len()));
    }

    fn string(&mut self) {
        let mut escaped = false;
        let inside = &self.rest[1..];
        let end = inside.char_indices().find_map(|(at, c)| match c {
            '"' if !escaped => Some(at),
            _ => {
                escaped = c == '\\' && !escaped;
                None
            }
        });
        let end = end.unwrap_or(inside.len());
        self.push(Kind::Literal(inside[..end].to_owned()), (end + 2).min(self.rest.len()));
    }

    /// A character, or a lifetime, which is left out.
    fn quote(&mut self) {
        let mut chars = self.rest.char_indices().skip(1);
        let (_, first) = chars.next().unwrap_or((1, ' '));
        if first == '\\' {
            let end = self.rest[3..].find('\'').map_or(self.rest.len(), |at| at + 4);
            return self.push(Kind::Literal(String::new()), end);
        }
        match chars.next() {
            Some((at, '\'')) => self.push(Kind::Literal(String::new()), at + 1),
            _ => self.skip(1 + first.len_utf8()),
        }
    }
}

/// The number of `#` of a raw string that starts here: `r"`, `r#"`, `br##"`.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}
