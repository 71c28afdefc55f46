//! Tokens that nobody has signed (RFC 7515, appendix A.5): anybody can make one, so only a broker for development takes them.
//!
//! Set as in librdkafka: `enable.sasl.oauthbearer.unsecure.jwt`, and what is in the token by `sasl.oauthbearer.config`.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::Token;
use super::message::Extensions;

/// Unless `lifeSeconds` says otherwise.
const LIFE_SECONDS: u64 = 3600;

/// What is in the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsecured {
    principal: String,
    principal_claim: String,
    scope: Vec<String>,
    scope_claim: String,
    life: Duration,
}

impl Unsecured {
    /// From `name=value` pairs with spaces between them, and the extensions among them; or the reason why not.
    pub(super) fn read(config: &str) -> Result<(Self, Extensions), String> {
        let mut read = Unsecured {
            principal: String::new(),
            principal_claim: "sub".to_owned(),
            scope: Vec::new(),
            scope_claim: "scope".to_owned(),
            life: Duration::from_secs(LIFE_SECONDS),
        };
        let mut extensions = Vec::new();
        for pair in config.split_ascii_whitespace() {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("\"{pair}\" is not name=value"))?;
            match name {
                "principal" => read.principal = value.to_owned(),
                "principalClaimName" => read.principal_claim = value.to_owned(),
                "scope" => read.scope = value.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
                "scopeClaimName" => read.scope_claim = value.to_owned(),
                "lifeSeconds" => {
                    let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                    read.life = Duration::from_secs(
                        seconds.ok_or_else(|| format!("lifeSeconds={value} is no number above 0"))?,
                    );
                }
                _ => match name.strip_prefix("extension_") {
                    Some(extension) => extensions.push(format!("{extension}={value}")),
                    None => return Err(format!("\"{name}\" is not known")),
                },
            }
        }
        if read.principal.is_empty() {
            return Err("principal=… is missing: whose are the tokens?".to_owned());
        }
        let extensions = Extensions::new(extensions.iter().map(String::as_str))?;
        Ok((read, extensions))
    }

    pub(super) fn principal(&self) -> &str {
        &self.principal
    }

    /// Another one, from now on.
    pub(super) fn token(&self, now: SystemTime) -> Result<Token, String> {
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut claims = Map::new();
        claims.insert(self.principal_claim.clone(), json!(self.principal));
        claims.insert("iat".to_owned(), json!(since(now)));
        claims.insert("exp".to_owned(), json!(since(now + self.life)));
        if !self.scope.is_empty() {
            claims.insert(self.scope_claim.clone(), json!(self.scope));
        }
        Token::new(&jwt(&Value::Object(claims)), None, now)
    }
}

/// Claims as a token without a signature.
pub(super) fn jwt(claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", encode(&json!({"alg": "none"})), encode(claims))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_librdkafka_reads() {
        let config = "principalClaimName=azp principal=admin scopeClaimName=roles scope=role1,role2 lifeSeconds=600 extension_traceId=123";
        let (unsecured, extensions) = Unsecured::read(config).unwrap();
        assert_eq!(extensions, Extensions::new(["traceId=123"]).unwrap());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let token = unsecured.token(now).unwrap();
        assert_eq!(token.expires(), Some(now + Duration::from_secs(600)));
        let parts: Vec<&str> = token.reveal().split('.').collect();
        assert_eq!((parts[0], parts[2]), ("eyJhbGciOiJub25lIn0", ""));
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(claims, json!({"azp": "admin", "iat": 1000.0, "exp": 1600.0, "roles": ["role1", "role2"]}));
    }

    #[test]
    fn names_what_it_does_not_know() {
        for (config, reason) in [
            ("", "principal"),
            ("principal=a x=1", "\"x\" is not known"),
            ("principal=a b", "\"b\" is not name=value"),
            ("principal=a lifeSeconds=0", "lifeSeconds=0"),
            ("principal=a extension_auth=x", "auth"),
        ] {
            let error = Unsecured::read(config).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
