//! A broker's listeners for TLS and SASL, and the certificates and users that go with them.
//!
//! ```text
//! SSL              TLS, anybody            certificate of `localhost`, signed by the testbed's authority
//! MTLS             TLS, with certificate   client.pem, client.key
//! SASL_PLAINTEXT   PLAIN, SCRAM            ada (may do everything), eve (may do nothing)
//! SASL_SSL         the same over TLS
//! OAUTH            tokens that the testbed's key has signed, for Kafka's audience
//! OAUTH_UNSECURED  tokens that nobody has signed
//! ```
//!
//! An authorizer denies what is not allowed; whoever has no name (plain, TLS) may do everything, as on any other broker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::identity::TokenSigner;
use crate::packages;
use crate::ports::free_port;
use crate::process::{Launch, write};

/// Time for one run of openssl, which takes some milliseconds.
const OPENSSL_DEADLINE: Duration = Duration::from_secs(30);
/// The host that the broker's certificate is for. 127.0.0.1 is not in it, so that a wrong name can be tried.
const HOST: &str = "localhost";
/// Sessions on the listener without TLS end after so many milliseconds, so that their renewal can be seen.
const SHORT_SESSIONS: [(&str, &str); 3] = [("plain", "2000"), ("scram-sha-256", "1500"), ("scram-sha-512", "1000")];
/// A session by token ends with its token, but only where sessions have an end at all.
const TOKEN_SESSION: &str = "600000";

/// Where the secured listeners of a broker are, and what a client needs for them.
#[derive(Debug, Clone)]
pub struct Secured {
    /// `host:port` of the listener with TLS.
    pub ssl: String,
    /// The same under a name that the certificate is not for.
    pub ssl_other_name: String,
    /// `host:port` of the listener with TLS that asks for a certificate.
    pub mtls: String,
    /// `host:port` of the listener with SASL.
    pub sasl_plaintext: String,
    /// `host:port` of the listener with SASL over TLS.
    pub sasl_ssl: String,
    /// `host:port` of the listener that takes signed tokens.
    pub oauth: String,
    /// `host:port` of the listener that takes tokens that nobody has signed.
    pub oauth_unsecured: String,
    /// Signs tokens that the first of them takes.
    pub signer: TokenSigner,
    /// PEM of the authority that signed the broker's certificate.
    pub authority: PathBuf,
    /// PEM of an authority that did not.
    pub stranger: PathBuf,
    /// PEM of a client's certificate.
    pub client_certificate: PathBuf,
    /// PEM of its key.
    pub client_key: PathBuf,
    /// The same key under [`Self::PASSWORD`].
    pub encrypted_key: PathBuf,
    /// PEM of a client's certificate that the stranger has signed, and of its key.
    pub foreign: (PathBuf, PathBuf),
    /// PEM of a client's certificate whose time is over, and of its key.
    pub expired: (PathBuf, PathBuf),
}

impl Secured {
    /// A user who may do everything.
    pub const USER: &str = "ada";
    /// A user who may do nothing.
    pub const POWERLESS: &str = "eve";
    /// The password of both. Without commas and equals signs, which the formatting tool takes for its own.
    pub const PASSWORD: &str = "correct-horse.battery/staple";

    /// Whom signed tokens have to be for.
    pub const AUDIENCE: &str = "kafka";

