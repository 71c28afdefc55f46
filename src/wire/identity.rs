//! Certificates and keys of TLS, from files or from the properties themselves, as PEM.
//!
//! A mistake in them shows itself otherwise as a broker that hangs up. So each is looked for here, before anything is connected,
//! and is named by its property, its place, and the way out.

use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::Document;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::error::WireError;
use super::security::Password;
use super::settings::refuse;

const CERTIFICATE: &str = "ssl.certificate";
const KEY: &str = "ssl.key";
const AUTHORITY: &str = "ssl.ca";
const KEY_PASSWORD: &str = "ssl.key.password";
/// What a PEM begins with.
const BEGIN: &str = "-----BEGIN ";
/// What a key under a password begins and ends with (RFC 7468).
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// A PEM, by the two properties that may hold it: `<name>.location` and `<name>.pem`.
#[derive(Clone, Default)]
pub(super) struct Pem {
    pub(super) location: Option<String>,
    pub(super) pem: Option<Password>,
}

/// Its text, and what to call its place.
struct Found {
    property: String,
    place: String,
    text: String,
}

impl Found {
    fn refuse(&self, reason: impl std::fmt::Display) -> WireError {
        refuse(&self.property, format!("{}: {reason}", self.place))
    }
}

impl Pem {
    fn read(&self, name: &str) -> Result<Option<Found>, WireError> {
        let location = self.location.as_deref().filter(|path| !path.is_empty());
        let inline = self.pem.as_ref().filter(|pem| !pem.reveal().is_empty());
        let (property, place, text) = match (location, inline) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(refuse(
                    &format!("{name}.pem"),
                    format!("is set beside {name}.location; take one of them out"),
                ));
            }
            (None, Some(pem)) => (format!("{name}.pem"), "its value".to_owned(), pem.reveal().to_owned()),
            (Some(path), None) => {
                let property = format!("{name}.location");
                let text = std::fs::read(path).map_err(|error| refuse(&property, format!("\"{path}\": {error}")))?;
                // What is not text is not PEM either, and is told so below.
                (property, format!("\"{path}\""), String::from_utf8_lossy(&text).into_owned())
            }
        };
        let found = Found { property, place, text };
        if !found.text.contains(BEGIN) {
            return Err(found.refuse(
                "is not PEM; `openssl x509` or `openssl pkey` writes DER as PEM, `openssl pkcs12 -nodes` a keystore",
            ));
        }
        Ok(Some(found))
    }
}

/// Whom to trust: the file, the folder, the property's own text, or the system's authorities.
pub(super) fn authorities(pem: &Pem) -> Result<RootCertStore, WireError> {
    const NAME: &str = "ssl.ca.location";
    let location = pem.location.as_deref().filter(|path| !path.is_empty() && *path != "probe");
    let mut roots = RootCertStore::empty();
    let (place, errors) = match (location, &pem.pem) {
        (_, Some(_)) => {
            let only = Pem { location: location.map(str::to_owned), pem: pem.pem.clone() };
            let Some(found) = only.read(AUTHORITY)? else { return Err(refuse("ssl.ca.pem", "is empty; take it out")) };
            let chain = certificates(&found)?;
            if roots.add_parsable_certificates(chain).0 > 0 {
                return Ok(roots);
            }
            return Err(found.refuse("no certificate of an authority in it"));
        }
        (None, None) => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            ("the system".to_owned(), found.errors)
        }
        (Some(path), None) => {
            let (file, folder) = if Path::new(path).is_dir() { (None, Some(path)) } else { (Some(path), None) };
            let found = rustls_native_certs::load_certs_from_paths(file.map(Path::new), folder.map(Path::new));
            roots.add_parsable_certificates(found.certs);
            (format!("\"{path}\""), found.errors)
        }
    };
    if !roots.is_empty() {
        return Ok(roots);
    }
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Err(refuse(NAME, format!("no certificate of an authority in {place} {}", errors.join("; "))))
}

/// Who we are: a certificate with its chain, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads both halves, or finds that none is set.
pub(super) fn identity(
    certificate: &Pem,
    key: &Pem,
    password: Option<&Password>,
) -> Result<Option<Identity>, WireError> {
    let missing = |half: &str, other: &str| {
        refuse(&format!("{half}.location"), format!("is not set, and {other} needs it: set both, or neither"))
    };
    let (certificate, key) = match (certificate.read(CERTIFICATE)?, key.read(KEY)?) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(certificate), None) => return Err(missing(KEY, &certificate.property)),
        (None, Some(key)) => return Err(missing(CERTIFICATE, &key.property)),
    };
    let chain = certificates(&certificate)?;
    if chain.is_empty() {
        return Err(certificate.refuse("has no certificate; is it the key?"));
    }
    Ok(Some((chain, private_key(&key, password)?)))
}

fn certificates(found: &Found) -> Result<Vec<CertificateDer<'static>>, WireError> {
    let all = CertificateDer::pem_slice_iter(found.text.as_bytes()).collect::<Result<Vec<_>, _>>();
    all.map_err(|error| found.refuse(error))
}

fn private_key(found: &Found, password: Option<&Password>) -> Result<PrivateKeyDer<'static>, WireError> {
    let text = found.text.as_str();
    // librdkafka's OpenSSL reads this, too; its key is derived by one round of MD5.
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        let way_out =
            "is encrypted in OpenSSL's old form; `openssl pkcs8 -topk8 -v2 aes-256-cbc` writes one that can be read";
        return Err(found.refuse(way_out));
    }
    if let Some(start) = text.find(ENCRYPTED) {
        let Some(password) = password else {
            return Err(refuse(
                KEY_PASSWORD,
                format!("is not set, and the key of {} in {} needs it", found.property, found.place),
            ));
        };
        return decrypt(found, &text[start..], password);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|error| found.refuse(format!("no private key in PEM: {error}; is it the certificate?")))
}

/// PKCS#8 with PBES2 (RFC 8018), which is what OpenSSL writes since 1.1.
fn decrypt(found: &Found, text: &str, password: &Password) -> Result<PrivateKeyDer<'static>, WireError> {
    let end = text.find(ENCRYPTED_END).ok_or_else(|| found.refuse("the encrypted key has no end"))?;
    let end = end + ENCRYPTED_END.len();
    let (_, document) = Document::from_pem(&text[..end])
        .map_err(|error| found.refuse(format!("the encrypted key can't be read: {error}")))?;
    let encrypted: EncryptedPrivateKeyInfoRef<'_> = document.decode_msg().map_err(|error| {
        found.refuse(format!(
            "the encrypted key can't be read: {error}; `openssl pkcs8 -topk8 -v2 aes-256-cbc` writes one that can"
        ))
    })?;
    // Padding that is wrong and a key that is none both come from a wrong password.
    let key = encrypted.decrypt(password.reveal()).map_err(|error| {
        refuse(KEY_PASSWORD, format!("does not open the key of {} in {}: {error}", found.property, found.place))
    })?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
