//! OAUTHBEARER (RFC 7628, KIP-255, KIP-768): who logs in shows a token that somebody else has signed.
//!
//! ```text
//!  properties ─▶ Origin ┬ endpoint    asks an identity provider, as who we are (client credentials)
//!                       ├ file        reads what another process keeps fresh, such as Kubernetes
//!                       └ unsecured   makes one that nobody has signed: for tests
//!                  │
//!               Tokens   keeps one until most of its life is over ─▶ Token ─▶ message ─▶ the broker
//! ```
//!
//! A token is a password for as long as it lives: nothing prints one.

mod endpoint;
mod message;
mod properties;
mod token;
mod unsecured;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use super::error::WireError;
use super::settings::refuse;
use endpoint::Endpoint;
pub(super) use message::{Extensions, KVSEP, client_first, server_error};
pub(super) use properties::Found;
pub use token::Token;
use unsecured::Unsecured;

/// How SASL calls it.
pub(super) const MECHANISM: &str = "OAUTHBEARER";
/// The part of a token's life after which another one is asked for, at the earliest; librdkafka and Java take 0.8.
const RENEW_FROM: f64 = 0.75;
/// So much later at the latest: processes that were started together must not ask together.
const RENEW_JITTER: f64 = 0.05;
/// After a renewal that failed, while the old token is still good; sooner where it soon is not.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A token with less time before it might be over when the broker looks at it.
const LEAST_LIFE: Duration = Duration::from_millis(500);
/// Longest token that is read from a file; a broker takes far less.
const MAX_TOKEN_BYTES: u64 = 256 << 10;

/// Where tokens come from, and the one that is in use. Clones share it.
#[derive(Clone)]
pub struct Tokens(Arc<Source>);

struct Source {
    origin: Origin,
    extensions: Extensions,
    kept: Mutex<Option<Kept>>,
}

/// Where a token comes from.
enum Origin {
    Endpoint(Endpoint),
    File(PathBuf),
    Unsecured(Unsecured),
}

struct Kept {
    token: Token,
    expires: SystemTime,
    renew: SystemTime,
    /// Given to more than who asked for it.
    reused: bool,
}

impl Tokens {
    fn new(origin: Origin, extensions: Extensions) -> Self {
        Tokens(Arc::new(Source { origin, extensions, kept: Mutex::new(None) }))
    }

    /// A token that is good now: the one that is kept, or another one. If no other can be had, the old one as long as it lives.
    ///
    /// # Errors
    /// [`WireError::Token`] if trying again may help, else [`WireError::Authentication`].
    pub async fn token(&self) -> Result<Token, WireError> {
        // Held meanwhile: who else needs one waits for this one.
        let mut kept = self.0.kept.lock().await;
        if let Some(kept) = kept.as_mut().filter(|kept| SystemTime::now() < kept.renew) {
            kept.reused = true;
            return Ok(kept.token.clone());
        }
        let error = match self.fetch().await {
            Ok(token) => {
                *kept = self.keep(&token);
                return Ok(token);
            }
            Err(error) => error,
        };
        let now = SystemTime::now();
        let left = |kept: &Kept| kept.expires.duration_since(now).unwrap_or_default();
        match kept.as_mut().filter(|kept| error.is_retriable() && left(kept) > LEAST_LIFE) {
            Some(kept) => {
                kept.renew = now + again_after(left(kept));
                kept.reused = true;
                Ok(kept.token.clone())
            }
            None => Err(error),
        }
    }

    /// The broker refused this token: it is not shown again. Tells whether another one may fare better: this one is not new, so
    /// that the provider's keys, or the rights, may be others by now.
    pub(super) async fn forget(&self, refused: &Token) -> bool {
        let mut kept = self.0.kept.lock().await;
        match kept.take_if(|kept| kept.token.reveal() == refused.reveal()) {
            Some(forgotten) => forgotten.reused,
            // Somebody else has another one already, or none is kept.
            None => kept.is_some(),
        }
    }

    /// What is told to the broker besides the token (KIP-342).
    pub(super) fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    /// Who logs in, as far as is known before there is a token.
    pub(super) fn user(&self) -> &str {
        match &self.0.origin {
            Origin::Endpoint(endpoint) => endpoint.client(),
            Origin::File(path) => path.to_str().unwrap_or("the owner of a token"),
            Origin::Unsecured(unsecured) => unsecured.principal(),
        }
    }

    async fn fetch(&self) -> Result<Token, WireError> {
        match &self.0.origin {
            Origin::Endpoint(endpoint) => endpoint.fetch().await,
            Origin::File(path) => read(path),
            Origin::Unsecured(unsecured) => {
                unsecured.token(SystemTime::now()).map_err(|reason| refuse("sasl.oauthbearer.config", reason))
            }
        }
    }

