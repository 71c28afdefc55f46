//! What a replay leaves out: conditions on a mutation's fields, as people type them.
//!
//! ```text
//!  key=cart:*,operation=delete      all of its conditions hold
//!  token=abc   header.app=old-*     fields: token, key, order, target, operation, header.NAME; * stands for any text
//! ```

use std::str::FromStr;

use crate::mutation::Mutation;

/// Mutations for which all of its conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(Vec<Condition>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    field: Field,
    pattern: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Token,
    Key,
    Order,
    Target,
    Operation,
    Header(String),
}

impl FromStr for Expression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let conditions: Result<Vec<_>, String> = text.split(',').map(condition).collect();
        conditions.map(Expression)
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    let (field, pattern) = text.split_once('=').ok_or_else(|| format!("{text}: write it like key=cart:*"))?;
    let field = match field.trim() {
        "token" => Field::Token,
        "key" => Field::Key,
        "order" => Field::Order,
        "target" => Field::Target,
        "operation" => Field::Operation,
        other => match other.strip_prefix("header.") {
            Some(name) if !name.is_empty() => Field::Header(name.to_owned()),
            _ => {
                return Err(format!(
                    "{other}: is no field; there are token, key, order, target, operation and header.NAME"
                ));
            }
        },
    };
    Ok(Condition { field, pattern: pattern.to_owned() })
}

impl Expression {
    /// Whether it names this mutation.
    pub fn holds(&self, mutation: &Mutation) -> bool {
        self.0.iter().all(|condition| condition.holds(mutation))
    }
}

impl Condition {
    fn holds(&self, mutation: &Mutation) -> bool {
        let found = match &self.field {
            Field::Token => Some(mutation.token.as_str()),
            Field::Key => Some(mutation.key.as_str()),
            Field::Order => Some(mutation.ordering_key()),
            Field::Target => mutation.target.as_deref(),
            Field::Operation => Some(mutation.operation.name()),
            Field::Header(name) => mutation.headers.get(name).map(String::as_str),
        };
        found.is_some_and(|found| fits(&self.pattern, found))
    }
}

/// Whether a text is what a pattern says, of which each * stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    // The last one has to be at the end, which may overlap with none before it.
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Operation;

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_does() {
        for (pattern, text) in
            [("a", "a"), ("*", ""), ("a*", "a"), ("*b", "ab"), ("a*c*e", "abcde"), ("a**", "a"), ("a.c", "a.c")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*b", "ba"), ("ab*ba", "aba"), ("a.c", "abc"), ("*a*a", "a")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn all_conditions_have_to_hold() {
        let mutation = Mutation {
            token: "t".to_owned(),
            key: "cart:1".to_owned(),
            operation: Operation::Delete,
            headers: [("app".to_owned(), "old-7".to_owned())].into(),
            ..Mutation::default()
        };
        let holds = |text: &str| text.parse::<Expression>().unwrap().holds(&mutation);
        assert!(holds("key=cart:*,operation=delete") && holds("header.app=old-*") && holds("order=cart:1"));
        assert!(!holds("key=cart:*,operation=put") && !holds("target=*") && !holds("header.other=*"));
        assert!("cart".parse::<Expression>().unwrap_err().contains("key=cart:*"));
        assert!("value=1".parse::<Expression>().unwrap_err().contains("is no field"));
    }
}
