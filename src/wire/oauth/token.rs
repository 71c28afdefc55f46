//! A bearer token: a text that only the broker needs to understand, of which we read when it ends and whose it is.
//!
//! Its signature is not checked here. That is for who lets somebody in by it.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// A token, which nothing prints.
#[derive(Clone)]
pub struct Token {
    text: String,
    principal: Option<String>,
    expires: Option<SystemTime>,
}

impl Token {
    /// Takes a token; what a JWT (RFC 7519) says of its end and its subject is believed, else `lifetime` counts from `now`.
    pub(super) fn new(text: &str, lifetime: Option<Duration>, now: SystemTime) -> Result<Self, String> {
        if text.is_empty() {
            return Err("no token in it".to_owned());
        }
        // RFC 6750, section 2.1. A line's end or a separator within it would become a part of the protocol.
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        if !text.chars().all(legal) {
            return Err("what is there is no bearer token: it has characters that none has (RFC 6750)".to_owned());
        }
        let claims = claims(text);
        let claim = |name: &str| claims.as_ref().and_then(|claims| claims.get(name));
        let principal = claim("sub").and_then(Value::as_str).map(str::to_owned);
        let expires = match claim("exp").and_then(Value::as_f64) {
            Some(seconds) => Some(SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds).unwrap_or_default()),
            None => lifetime.map(|lifetime| now + lifetime),
        };
        Ok(Token { text: text.to_owned(), principal, expires })
    }

    /// The token itself, for a login only.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Whose it is (`sub`), if it says so.
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    /// From when on it is refused, if that is known.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("principal", &self.principal)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// The claims of a JWT; nothing of a token of any other kind.
fn claims(text: &str) -> Option<Value> {
    let mut parts = text.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&claims).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::super::unsecured::jwt;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn rfc_7519_a_jwt_says_when_it_ends_and_whose_it_is() {
        let text = jwt(&serde_json::json!({"sub": "ada", "exp": 1_300_819_380}));
        let token = Token::new(&text, Some(MINUTE), SystemTime::now()).unwrap();
        assert_eq!(token.principal(), Some("ada"));
        assert_eq!(token.expires(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_300_819_380)));
        // The example of RFC 7519, section 3.1.
        let text = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                    dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let token = Token::new(text, None, SystemTime::now()).unwrap();
        assert_eq!(token.expires(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_300_819_380)));
    }

    #[test]
    fn an_opaque_token_lives_as_long_as_the_endpoint_says() {
        let now = SystemTime::now();
        for text in ["opaque", "a.b.c", "a.e30.c", "a.W10.c"] {
            assert_eq!(Token::new(text, Some(MINUTE), now).unwrap().expires(), Some(now + MINUTE), "{text}");
            assert_eq!(Token::new(text, None, now).unwrap().expires(), None);
        }
        // Nonsense of an end is a token that has ended.
        for exp in [-1.0, 1e300] {
            let text = jwt(&serde_json::json!({ "exp": exp }));
            assert_eq!(Token::new(&text, None, now).unwrap().expires(), Some(SystemTime::UNIX_EPOCH));
        }
    }

    #[test]
    fn rfc_6750_what_would_break_the_message_is_no_token() {
        for text in ["", "a b", "a\nb", "a\u{1}b", "{\"access_token\":1}", "ü"] {
            let error = Token::new(text, None, SystemTime::now()).unwrap_err();
            assert!(error.contains("token") && (text.is_empty() || !error.contains(text)), "{error}");
        }
    }
}