    /// Makes certificates and takes ports.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let authority = make_authority(dir, "authority")?;
        let stranger = make_authority(dir, "stranger")?;
        let (broker, broker_key) = make_leaf(dir, "broker", &authority)?;
        let (client_certificate, client_key) = make_leaf(dir, "client", &authority)?;
        let encrypted_key = encrypt(dir, &client_key)?;
        let (foreign, expired) = (make_leaf(dir, "foreign", &stranger)?, make_expired(dir, "expired", &authority)?);
        let read = |path: &Path| std::fs::read_to_string(path).map_err(crate::Error::path("read", path));
        // Kafka wants the key and its chain in one file.
        write(&dir.join("broker-store.pem"), &format!("{}{}", read(&broker_key)?, read(&broker)?))?;
        let place = |host: &str| free_port().map(|port| format!("{host}:{port}"));
        let ssl = place(HOST)?;
        let ssl_other_name = ssl.replace(HOST, "127.0.0.1");
        Ok(Secured {
            ssl,
            ssl_other_name,
            mtls: place(HOST)?,
            sasl_plaintext: place(HOST)?,
            sasl_ssl: place(HOST)?,
            oauth: place(HOST)?,
            oauth_unsecured: place(HOST)?,
            signer: TokenSigner::new(dir)?,
            authority,
            stranger,
            client_certificate,
            client_key,
            encrypted_key,
            foreign,
            expired,
        })
    }

    /// Name and address of each listener.
    pub(crate) fn listeners(&self) -> String {
        let all = [
            ("SSL", &self.ssl),
            ("MTLS", &self.mtls),
            ("SASL_PLAINTEXT", &self.sasl_plaintext),
            ("SASL_SSL", &self.sasl_ssl),
            ("OAUTH", &self.oauth),
            ("OAUTH_UNSECURED", &self.oauth_unsecured),
        ];
        all.map(|(name, address)| format!("{name}://{address}")).join(",")
    }

    /// What `server.properties` says of them, besides `listeners`.
    pub(crate) fn properties(&self, dir: &Path) -> Vec<(String, String)> {
        const JAAS: &str = "org.apache.kafka.common.security";
        let path = |path: &Path| path.display().to_string();
        let (user, powerless, password) = (Self::USER, Self::POWERLESS, Self::PASSWORD);
        let plain = format!(
            "{JAAS}.plain.PlainLoginModule required user_{user}=\"{password}\" user_{powerless}=\"{password}\";"
        );
        let protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,MTLS:SSL,\
                         SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,\
                         OAUTH:SASL_PLAINTEXT,OAUTH_UNSECURED:SASL_PLAINTEXT";
        let super_users = format!("User:ANONYMOUS;User:{user};User:CN=client");
        let mut all = vec![
            ("listener.security.protocol.map", protocols.to_owned()),
            ("listener.name.mtls.ssl.client.auth", "required".to_owned()),
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", path(&dir.join("broker-store.pem"))),
            ("ssl.truststore.type", "PEM".to_owned()),
            ("ssl.truststore.location", path(&self.authority)),
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned()),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned()),
            ("super.users", super_users),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect::<Vec<_>>();
        let short = |(mechanism, millis): (&str, &str)| {
            (format!("listener.name.sasl_plaintext.{mechanism}.connections.max.reauth.ms"), millis.to_owned())
        };
        all.extend(SHORT_SESSIONS.map(short));
        all.extend(self.token_properties());
        for listener in ["sasl_plaintext", "sasl_ssl"] {
            let name = |mechanism: &str| format!("listener.name.{listener}.{mechanism}.sasl.jaas.config");
            all.push((name("plain"), plain.clone()));
            for mechanism in ["scram-sha-256", "scram-sha-512"] {
                all.push((name(mechanism), format!("{JAAS}.scram.ScramLoginModule required;")));
            }
        }
        all
    }

    /// Of the listeners that take tokens.
    fn token_properties(&self) -> Vec<(String, String)> {
        const OAUTH: &str = "org.apache.kafka.common.security.oauthbearer";
        let module = format!("{OAUTH}.OAuthBearerLoginModule required");
        let mut all = vec![
            ("sasl.oauthbearer.jwks.endpoint.url".to_owned(), self.signer.jwks_url()),
            ("sasl.oauthbearer.expected.audience".to_owned(), Self::AUDIENCE.to_owned()),
            ("sasl.oauthbearer.clock.skew.seconds".to_owned(), "0".to_owned()),
        ];
        // Without a handler of its own a listener takes unsecured tokens, and wants to be told whose its own would be.
        let validator = format!("{OAUTH}.OAuthBearerValidatorCallbackHandler");
        let listeners =
            [("oauth", Some(validator), ""), ("oauth_unsecured", None, " unsecuredLoginStringClaim_sub=\"x\"")];
        for (listener, validator, options) in listeners {
            let mut set = |name: &str, value: &str| {
                all.push((format!("listener.name.{listener}.{name}"), value.to_owned()));
            };
            set("sasl.enabled.mechanisms", "OAUTHBEARER");
            set("oauthbearer.connections.max.reauth.ms", TOKEN_SESSION);
            set("oauthbearer.sasl.jaas.config", &format!("{module}{options};"));
            if let Some(validator) = validator {
                set("oauthbearer.sasl.server.callback.handler.class", &validator);
            }
        }
        all
    }

    /// What the broker's JVM is told: it reads no keys but from places that are allowed.
    pub(crate) fn system_properties(&self) -> Vec<String> {
        vec![format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={}", self.signer.jwks_url())]
    }

    /// What the storage is formatted with.
    pub(crate) fn format_arguments() -> Vec<String> {
        let mut all = Vec::new();
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            for user in [Self::USER, Self::POWERLESS] {
                all.push("--add-scram".to_owned());
                all.push(format!("{mechanism}=[name=\"{user}\",password=\"{}\"]", Self::PASSWORD));
            }
        }
        all
    }
}

