//! An identity provider's two halves: a key that signs tokens, whose public part a broker gets as a JWKS file, and an endpoint
//! that gives tokens to who asks over HTTP (OAuth 2.0's client credentials). What it answers is the test's decision.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::error::Result;
use crate::packages;
use crate::process::{Launch, write};

/// Time for one run of openssl.
const OPENSSL_DEADLINE: Duration = Duration::from_secs(30);
/// The key's name in the JWKS and in each token.
const KEY_ID: &str = "testbed";
/// Time for one question; a client that says nothing is not waited for.
const QUESTION_DEADLINE: Duration = Duration::from_secs(5);
/// Longest question that is read.
const MAX_QUESTION_BYTES: usize = 64 << 10;

/// Signs tokens, by RS256 (RFC 7518).
#[derive(Debug, Clone)]
pub struct TokenSigner {
    dir: PathBuf,
    key: PathBuf,
    jwks: PathBuf,
}

impl TokenSigner {
    /// Makes a key and the JWKS of its public part in this directory.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let (key, jwks) = (dir.join("tokens.key"), dir.join("jwks.json"));
        openssl(dir, &["genrsa", "-out", &key.display().to_string(), "2048"])?;
        let modulus = openssl(dir, &["rsa", "-in", &key.display().to_string(), "-noout", "-modulus"])?;
        let digits = modulus.trim().trim_start_matches("Modulus=").as_bytes();
        let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let modulus: Vec<u8> = digits.chunks(2).filter_map(byte).collect();
        let public = json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(modulus),
        });
        write(&jwks, &json!({ "keys": [public] }).to_string())?;
        Ok(TokenSigner { dir: dir.to_owned(), key, jwks })
    }

    /// The file of the public part, as a URL.
    pub(crate) fn jwks_url(&self) -> String {
        format!("file://{}", self.jwks.display())
    }

    /// A JWT with these claims.
    ///
    /// # Errors
    /// openssl fails.
    pub fn token(&self, claims: &Value) -> Result<String> {
        static TOKENS: AtomicUsize = AtomicUsize::new(0);
        let number = TOKENS.fetch_add(1, Ordering::Relaxed);
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&json!({"alg": "RS256", "typ": "JWT", "kid": KEY_ID})), encode(claims));
        let (text, signature) =
            (self.dir.join(format!("token-{number}")), self.dir.join(format!("token-{number}.sig")));
        write(&text, &signed)?;
        let [key, out, text] = [&self.key, &signature, &text].map(|path| path.display().to_string());
        openssl(&self.dir, &["dgst", "-sha256", "-sign", &key, "-out", &out, &text])?;
        let signature = std::fs::read(&signature).map_err(crate::Error::path("read", &signature))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn openssl(dir: &Path, args: &[&str]) -> Result<String> {
    Launch::new(packages::find("openssl")?, dir).args(args.iter().copied()).run(OPENSSL_DEADLINE)
}

/// What a client has asked.
#[derive(Debug, Clone)]
pub struct TokenQuestion {
    /// Which one it is, from 0.
    pub number: usize,
    /// The `Authorization` header.
    pub authorization: String,
    /// The form.
    pub form: String,
}

/// Listens on loopback until it is dropped.
#[derive(Debug)]
pub struct TokenEndpoint {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TokenEndpoint {
    /// Starts it; each question is answered with a status and a body.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(answer: impl Fn(&TokenQuestion) -> (u16, String) + Send + 'static) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (asked, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, end) = (Arc::clone(&asked), Arc::clone(&ends));
        let serve = move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::Acquire) {
                    return;
                }
                // A client that hangs up is its own affair.
                let _ = respond(&stream, counter.fetch_add(1, Ordering::AcqRel), &answer);
            }
        };
        let thread = Some(std::thread::spawn(serve));
        Ok(TokenEndpoint { address, asked, ends, thread })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Acquire)
    }
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // Wakes it, so that it sees that.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

fn respond(
    stream: &TcpStream,
    number: usize,
    answer: &impl Fn(&TokenQuestion) -> (u16, String),
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(QUESTION_DEADLINE))?;
    let mut reader = BufReader::new(stream);
    let (mut authorization, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().unwrap_or(0).min(MAX_QUESTION_BYTES),
            _ => {}
        }
    }
    let mut form = vec![0; length];
    reader.read_exact(&mut form)?;
    let form = String::from_utf8_lossy(&form).into_owned();
    let (status, body) = answer(&TokenQuestion { number, authorization, form });
    let head = "Content-Type: application/json\r\nConnection: close";
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} -\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
