//! Each way in which a certificate or a key may be wrong.

use std::path::Path;

use super::super::tls::{Tls, TlsFiles};
use super::*;

const PASSWORD: &str = "hunter2-canary";
/// A certificate of its own, for a hundred years.
const CERTIFICATE_PEM: &str = "-----BEGIN CERTIFICATE-----
MIIBcDCCARWgAwIBAgIUdU203HGr7+Hce3u2oFTG1LGMEQAwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAgFw0yNjExMjMwMTQ4MTZaGA8yMTI2MTAzMDAxNDgxNlow
DDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLDLE3sGHnHI
jLzVjehFgMoFwUxbVawjbT+YPPI8IUhNwB9JyHO8Sivd5H9GL4D8L42uHaWiDEJp
whOjR73enS2jUzBRMB0GA1UdDgQWBBT67TZN1as0/2jp9iVZ+6hpWSw+TjAfBgNV
HSMEGDAWgBT67TZN1as0/2jp9iVZ+6hpWSw+TjAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0kAMEYCIQCDB264wEoP+Oa185YhJwezHJXGQFwp645fXMCNczFG
BwIhAMtnO1jSAuS9WtiFfHNWjS9CCR7DWHgEJxp9MjZgPNPr
-----END CERTIFICATE-----
";
/// Its key: only these tests know it.
const KEY_PEM: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQga20ojVL9FfrVnNCs
lfytzsDUi5PwBBynd0bnIpQrysqhRANCAASwyxN7Bh5xyIy81Y3oRYDKBcFMW1Ws
I20/mDzyPCFITcAfSchzvEor3eR/Ri+A/C+Nrh2logxCacITo0e93p0t
-----END PRIVATE KEY-----
";
/// The same under [`PASSWORD`], as `openssl pkcs8 -topk8 -v2 aes-256-cbc` writes it.
const ENCRYPTED_PEM: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhv6NfveFoTvAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEKNaHIUtTmgPZw9xp6gucrsEgZD5
b2Fg2mGaRBGSX+8z0wcYVhzCWV2OrAUo6sFVXYN/QKe6F4zztCkYVwvD+mUGx3EI
It39Ll+2ABpQvLHCKYZIyCM71FzQ5b5dClaDcH5eXSvGVOW5HBaiaeIy6xtz7jQ9
ypd7QR1K44WPDHo3YN0Pxgc7itCo/Mnd40njk9nXab5P7rzArbJKuhyvn7WT9FA=
-----END ENCRYPTED PRIVATE KEY-----
";
/// The key of nothing.
const OTHER_KEY_PEM: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1e63Cv8RKCiS/nsg
ZZchJjh4jBb9NAsKRF/xRRZMk3ChRANCAARrV+/MZj0UgSswF43Zh5QoKPwzPEBH
EDzfU0hNuax1R2SJLjcwrtB3Q4CQQYCZsWXZkiK4qdE5TrsMKGpXB9YA
-----END PRIVATE KEY-----
";

/// The properties of a client, of which a test takes one away or changes it.
fn files(certificate: Option<&str>, key: Option<&str>, password: Option<&str>) -> TlsFiles {
    let inline = |text: Option<&str>| Pem { location: None, pem: text.map(Password::new) };
    TlsFiles {
        authorities: inline(Some(CERTIFICATE_PEM)),
        certificate: inline(certificate),
        key: inline(key),
        key_password: password.map(Password::new),
        any_name: false,
    }
}

