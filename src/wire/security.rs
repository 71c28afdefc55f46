//! Encryption and login, from librdkafka's properties.
//!
//! What librdkafka can do and this client can't is refused by name, never passed over: a connection that is less secure
//! than its configuration says would be worse than none.

use std::fmt;

use super::error::WireError;
use super::oauth::{self, Tokens};
use super::scram::Hash;
use super::settings::refuse;
use super::tls::{Tls, TlsFiles};

/// How to encrypt and how to log in.
#[derive(Clone, Default)]
pub struct Security {
    tls: Option<Tls>,
    login: Option<Login>,
}

/// How to log in by SASL.
#[derive(Clone)]
pub(super) enum Login {
    /// The password as it is (RFC 4616).
    Plain(Credentials),
    /// RFC 7677, also with SHA-512.
    Scram(Hash, Credentials),
    /// RFC 7628.
    Bearer(Tokens),
}

/// Who logs in with a password.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Password,
}

/// A password, which nothing prints.
#[derive(Clone)]
pub(super) struct Password(String);

impl Password {
    pub(super) fn new(password: &str) -> Self {
        Password(password.to_owned())
    }

    /// The password itself, for the login only.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Login {
    /// Its mechanism, as SASL calls it.
    pub(super) fn mechanism(&self) -> &'static str {
        match self {
            Login::Plain(_) => "PLAIN",
            Login::Scram(Hash::Sha256, _) => "SCRAM-SHA-256",
            Login::Scram(Hash::Sha512, _) => "SCRAM-SHA-512",
            Login::Bearer(_) => oauth::MECHANISM,
        }
    }

    /// Who logs in, for an error's text.
    pub(super) fn user(&self) -> &str {
        match self {
            Login::Plain(who) | Login::Scram(_, who) => &who.user,
            Login::Bearer(tokens) => tokens.user(),
        }
    }
}

/// Properties of encryption and login that mean nothing here because they set what is refused anyway, or what the runtime
/// sets for every protocol.
const WITHOUT_MEANING: &[&str] = &["sasl.kerberos.", "ssl.engine."];

/// Properties that would change what is trusted, or how, and that this client does not have.
const REFUSED: &[(&str, &str)] = &[
    (
        "ssl.keystore.location",
        "the native client reads PEM: `openssl pkcs12 -nodes` gives the files for ssl.certificate.location and ssl.key.location",
    ),
    (
        "ssl.keystore.password",
        "the native client reads PEM: `openssl pkcs12 -nodes` gives the files for ssl.certificate.location and ssl.key.location",
    ),
    (
        "ssl.crl.location",
        "the native client reads no revocation lists; remove it, or have the broker's certificate renewed often",
    ),
    (
        "ssl.cipher.suites",
        "the native client has TLS 1.2 and 1.3 with safe suites only, and no choice among them; remove it",
    ),
    ("ssl.curves.list", "the native client has no choice of curves; remove it"),
    ("ssl.sigalgs.list", "the native client has no choice of signature algorithms; remove it"),
    ("ssl.providers", "the native client has its own cryptography; remove it"),
];

impl Security {
    /// Neither encryption nor login.
    pub fn plaintext() -> Self {
        Security::default()
    }

    /// Security as librdkafka's properties say it. Those of other parts are passed over. Reads the files that are named.
    ///
    /// # Errors
    /// [`WireError::Property`]: its name, why it can't be honoured, and the way out; never its value if it is secret.
    pub fn from_properties<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, WireError> {
        let mut found = Found::default();
        for (name, value) in properties {
            found.take(name, value)?;
        }
        let (tls, sasl) = match found.protocol.to_ascii_lowercase().as_str() {
            "" | "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            other => {
                let reason = format!("\"{other}\" is none of plaintext, ssl, sasl_plaintext, sasl_ssl");
                return Err(refuse("security.protocol", reason));
            }
        };
        let login = if sasl { Some(found.login()?) } else { None };
        let tls = if tls { Some(Tls::new(&found.tls)?) } else { None };
        Ok(Security { tls, login })
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(super) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Where the login's tokens come from, if it is by OAUTHBEARER: other clients of this process may use them, too.
    pub fn tokens(&self) -> Option<&Tokens> {
        match &self.login {
            Some(Login::Bearer(tokens)) => Some(tokens),
            _ => None,
        }
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = self.login.as_ref().map(|login| (login.mechanism(), login.user()));
        f.debug_struct("Security").field("tls", &self.tls.is_some()).field("login", &login).finish()
    }
}

