//! `sasl.oauthbearer.*`, as librdkafka and Java call them, and which ways to a token they mean.
//!
//! ```text
//!  method=oidc, client.id, client.secret, token.endpoint.url=https://…   an identity provider
//!  token.endpoint.url=file:///…                                          a file (Java, KIP-768)
//!  enable.sasl.oauthbearer.unsecure.jwt=true, config=…                   unsigned, for development
//! ```

use std::collections::BTreeMap;

use reqwest::Url;

use super::endpoint::{Endpoint, URL};
use super::message::Extensions;
use super::unsecured::Unsecured;
use super::{Origin, Tokens};
use crate::wire::error::WireError;
use crate::wire::security::Password;
use crate::wire::settings::refuse;

const METHOD: &str = "sasl.oauthbearer.method";
const CLIENT: &str = "sasl.oauthbearer.client.id";
const SECRET: &str = "sasl.oauthbearer.client.secret";
const SCOPE: &str = "sasl.oauthbearer.scope";
const EXTENSIONS: &str = "sasl.oauthbearer.extensions";
const GRANT: &str = "sasl.oauthbearer.grant.type";
const CONFIG: &str = "sasl.oauthbearer.config";
const UNSECURED: &str = "enable.sasl.oauthbearer.unsecure.jwt";
const AUTHORITY_FILE: &str = "https.ca.location";
const AUTHORITY_TEXT: &str = "https.ca.pem";
/// librdkafka has two names for each of these.
const ALIASES: [(&str, &str); 2] = [
    ("sasl.oauthbearer.client.credentials.client.id", CLIENT),
    ("sasl.oauthbearer.client.credentials.client.secret", SECRET),
];
const KNOWN: [&str; 11] =
    [METHOD, CLIENT, SECRET, SCOPE, EXTENSIONS, GRANT, CONFIG, UNSECURED, URL, AUTHORITY_FILE, AUTHORITY_TEXT];

/// The properties, before it is known whether a token is wanted at all.
#[derive(Default)]
pub(in crate::wire) struct Found(BTreeMap<String, String>);

impl Found {
    /// Whether the property is one of these; then it is taken.
    pub(in crate::wire) fn take(&mut self, name: &str, value: &str) -> bool {
        let ours =
            ["sasl.oauthbearer.", "enable.sasl.oauthbearer.", "https.ca."].iter().any(|part| name.starts_with(part));
        if ours && !value.is_empty() {
            let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
            self.0.insert(name.to_owned(), value.to_owned());
        }
        ours
    }

    /// The way to a token that the properties mean.
    pub(in crate::wire) fn tokens(&self) -> Result<Tokens, WireError> {
        let known = |name: &String| KNOWN.contains(&name.as_str());
        if let Some(unknown) = self.0.keys().find(|name| !known(name)) {
            return Err(refuse(unknown, format!("the native client does not have it; it has {}", KNOWN.join(", "))));
        }
        let oidc = match self.value(METHOD).map(str::to_ascii_lowercase).as_deref() {
            None | Some("default") => false,
            Some("oidc") => true,
            Some(other) => return Err(refuse(METHOD, format!("\"{other}\" is neither oidc nor default"))),
        };
        let unsecured = match self.value(UNSECURED) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(refuse(UNSECURED, format!("\"{other}\" is neither true nor false"))),
        };
        let file = self.value(URL).and_then(|url| url.strip_prefix("file:"));
        match (unsecured, file, oidc) {
            (true, None, false) => self.unsecured(),
            (true, ..) => Err(refuse(UNSECURED, format!("is set beside {METHOD} or {URL}; take one of them out"))),
            (false, Some(path), _) => self.file(path),
            (false, None, true) => self.endpoint(),
            (false, None, false) => Err(refuse(
                METHOD,
                format!(
                    "says nowhere to have a token from: set it to oidc, or {URL} to file:///…, or {UNSECURED} for development"
                ),
            )),
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn extensions(&self) -> Result<Extensions, WireError> {
        let pairs = self.value(EXTENSIONS).unwrap_or_default();
        Extensions::new(pairs.split(',')).map_err(|reason| refuse(EXTENSIONS, reason))
    }

    fn unsecured(&self) -> Result<Tokens, WireError> {
        let config = self.value(CONFIG).unwrap_or_default();
        let (unsecured, extensions) = Unsecured::read(config).map_err(|reason| refuse(CONFIG, reason))?;
        Ok(Tokens::new(Origin::Unsecured(unsecured), extensions))
    }

    fn file(&self, path: &str) -> Result<Tokens, WireError> {
        let absolute = path.strip_prefix("//").unwrap_or(path);
        if !absolute.starts_with('/') {
            return Err(refuse(URL, format!("\"file:{path}\" names no absolute path; write file:///path/to/token")));
        }
        Ok(Tokens::new(Origin::File(absolute.into()), self.extensions()?))
    }

    fn endpoint(&self) -> Result<Tokens, WireError> {
        if let Some(other) = self.value(GRANT).filter(|grant| *grant != "client_credentials") {
            return Err(refuse(GRANT, format!("the native client has client_credentials, not \"{other}\"")));
        }
        let needed = |name: &str| {
            self.value(name)
                .map(str::to_owned)
                .ok_or_else(|| refuse(name, format!("is not set, and {METHOD}=oidc needs it")))
        };
        let (url, client, secret) = (needed(URL)?, needed(CLIENT)?, Password::new(&needed(SECRET)?));
        // Not repeated: a URL may hold a password.
        let url = Url::parse(&url).map_err(|error| refuse(URL, format!("is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse(URL, format!("\"{}:\" is none of https, http, file", url.scheme())));
        }
        let authorities = self.authorities()?;
        let authorities = authorities.as_ref().map(|(name, pem)| (*name, pem.as_slice()));
        let scope = self.value(SCOPE).map(str::to_owned);
        let endpoint = Endpoint::new(url, client, secret, scope, authorities)?;
        Ok(Tokens::new(Origin::Endpoint(endpoint), self.extensions()?))
    }