    /// Nothing of a file: it is where tokens are kept, and whoever writes it knows when it is time.
    fn keep(&self, token: &Token) -> Option<Kept> {
        if matches!(self.0.origin, Origin::File(_)) {
            return None;
        }
        let (now, expires) = (SystemTime::now(), token.expires()?);
        let life = expires.duration_since(now).unwrap_or_default();
        Some(Kept { token: token.clone(), expires, renew: now + renewal(life, fastrand::f64()), reused: false })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("user", &self.user()).finish_non_exhaustive()
    }
}

/// When to renew a token that lives so long; `chance` is between 0 and 1.
fn renewal(life: Duration, chance: f64) -> Duration {
    life.mul_f64(RENEW_FROM + RENEW_JITTER * chance)
}

/// When to try again to renew a token of which so much is left.
fn again_after(left: Duration) -> Duration {
    RETRY_AFTER.min(left / 2)
}

/// The token in a file.
fn read(path: &Path) -> Result<Token, WireError> {
    let place = format!("{} (sasl.oauthbearer.token.endpoint.url)", path.display());
    let wrong = |reason: String| WireError::Authentication {
        address: place.clone(),
        mechanism: MECHANISM,
        user: "the owner of the token".to_owned(),
        reason,
    };
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > MAX_TOKEN_BYTES {
        return Err(wrong(format!("{size} bytes are no token")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let token = Token::new(text.trim(), None, SystemTime::now()).map_err(wrong)?;
    if token.expires().is_some_and(|expires| expires <= SystemTime::now()) {
        // Whoever writes it is late, and may yet come.
        return Err(WireError::Token { place, reason: "the token in it has expired; who renews it?".to_owned() });
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::unsecured::jwt;
    use super::*;

    fn seconds(later: i64) -> i64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        now.as_secs() as i64 + later
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, Tokens) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let tokens = Tokens::new(Origin::File(file.path().to_owned()), Extensions::default());
        (file, tokens)
    }

    #[test]
    fn kip_255_a_token_is_renewed_before_four_fifths_of_its_life() {
        let life = Duration::from_secs(100);
        assert_eq!(renewal(life, 0.0), Duration::from_secs(75));
        assert_eq!(renewal(life, 1.0), Duration::from_secs(80));
        // A renewal that fails is tried again before the old token is over.
        assert_eq!(again_after(life), RETRY_AFTER);
        assert_eq!(again_after(Duration::from_secs(3)), Duration::from_millis(1500));
    }

    #[tokio::test]
    async fn kip_768_a_file_is_read_at_each_login() {
        let first = jwt(&serde_json::json!({"sub": "ada", "exp": seconds(60)}));
        let (file, tokens) = file(&format!("{first}\n"));
        let token = tokens.token().await.unwrap();
        assert_eq!((token.reveal(), token.principal()), (first.as_str(), Some("ada")));
        let second = jwt(&serde_json::json!({"sub": "eve", "exp": seconds(60)}));
        std::fs::write(&file, &second).unwrap();
        assert_eq!(tokens.token().await.unwrap().reveal(), second);
    }

    #[tokio::test]
    async fn kip_768_a_file_that_is_gone_empty_or_expired_is_named() {
        let expired = jwt(&serde_json::json!({"exp": seconds(-1)}));
        for (text, reason, retriable) in [("", "no token", false), (&expired, "has expired", true)] {
            let (file, tokens) = file(text);
            let error = tokens.token().await.unwrap_err();
            let shown = error.to_string();
            assert!(shown.contains(file.path().to_str().unwrap()) && shown.contains(reason), "{shown}");
            assert!(shown.contains("sasl.oauthbearer.token.endpoint.url"), "{shown}");
            assert_eq!(error.is_retriable(), retriable);
            drop(file);
            let error = tokens.token().await.unwrap_err();
            assert!(!error.is_retriable() && error.to_string().contains("No such file"), "{error}");
        }
    }

    #[tokio::test]
    async fn kip_255_a_token_is_kept_until_it_is_refused() {
        let unsecured = Unsecured::read("principal=ada lifeSeconds=60").unwrap().0;
        let tokens = Tokens::new(Origin::Unsecured(unsecured), Extensions::default());
        let token = tokens.token().await.unwrap();
        let kept = tokens.0.kept.lock().await.as_ref().map(|kept| kept.renew);
        assert!(kept.is_some());
        tokens.token().await.unwrap();
        assert_eq!(tokens.0.kept.lock().await.as_ref().map(|kept| kept.renew), kept);
        assert!(tokens.forget(&token).await, "it was kept, so another one may fare better");
        assert!(tokens.0.kept.lock().await.is_none());
        let token = tokens.token().await.unwrap();
        assert!(!tokens.forget(&token).await, "a new one fares no better than the next");
        let shown = format!("{tokens:?} {token:?}");
        assert!(!shown.contains(token.reveal()) && shown.contains("ada"), "{shown}");
    }
}