/// A key under a password.
fn encrypt(dir: &Path, key: &Path) -> Result<PathBuf> {
    let encrypted = key.with_extension("encrypted.key");
    Launch::new(packages::find("openssl")?, dir)
        .args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout"])
        .args([format!("pass:{}", Secured::PASSWORD), "-in".to_owned(), key.display().to_string()])
        .args(["-out".to_owned(), encrypted.display().to_string()])
        .run(OPENSSL_DEADLINE)?;
    Ok(encrypted)
}

/// An authority's certificate; its key is beside it.
fn make_authority(dir: &Path, name: &str) -> Result<PathBuf> {
    make(dir, name, &[]).map(|(certificate, _)| certificate)
}

/// A certificate for [`HOST`] and its key.
fn make_leaf(dir: &Path, name: &str, authority: &Path) -> Result<(PathBuf, PathBuf)> {
    let key = authority.with_extension("key");
    let (authority, key) = (authority.display().to_string(), key.display().to_string());
    let host = format!("subjectAltName=DNS:{HOST}");
    make(
        dir,
        name,
        &["-CA", &authority, "-CAkey", &key, "-addext", "basicConstraints=critical,CA:FALSE", "-addext", &host],
    )
}

/// A certificate whose time was a day in 2020, and its key. Only openssl's own authority takes times.
fn make_expired(dir: &Path, name: &str, authority: &Path) -> Result<(PathBuf, PathBuf)> {
    let file = |suffix: &str| dir.join(format!("{name}.{suffix}"));
    let policy = "[ca]\ndefault_ca=it\n[it]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=any\nx509_extensions=leaf\n\
                  [any]\ncommonName=supplied\n[leaf]\nbasicConstraints=critical,CA:FALSE\n";
    write(&file("conf"), policy)?;
    write(&dir.join("index"), "")?;
    write(&dir.join("serial"), "01")?;
    let (certificate, key) = (file("pem"), file("key"));
    let openssl = || Ok::<_, crate::Error>(Launch::new(packages::find("openssl")?, dir));
    openssl()?
        .args(["req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj".to_owned(), format!("/CN={name}")])
        .args(["-keyout".into(), key.as_os_str().to_owned(), "-out".into(), file("csr").into_os_string()])
        .run(OPENSSL_DEADLINE)?;
    openssl()?
        .args(["ca", "-batch", "-notext", "-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-config"])
        .args([file("conf").into_os_string(), "-in".into(), file("csr").into_os_string()])
        .args(["-cert".into(), authority.as_os_str().to_owned()])
        .args(["-keyfile".into(), authority.with_extension("key").into_os_string()])
        .args(["-out".into(), certificate.as_os_str().to_owned()])
        .run(OPENSSL_DEADLINE)?;
    Ok((certificate, key))
}

fn make(dir: &Path, name: &str, more: &[&str]) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    Launch::new(packages::find("openssl")?, dir)
        .args(["req", "-x509", "-nodes", "-days", "30", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj".to_owned(), format!("/CN={name}")])
        .args(["-keyout".into(), key.as_os_str().to_owned(), "-out".into(), certificate.as_os_str().to_owned()])
        .args(more.iter().copied())
        .run(OPENSSL_DEADLINE)?;
    Ok((certificate, key))
}