fn refused(files: &TlsFiles) -> (String, String) {
    match Tls::new(files) {
        Err(WireError::Property { property, reason }) => {
            assert!(!reason.contains(PASSWORD) && !reason.contains("MIG"), "{reason}");
            (property, reason)
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

fn located(path: &Path) -> Pem {
    Pem { location: Some(path.to_str().unwrap().to_owned()), pem: None }
}

#[test]
fn mtls_a_pair_is_taken_from_properties_and_from_files() {
    assert!(Tls::new(&files(None, None, None)).is_ok());
    assert!(Tls::new(&files(Some(CERTIFICATE_PEM), Some(KEY_PEM), None)).is_ok());
    // A password that is not needed does no harm; librdkafka passes it over, too.
    assert!(Tls::new(&files(Some(CERTIFICATE_PEM), Some(KEY_PEM), Some("x"))).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    // Both in one file, as some write it.
    let both = path("both.pem", &format!("{KEY_PEM}{CERTIFICATE_PEM}"));
    let files = TlsFiles {
        certificate: located(&both),
        key: located(&both),
        authorities: located(&both),
        ..files(None, None, None)
    };
    assert!(Tls::new(&files).is_ok());
}

#[test]
fn mtls_a_key_under_a_password_is_opened_with_it() {
    let with = |password| files(Some(CERTIFICATE_PEM), Some(ENCRYPTED_PEM), password);
    assert!(Tls::new(&with(Some(PASSWORD))).is_ok());
    let (property, reason) = refused(&with(None));
    assert!(
        property == "ssl.key.password" && reason.contains("is not set") && reason.contains("ssl.key.pem"),
        "{reason}"
    );
    let (property, reason) = refused(&with(Some("wrong")));
    assert!(property == "ssl.key.password" && reason.contains("does not open"), "{reason}");
    let broken = ENCRYPTED_PEM.replace("MIHs", "MIHt");
    assert_eq!(refused(&files(Some(CERTIFICATE_PEM), Some(&broken), Some(PASSWORD))).0, "ssl.key.pem");
    let cut = &ENCRYPTED_PEM[..100];
    assert_eq!(refused(&files(Some(CERTIFICATE_PEM), Some(cut), Some(PASSWORD))).0, "ssl.key.pem");
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let (property, reason) = refused(&files(Some(CERTIFICATE_PEM), Some(old), Some(PASSWORD)));
    assert!(property == "ssl.key.pem" && reason.contains("openssl pkcs8 -topk8"), "{reason}");
}

#[test]
fn mtls_half_of_a_pair_and_a_pair_that_is_none_are_named() {
    let (property, reason) = refused(&files(Some(CERTIFICATE_PEM), None, None));
    assert!(property == "ssl.key.location" && reason.contains("ssl.certificate.pem needs it"), "{reason}");
    let (property, reason) = refused(&files(None, Some(KEY_PEM), None));
    assert!(property == "ssl.certificate.location" && reason.contains("ssl.key.pem needs it"), "{reason}");
    let (property, reason) = refused(&files(Some(CERTIFICATE_PEM), Some(OTHER_KEY_PEM), None));
    assert!(property == "ssl.key.location" && reason.contains("does not fit ssl.certificate.location"), "{reason}");
    // Taken for one another.
    let (property, reason) = refused(&files(Some(KEY_PEM), Some(CERTIFICATE_PEM), None));
    assert!(property == "ssl.certificate.pem" && reason.contains("is it the key"), "{reason}");
    let (property, reason) = refused(&files(Some(CERTIFICATE_PEM), Some(CERTIFICATE_PEM), None));
    assert!(property == "ssl.key.pem" && reason.contains("is it the certificate"), "{reason}");
}

#[test]
fn mtls_a_file_that_is_missing_or_no_pem_is_named_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, der) = (folder.path().join("missing.pem"), folder.path().join("der.pem"));
    std::fs::write(&der, b"0\x82\xff not PEM").unwrap();
    let good = || files(Some(CERTIFICATE_PEM), Some(KEY_PEM), None);
    for (path, why) in [(&missing, "No such file"), (&der, "is not PEM")] {
        let wrong = [
            ("ssl.certificate.location", TlsFiles { certificate: located(path), ..good() }),
            ("ssl.key.location", TlsFiles { key: located(path), ..good() }),
        ];
        for (name, files) in wrong {
            let (property, reason) = refused(&files);
            assert!(property == name && reason.contains(why) && reason.contains(path.to_str().unwrap()), "{reason}");
        }
        let (property, reason) = refused(&TlsFiles { authorities: located(path), ..good() });
        assert!(property == "ssl.ca.location" && reason.contains(path.to_str().unwrap()), "{reason}");
    }
    let inline = TlsFiles { authorities: Pem { location: None, pem: Some(Password::new("x")) }, ..good() };
    assert_eq!(refused(&inline).0, "ssl.ca.pem");
}

#[test]
fn mtls_two_places_for_one_thing_are_refused() {
    let twice = |pem: Pem| Pem { location: Some("/x".to_owned()), ..pem };
    let good = files(Some(CERTIFICATE_PEM), Some(KEY_PEM), None);
    let (property, reason) = refused(&TlsFiles { key: twice(good.key.clone()), ..good.clone() });
    assert!(property == "ssl.key.pem" && reason.contains("ssl.key.location"), "{reason}");
    assert_eq!(refused(&TlsFiles { authorities: twice(good.authorities.clone()), ..good.clone() }).0, "ssl.ca.pem");
    assert_eq!(refused(&TlsFiles { certificate: twice(good.certificate.clone()), ..good }).0, "ssl.certificate.pem");
}