/// The properties, before they are put together.
#[derive(Default)]
struct Found {
    protocol: String,
    mechanism: Option<String>,
    user: Option<String>,
    password: Option<String>,
    oauth: oauth::Found,
    tls: TlsFiles,
}

impl Found {
    fn take(&mut self, name: &str, value: &str) -> Result<(), WireError> {
        if self.oauth.take(name, value) {
            return Ok(());
        }
        let value = || value.to_owned();
        match name {
            "security.protocol" => self.protocol = value(),
            "sasl.mechanism" | "sasl.mechanisms" => self.mechanism = Some(value()),
            "sasl.username" => self.user = Some(value()),
            "sasl.password" => self.password = Some(value()),
            "ssl.ca.location" => self.tls.authorities.location = Some(value()),
            "ssl.ca.pem" => self.tls.authorities.pem = Some(Password(value())),
            "ssl.certificate.location" => self.tls.certificate.location = Some(value()),
            "ssl.certificate.pem" => self.tls.certificate.pem = Some(Password(value())),
            "ssl.key.location" => self.tls.key.location = Some(value()),
            "ssl.key.pem" => self.tls.key.pem = Some(Password(value())),
            "ssl.key.password" => self.tls.key_password = Some(Password(value())),
            "ssl.endpoint.identification.algorithm" => self.tls.any_name = any_name(&value())?,
            "enable.ssl.certificate.verification" if value() == "true" => {}
            "enable.ssl.certificate.verification" => {
                return Err(refuse(name, "an unverified broker can read every record and every password; remove it"));
            }
            _ => return unknown(name),
        }
        Ok(())
    }

    fn login(&self) -> Result<Login, WireError> {
        const NAME: &str = "sasl.mechanism";
        const KNOWN: &str = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER";
        let mechanism = self.mechanism.as_deref().map(str::to_ascii_uppercase);
        match mechanism.as_deref() {
            Some("PLAIN") => self.credentials("PLAIN").map(Login::Plain),
            Some("SCRAM-SHA-256") => self.credentials("SCRAM-SHA-256").map(|who| Login::Scram(Hash::Sha256, who)),
            Some("SCRAM-SHA-512") => self.credentials("SCRAM-SHA-512").map(|who| Login::Scram(Hash::Sha512, who)),
            Some(oauth::MECHANISM) => self.oauth.tokens().map(Login::Bearer),
            Some(other) => Err(refuse(NAME, format!("the native client has {KNOWN}, not \"{other}\""))),
            None => Err(refuse(NAME, format!("is not set; the native client has {KNOWN}"))),
        }
    }

    fn credentials(&self, mechanism: &str) -> Result<Credentials, WireError> {
        let given = |value: &Option<String>, name: &str| {
            let present = value.clone().filter(|text| !text.is_empty());
            present.ok_or_else(|| refuse(name, format!("is not set, and {mechanism} needs it")))
        };
        let user = given(&self.user, "sasl.username")?;
        Ok(Credentials { user, password: Password(given(&self.password, "sasl.password")?) })
    }
}

/// Whether the broker's certificate may be for any name.
fn any_name(value: &str) -> Result<bool, WireError> {
    match value {
        "https" => Ok(false),
        "none" | "" => Ok(true),
        other => Err(refuse("ssl.endpoint.identification.algorithm", format!("\"{other}\" is neither https nor none"))),
    }
}

