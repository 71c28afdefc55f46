//! What OAUTHBEARER says on the wire (RFC 7628), and what the broker says when it refuses.
//!
//! ```text
//!  client_first()   n,,^Aauth=Bearer <token>^Aname=value^A^A ─▶
//!                   ◀─ nothing: logged in
//!                   ◀─ {"status": …}: refused; the exchange ends only with a last ^A, and an error after that
//! ```

use serde_json::Value;

use super::Token;

/// What parts the pairs, and the whole answer to an error.
pub(in crate::wire) const KVSEP: &str = "\u{1}";
/// The key that the token has.
const AUTH: &str = "auth";

/// Names and values that a broker gets besides the token (KIP-342).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::wire) struct Extensions(Vec<(String, String)>);

impl Extensions {
    /// From `name=value` pairs; the reason if they are none that may be sent.
    pub(super) fn new<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut all: Vec<(String, String)> = Vec::new();
        for pair in pairs.into_iter().map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("\"{pair}\" is not name=value"))?;
            if name == AUTH {
                return Err(format!("\"{AUTH}\" is the token's own name"));
            }
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic()) {
                return Err(format!("\"{name}\" is no name: letters only (RFC 7628)"));
            }
            // RFC 7628, section 3.1: visible characters and white space.
            if value.is_empty() || !value.chars().all(|c| matches!(c, ' '..='~' | '\t' | '\r' | '\n')) {
                return Err(format!(
                    "the value of \"{name}\" is empty, or has characters that may not be sent (RFC 7628)"
                ));
            }
            if all.iter().any(|(known, _)| known == name) {
                return Err(format!("\"{name}\" is there twice"));
            }
            all.push((name.to_owned(), value.to_owned()));
        }
        Ok(Extensions(all))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The client's first text, and only one if the broker lets it in.
pub(in crate::wire) fn client_first(token: &Token, extensions: &Extensions) -> String {
    let pairs: String = extensions.0.iter().map(|(name, value)| format!("{KVSEP}{name}={value}")).collect();
    format!("n,,{KVSEP}{AUTH}=Bearer {}{pairs}{KVSEP}{KVSEP}", token.reveal())
}

/// What the broker's error says (RFC 7628, section 3.2.2), without the token, should it repeat it.
pub(in crate::wire) fn server_error(answer: &[u8], token: &Token) -> String {
    let text = String::from_utf8_lossy(answer);
    let told = match serde_json::from_slice::<Value>(answer) {
        Ok(Value::Object(fields)) => {
            let field = |name: &str| fields.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
            let status = field("status").unwrap_or("no status").to_owned();
            let scope = field("scope").map(|scope| format!(", it wants the scope \"{scope}\""));
            let provider = field("openid-configuration").map(|url| format!(", its provider is {url}"));
            [status, scope.unwrap_or_default(), provider.unwrap_or_default()].concat()
        }
        _ => format!("an answer that is no JSON: {}", text.escape_default()),
    };
    told.replace(token.reveal(), "***")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn token(text: &str) -> Token {
        Token::new(text, None, SystemTime::now()).unwrap()
    }

    #[test]
    fn rfc_7628_the_first_text_is_these_bytes() {
        let bare = client_first(&token("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="), &Extensions::default());
        assert_eq!(bare.as_bytes(), b"n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01");
        let extensions = Extensions::new("traceId=123, logicalCluster=lkc-1".split(',')).unwrap();
        let text = client_first(&token("a.b.c"), &extensions);
        assert_eq!(text.as_bytes(), b"n,,\x01auth=Bearer a.b.c\x01traceId=123\x01logicalCluster=lkc-1\x01\x01");
    }

    #[test]
    fn kip_342_extensions_that_would_break_the_text_are_refused() {
        for wrong in ["auth=x", "a-b=x", "a", "=x", "a=", "a=\u{1}auth", "a=ü", "a=1,a=2"] {
            assert!(Extensions::new(wrong.split(',')).is_err(), "{wrong}");
        }
        assert!(Extensions::new("".split(',')).unwrap().is_empty());
    }

    #[test]
    fn rfc_7628_a_refusal_tells_status_and_scope() {
        let told = |answer: &str| server_error(answer.as_bytes(), &token("canary"));
        assert_eq!(told(r#"{"status":"invalid_token"}"#), "invalid_token");
        let whole = r#"{"status":"insufficient_scope","scope":"kafka","openid-configuration":"https://idp/x"}"#;
        assert_eq!(told(whole), "insufficient_scope, it wants the scope \"kafka\", its provider is https://idp/x");
        assert_eq!(told("{}"), "no status");
        for answer in [r#"{"status":"no canary"}"#, "canary\u{7}"] {
            let shown = told(answer);
            assert!(!shown.contains("canary") && !shown.contains('\u{7}') && shown.contains("***"), "{shown}");
        }
    }
}