    /// Whom to trust over HTTPS, and the property that says so.
    fn authorities(&self) -> Result<Option<(&'static str, Vec<u8>)>, WireError> {
        match (self.value(AUTHORITY_FILE).filter(|path| *path != "probe"), self.value(AUTHORITY_TEXT)) {
            (None, None) => Ok(None),
            (None, Some(pem)) => Ok(Some((AUTHORITY_TEXT, pem.as_bytes().to_vec()))),
            (Some(path), None) => match std::fs::read(path) {
                Ok(pem) => Ok(Some((AUTHORITY_FILE, pem))),
                Err(error) => {
                    Err(refuse(AUTHORITY_FILE, format!("\"{path}\": {error}; a file with certificates in PEM")))
                }
            },
            (Some(_), Some(_)) => {
                Err(refuse(AUTHORITY_TEXT, format!("is set beside {AUTHORITY_FILE}; take one of them out")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(all: &[(&str, &str)]) -> Result<Tokens, WireError> {
        let mut found = Found::default();
        for (name, value) in all {
            assert!(found.take(name, value), "{name}");
        }
        found.tokens()
    }

    #[test]
    fn kip_768_librdkafkas_names_and_javas_lead_to_a_token() {
        let oidc =
            [(METHOD, "oidc"), (CLIENT, "ada"), (SECRET, "x"), (URL, "https://idp/token"), (EXTENSIONS, "a=1,b=2")];
        let tokens = found(&oidc).unwrap();
        assert_eq!((tokens.user(), tokens.extensions().is_empty()), ("ada", false));
        let alias = [(METHOD, "OIDC"), (ALIASES[0].0, "ada"), (ALIASES[1].0, "x"), (URL, "http://idp/token")];
        assert_eq!(found(&alias).unwrap().user(), "ada");
        for url in ["file:///run/token", "file:/run/token"] {
            assert_eq!(found(&[(URL, url)]).unwrap().user(), "/run/token");
        }
        let unsecured = [(UNSECURED, "true"), (CONFIG, "principal=ada")];
        assert_eq!(found(&unsecured).unwrap().user(), "ada");
        let mut others = Found::default();
        assert!(!others.take("sasl.username", "x") && !others.take("ssl.ca.location", "x"));
    }

    #[test]
    fn kip_768_each_mistake_names_its_property() {
        let oidc = [(METHOD, "oidc"), (CLIENT, "ada"), (SECRET, "hunter2-canary"), (URL, "https://idp/token")];
        let cases: [(&[(&str, &str)], &str); 14] = [
            (&[], METHOD),
            (&[(METHOD, "azure")], METHOD),
            (&[(METHOD, "default")], METHOD),
            (&[(METHOD, "oidc"), (CLIENT, "ada"), (SECRET, "x")], URL),
            (&[(METHOD, "oidc"), (CLIENT, "ada"), (URL, "https://idp")], SECRET),
            (&[(METHOD, "oidc"), (SECRET, "x"), (URL, "https://idp")], CLIENT),
            (&[oidc[0], oidc[1], oidc[2], (URL, "ftp://idp")], URL),
            (&[oidc[0], oidc[1], oidc[2], (URL, "hunter2-canary")], URL),
            (&[oidc[0], oidc[1], oidc[2], oidc[3], (GRANT, "urn:ietf:params:oauth:grant-type:jwt-bearer")], GRANT),
            (&[oidc[0], oidc[1], oidc[2], oidc[3], (EXTENSIONS, "auth=1")], EXTENSIONS),
            (&[oidc[0], oidc[1], oidc[2], oidc[3], (AUTHORITY_FILE, "/no/such")], AUTHORITY_FILE),
            (&[oidc[0], oidc[1], oidc[2], oidc[3], (AUTHORITY_TEXT, "no pem")], AUTHORITY_TEXT),
            (&[(UNSECURED, "true"), (URL, "file:///x")], UNSECURED),
            (&[(URL, "file://token")], URL),
        ];
        for (properties, name) in cases {
            let error = found(properties).unwrap_err();
            assert!(matches!(&error, WireError::Property { property, .. } if property == name), "{error}");
            assert!(!error.to_string().contains("hunter2-canary"), "{error}");
        }
        let error = found(&[("sasl.oauthbearer.assertion.file", "x")]).unwrap_err();
        assert!(error.to_string().starts_with("sasl.oauthbearer.assertion.file: "), "{error}");
    }
}