/// A property that sets nothing here: fine if it is not about security.
fn unknown(name: &str) -> Result<(), WireError> {
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Err(refuse(name, *reason));
    }
    let about_security = ["ssl.", "sasl.", "enable.ssl.", "enable.sasl.", "https."];
    let without_meaning = WITHOUT_MEANING.iter().any(|prefix| name.starts_with(prefix));
    if without_meaning || !about_security.iter().any(|prefix| name.starts_with(prefix)) {
        return Ok(());
    }
    Err(refuse(name, "the native client does not have it; remove it, or write the same with the keys that it has"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "hunter2-canary";

    fn sasl(more: &[(&'static str, &'static str)]) -> Result<Security, WireError> {
        let mut all = vec![("security.protocol", "SASL_PLAINTEXT"), ("sasl.username", "ada")];
        all.extend(more);
        Security::from_properties(all)
    }

    #[test]
    fn reads_both_spellings_of_the_mechanism() {
        for name in ["sasl.mechanism", "sasl.mechanisms"] {
            let security = sasl(&[(name, "scram-sha-512"), ("sasl.password", "x")]).unwrap();
            assert_eq!(security.login().unwrap().mechanism(), "SCRAM-SHA-512");
        }
    }

    #[test]
    fn refuses_by_name_what_it_does_not_have() {
        let name_of = |properties: &[(&str, &str)]| match Security::from_properties(properties.iter().copied()) {
            Err(WireError::Property { property, .. }) => property,
            other => panic!("{other:?}"),
        };
        assert_eq!(name_of(&[("security.protocol", "tls")]), "security.protocol");
        assert_eq!(name_of(&[("ssl.keystore.password", CANARY)]), "ssl.keystore.password");
        assert_eq!(name_of(&[("enable.ssl.certificate.verification", "false")]), "enable.ssl.certificate.verification");
        assert_eq!(name_of(&[("ssl.something.new", "1")]), "ssl.something.new");
        assert_eq!(name_of(&[("security.protocol", "sasl_ssl")]), "sasl.mechanism");
        let kerberos = [("security.protocol", "sasl_ssl"), ("sasl.mechanism", "GSSAPI")];
        assert_eq!(name_of(&kerberos), "sasl.mechanism");
        assert!(
            matches!(sasl(&[("sasl.mechanism", "PLAIN")]), Err(WireError::Property { property, .. }) if property == "sasl.password")
        );
    }

    #[test]
    fn kip_255_a_login_by_token_needs_neither_user_nor_password() {
        let way = [("sasl.mechanism", "oauthbearer"), ("sasl.oauthbearer.token.endpoint.url", "file:///run/token")];
        let security = sasl(&way).unwrap();
        assert_eq!(
            security.login().map(|login| (login.mechanism(), login.user())),
            Some(("OAUTHBEARER", "/run/token"))
        );
        assert!(security.tokens().is_some());
        // Of another mechanism they mean nothing.
        let plain = [("sasl.mechanism", "PLAIN"), ("sasl.password", "x"), ("sasl.oauthbearer.method", "nonsense")];
        assert!(sasl(&plain).unwrap().tokens().is_none());
    }

    #[test]
    fn passes_over_what_is_not_about_security() {
        assert!(Security::from_properties([("fetch.max.bytes", "1"), ("sasl.kerberos.keytab", "x")]).is_ok());
    }

    #[test]
    fn prints_no_password() {
        let security = sasl(&[("sasl.mechanism", "PLAIN"), ("sasl.password", CANARY)]).unwrap();
        let shown = format!("{security:?} {:?}", Password::new(CANARY));
        assert!(!shown.contains(CANARY), "{shown}");
        assert!(shown.contains("PLAIN") && shown.contains("ada"), "{shown}");
        let error = sasl(&[("ssl.keystore.password", CANARY)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(CANARY));
    }
}
