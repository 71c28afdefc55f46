//! TLS to a broker: whom to trust, and who we are.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
};

use super::error::WireError;
use super::identity::{self, Pem};
use super::security::Password;
use super::settings::{Address, refuse};

/// What the properties say of TLS.
#[derive(Clone, Default)]
pub(super) struct TlsFiles {
    /// The authorities that are trusted; the system's if not set.
    pub(super) authorities: Pem,
    /// The client's certificate and its chain.
    pub(super) certificate: Pem,
    /// The client's key.
    pub(super) key: Pem,
    /// What the key is encrypted with.
    pub(super) key_password: Option<Password>,
    /// Whether the broker's certificate may be for any name.
    pub(super) any_name: bool,
}

/// TLS 1.2 and 1.3, ready to connect.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    any_name: bool,
}

impl Tls {
    /// Reads the files.
    pub(super) fn new(files: &TlsFiles) -> Result<Self, WireError> {
        // Named here, because the process may have none as its default, or several.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(identity::authorities(&files.authorities)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| refuse("ssl.ca.location", error.to_string()))?;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| refuse("security.protocol", error.to_string()))?;
        let builder = if files.any_name {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
        } else {
            builder.with_webpki_verifier(verifier)
        };
        let identity = identity::identity(&files.certificate, &files.key, files.key_password.as_ref())?;
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| unfit(&error))?,
        };
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)), any_name: files.any_name })
    }

    /// Encrypts a connection.
    pub(super) async fn connect(
        &self,
        address: &Address,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, WireError> {
        let failed = |reason: String| WireError::Tls { address: address.to_string(), reason };
        let name = ServerName::try_from(address.host.clone());
        let name = name.map_err(|_| failed("the host is neither a DNS name nor an IP address".to_owned()))?;
        self.connector.connect(name, stream).await.map_err(|error| self.explain(address, &error))
    }

    fn explain(&self, address: &Address, error: &io::Error) -> WireError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let reason = match inner {
            Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                "the broker's certificate is from an authority that ssl.ca.location does not name".to_owned()
            }
            Some(
                error @ Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                ),
            ) if !self.any_name => format!("the broker's certificate is for another host: {error}"),
            Some(Error::InvalidMessage(_)) => {
                "the broker does not speak TLS on this port: see security.protocol".to_owned()
            }
            Some(Error::AlertReceived(alert)) => refusal(*alert),
            Some(other) => other.to_string(),
            // A broker that is away, not one that is wrong: the same may succeed later. A listener without TLS that is
            // spoken to in TLS hangs up as well.
            None => {
                let reason = format!("{error} during the TLS handshake; does this listener speak TLS?");
                return WireError::Closed { address: address.to_string(), reason };
            }
        };
        WireError::Tls { address: address.to_string(), reason }
    }
}

/// What an error of an encrypted connection says about our certificate. With TLS 1.3 a broker looks at it only when the
/// client believes that the handshake is over.
pub(super) fn refused_certificate(error: &io::Error) -> Option<String> {
    use AlertDescription as Alert;
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(
            alert @ (Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied),
        ) => Some(refusal(*alert)),
        _ => None,
    }
}

/// Why certificate and key are no pair that can be shown.
fn unfit(error: &Error) -> WireError {
    if matches!(error, Error::InconsistentKeys(_)) {
        let way_out = "the first certificate must be the key's own, its authorities come after it";
        return refuse("ssl.key.location", format!("does not fit ssl.certificate.location: {error}; {way_out}"));
    }
    let way_out = "it must be X.509 version 3, with a key of RSA, ECDSA or Ed25519";
    refuse("ssl.certificate.location", format!("can't be used: {error}; {way_out}"))
}

/// What an alert of the broker means for who reads it. Java's brokers say `CertificateUnknown` of most faults.
fn refusal(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    let way_out = match alert {
        Alert::CertificateExpired => "renew the certificate of ssl.certificate.location",
        Alert::CertificateRevoked => "have another certificate issued for ssl.certificate.location",
        Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown => {
            "it wants a client certificate (ssl.certificate.location) that is in its time and from an authority in its truststore"
        }
        _ => "does it want a client certificate (ssl.certificate.location)?",
    };
    format!("the broker refused: {alert:?}; {way_out}")
}

/// Random bytes that nobody can guess.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), String> {
    let provider: CryptoProvider = aws_lc_rs::default_provider();
    provider.secure_random.fill(bytes).map_err(|_| "the system has no random numbers".to_owned())
}

/// Checks everything of a certificate but the name: `ssl.endpoint.identification.algorithm=none`.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is what is looked at last, so any other fault has come up before.
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
